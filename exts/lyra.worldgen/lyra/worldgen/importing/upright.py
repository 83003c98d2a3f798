"""Which way is up, where the floor is, and how walls run: from the surfaces of a scene alone.

Every direction in which much surface faces is a candidate, and so is its opposite. A hypothesis is worth what the file
format makes of it, how much of the place stands over one level plane with free space above it, how little lies below,
and on which side things stand: furniture stands on floors, ceilings are bare. Nothing here knows how long a metre is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..core.errors import InputError
from ..core.frames import rotation_z
from ..core.optional import require
from .samples import SurfaceSamples

AXES = {
    "x": (1.0, 0.0, 0.0),
    "-x": (-1.0, 0.0, 0.0),
    "y": (0.0, 1.0, 0.0),
    "-y": (0.0, -1.0, 0.0),
    "z": (0.0, 0.0, 1.0),
    "-z": (0.0, 0.0, -1.0),
}
SAID_REACH_DEG = 30.0
"""A stated axis is refined by a floor that is tilted by no more than this."""
PRIOR_REACH_DEG = 20.0
LEVEL_DEG = 10.0
CELLS = 96
"""Cells along the longer side of the floor plan where samples are dense enough, and levels along the height."""
LEAST_CELLS = 24
LEAST_FLOOR_SHARE = 0.12
"""Share of the plan over which the floor must lie."""


@dataclass(frozen=True, kw_only=True)
class Upright:
    """An orientation with the evidence for it."""

    R_world_file: np.ndarray
    """[3, 3] turns the file's axes so that +Z is up and walls run along X and Y."""
    up_axis: str
    """Axis of the file that is nearest to up: `x`, `-x`, ..."""
    tilt_deg: float
    """Angle between that axis and up."""
    floor: float
    """Height of the floor in the turned axes, in units of the file."""
    ceiling: float | None
    """Height of the ceiling; None where there is none."""
    confidence: float
    """0..1: how much better this hypothesis is than the next one."""
    evidence: dict[str, float] = field(default_factory=dict)
    """What the hypothesis was judged by."""


@dataclass(frozen=True, kw_only=True)
class FloorPlan:
    """What lies where over a level plane, seen along a hypothetical vertical."""

    floor: float
    ceiling: float | None
    top: float
    """Height of nearly everything."""
    score: float
    evidence: dict[str, float]


def find_upright(samples: SurfaceSamples, *, said: str | None = None, prior: dict[str, float] | None = None) -> Upright:
    """Turn a scene upright.

    Args:
        samples: its surface.
        said: axis that points up, as the user says; decides, and is refined by the floor.
        prior: log-odds of axes by name, as the format suggests them.

    Raises:
        InputError: no level floor is found.
    """
    peaks = _peaks(samples)
    hypotheses = _said_hypotheses(samples, peaks, said) if said else [(s * d, 0.0) for d in peaks for s in (1.0, -1.0)]
    if prior and not said:
        hypotheses += [(np.array(AXES[name]), 0.0) for name in prior if not _near(AXES[name], peaks, 10.0)]
    judged = []
    for up, bonus in hypotheses:
        plan = judge_up(samples, up)
        if plan is not None:
            judged.append((plan.score + bonus + (0.0 if said else _prior_of(up, prior or {})), up, plan))
    if not judged:
        raise InputError(
            "no floor was found: no level surface with free space above it"
            + (
                f" when {said} points up; leave out --up, or check it"
                if said
                else "; say which axis points up with --up"
            )
        )
    judged.sort(key=lambda entry: -entry[0])
    best, up, plan = judged[0]
    rivals = [score for score, other, _ in judged[1:] if other @ up < np.cos(np.radians(15))]
    confidence = 1.0 if not rivals else 1.0 / (1.0 + float(np.exp(min(rivals[0] - best, 50.0))))
    R = _rotation_to_z(up)
    turned = samples.turned(R)
    tilt = _tilt_of_floor(turned, plan.floor, plan.top - plan.floor)
    R = tilt @ R
    R = rotation_z(-_manhattan_yaw(samples.turned(R))) @ R
    final = judge_up(samples, R[2])
    plan = final or plan
    name = max(AXES, key=lambda axis: float(np.dot(AXES[axis], R[2])))
    return Upright(
        R_world_file=R,
        up_axis=name,
        tilt_deg=float(np.degrees(np.arccos(np.clip(np.dot(AXES[name], R[2]), -1, 1)))),
        floor=_exact_level(samples.turned(R), plan.floor, plan.top - plan.floor),
        ceiling=None if plan.ceiling is None else _exact_level(samples.turned(R), plan.ceiling, plan.top - plan.floor),
        confidence=confidence,
        evidence={name: round(value, 4) for name, value in plan.evidence.items()},
    )


