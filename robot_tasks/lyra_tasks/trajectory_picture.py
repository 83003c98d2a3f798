"""Driven paths over a world's map, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lyra.worldgen.core.grid import Cell, OccupancyGrid

from .evaluation import COLLISION, GOAL, TIMEOUT

SHADES = {Cell.FREE: (250, 250, 247), Cell.OCCUPIED: (52, 56, 66), Cell.UNKNOWN: (203, 205, 210)}
DRIVING = "driving"
"""In place of an ending: not over yet."""
COLOURS = {GOAL: (31, 138, 92), COLLISION: (214, 64, 52), TIMEOUT: (224, 150, 20), DRIVING: (58, 110, 200)}
WIDTH_PX = 900
"""About how wide pictures are."""


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """One driven path, world frame."""

    path_xy_m: np.ndarray
    """[T, 2]."""
    goal_xy_m: tuple[float, float] | None
    """None where there is nothing to reach."""
    ending: str
    """See `evaluation.ENDINGS`; or `DRIVING`."""


def draw_trajectories(grid: OccupancyGrid, trajectories: Sequence[Trajectory], *, goal_radius_m: float) -> np.ndarray:
    """[H, W, 3] uint8: the map from above, +X to the right and +Y up, paths coloured by how they ended."""
    from PIL import Image, ImageDraw

    zoom = max(1, round(WIDTH_PX / grid.shape[1]))
    table = np.array([SHADES[cell] for cell in Cell], np.uint8)
    # The first picture row is the highest y.
    picture = Image.fromarray(table[grid.cells[::-1]].repeat(zoom, axis=0).repeat(zoom, axis=1))
    draw = ImageDraw.Draw(picture)

    def px(xy_m: np.ndarray) -> np.ndarray:
        cell = (np.asarray(xy_m, float) - grid.origin_xy_m) / grid.cell_m
        return np.stack([cell[..., 0], grid.shape[0] - cell[..., 1]], -1) * zoom

    radius = goal_radius_m / grid.cell_m * zoom
    for trajectory in trajectories:
        if trajectory.goal_xy_m is None:
            continue
        colour = COLOURS[trajectory.ending]
        u, v = px(np.array(trajectory.goal_xy_m))
        draw.ellipse((u - radius, v - radius, u + radius, v + radius), outline=colour, width=2)
    for trajectory in trajectories:
        colour = COLOURS[trajectory.ending]
        path = px(trajectory.path_xy_m)
        if len(path) > 1:
            draw.line([tuple(p) for p in path.tolist()], fill=colour, width=2, joint="curve")
        if len(path):
            u, v = path[0]
            draw.ellipse((u - 4, v - 4, u + 4, v + 4), fill=colour)
    return np.asarray(picture)
