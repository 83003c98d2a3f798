"""`world.json` is trusted only as far as it makes sense."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.manifest import (
    FileRecord,
    Manifest,
    PhotoRecord,
    StageRecord,
    manifest_from_json,
    manifest_to_json,
    safe_name,
)
from lyra.worldgen.core.world import load_world

HASH = "0" * 64


def manifest(**changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "generator": "lyra.worldgen 0",
        "photo": PhotoRecord(name="a.jpg", sha256=HASH, size_px=(4, 3)),
        "config": {"seed": 7},
        "plan": ("understand", "explore", "certify"),
    }
    return Manifest(**(values | changes))


def full_json() -> dict[str, Any]:
    record = StageRecord(inputs="x", files={"a/b.npz": FileRecord(size=3, sha256=HASH)}, facts={"verdict": "passed"})
    return manifest_to_json(manifest().with_stage("certify", record).with_stage("explore/000", StageRecord(inputs="y")))


def test_manifest_reads_back():
    """JSON and back is the same manifest, stages in the order of the plan."""
    plain = full_json()
    again = manifest_from_json(json.loads(json.dumps(plain)))
    assert manifest_to_json(again) == plain
    assert list(again.stages) == ["explore/000", "certify"]
    assert again.verdict == "passed" and again.seed == 7 and not again.finished
    assert plain["id"] == again.id and len(again.id) == 16


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/passwd", "a/../../x", "a\\b", "C:/x", "", ".", "..", "a//b", "./a", "a/", "~/x", "world.json",
     "WORLD.JSON", ".lock", ".pending.json", ".explore.partial/x", "a\0b", "x" * 500],
)  # fmt: skip
def test_names_that_lead_out_of_the_folder_are_refused(name):
    """A manifest from somebody else cannot name files elsewhere, nor the manifest itself."""
    with pytest.raises(InputError, match="expected a relative path inside"):
        safe_name(name)
    plain = full_json()
    plain["stages"]["certify"]["files"] = {str(name): {"size": 1, "sha256": HASH}}
    with pytest.raises(InputError):
        manifest_from_json(plain)


@pytest.mark.parametrize("name", ["a", "payloads/textures/a.jpg", ".thumbs/256x256/world.usda.png", "größe.png"])
def test_ordinary_names_pass(name):
    """Names that stages use."""
    assert safe_name(name) == name


def paths(value: Any, prefix: tuple = ()) -> list[tuple]:
    found = [prefix] if prefix else []
    if isinstance(value, dict):
        for key in value:
            found += paths(value[key], (*prefix, key))
    return found


@given(st.data())
def test_any_replaced_value_is_refused_or_harmless(data):
    """Wherever a value is replaced by another type, reading gives a manifest or an `InputError`, nothing else."""
    plain = copy.deepcopy(full_json())
    path = data.draw(st.sampled_from(paths(plain)))
    value = data.draw(st.sampled_from([None, True, -1, 1e308, "x", [], {}, [1], {"a": {}}, "../x"]))
    place = plain
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    try:
        read = manifest_from_json(plain)
    except InputError:
        return
    manifest_to_json(read)
    assert read.verdict in ("", "passed") and read.licence and isinstance(read.seed, int) and isinstance(read.mode, str)
    assert read.scale is None or read.scale.relative_sigma >= 0


def test_huge_manifests_are_not_read(tmp_path):
    """A manifest beyond any sense is refused by its size."""
    with open(tmp_path / "world.json", "wb") as file:
        file.truncate(17 * 2**20)
    with pytest.raises(InputError, match="is larger than"):
        load_world(tmp_path)
