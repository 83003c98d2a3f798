"""The free space of a photo as straight walls: which surface ends the view in each azimuth, and how far away.

Every column gives evidence about its wall in elevation angle, where the error of a label edge is the same near and
far: a contact seen (the wall meets the floor here), hidden behind something that stands at least so far away, or
below the picture. Lines through the contacts are candidates; a path along the azimuths picks one for each column or
leaves it free, paying for bad fits and for every change, more where the surfaces do not meet (a corner is cheaper
than a jump). Walls come out straight, vertical and closed, and furniture in front of them does not bend them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

FREE = -1
"""Line index of columns that follow their own contacts."""

_EDGE_SIGMA_RAD = np.radians(0.6)
_OUTLIER = 2.0
"""Largest cost of one degree of azimuth that a line does not explain."""
_FREE_COST = 0.8
_CORNER_COST = 2.0
_JUMP_COST = 5.0
_JUMP_RAD = np.radians(2.0)
_MAX_LINES_PER_AXIS = 6
_MAX_OBLIQUE = 4


@dataclass(frozen=True, kw_only=True)
class WallEvidence:
    """What each column knows about its boundary. Depressions are angles below the horizon, positive [rad]."""

    azimuth_rad: np.ndarray
    """[A]."""
    contact_rad: np.ndarray
    """[A] depression of the contact; NaN where it is not seen."""
    weight: np.ndarray
    """[A] trust in the contact, 0..1."""
    at_most_rad: np.ndarray
    """[A] the contact lies no lower than this (floor is seen up to here, or an object stands here); pi/2 if free."""
    at_least_rad: np.ndarray
    """[A] the contact lies no higher than this (wall seen down to here); 0 if free."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A vertical plane: its horizontal normal's azimuth and its distance from the camera along it."""

    normal_rad: float
    distance_m: float

    def range_m(self, azimuth_rad: np.ndarray) -> np.ndarray:
        """[A] horizontal distance along each azimuth; inf where the plane is not met."""
        c = np.cos(azimuth_rad - self.normal_rad)
        return np.where(c > 1e-3, self.distance_m / np.maximum(c, 1e-3), np.inf)


def fit_walls(
    evidence: WallEvidence, *, height_m: float, reach_m: float, manhattan_yaw_rad: float | None
) -> tuple[np.ndarray, np.ndarray, list[Line]]:
    """Boundary distance [A], chosen line [A] (`FREE` for none) and the lines.

    Args:
        evidence: per column.
        height_m: camera height.
        reach_m: farthest boundary.
        manhattan_yaw_rad: azimuth of one wall family; None when the scene has none.
    """
    step = float(evidence.azimuth_rad[1] - evidence.azimuth_rad[0])
    degrees = np.degrees(step)
    own = _own_ranges(evidence, height_m, reach_m)
    lines = _candidates(evidence, own, height_m, reach_m, manhattan_yaw_rad)
    ranges = np.array([line.range_m(evidence.azimuth_rad) for line in lines]).reshape(len(lines), len(own))
    ranges = np.minimum(ranges, 1e3)
    depression = np.concatenate([np.arctan2(height_m, ranges), np.arctan2(height_m, own)[None]])
    cost = np.stack([_column_cost(evidence, d) for d in depression[:-1]] + [_free_cost(evidence)])
    # A wall beyond reach cannot carry anything: the backdrop does.
    cost[:-1] += np.where(ranges > 1.3 * reach_m, _OUTLIER, 0.0)
    choice = _best_path(cost * degrees, depression)
    boundary = np.where(choice == len(lines), own, np.concatenate([ranges, own[None]])[choice, np.arange(len(own))])
    boundary = np.clip(boundary, 0.0, reach_m)
    line = np.where(choice == len(lines), FREE, choice)
    return _simplified(boundary, line, evidence.azimuth_rad, height_m, reach_m), line, lines


def _own_ranges(evidence: WallEvidence, height_m: float, reach_m: float) -> np.ndarray:
    """[A] distance from each column's own contact; straight segments bridge columns that show none."""
    contact = evidence.contact_rad
    seen = np.flatnonzero(np.isfinite(contact))
    n = len(contact)
    if not len(seen):
        limit = np.where(evidence.at_most_rad < 1.5, evidence.at_most_rad, 0.0)
        lowest = float(limit.max(initial=0.0))
        low = float(evidence.at_least_rad.max(initial=0.0))
        depression = max(low, lowest, np.arctan2(height_m, reach_m))
        return np.full(n, min(height_m / np.tan(depression), reach_m))
    r = np.minimum(height_m / np.tan(np.maximum(contact[seen], 1e-3)), reach_m)
    r = _median_along(r, 9)
    # Between two seen points a straight wall: inverse distance is close to linear over such gaps.
    out = 1.0 / np.interp(np.arange(n), seen, 1.0 / r)
    hidden = ~np.isfinite(contact)
    floor_limit = height_m / np.tan(np.clip(evidence.at_most_rad, 1e-3, 1.5))
    wall_limit = height_m / np.tan(np.clip(evidence.at_least_rad, 1e-3, 1.5))
    out = np.where(hidden & (evidence.at_least_rad > 0), np.minimum(out, wall_limit), out)
    out = np.where(hidden & (evidence.at_most_rad < 1.5), np.maximum(out, floor_limit + 0.2 * height_m), out)
    return np.minimum(out, reach_m)