def judge_up(samples: SurfaceSamples, up: np.ndarray) -> FloorPlan | None:
    """What speaks for a direction as up; None if there is no floor at all."""
    ndimage = require("scipy.ndimage", extra="recon", package="scipy")
    turned = samples.turned(_rotation_to_z(up))
    points, weights = turned.points, turned.weights
    low, high = weighted_quantiles(points, weights, (0.005, 0.995))
    inside = ((points >= low - 0.02 * (high - low)) & (points <= high + 0.02 * (high - low))).all(1)
    size = np.maximum(high - low, 1e-12)
    # Three sides of a place together take a few samples a cell.
    cells = int(np.clip(np.sqrt(len(points)) / 3, LEAST_CELLS, CELLS))
    cell = float(max(size[:2].max(), 1e-12)) / cells
    level_m = float(size[2]) / CELLS
    if size[2] < 1e-6 * size[:2].max():
        level_m = cell
    points, weights = points[inside], weights[inside]
    slope = turned.normals[inside, 2]
    signs = np.sign(slope)
    level = np.abs(slope) > np.cos(np.radians(LEVEL_DEG))
    if weights[level].sum() < 1e-3:
        return None
    xy = np.clip(((points[:, :2] - low[:2]) / cell).astype(int), 0, cells)
    z = np.clip(((points[:, 2] - low[2]) / level_m + 2).astype(int), 0, CELLS + 4)
    shape = (cells + 1, cells + 1, CELLS + 5)
    mass = np.bincount(np.ravel_multi_index((xy[:, 0], xy[:, 1], z), shape), weights, int(np.prod(shape))).reshape(
        shape
    )
    flat_mass = np.bincount(
        np.ravel_multi_index((xy[level, 0], xy[level, 1], z[level]), shape), weights[level], int(np.prod(shape))
    ).reshape(shape)
    # A cell counts as filled from a tenth of what a usual filled cell holds: lone splats in the air do not.
    filled = mass > 0.1 * np.median(mass[mass > 0])
    plan = ndimage.binary_closing(np.pad(filled.any(2), 3), iterations=3)[3:-3, 3:-3]
    plan = ndimage.binary_fill_holes(plan)
    by_height = flat_mass.sum((0, 1))
    smooth = by_height + np.r_[0, by_height[:-1]] + np.r_[by_height[1:], 0]
    floor_at, coverage, clear = _floor_level(filled, flat_mass, smooth, plan)
    if floor_at < 0:
        return None
    below = float(mass[:, :, : max(floor_at - 3, 0)].sum() / mass.sum())
    top = float(high[2])
    floor = float(low[2] + (floor_at - 1.5) * level_m)
    ceiling_at = _ceiling_level(filled, smooth, floor_at, plan)
    height = float((ceiling_at - floor_at) * level_m) if ceiling_at else float(top - floor)
    upper = ceiling_at or CELLS + 3
    inner = ndimage.binary_erosion(plan, iterations=max(2, cells // 19))
    middle = floor_at + (upper - floor_at) / 2
    things = mass[inner][:, floor_at + 4 : upper - 3].sum(0)
    heights = np.arange(floor_at + 4, floor_at + 4 + len(things))
    lower_mass, upper_mass = float(things[heights < middle].sum()), float(things[heights >= middle].sum())
    clutter = (lower_mass - upper_mass) / max(lower_mass + upper_mass, 1e-9) if len(things) else 0.0
    clutter *= min(1.0, (lower_mass + upper_mass) / 0.01)
    tops = 0.0
    if turned.signed:
        between = level & (z > floor_at + 3) & (z < upper - 2)
        tops = float((signs * weights)[between].sum() / max(weights[between].sum(), 1e-9))
        tops *= min(1.0, float(weights[between].sum()) / 0.005)
    at_floor, at_top = level & (np.abs(z - floor_at) <= 2), level & (np.abs(z - upper) <= 2)
    brighter = 0.0
    if ceiling_at and at_top.any() and at_floor.any():
        luma = turned.luma[inside]
        brighter = float(np.average(luma[at_top], weights=weights[at_top]))
        brighter -= float(np.average(luma[at_floor], weights=weights[at_floor]))
    width = float(np.sqrt(plan.sum()) * cell)
    flatness = float(np.clip(np.log(width / max(height, 1e-12)), -1.5, 1.5))
    evidence = {
        "floor_share": coverage,
        "free_above": clear,
        "below": below,
        "things_low": clutter,
        "tops_up": tops,
        "bright_above": brighter,
        "wide": flatness,
        "height": height,
    }
    score = 2.0 * np.log(max(coverage, 1e-3)) + 2.0 * np.log(max(clear, 1e-3)) - 12.0 * below
    score += 2.0 * clutter + 2.0 * tops + 1.0 * float(np.clip(4 * brighter, -1, 1)) + 2.0 * flatness
    ceiling = float(low[2] + (ceiling_at - 1.5) * level_m) if ceiling_at else None
    return FloorPlan(floor=floor, ceiling=ceiling, top=top, score=float(score), evidence=evidence)


def _floor_level(
    filled: np.ndarray, flat_mass: np.ndarray, by_height: np.ndarray, plan: np.ndarray
) -> tuple[int, float, float]:
    """Level of the floor (-1: none), share of the plan over it, and share of that with free space above."""
    ndimage = require("scipy.ndimage", extra="recon", package="scipy")
    best, found = 0.0, (-1, 0.0, 0.0)
    levels = filled.shape[2]
    peaks = [k for k in range(1, levels - 1) if by_height[k] == by_height[max(k - 2, 0) : k + 3].max() > 0]
    for k in peaks:
        if by_height[k] < 0.05 * by_height.max():
            continue
        cells = (flat_mass[:, :, max(k - 1, 0) : k + 2] > 0).any(2)
        cells = ndimage.binary_closing(np.pad(cells, 2), iterations=2)[2:-2, 2:-2] & plan
        share = float(cells.sum() / max(plan.sum(), 1))
        if share < LEAST_FLOOR_SHARE:
            continue
        above = filled[:, :, k + 3 :]
        reach = max(6, int(0.35 * above.shape[2]))
        free = cells & ~above[:, :, :reach].any(2)
        if not above.shape[2]:
            free = np.zeros_like(cells)
        clear = float(free.sum() / max(cells.sum(), 1))
        # Floors lie low: what is under them counts against them.
        under = float(filled[:, :, : max(k - 3, 0)].any(2).sum() / max(plan.sum(), 1))
        worth = share * (0.05 + clear) * (1.0 - 0.8 * min(under, 1.0))
        if worth > best:
            best, found = worth, (k, share, clear)
    return found


def _ceiling_level(filled: np.ndarray, by_height: np.ndarray, floor_at: int, plan: np.ndarray) -> int:
    """Level of the ceiling; 0 if there is none."""
    start = floor_at + 8
    if start >= len(by_height):
        return 0
    k = start + int(np.argmax(by_height[start:]))
    share = float(filled[:, :, max(k - 2, 0) : k + 3].any(2).sum() / max(plan.sum(), 1))
    if by_height[k] < 0.2 * by_height[floor_at] or share < 0.3:
        return 0
    return k


def _peaks(samples: SurfaceSamples, *, most: int = 6) -> list[np.ndarray]:
    """Directions (up to sign) that much surface faces, strongest first, each refined."""
    n = 2000
    k = np.arange(n) + 0.5
    z, turn = k / n, np.pi * (1 + 5**0.5) * k
    grid = np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z], -1)
    spatial = require("scipy.spatial", extra="recon", package="scipy")
    normals = np.where(samples.normals[:, 2:] < 0, -samples.normals, samples.normals)
    _, nearest = spatial.cKDTree(grid).query(normals)
    hist = np.bincount(nearest, samples.weights, n)
    alike = np.abs(grid @ grid.T)
    density = np.where(alike > np.cos(np.radians(5)), hist[None], 0.0).sum(1)
    found: list[np.ndarray] = []
    strongest = float(density.max())
    while len(found) < most and density.max() > 0.05 * strongest:
        at = int(density.argmax())
        found.append(_refined(samples, grid[at]))
        density[alike[at] > np.cos(np.radians(20))] = 0.0
    return found


