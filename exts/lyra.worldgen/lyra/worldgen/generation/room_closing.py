"""The walls that a photo does not show: a box around the camera that continues the walls at the photo's edges.

A wall runs on in its own direction until it meets the next one at a right angle. So the unseen part of a room has
straight walls, and what is painted there can be laid on them at true scale instead of being turned round the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.views import PolarLayout

EDGE_RAD = float(np.radians(6))
"""The direction of the wall at the photo's edge is measured over this much azimuth."""
UNSEEN_LEAST_M = 2.5
"""Nearest that a wall is put which nobody has seen."""
UNSEEN_SHARE = 0.85
"""An unseen wall is put at least this share of the usual distance away: what is copied onto it would blur."""
NEAR_SHARE = 0.55
"""A wall that would run past nearer than this share of the usual distance ends at the photo's edge instead."""
BEYOND_M = 0.6
"""An unseen wall lies at least this far beyond what the photo shows in its direction."""
LEAST_FACING = 0.25
"""Cosine between the line of sight and a wall's normal below which the photo's edge says nothing about that wall."""
CORNER_RATIO = 0.06


@dataclass(frozen=True, kw_only=True)
class ClosedRoom:
    """Distances all around, along the columns of a ring."""

    boundary_m: np.ndarray
    """[C] distance of the wall at each column: the photo's own inside its sector, the box elsewhere."""
    corner: np.ndarray
    """[C] bool: two walls of the box meet between this column and the next."""


def close_room(
    layout: PolarLayout, azimuth_rad: np.ndarray, sector: tuple[int, int], yaw_rad: float
) -> ClosedRoom | None:
    """Walls for every column of a ring; None where the photo leaves no room for a box.

    Args:
        layout: the photo's sector.
        azimuth_rad: [C] of the ring's columns, descending.
        sector: first column and end of the columns that the photo fills.
        yaw_rad: direction of one family of walls, modulo 90 degrees.
    """
    first, end = sector
    count = len(azimuth_rad)
    seen_m = np.interp(azimuth_rad, layout.azimuth_rad, layout.boundary_m)
    outside = (end + np.arange(count - (end - first))) % count
    if len(outside) < count // 8:
        return None
    right, left = end - 1, first
    normals = yaw_rad + np.arange(4) * np.pi / 2
    side_right = _side_at(layout, azimuth_rad[right], normals, inwards=1)
    side_left = _side_at(layout, azimuth_rad[left], normals, inwards=-1)
    if side_right is None or side_left is None:
        return None
    if (side_left - side_right) % 4 == 3:
        # Walls that turn away from each other enclose nothing: the one that faces the camera better goes round.
        facing = [np.cos(azimuth_rad[right] - normals[side_right]), np.cos(azimuth_rad[left] - normals[side_left])]
        if facing[0] >= facing[1] and np.cos(azimuth_rad[left] - normals[side_right]) > LEAST_FACING:
            side_left = side_right
        elif np.cos(azimuth_rad[right] - normals[side_left]) > LEAST_FACING:
            side_right = side_left
        else:
            return None
    edges = np.stack([seen_m[c] * np.array([np.cos(azimuth_rad[c]), np.sin(azimuth_rad[c])]) for c in (right, left)])
    distance_right = float(edges[0] @ _direction(normals[side_right]))
    distance_left = float(edges[1] @ _direction(normals[side_left]))
    usual = float(np.median(layout.boundary_m))
    distance_right, distance_left = (
        d if d > NEAR_SHARE * usual else UNSEEN_SHARE * usual for d in (distance_right, distance_left)
    )
    seen = {side_right: distance_right, side_left: distance_left}
    between = [(side_right - 1 - k) % 4 for k in range((side_right - side_left - 1) % 4)]
    usual *= UNSEEN_SHARE
    walls = [(side_right, distance_right), (side_left, distance_left)]
    for side in between:
        beyond = float((edges @ _direction(normals[side])).max()) + BEYOND_M
        walls.append((side, max(seen.get((side + 2) % 4, usual), usual, beyond, UNSEEN_LEAST_M)))
    azimuth = azimuth_rad[outside]
    facing = np.stack([np.cos(azimuth - normals[side]) for side, _ in walls])
    reach = np.where(facing > 0.02, np.array([d for _, d in walls])[:, None] / np.maximum(facing, 0.02), np.inf)
    if side_left == side_right:
        # One wall on both sides of the photo may stand at two distances; each holds on its own side.
        half = len(outside) // 2
        reach[0, half:], reach[1, :half] = np.inf, np.inf
    which = reach.argmin(0)
    nearest = reach.min(0)
    if not np.isfinite(nearest).all():
        return None
    boundary = seen_m.copy()
    boundary[outside] = nearest
    corner = np.zeros(count, bool)
    corner[outside[:-1]] = which[1:] != which[:-1]
    return ClosedRoom(boundary_m=boundary, corner=corner)


def corners_in(boundary_m: np.ndarray, azimuth_rad: np.ndarray) -> np.ndarray:
    """[N] bool: columns at which the outline of what the photo shows bends or breaks."""
    xy = boundary_m[:, None] * np.stack([np.cos(azimuth_rad), np.sin(azimuth_rad)], 1)
    n = len(xy)
    reach = max(2, round(np.radians(2.0) / abs(azimuth_rad[1] - azimuth_rad[0])))
    index = np.arange(n)
    before, after = xy - xy[np.maximum(index - reach, 0)], xy[np.minimum(index + reach, n - 1)] - xy
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    turn = np.abs(cross) / np.maximum(np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1), 1e-9)
    return (turn > np.sin(np.radians(30))) & (index >= reach) & (index < n - reach)


def length_along(boundary_m: np.ndarray, azimuth_rad: np.ndarray) -> np.ndarray:
    """[N] metres walked along the outline up to each column; where it jumps, only what is seen of it counts."""
    xy = boundary_m[:, None] * np.stack([np.cos(azimuth_rad), np.sin(azimuth_rad)], 1)
    step = np.linalg.norm(np.diff(xy, axis=0), axis=1)
    across = np.abs(np.diff(azimuth_rad)) * np.minimum(boundary_m[1:], boundary_m[:-1])
    jump = np.abs(np.log(boundary_m[1:] / boundary_m[:-1])) > CORNER_RATIO
    return np.concatenate([[0.0], np.cumsum(np.maximum(np.where(jump, across, step), 1e-6))])


def _side_at(layout: PolarLayout, azimuth_rad: float, normals: np.ndarray, *, inwards: int) -> int | None:
    """Index of the wall direction that fits the outline next to the photo's edge best; None if none faces it."""
    probe = azimuth_rad + inwards * np.array([0.0, EDGE_RAD])
    r = np.interp(probe, layout.azimuth_rad, layout.boundary_m)
    a, b = r[:, None] * np.stack([np.cos(probe), np.sin(probe)], 1)
    along = (b - a) / max(float(np.linalg.norm(b - a)), 1e-9)
    facing = np.cos(azimuth_rad - normals)
    fit = np.abs(np.cos(normals) * along[1] - np.sin(normals) * along[0])
    score = np.where(facing > LEAST_FACING, fit + 0.1 * facing, -1.0)
    best = int(score.argmax())
    return best if score[best] > 0 else None


def _direction(angle_rad: float) -> np.ndarray:
    return np.array([np.cos(angle_rad), np.sin(angle_rad)])
