"""Free floor of an upright scene in metres: where to stand, where to look, and a tour through it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.errors import InputError
from ..core.frames import camera_pose
from ..core.optional import require
from .samples import SurfaceSamples

CELL_M = 0.1
ANKLE_M, HEAD_M = 0.12, 1.7
"""What lies between these heights is in the way of a person."""
EYE_M, UNDER_CEILING_M = 1.5, 0.4
LEVEL_COS = 0.9
MAX_CELLS = 40_000_000
TOUR_STEP_M = 0.25
FAN_DEG = 70.0


@dataclass(frozen=True, kw_only=True)
class FloorMap:
    """The floor as a grid, [row, col] with row along y."""

    clearance_m: np.ndarray
    """[R, C] distance to the nearest thing in the way; 0 where there is no floor or no way to stand."""
    low_xy_m: np.ndarray
    """[2] corner of cell (0, 0)."""

    def xy_m(self, cells: np.ndarray) -> np.ndarray:
        """[..., 2] centres of cells [..., 2]."""
        return self.low_xy_m + (np.asarray(cells)[..., ::-1] + 0.5) * CELL_M


def floor_map(samples: SurfaceSamples, *, ceiling_m: float | None) -> FloorMap:
    """Where one can stand.

    Args:
        samples: +Z up, floor at z = 0, metres.
        ceiling_m: height of the ceiling, None without one.

    Raises:
        InputError: no free floor at all, or a place so large that its map would not fit.
    """
    ndimage = require("scipy.ndimage", extra="recon", package="scipy")
    points, weights = samples.points, samples.weights
    head = HEAD_M if ceiling_m is None else min(HEAD_M, ceiling_m - 0.15)
    level = (np.abs(samples.normals[:, 2]) > LEVEL_COS) & (np.abs(points[:, 2]) < 0.06)
    if not level.any():
        raise InputError("no floor was found where it should be; say which axis points up with --up")
    low = np.quantile(points[level, :2], 0.001, axis=0) - 3 * CELL_M
    high = np.quantile(points[level, :2], 0.999, axis=0) + 3 * CELL_M
    shape = np.ceil((high - low) / CELL_M).astype(int)[::-1] + 1
    if shape.astype(float).prod() > MAX_CELLS:
        raise InputError(f"the floor is {(high - low).max():.0f} m long; say the true size with --units or --measure3d")
    rc = np.floor((points[:, :2] - low) / CELL_M).astype(int)[:, ::-1]
    inside = ((rc >= 0) & (rc < shape)).all(1)

    def amount(mask: np.ndarray) -> np.ndarray:
        at = np.ravel_multi_index(tuple(rc[mask & inside].T), tuple(shape))
        return np.bincount(at, weights[mask & inside], int(shape.prod())).reshape(tuple(shape))

    floor = amount(level)
    usual = np.median(floor[floor > 0])
    reach = 3
    on_floor = ndimage.binary_closing(np.pad(floor > 0.05 * usual, reach), iterations=reach)[reach:-reach, reach:-reach]
    blocked = amount((points[:, 2] > ANKLE_M) & (points[:, 2] < head)) > 0.15 * usual
    free = on_floor & ~blocked
    parts, count = ndimage.label(free)
    if not count:
        raise InputError("no free floor was found; say which axis points up with --up, or how large it is with --units")
    sizes = np.bincount(parts.ravel())[1:]
    free = parts == int(sizes.argmax()) + 1
    clearance = ndimage.distance_transform_edt(np.pad(free, 1))[1:-1, 1:-1] * CELL_M
    return FloorMap(clearance_m=np.where(free, clearance, 0.0), low_xy_m=low)


def best_stand(plan: FloorMap) -> tuple[np.ndarray, float]:
    """Position [2] and heading [rad] from which most of the free floor lies ahead; walls should run along x and y.

    Among places that are about as free as any, the one whose view along a wall reaches farthest.
    """
    most = float(plan.clearance_m.max())
    room = max(0.6 * min(most, 1.5), CELL_M)
    cells = np.argwhere(plan.clearance_m >= room)
    cells = cells[:: max(1, len(cells) // 400)]
    best, found = -1.0, (plan.xy_m(cells[0]), 0.0)
    fan = np.radians(np.linspace(-FAN_DEG / 2, FAN_DEG / 2, 9))
    for cell in cells:
        for quarter in range(4):
            heading = quarter * np.pi / 2
            seen = _free_reach_m(plan, cell, heading + fan)
            worth = float((np.minimum(seen, 15.0) ** 1.5).mean())
            if worth > best:
                best, found = worth, (plan.xy_m(cell), heading)
    return found


def tour(plan: FloorMap, start_xy_m: np.ndarray, heading_rad: float, *, eye_m: float) -> np.ndarray:
    """[P, 4, 4] a walk from a place to the one that is farthest away, the first pose looking along `heading_rad`."""
    path = _longest_walk(plan, start_xy_m)
    poses = [camera_pose(np.array([*start_xy_m, eye_m]), heading_rad=heading_rad)]
    heading = heading_rad
    for k in range(1, len(path)):
        ahead = path[min(k + 6, len(path) - 1)] - path[k - 1]
        wanted = float(np.arctan2(ahead[1], ahead[0]))
        turn = (wanted - heading + np.pi) % (2 * np.pi) - np.pi
        heading += float(np.clip(turn, -0.22, 0.22))
        poses.append(camera_pose(np.array([*path[k], eye_m]), heading_rad=heading))
    return np.stack(poses)


def spread_stands(plan: FloorMap, count: int, *, clearance_m: float = 0.3) -> np.ndarray:
    """[K, 2] free places far from one another, the freest first; fewer than `count` where there is no room."""
    for room in (clearance_m, 0.2, CELL_M):
        cells = np.argwhere(plan.clearance_m >= room)
        if len(cells) >= 4:
            break
    xy = plan.xy_m(cells)
    first = int(np.argmax(plan.clearance_m[cells[:, 0], cells[:, 1]]))
    chosen, distance = [first], np.linalg.norm(xy - xy[first], axis=1)
    while len(chosen) < count and distance.max() > 0.5:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(xy - xy[chosen[-1]], axis=1))
    return xy[chosen]


def eye_height_m(ceiling_m: float | None) -> float:
    """Height of people's eyes, less where the ceiling is lower."""
    return EYE_M if ceiling_m is None else float(np.clip(ceiling_m - UNDER_CEILING_M, 0.4, EYE_M))