def _column_cost(evidence: WallEvidence, depression: np.ndarray) -> np.ndarray:
    """[A] cost per degree of a boundary at these depressions."""
    error = (depression - evidence.contact_rad) / _EDGE_SIGMA_RAD
    fit = np.where(np.isfinite(error), evidence.weight * np.minimum(0.5 * error**2, _OUTLIER), 0.0)
    below = np.maximum(depression - evidence.at_most_rad, 0.0) / _EDGE_SIGMA_RAD
    above = np.maximum(evidence.at_least_rad - depression, 0.0) / _EDGE_SIGMA_RAD
    return fit + np.minimum(0.5 * below**2, 3.0 * _OUTLIER) + np.minimum(0.5 * above**2, 1.5 * _OUTLIER)


def _free_cost(evidence: WallEvidence) -> np.ndarray:
    """[A] cost per degree of following a column's own contact; guessing costs a little more than seeing."""
    return np.where(np.isfinite(evidence.contact_rad), _FREE_COST * np.maximum(evidence.weight, 0.5), 0.5)


def _best_path(cost: np.ndarray, depression: np.ndarray) -> np.ndarray:
    """[A] index of the surface of each column; [K, A] costs and depressions, the last row is the free surface."""
    count, columns = cost.shape
    total = cost[:, 0].copy()
    came_from = np.zeros((columns, count), np.int32)
    for a in range(1, columns):
        gap = np.abs(depression[:, a - 1, None] - depression[None, :, a])
        change = _CORNER_COST + _JUMP_COST * np.minimum(gap / _JUMP_RAD, 1.0)
        np.fill_diagonal(change, 0.0)
        step = total[:, None] + change
        came_from[a] = step.argmin(0)
        total = step.min(0) + cost[:, a]
    path = np.empty(columns, int)
    path[-1] = int(total.argmin())
    for a in range(columns - 1, 0, -1):
        path[a - 1] = came_from[a, path[a]]
    return path


def _candidates(
    evidence: WallEvidence, own: np.ndarray, height_m: float, reach_m: float, yaw_rad: float | None
) -> list[Line]:
    usable = np.isfinite(evidence.contact_rad) & (own < 0.97 * reach_m) & (evidence.weight > 0.2)
    if not usable.any():
        return []
    azimuth, contact = evidence.azimuth_rad[usable], evidence.contact_rad[usable]
    r = height_m / np.tan(np.maximum(contact, 1e-3))
    weight = evidence.weight[usable]
    lines: list[Line] = []
    free = np.ones(len(r), bool)
    if yaw_rad is not None:
        for quarter in range(4):
            normal = yaw_rad + quarter * 0.5 * np.pi
            lines += _parallel_lines(normal, azimuth, r, contact, weight, height_m)
        for line in lines:
            free &= np.abs(np.arctan2(height_m, line.range_m(azimuth)) - contact) > 1.5 * _EDGE_SIGMA_RAD
    lines += _oblique_lines(azimuth[free], r[free], contact[free], height_m)
    return lines


def _parallel_lines(
    normal_rad: float, azimuth: np.ndarray, r: np.ndarray, contact: np.ndarray, weight: np.ndarray, height_m: float
) -> list[Line]:
    """Up to `_MAX_LINES_PER_AXIS` walls facing one direction, most supported first."""
    c = np.cos(azimuth - normal_rad)
    facing = c > 0.17  # a wall seen under less than ten degrees says little about its distance
    c, r, contact, weight = c[facing], r[facing], contact[facing], weight[facing]
    d = r * c
    lines: list[Line] = []
    left = np.ones(len(d), bool)
    while left.sum() >= 8 and len(lines) < _MAX_LINES_PER_AXIS:
        trial = np.quantile(d[left], np.linspace(0.02, 0.98, 48))
        error = np.arctan2(height_m, trial[:, None] / c) - contact
        support = (np.exp(-0.5 * (error / _EDGE_SIGMA_RAD) ** 2) * weight * left).sum(1)
        best = trial[support.argmax()]
        near = left & (np.abs(np.arctan2(height_m, best / c) - contact) < 1.5 * _EDGE_SIGMA_RAD)
        if near.sum() < 8:
            break
        # Angles weigh the samples: a far contact says less about the distance than a near one.
        precision = weight[near] * (height_m * c[near] / (d[near] ** 2 + height_m**2)) ** 2
        distance = float((precision * d[near]).sum() / precision.sum())
        lines.append(Line(normal_rad=normal_rad, distance_m=max(distance, 0.2 * height_m)))
        left &= np.abs(np.arctan2(height_m, best / c) - contact) > 2.0 * _EDGE_SIGMA_RAD
    return lines


