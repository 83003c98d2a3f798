"""The scripted baseline drives certified episodes in the same environment as a policy, and evaluation reports them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from known_scenes import known_scene
from lab_process import run_lab
from sample_worlds import simple_room
from task_worlds import write_known_worlds, write_world


def test_baseline_delivers_under_newton(tmp_path):
    """Both zones of every chain of episodes, heavier between them: nearly all arrive, at no more than walking pace."""
    folder = write_known_worlds(tmp_path, (1000,)) and tmp_path / "world_1000"
    run_lab(
        *("-m", "lyra_tasks.evaluate", "baseline", "--worlds", folder, "--out", tmp_path / "out", "--num-envs", 24),
        *("--task", "Lyra-Deliver-DiffDrive-Lidar", "--physics", "newton_mjwarp"),
        cwd=tmp_path,
    )
    summary = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert summary["count"] == 24 and summary["success"] >= 0.95
    assert all(row["goal_distance_m"] < 0.4 for row in summary["episodes"] if row["ending"] == "goal")


def test_baseline_solves_certified_episodes(tmp_path):
    """Two worlds, every episode once: nearly all reached on near-shortest paths; files, tables and pictures agree."""
    folder = tmp_path / "worlds"
    write_world(folder / "plain", simple_room(), episode_count=12)
    write_known_worlds(folder, (1000,))
    run_lab(
        *("-m", "lyra_tasks.evaluate", "baseline", "--worlds", folder, "--out", tmp_path / "out"),
        *("--physics", "ovphysx", "--num-envs", 24),
        cwd=tmp_path,
    )
    summary = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert summary["count"] == 36 and sorted(summary["by_world"]) == ["plain", "world_1000"]
    assert {row["episode_id"] for row in summary["episodes"] if row["world"] == "plain"} == set(range(12))
    assert summary["success"] >= 0.95 and summary["spl"] >= 0.85 and summary["collisions_per_m"] < 0.02
    for row in summary["episodes"]:
        if row["ending"] == "goal":
            assert row["goal_distance_m"] < 0.3 and row["path_m"] > row["shortest_m"] - 0.3
            assert row["time_s"] >= row["path_m"] / 1.1
    assert "| **all** | 36 |" in (tmp_path / "out" / "evaluation.md").read_text()
    image = pytest.importorskip("PIL.Image").open(tmp_path / "out" / "trajectories" / "world_1000.png")
    assert (tmp_path / "out" / "trajectories" / "world_1000.mp4").stat().st_size > 1000
    assert (np.asarray(image) == (31, 138, 92)).all(-1).sum() > 1000, "paths that arrived are drawn"


def test_baseline_explores(tmp_path):
    """Nine tenths of the floor of a furnished room from every start, without touching anything."""
    write_world(tmp_path / "worlds" / "room", known_scene(1000, kind="room").truth, episode_count=6)
    run_lab(
        *("-m", "lyra_tasks.evaluate", "baseline", "--worlds", tmp_path / "worlds", "--out", tmp_path / "out"),
        *("--task", "Lyra-Explore-DiffDrive-Lidar", "--physics", "ovphysx", "--num-envs", 6),
        cwd=tmp_path,
    )
    summary = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert summary["count"] == 6 and summary["success"] >= 0.95 and summary["coverage"] >= 0.89
    assert summary["spl"] is None and summary["collisions_per_m"] < 0.02
