"""Figures of merit against cases that are worked out by hand, and the picture that goes with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lyra.worldgen.core.grid import Cell, OccupancyGrid
from lyra_tasks.evaluation import EpisodeOutcome, markdown_table, summarise
from lyra_tasks.trajectory_picture import COLOURS, Trajectory, draw_trajectories


def outcome(number: int, ending: str, *, world: str = "a", path_m: float = 5.0, collisions: int = 0) -> EpisodeOutcome:
    return EpisodeOutcome(
        world=world,
        episode_id=number,
        difficulty="easy" if number % 2 else "hard",
        ending=ending,
        shortest_m=4.0,
        path_m=path_m,
        time_s=float(number),
        collisions=collisions,
        goal_distance_m=0.2,
    )


def test_figures_by_hand():
    """Success, SPL, collisions per metre and time, overall and in groups; the order of outcomes does not matter."""
    rows = [
        outcome(1, "goal"),
        outcome(2, "collision", collisions=1, path_m=2.0),
        outcome(3, "goal", world="b", path_m=3.9),
        outcome(4, "timeout", world="b", path_m=9.1),
    ]
    summary = summarise(rows)
    assert summary == summarise(rows[::-1])
    assert summary["count"] == 4 and summary["success"] == 0.5
    assert summary["spl"] == pytest.approx((0.8 + 1.0) / 4)
    assert summary["collisions_per_m"] == pytest.approx(1 / 20.0)
    assert summary["time_s"] == 2.0
    assert summary["by_difficulty"]["hard"]["time_s"] is None
    assert summary["by_world"]["b"]["endings"] == {"goal": 1, "collision": 0, "timeout": 1}
    table = markdown_table(summary, "by_difficulty")
    assert "| hard | 2 | 0.000 |" in table and "| **all** | 4 | 0.500 |" in table
    assert summarise([]) == {"count": 0, "by_difficulty": {}, "by_world": {}, "episodes": []}


def test_exploration_has_coverage_and_no_spl():
    """Without goals there is no shortest path; the mean coverage is told instead, and tables say so."""
    rows = [replace(outcome(n, e), shortest_m=None, coverage=c) for n, e, c in [(1, "goal", 0.9), (2, "timeout", 0.5)]]
    summary = summarise(rows)
    assert summary["spl"] is None and summary["coverage"] == 0.7 and summary["success"] == 0.5
    assert [row["coverage"] for row in summary["episodes"]] == [0.9, 0.5]
    assert "| easy | 1 | 1.000 | - |" in markdown_table(summary, "by_difficulty")
    assert "coverage" not in summarise([outcome(1, "goal")]) | summarise([outcome(1, "goal")])["episodes"][0]


def test_paths_lie_where_they_were_driven():
    """A path along +X is a level line in its ending's colour, in the upper half for positive y."""
    grid = OccupancyGrid(cells=np.full((40, 60), Cell.FREE, np.uint8), cell_m=0.1, origin_xy_m=(-3.0, -2.0))
    path = np.stack([np.linspace(-2, 2, 50), np.full(50, 1.0)], -1)
    picture = draw_trajectories(
        grid, [Trajectory(path_xy_m=path, goal_xy_m=(2.0, 1.0), ending="goal")], goal_radius_m=0.3
    )
    zoom = picture.shape[1] // 60
    assert picture.shape == (40 * zoom, 60 * zoom, 3)
    where = np.argwhere((picture == COLOURS["goal"]).all(-1))
    assert len(where) and abs(np.median(where[:, 0]) - 10 * zoom) <= 2
    assert where[:, 1].min() >= 9 * zoom and where[:, 1].max() <= 54 * zoom
