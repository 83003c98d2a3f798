"""Films of drives grow with them and end as the pictures are."""

from __future__ import annotations

import numpy as np
import pytest

from lyra.worldgen.core.grid import Cell, OccupancyGrid
from lyra_tasks.trajectory_film import HELD_FRAMES, MOST_FRAMES, film_drives, write_film
from lyra_tasks.trajectory_picture import COLOURS, DRIVING, Trajectory, draw_trajectories

GRID = OccupancyGrid(cells=np.full((41, 61), Cell.FREE, np.uint8), cell_m=0.1, origin_xy_m=(-3.0, -2.0))


def drive(steps: int, y_m: float, ending: str) -> Trajectory:
    path = np.stack([np.linspace(-2, 2, steps), np.full(steps, y_m)], -1)
    return Trajectory(path_xy_m=path, goal_xy_m=(2.0, y_m), ending=ending)


def shown(frame: np.ndarray, ending: str) -> int:
    return int((frame == COLOURS[ending]).all(-1).sum())


def test_drives_grow_until_they_end():
    """A short drive has its colour early, a long one at the end; the last frames are the picture."""
    drives = [drive(60, 1.0, "collision"), drive(400, -1.0, "goal")]
    frames = list(film_drives(GRID, drives, goal_radius_m=0.3))
    driving = [shown(frame, DRIVING) for frame in frames]
    assert driving[0] > 0 and driving[-1] == 0 and max(driving) > driving[0] + 500
    assert shown(frames[0], "collision") == shown(frames[0], "goal") == 0
    assert shown(frames[len(frames) // 2], "collision") > 0 and shown(frames[len(frames) // 2], "goal") == 0
    picture = draw_trajectories(GRID, drives, goal_radius_m=0.3)
    assert all((side % 2 == 0) for side in frames[0].shape[:2])
    for frame in frames[-HELD_FRAMES:]:
        np.testing.assert_array_equal(frame, picture[: frame.shape[0], : frame.shape[1]])


@pytest.mark.slow
def test_long_drives_are_shown_faster():
    """However long it took, the film has no more frames than that."""
    frames = list(film_drives(GRID, [drive(20_000, 0.0, "timeout")], goal_radius_m=0.3))
    assert MOST_FRAMES / 2 < len(frames) <= MOST_FRAMES + HELD_FRAMES


@pytest.mark.parametrize("drives", [[], [drive(150, 0.0, "goal")]])
def test_films_can_be_read(tmp_path, drives):
    """As many frames as were drawn; a world that nobody drove in is its map."""
    cv2 = pytest.importorskip("cv2", reason="needs opencv-python-headless")
    write_film(tmp_path / "world.mp4", GRID, drives, goal_radius_m=0.3)
    film = cv2.VideoCapture(str(tmp_path / "world.mp4"))
    frames = 0
    while film.read()[0]:
        frames += 1
    assert frames == len(list(film_drives(GRID, drives, goal_radius_m=0.3)))
