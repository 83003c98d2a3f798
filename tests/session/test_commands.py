"""Commands as data: what is written is read back, and what makes no sense is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.config import RescaleConfig, WorldConfig, load_config
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.session import (
    Branch,
    Certify,
    Extend,
    Finish,
    Generate,
    Import,
    Preview,
    Rescale,
    Undo,
    Vary,
    command_from_json,
    command_to_json,
)
from lyra.worldgen.session.commands import COMMANDS

EXAMPLES = (
    Generate(photo=Path("a photo.jpg")),
    Generate(photo=Path("p"), config=load_config(None, {"generation.path": "turn", "seed": 7}), until="understand"),
    Import(source=Path("scan.ply"), config=WorldConfig(seed=3), overwrite=True),
    Extend(),
    Extend(path="forward", prompt="a hall", captions=Path("c.json"), pose_scale=1.5, chunks=2, seed=9, until="explore"),
    Undo(chunks=3),
    Branch(out=Path("b"), chunks=1),
    Finish(until="reconstruct"),
    Rescale(rescale=RescaleConfig(factor=0.9)),
    Certify(newton=True),
    Preview(),
    Vary(out=Path("v"), ranges={"light": {"dome": [0.5, 2.0]}}, count=3, seed=9, certify=False),
)


@pytest.mark.parametrize("command", EXAMPLES, ids=lambda command: command.name)
def test_written_and_read(command):
    """A command survives being text."""
    assert command_from_json(json.loads(json.dumps(command_to_json(command)))) == command


def test_every_command_has_an_example():
    """No command is left out of the test above."""
    assert {command.name for command in EXAMPLES} == set(COMMANDS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "the command is a list"),
        ({}, "unknown command 'None'"),
        ({"command": "explode"}, "unknown command 'explode'; expected one of: generate"),
        ({"command": "generate"}, "generate needs 'photo'"),
        ({"command": "branch", "out": 7}, "branch.out is '7'"),
        ({"command": "branch", "out": "a\0b"}, "branch.out"),
        ({"command": "undo", "chunks": True}, "undo.chunks is 'True'"),
        ({"command": "undo", "chunks": None}, "undo.chunks"),
        ({"command": "undo", "steps": 1}, "undo has no 'steps'; expected some of: chunks, until"),
        ({"command": "generate", "photo": "p", "config": {"seeed": 1}}, "unknown key seeed"),
        ({"command": "rescale", "rescale": {"factor": -1}}, "rescale.factor"),
    ],
)
def test_what_makes_no_sense_is_refused(data, message):
    """One line that names the value."""
    with pytest.raises(InputError) as caught:
        command_from_json(data)
    assert message in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.dictionaries(
    st.sampled_from(["photo", "config", "chunks", "until", "seed", "rescale", "x"]), JSON, max_size=4
)


@given(st.sampled_from([*COMMANDS, "none"]), FIELDS)
def test_any_data_is_taken(name, fields):
    """Whatever another program says becomes a command or one error of the product's own."""
    try:
        assert command_from_json({"command": name, **fields}).name == name
    except InputError as error:
        assert str(error)