def _free_reach_m(plan: FloorMap, cell: np.ndarray, headings_rad: np.ndarray) -> np.ndarray:
    """[K] distance to the end of free floor in some directions."""
    free = plan.clearance_m > 0
    steps = np.arange(1, 200)
    row = cell[0] + np.outer(np.sin(headings_rad), steps)
    col = cell[1] + np.outer(np.cos(headings_rad), steps)
    r, c = np.round(row).astype(int), np.round(col).astype(int)
    inside = (r >= 0) & (r < free.shape[0]) & (c >= 0) & (c < free.shape[1])
    open_ = inside & free[np.clip(r, 0, free.shape[0] - 1), np.clip(c, 0, free.shape[1] - 1)]
    return np.where(open_.all(1), len(steps), open_.argmin(1)) * CELL_M


def _longest_walk(plan: FloorMap, start_xy_m: np.ndarray) -> np.ndarray:
    """[P, 2] points about `TOUR_STEP_M` apart from a place to the farthest one, in the middle of free floor."""
    graph = require("skimage.graph", extra="recon", package="scikit-image")
    wanted = 0.35 if (plan.clearance_m >= 0.35).sum() > 4 else CELL_M
    # Near things a walk costs more, so it keeps to the middle.
    cost = np.where(plan.clearance_m >= wanted, 1.0 + 0.5 / np.maximum(plan.clearance_m, CELL_M), -1.0)
    cells = np.argwhere(cost > 0)
    start = cells[int(np.linalg.norm(plan.xy_m(cells) - start_xy_m, axis=1).argmin())]
    finder = graph.MCP_Geometric(cost)
    reach, _ = finder.find_costs([tuple(start.tolist())])
    reach = np.where(np.isfinite(reach), reach, -1.0)
    end = np.unravel_index(int(reach.argmax()), reach.shape)
    xy = plan.xy_m(np.array(finder.traceback(end)))
    soft = np.stack([np.convolve(np.pad(xy[:, k], 4, mode="edge"), np.ones(9) / 9, "valid") for k in (0, 1)], -1)
    soft[0] = start_xy_m
    along = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(soft, axis=0), axis=1))]
    at = np.arange(0.0, max(along[-1], 1e-6), TOUR_STEP_M)
    return np.stack([np.interp(at, along, soft[:, k]) for k in (0, 1)], -1)
