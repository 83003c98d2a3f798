"""How near a reconstructed world comes to a scene of known truth: cells for a robot, distances, seen parts only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from known_scenes import KnownScene
from lyra.worldgen.core.frames import invert_rigid, transform_points
from lyra.worldgen.core.grid import OccupancyGrid
from lyra.worldgen.core.views import RgbdView

CELL_M = 0.05
ROBOT_RADIUS_M = 0.25
ROBOT_HEIGHT_M = 0.6
UNDECIDED_M = CELL_M * 2**0.5 / 2
"""Cells whose true clearance is this close to the robot's radius may fall on either side of a raster of this size."""
FLOOR_TOLERANCE_M = 0.02


@dataclass(frozen=True, kw_only=True)
class CellScore:
    """Of a robot's centre on a raster of 5 cm; only cells whose floor, or the wall at whose foot they lie, was seen."""

    free_seen: int
    """Cells where the robot truly fits."""
    free_found: float
    """Share of them that the world says it fits on."""
    blocked_seen: int
    """Cells where it truly does not."""
    blocked_found: float
    """Share of them that the world keeps it out of."""
    free_found_strict: float
    """The same with no undecided cells left out."""
    blocked_found_strict: float


def score_cells(
    scene: KnownScene, views: list[RgbdView], clearance_m: Callable[[np.ndarray], np.ndarray], *, scale: float = 1.0
) -> CellScore:
    """Compare a world's clearances with the truth.

    Args:
        scene: the truth.
        views: who has seen it, with true depth.
        clearance_m: the world's clearance [N] m at positions [N, 2], 0 where nothing may stand (`grid_clearance`).
        scale: true metres per metre of the world; 1 judges it at the size that it claims.
    """
    from scipy import ndimage

    low, high = scene.outline_xy_m.min(0), scene.outline_xy_m.max(0)
    axes = [np.arange(np.floor(low[k] / CELL_M), np.ceil(high[k] / CELL_M)) * CELL_M + CELL_M / 2 for k in (0, 1)]
    x, y = np.meshgrid(*axes)
    xy = np.stack([x, y], -1).reshape(-1, 2)
    true = scene.clearance_m(xy, 0.05, ROBOT_HEIGHT_M)
    seen = _seen_floor(views, xy)
    # Inside a solid no floor can be seen; the first cells behind a foot that was seen count.
    foot = ndimage.binary_dilation(seen.reshape(x.shape), np.ones((3, 3), bool)).reshape(-1)
    seen |= foot & (true == 0) & (scene.clearance_m(xy, -1.0, 0.05) == 0)
    claimed = scale * clearance_m(xy / scale)
    fits = claimed >= ROBOT_RADIUS_M
    decided = np.abs(true - ROBOT_RADIUS_M) > UNDECIDED_M
    free, blocked = seen & (true >= ROBOT_RADIUS_M), seen & (true < ROBOT_RADIUS_M)

    def share(of: np.ndarray, good: np.ndarray) -> float:
        return float(good[of].mean()) if of.any() else float("nan")

    return CellScore(
        free_seen=int((free & decided).sum()),
        free_found=share(free & decided, fits),
        blocked_seen=int((blocked & decided).sum()),
        blocked_found=share(blocked & decided, ~fits),
        free_found_strict=share(free, fits),
        blocked_found_strict=share(blocked, ~fits),
    )


def grid_clearance(grid: OccupancyGrid) -> Callable[[np.ndarray], np.ndarray]:
    """Clearance [N] of a map at positions [N, 2]: to the border of the nearest cell that is not free; 0 off the map."""
    from scipy import ndimage

    distance = ndimage.distance_transform_edt(np.pad(grid.free, 1))[1:-1, 1:-1] - 0.5
    clearance = np.maximum(distance, 0.0) * grid.cell_m

    def at(xy_m: np.ndarray) -> np.ndarray:
        cell = grid.rowcol(xy_m)
        inside = grid.inside(cell)
        safe = np.where(inside[:, None], cell, 0)
        return np.where(inside, clearance[safe[:, 0], safe[:, 1]], 0.0)

    return at


def seen_points(views: list[RgbdView], count: int, *, seed: int) -> np.ndarray:
    """[count, 3] world points of true surfaces, drawn from the views' pixels."""
    rng = np.random.default_rng(seed)
    points = []
    for view, n in zip(views, np.bincount(rng.integers(0, len(views), count), minlength=len(views)), strict=True):
        world = transform_points(view.T_world_cam, view.camera.unproject(view.depth_z_m)[view.valid])
        points.append(world[rng.integers(0, len(world), n)])
    return np.concatenate(points)


def _seen_floor(views: list[RgbdView], xy_m: np.ndarray) -> np.ndarray:
    """[N] bool: a pixel of some view shows the floor at a position [N, 2]."""
    return visible(views, np.c_[xy_m, np.zeros(len(xy_m))])


def visible(views: list[RgbdView], points_world: np.ndarray) -> np.ndarray:
    """[N] bool: a pixel of some view shows the surface at a world point [N, 3]."""
    seen = np.zeros(len(points_world), bool)
    for view in views:
        rows = np.flatnonzero(~seen)
        uv, z = view.camera.project(transform_points(invert_rigid(view.T_world_cam), points_world[rows]))
        with np.errstate(invalid="ignore"):
            inside = (z > 0.05) & (uv >= 0).all(-1) & (uv < (view.camera.width_px, view.camera.height_px)).all(-1)
        col, row = np.where(inside[:, None], uv, 0).astype(int).T
        # A floor seen at a flat angle changes its depth fast from pixel to pixel.
        tolerance = FLOOR_TOLERANCE_M + 0.03 * np.where(inside, z, 1.0)
        seen[rows] = inside & view.valid[row, col] & (np.abs(view.depth_z_m[row, col] - z) < tolerance)
    return seen
