"""Where to look next: the floor that a robot can reach and no remembered view has seen.

Seen floor is counted in hits: every pixel that shows floor hits the cells of its footprint. Hits only ever add up, so
the seen area grows monotonically by construction.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..core.arrays import expect_shape
from ..core.errors import InputError
from ..core.optional import require
from .trajectory import CELL_M, FreeSpace

FOOTPRINT_CELLS = 4
"""A pixel whose footprint on the floor is longer says nothing about a single cell."""
LEAST_HITS = 2
"""Footprints that must cover a cell before it counts as seen; a single one may graze an edge."""
LEAST_GAIN_M2 = 0.5
"""A place that shows less new floor is not worth a walk."""
SPECKLE_CELLS = 8
"""Smaller groups of unseen cells are left over between pixels and are no goal."""
DISCOUNT_M = 10.0
"""Way after which a gain counts for 1 / e: what is left near by is taken first."""
VISITED_M = 0.5
"""A place this near to one already looked around from shows nothing more, whatever the grid says."""
MARGIN_M = CELL_M
"""Kept on top of the robot's radius; about what rasterising and simplified walls may be wrong by."""
OPEN_M = 1.0
"""Places with less clearance count for less, down to a half: a doorway shows much of a room but paints it badly."""
CANDIDATE_M = 0.4
"""At most one candidate place per tile of this size, or of a tenth of the sight where that is more."""


def floor_sight_m(height_m: float, pixel_rad: float) -> float:
    """Horizontal distance [m] up to which a pixel's footprint on the floor is short enough to count.

    Args:
        height_m: of the camera.
        pixel_rad: angle of one pixel, 1 / focal length in pixels.
    """
    # The footprint along the line of sight is pixel_rad * (d^2 + h^2) / h.
    squared = FOOTPRINT_CELLS * CELL_M * height_m / pixel_rad - height_m**2
    return float(np.sqrt(max(squared, 0.0)))


def floor_hits(space: FreeSpace, points_xy_m: np.ndarray, *, eye_m: np.ndarray, pixel_rad: float) -> np.ndarray:
    """[rows, cols] int32: how many pixels of one view show each cell of the floor.

    Args:
        space: the grid.
        points_xy_m: [N, 2] world positions of the pixels that show floor.
        eye_m: [3] world position of the camera.
        pixel_rad: angle of one pixel.
    """
    expect_shape("points_xy_m", points_xy_m, (None, 2))
    rows, cols = space.clearance_m.shape
    height = max(float(eye_m[2]), 1e-3)
    offset = points_xy_m - np.asarray(eye_m, float)[:2]
    distance = np.linalg.norm(offset, axis=1)
    near = distance <= floor_sight_m(height, pixel_rad)
    points, offset, distance = points_xy_m[near], offset[near], distance[near]
    along = offset / np.maximum(distance, 1e-9)[:, None]
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    length = pixel_rad * (distance**2 + height**2) / height
    width = pixel_rad * np.hypot(distance, height)
    # Cells on a lattice of half cells inside the footprint; a pixel hits a cell once.
    cells = []
    for u in np.linspace(-0.5, 0.5, 2 * FOOTPRINT_CELLS + 1):
        for v in (-0.5, 0.0, 0.5):
            cells.append(points + (u * length)[:, None] * along + (v * width)[:, None] * across)
    rc = np.floor((np.stack(cells, 1) - space.origin_xy_m) / CELL_M).astype(int)
    inside = ((rc >= 0) & (rc < np.array([cols, rows]))).all(-1)
    flat = np.sort(np.where(inside, rc[..., 1] * cols + rc[..., 0], -1), axis=1)
    first = np.ones_like(flat, bool)
    first[:, 1:] = flat[:, 1:] != flat[:, :-1]
    hits = np.bincount(flat[first & (flat >= 0)], minlength=rows * cols)
    return hits.reshape(rows, cols).astype(np.int32)


def seen_floor(space: FreeSpace, hits: np.ndarray) -> np.ndarray:
    """[rows, cols] bool: free cells with `LEAST_HITS` or more."""
    return (hits >= LEAST_HITS) & (space.clearance_m > 0)


def seen_area_m2(space: FreeSpace, seen: np.ndarray) -> float:
    """Floor that was seen and that the robot can reach [m2]."""
    return float(np.count_nonzero(seen & space.reachable)) * CELL_M**2