def _refined(
    samples: SurfaceSamples, direction: np.ndarray, reaches_deg: tuple[float, ...] = (8, 4, 2, 1.5)
) -> np.ndarray:
    """The direction that the surfaces around it really face."""
    for reach in reaches_deg:
        along = samples.normals @ direction
        near = np.abs(along) > np.cos(np.radians(reach))
        if samples.weights[near].sum() <= 0:
            break
        mean = (samples.normals[near] * (samples.weights[near] * np.sign(along[near]))[:, None]).sum(0)
        length = np.linalg.norm(mean)
        if length < 1e-12:
            break
        direction = mean / length
    return direction


def _said_hypotheses(samples: SurfaceSamples, peaks: list[np.ndarray], said: str) -> list[tuple[np.ndarray, float]]:
    """The stated axis, and what much surface faces near it, which is taken if its floor is about as good."""
    axis = np.array(AXES[said])
    found = [(axis, 0.0)]
    for peak in peaks:
        along = float(peak @ axis)
        if abs(along) > np.cos(np.radians(SAID_REACH_DEG)):
            found.append((np.sign(along) * peak, 1.0))
    return found


def _near(axis: tuple[float, float, float], peaks: list[np.ndarray], reach_deg: float) -> bool:
    return any(abs(float(peak @ np.array(axis))) > np.cos(np.radians(reach_deg)) for peak in peaks)


