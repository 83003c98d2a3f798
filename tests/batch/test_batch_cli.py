"""`lyra-worldgen batch` as it is typed."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from lyra.worldgen.batch import load_plan
from lyra.worldgen.batch.pool import Progressed
from lyra.worldgen.batch.run import BatchReport, Snapshot
from lyra.worldgen.cli import batch
from lyra.worldgen.cli.main import main
from lyra.worldgen.cli.terminal import Console


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "a.jpg").write_bytes(b"photo")
    path = tmp_path / "b.yaml"
    path.write_text("photos: [a.jpg]\nseeds: [0-1]\n")
    return path


@pytest.mark.parametrize(("line", "says"), [("paths: [loopy]", "did you mean 'loop'"), ("painters: [x]", "one of: ")])
def test_names_that_nothing_has_are_found_before_anything_begins(file, capsys, line, says):
    """Else every world would be set aside for the same reason."""
    file.write_text(f"{file.read_text()}{line}\n")
    assert main(["batch", str(file), "--dry-run"]) == 2
    assert says in capsys.readouterr().err


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


@pytest.mark.slow
def test_a_store_that_takes_nothing_is_found_before_the_first_world(file, tmp_path, capsys):
    """A file lies where the store's folder would be."""
    (tmp_path / "taken").write_text("")
    out = tmp_path / "out"
    assert main(["batch", str(file), "--out", str(out), "--store", f"file://{tmp_path}/taken/far"]) == 4
    assert "did not take" in capsys.readouterr().err and not out.exists()


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def snapshot(report: BatchReport, **changes: Any) -> Snapshot:
    """A batch of two worlds with two variants each, one world made, one under way."""
    values: dict[str, Any] = {
        "total": 4,
        "finished": 1,
        "quarantined": 0,
        "retries": 0,
        "worlds": 2,
        "worlds_finished": 1,
        "certified": 1,
        "variants": 4,
        "variants_finished": 0,
        "variants_certified": 0,
        "running": {"b": Progressed(name="b", stage="explore", fraction=0.25, eta_s=61.0)},
        "storing": ("c",),
        "report": lambda: report,
        "just_ended": (),
    }
    return Snapshot(**values | changes)


@pytest.mark.parametrize("live", [True, False])
def test_a_batch_shows_every_job_and_leaves_reports_when_it_is_stopped(file, monkeypatch, live):
    """A terminal has a line for each job under the bar, elsewhere they are listed now and then; worlds are no jobs."""
    screen = Screen() if live else io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "160")
    plan, out = load_plan(file), file.parent / "out"
    name = plan.items[0].name
    report = BatchReport(folder=out, finished={name: {"passed": True}}, quarantined={}, left=(plan.items[1].name,))
    console = Console()
    watcher = batch._Watcher(console, plan)
    monkeypatch.setattr(batch, "LINE_S", 0.0 if not live else 1000.0)
    watcher(snapshot(report, just_ended=(f"{name}: certified",)))
    text = screen.getvalue()
    assert f"  {name}: certified\n" in text and "1/2 worlds, 1 certified; 0/4 variants, 0 certified" in text
    assert re.search(r"    b   25 %  explore +1:01 min", text) and "c  100 %  on its way to the store" in text
    if live:
        assert not out.exists()
        out.mkdir()
        watcher.write_reports()
        console.clear()
        assert screen.getvalue().endswith("\x1b[3A\x1b[J")
    page = (out / "index.html").read_text() if out.exists() else ""
    assert ("1 of 2 worlds finished" in page) == live