def next_place(
    space: FreeSpace,
    seen: np.ndarray,
    *,
    here_xy_m: np.ndarray,
    robot_radius_m: float,
    sight_m: float,
    visited_xy_m: Iterable[np.ndarray] = (),
) -> np.ndarray | None:
    """[2] the reachable place from which most unseen floor comes into sight, discounted by the way and narrowness.

    Args:
        space: where a robot may be.
        seen: [rows, cols] bool, from `seen_floor`.
        here_xy_m: [2] where the robot stands.
        robot_radius_m: places and the way there keep at least this clearance.
        sight_m: how far a view sees floor; see `floor_sight_m`.
        visited_xy_m: places already looked around from.

    Returns:
        The place, or None when no place shows `LEAST_GAIN_M2` of new floor.

    Raises:
        InputError: the robot stands nowhere near a reachable cell.
    """
    from .frontier_numba import cells_in_sight, geodesic

    ndimage: Any = require("scipy.ndimage", extra="gen")
    expect_shape("seen", seen, space.reachable.shape)
    unseen = space.reachable & ~seen
    parts, _ = ndimage.label(unseen, np.ones((3, 3)))
    unseen &= np.bincount(parts.ravel())[parts] >= SPECKLE_CELLS
    open_cells = space.reachable & (space.clearance_m >= robot_radius_m + MARGIN_M)
    row, col = nearest_cell(space, open_cells, here_xy_m)
    way = geodesic(open_cells, row, col, -1)[0].reshape(unseen.shape) * CELL_M
    allowed = open_cells & np.isfinite(way)
    xy = space.cells_xy_m()
    for place in visited_xy_m:
        allowed &= np.linalg.norm(xy - np.asarray(place), axis=-1) > VISITED_M
    candidates = _clearest_per_tile(space, allowed, round(max(CANDIDATE_M, 0.1 * sight_m) / CELL_M))
    if not len(candidates):
        return None
    at = candidates[:, 0], candidates[:, 1]
    discount = np.exp(-way[at] / DISCOUNT_M) * (0.5 + 0.5 * np.minimum(space.clearance_m[at] / OPEN_M, 1.0))
    # Everything unseen in the square around a place bounds what is in sight, so most places need no rays.
    reach = int(sight_m / CELL_M)
    total = np.pad(np.cumsum(np.cumsum(unseen, 0), 1), ((1, 0), (1, 0)))
    low = np.maximum(candidates - reach, 0)
    high = np.minimum(candidates + reach + 1, unseen.shape)
    most = total[high[:, 0], high[:, 1]] - total[low[:, 0], high[:, 1]]
    most = (most - total[high[:, 0], low[:, 1]] + total[low[:, 0], low[:, 1]]).astype(float)
    free = space.clearance_m > 0
    stamp = np.zeros(unseen.shape, np.int32)
    best, best_score = None, 0.0
    for mark, k in enumerate(np.argsort(-most * discount, kind="stable"), start=1):
        if most[k] * discount[k] <= best_score or most[k] * CELL_M**2 < LEAST_GAIN_M2:
            break
        gain = cells_in_sight(free, unseen, candidates[k, 0], candidates[k, 1], float(reach), stamp, mark)
        if gain * CELL_M**2 >= LEAST_GAIN_M2 and gain * discount[k] > best_score:
            best, best_score = candidates[k], gain * discount[k]
    return None if best is None else xy[best[0], best[1]]


def _clearest_per_tile(space: FreeSpace, allowed: np.ndarray, size: int) -> np.ndarray:
    """[K, 2] row and column of the clearest allowed cell of each tile of size x size cells, in a fixed order."""
    cells = np.argwhere(allowed)
    tile = cells // size
    key = tile[:, 0] * (allowed.shape[1] // size + 1) + tile[:, 1]
    order = np.lexsort((-space.clearance_m[cells[:, 0], cells[:, 1]], key))
    first = np.ones(len(order), bool)
    first[1:] = key[order][1:] != key[order][:-1]
    return cells[order[first]]


def nearest_cell(space: FreeSpace, open_cells: np.ndarray, xy_m: np.ndarray) -> tuple[int, int]:
    """Row and column of the open cell nearest to a position.

    Raises:
        InputError: none lies within half a metre.
    """
    cells = np.argwhere(open_cells)
    centres = space.origin_xy_m + (cells[:, ::-1] + 0.5) * CELL_M
    gap = np.linalg.norm(centres - np.asarray(xy_m, float), axis=1)
    if not len(cells) or gap.min() > 0.5:
        at = ", ".join(f"{v:.2f}" for v in np.asarray(xy_m, float))
        raise InputError(f"no reachable floor within 0.5 m of ({at}); expected a place in the free space")
    return int(cells[gap.argmin(), 0]), int(cells[gap.argmin(), 1])


def walk_between(space: FreeSpace, a_xy_m: np.ndarray, b_xy_m: np.ndarray, *, robot_radius_m: float) -> np.ndarray:
    """[K, 2] corners of a shortest way from a to b that keeps the robot's clearance; a and b themselves included.

    Raises:
        InputError: an end lies off the reachable floor, or no way is wide enough.
    """
    from .frontier_numba import geodesic

    open_cells = space.reachable & (space.clearance_m >= robot_radius_m + MARGIN_M)
    start, goal = (nearest_cell(space, open_cells, p) for p in (a_xy_m, b_xy_m))
    cols = open_cells.shape[1]
    target = goal[0] * cols + goal[1]
    distance, previous = geodesic(open_cells, start[0], start[1], target)
    if not np.isfinite(distance[target]):
        raise InputError(f"no way of clearance {robot_radius_m} m leads from {a_xy_m} to {b_xy_m}; expected one space")
    cells = [target]
    while previous[cells[-1]] >= 0:
        cells.append(int(previous[cells[-1]]))
    index = np.array(cells[::-1])
    centres = space.origin_xy_m + (np.stack([index % cols, index // cols], 1) + 0.5) * CELL_M
    corners = np.concatenate([np.reshape(a_xy_m, (1, 2)), centres, np.reshape(b_xy_m, (1, 2))])
    return _straightened(space, corners, robot_radius_m + MARGIN_M)


def _straightened(space: FreeSpace, corners_xy_m: np.ndarray, clearance_m: float) -> np.ndarray:
    """From each kept corner on to the farthest one that is straight ahead with clearance, found by bisection."""

    def clear(a: np.ndarray, b: np.ndarray) -> bool:
        steps = int(np.ceil(np.linalg.norm(b - a) / (0.25 * CELL_M))) + 1
        way = a + np.linspace(0, 1, steps)[:, None] * (b - a)
        return bool((space.clearance_at(way) >= clearance_m).all())

    kept = [0]
    while kept[-1] < len(corners_xy_m) - 1:
        near, far = kept[-1] + 1, len(corners_xy_m)
        while far - near > 1:
            middle = (near + far) // 2
            if clear(corners_xy_m[kept[-1]], corners_xy_m[middle]):
                near = middle
            else:
                far = middle
        kept.append(near)
    return corners_xy_m[kept]