def _oblique_lines(azimuth: np.ndarray, r: np.ndarray, contact: np.ndarray, height_m: float) -> list[Line]:
    """Walls of any direction through what the main directions leave unexplained (RANSAC on a fixed set of pairs)."""
    lines: list[Line] = []
    rng = np.random.default_rng(20_011)
    left = np.arange(len(r))
    while len(left) >= 24 and len(lines) < _MAX_OBLIQUE:
        x, y = r[left] * np.cos(azimuth[left]), r[left] * np.sin(azimuth[left])
        i = rng.integers(0, len(left), 96)
        j = np.clip(i + rng.integers(12, 80, 96), 0, len(left) - 1)
        normal = np.arctan2(x[i] - x[j], y[j] - y[i])
        distance = x[i] * np.cos(normal) + y[i] * np.sin(normal)
        normal, distance = np.where(distance < 0, normal + np.pi, normal), np.abs(distance)
        c = np.cos(azimuth[left][None] - normal[:, None])
        depression = np.where(c > 0.17, np.arctan2(height_m * np.maximum(c, 0.0), distance[:, None]), 0.0)
        inlier = np.abs(depression - contact[left]) < _EDGE_SIGMA_RAD
        inlier[i == j] = False
        best = int(inlier.sum(1).argmax())
        if inlier[best].sum() < 20 or distance[best] < 0.2 * height_m:
            break
        lines.append(Line(normal_rad=float(normal[best]), distance_m=float(distance[best])))
        left = left[~inlier[best]]
    return lines


def _simplified(
    boundary: np.ndarray, line: np.ndarray, azimuth: np.ndarray, height_m: float, reach_m: float
) -> np.ndarray:
    """Free stretches become few straight segments; lines stay as they are."""
    out = boundary.copy()
    edges = np.flatnonzero(np.diff((line == FREE).astype(int))) + 1
    for part in np.split(np.arange(len(line)), edges):
        if line[part[0]] != FREE or len(part) < 3:
            continue
        r = _median_along(boundary[part], 9)
        # Jumps separate surfaces at different depths: each is simplified alone.
        cuts = np.flatnonzero(np.abs(np.diff(np.log(np.maximum(r, 0.05)))) > 0.15) + 1
        for piece in np.split(np.arange(len(part)), cuts):
            out[part[piece]] = _polyline(r[piece], azimuth[part[piece]], height_m, reach_m)
    return out


def _polyline(r: np.ndarray, azimuth: np.ndarray, height_m: float, reach_m: float) -> np.ndarray:
    """[N] distances along the Douglas-Peucker polyline through the points; the cap stays a circle."""
    capped = r >= 0.99 * reach_m
    x, y = r * np.cos(azimuth), r * np.sin(azimuth)
    keep = {0, len(r) - 1}
    stack = [(0, len(r) - 1)]
    while stack:
        a, b = stack.pop()
        if b - a < 2:
            continue
        dx, dy = x[b] - x[a], y[b] - y[a]
        length = max(float(np.hypot(dx, dy)), 1e-6)
        inner = np.arange(a + 1, b)
        off = np.abs((x[inner] - x[a]) * dy - (y[inner] - y[a]) * dx) / length
        worst = int(off.argmax())
        # One label edge's worth of distance at that range.
        if off[worst] > 0.033 * height_m + 0.06 * r[inner[worst]]:
            keep.add(int(inner[worst]))
            stack += [(a, int(inner[worst])), (int(inner[worst]), b)]
    out = r.copy()
    order = sorted(keep)
    for a, b in itertools.pairwise(order):
        nx, ny = y[b] - y[a], x[a] - x[b]
        offset = nx * x[a] + ny * y[a]
        facing = nx * np.cos(azimuth[a : b + 1]) + ny * np.sin(azimuth[a : b + 1])
        straight = offset / np.where(np.abs(facing) < 1e-9, 1e-9, facing)
        sane = (straight > 0.5 * r[a : b + 1]) & (straight < 2.0 * r[a : b + 1])
        out[a : b + 1] = np.where(sane, straight, r[a : b + 1])
    return np.where(capped, reach_m, out)


def _median_along(values: np.ndarray, size: int) -> np.ndarray:
    """Running median with edges repeated."""
    size = min(size, 2 * ((len(values) - 1) // 2) + 1)
    if size < 3:
        return values
    half = size // 2
    padded = np.pad(values, half, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, size), -1)
