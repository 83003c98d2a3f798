"""Drives over a world's map as a film: all at once, each from its beginning."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lyra.worldgen.core.grid import OccupancyGrid
from lyra.worldgen.core.video import write_video

from .rules import DECIMATION, PHYSICS_STEP_S
from .trajectory_picture import DRIVING, Trajectory, draw_trajectories

FPS = 15
TIMES_FASTER = 6
MOST_FRAMES = 300
"""Longer drives are shown faster."""
HELD_FRAMES = FPS
"""The end stays for a second."""


def film_drives(
    grid: OccupancyGrid, trajectories: Sequence[Trajectory], *, goal_radius_m: float
) -> Iterator[np.ndarray]:
    """Frames [H, W, 3] uint8 with even sides: what has been driven so far, in the colour of its end once it is over.

    Args:
        grid: the map.
        trajectories: drives, a position for every step of the task.
        goal_radius_m: drawn around goals.
    """
    longest = max((len(t.path_xy_m) for t in trajectories), default=0)
    steps = max(round(TIMES_FASTER / FPS / (PHYSICS_STEP_S * DECIMATION)), math.ceil(longest / MOST_FRAMES))
    for end in [*range(steps, longest, steps), *[longest] * HELD_FRAMES]:
        so_far = [
            replace(t, path_xy_m=t.path_xy_m[:end], ending=t.ending if end >= len(t.path_xy_m) else DRIVING)
            for t in trajectories
        ]
        picture = draw_trajectories(grid, so_far, goal_radius_m=goal_radius_m)
        yield picture[: len(picture) // 2 * 2, : picture.shape[1] // 2 * 2]


def write_film(path: Path, grid: OccupancyGrid, trajectories: Sequence[Trajectory], *, goal_radius_m: float) -> None:
    """Write `film_drives` as an MPEG-4 film; raises what `write_video` does."""
    frames = film_drives(grid, trajectories, goal_radius_m=goal_radius_m)
    first = next(frames)

    def all_frames() -> Iterator[np.ndarray]:
        yield first
        yield from frames

    write_video(path, all_frames(), size_px=(first.shape[1], first.shape[0]), fps=FPS)
