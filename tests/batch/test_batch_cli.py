"""`lyra-worldgen batch` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lyra.worldgen.cli.main import main


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "a.jpg").write_bytes(b"photo")
    path = tmp_path / "b.yaml"
    path.write_text("photos: [a.jpg]\nseeds: [0-1]\n")
    return path


def test_a_dry_run_lists_the_worlds_and_writes_nothing(file, capsys):
    """Two seeds, two names."""
    assert main(["batch", str(file), "--dry-run", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["worlds"]) == 2
    assert {path.name for path in file.parent.iterdir()} == {"a.jpg", "b.yaml"}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--workers", "0"], "expected 1 to 1024"),
        (["--ray", "auto"], "needs --store"),
        (["--set", "seed"], "KEY=VALUE"),
        (["--store", "nosuchthing://x"], "cannot be used"),
    ],
)
def test_mistakes_are_one_line(file, capsys, flags, says):
    """Exit code 2, and nothing is begun."""
    assert main(["batch", str(file), "--out", str(file.parent / "out"), *flags]) == 2
    assert says in capsys.readouterr().err
    assert not (file.parent / "out").exists()
