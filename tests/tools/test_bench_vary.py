"""The bench that asks whether variation helps: what it trains and tests in, and how it judges."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("pxr.Usd")
pytest.importorskip("scipy")

from lyra.worldgen.core.world import load_world
from sample_worlds import simple_room
from task_worlds import write_world


@pytest.fixture
def bench(repository, monkeypatch):
    """The script."""
    monkeypatch.syspath_prepend(str(repository / "tools" / "bench"))
    import bench_vary

    return bench_vary


def test_nothing_that_is_tested_was_trained_in(bench, tmp_path, repository):
    """Both trainings hold the world itself; the unseen variants are others than those of the training."""
    world = write_world(tmp_path / "room", simple_room(), episode_count=4)
    ranges = repository / "config" / "randomization" / "physics.yaml"
    bench.make_variants(world, tmp_path / "out", ranges, train=2, unseen=2)
    lists = {
        name: json.loads((tmp_path / "out" / f"{name}.json").read_text())["worlds"]
        for name in ("plain", "varied", "unseen")
    }
    assert lists["plain"] == [str(world)] == lists["varied"][:1]
    assert len(lists["varied"]) == 3 and len(lists["unseen"]) == 2
    ids = [load_world(Path(folder)).manifest.id for folder in [*lists["varied"], *lists["unseen"]]]
    assert len(set(ids)) == 5


def test_the_table_names_both(bench):
    """Success and SPL side by side, a line a seed."""
    row = {"success": 0.5, "spl": 0.4, "curve": [{"steps": 1000.0}]}
    better = row | {"success": 0.75}
    rows = {"plain": dict.fromkeys("012", row), "varied": dict.fromkeys("012", better)}
    text = bench.table(rows)
    assert text.count("| 50.0% | 0.400 | 75.0% | 0.400 | 1,000 |") == 3