def _prior_of(up: np.ndarray, prior: dict[str, float]) -> float:
    angle = {name: np.degrees(np.arccos(np.clip(np.dot(AXES[name], up), -1, 1))) for name in prior}
    return max(
        (odds * float(np.exp(-((angle[name] / PRIOR_REACH_DEG) ** 2))) for name, odds in prior.items()), default=0
    )


def _rotation_to_z(up: np.ndarray) -> np.ndarray:
    """The least rotation [3, 3] that takes a unit vector to +Z."""
    x, y, z = (float(v) for v in up)
    if z < -1 + 1e-12:
        return np.diag([1.0, -1.0, -1.0])
    v = np.array([[0.0, 0.0, -x], [0.0, 0.0, -y], [x, y, 0.0]])
    return np.eye(3) + v + v @ v / (1 + z)


def _tilt_of_floor(turned: SurfaceSamples, floor: float, height: float) -> np.ndarray:
    """Rotation [3, 3] that makes the floor's plane exactly level, from positions: far finer than normals."""
    level = np.abs(turned.normals[:, 2]) > np.cos(np.radians(LEVEL_DEG))
    near = level & (np.abs(turned.points[:, 2] - floor) < 0.06 * height)
    normal = np.array([0.0, 0.0, 1.0])
    if near.sum() >= 50:
        points, weights = turned.points[near], turned.weights[near].copy()
        for _ in range(12):
            total = max(weights.sum(), 1e-300)
            centre = (points * weights[:, None]).sum(0) / total
            spread = ((points - centre) * weights[:, None]).T @ (points - centre) / total
            _, vectors = np.linalg.eigh(spread)
            normal = vectors[:, 0] * np.sign(vectors[2, 0] or 1.0)
            distance = np.abs((points - centre) @ normal)
            scale = max(float(np.median(distance)), 1e-4 * height)
            weights = turned.weights[near] / (1 + (distance / (2 * scale)) ** 2)
    if normal[2] < np.cos(np.radians(8)):  # a few rugs and steps are no plane
        return np.eye(3)
    return _rotation_to_z(normal)


def _exact_level(turned: SurfaceSamples, height: float, room: float) -> float:
    """Height of the level plane near `height`: its densest place, from positions of level surface."""
    level = np.abs(turned.normals[:, 2]) > np.cos(np.radians(LEVEL_DEG))
    reach = 0.04 * room
    for _ in range(5):
        near = level & (np.abs(turned.points[:, 2] - height) < reach)
        if not near.any():
            return height
        height = _weighted_median(turned.points[near, 2], turned.weights[near])
        reach *= 0.6
    return float(height)


def _manhattan_yaw(turned: SurfaceSamples) -> float:
    """Angle [rad] of one family of walls, -45 to 45 degrees; 0 where walls run everywhere."""
    upright = np.abs(turned.normals[:, 2]) < 0.15
    if turned.weights[upright].sum() < 1e-3:
        return 0.0
    angle = np.arctan2(turned.normals[upright, 1], turned.normals[upright, 0])
    weights = turned.weights[upright]
    quarter = np.pi / 2
    hist = np.bincount((np.mod(angle, quarter) / quarter * 180).astype(int) % 180, weights, 180)
    smooth = sum(np.roll(hist, shift) for shift in range(-4, 5))
    yaw = (int(np.argmax(smooth)) + 0.5) / 180 * quarter
    for reach_deg in (6.0, 3.0, 1.5):
        off = np.mod(angle - yaw + quarter / 2, quarter) - quarter / 2
        near = np.abs(off) < np.radians(reach_deg)
        if not near.any():
            break
        yaw += float(np.average(off[near], weights=weights[near]))
    return float(np.mod(yaw + quarter / 2, quarter) - quarter / 2)


def weighted_quantiles(points: np.ndarray, weights: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """[len(shares), 3] weighted quantiles of points [N, 3] along each axis."""
    found = np.empty((len(shares), 3))
    for axis in range(3):
        order = np.argsort(points[:, axis], kind="stable")
        total = np.cumsum(weights[order])
        at = np.searchsorted(total, np.array(shares) * total[-1]).clip(0, len(order) - 1)
        found[:, axis] = points[order[at], axis]
    return found


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(total, 0.5 * total[-1])]])
