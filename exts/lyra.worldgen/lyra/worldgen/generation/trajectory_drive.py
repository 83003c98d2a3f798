"""Upstream's zoom driver: how far to go by the seed depth, rising when going back, along the ground (our notes 1.5)."""

from __future__ import annotations

import numpy as np

from ..core.arrays import expect_shape
from ..core.errors import InputError
from .warp import unproject_reference

NEAREST, FARTHEST = 0.01, 500.0
"""Depths outside say nothing about the ground."""
LOWEST_SHARE = 0.4
"""The ground is looked for in this share of the picture, at the bottom."""
DRAWS = 200
TOLERANCE = 0.05
"""Distance from the plane as a share of the depth, up to which a point lies on it."""
RISE = 0.15
"""How far the camera rises for each unit it goes backwards."""
GROUND_RISE = 0.05
"""How far above its way along the ground a camera that goes backwards ends, in units of the depth."""
_STEEPEST_NY = np.cos(np.radians(45))
_TIGHTER = tuple(np.geomspace(1.0, 0.1, 12))


def quartile_depth(depth_z: np.ndarray, valid: np.ndarray | None = None) -> float:
    """The lower quartile of the valid seed depth: what upstream measures its presets in.

    Raises:
        InputError: no valid depth.
    """
    expect_shape("depth_z", depth_z, (None, None))
    known = np.isfinite(depth_z) & (depth_z > 0)
    if valid is not None:
        known &= expect_shape("valid", valid, depth_z.shape)
    if not known.any():
        raise InputError("depth_z has no valid pixel; expected at least one finite depth above 0")
    return float(np.quantile(depth_z[known], 0.25))


def zoom_path(
    frames: int,
    centre_depth: float,
    *,
    strength: float,
    inwards: bool,
    rise: float = 0.0,
    ground_normal_cam: np.ndarray | None = None,
    ground_rise: float = GROUND_RISE,
) -> np.ndarray:
    """[frames, 4, 4] float32 w2c of upstream's zoom: straight along the optical axis, or along the ground.

    Args:
        frames: length; the end point is one increment short of `strength * centre_depth`.
        centre_depth: `quartile_depth` of the seed.
        strength: distance, in centre depths.
        inwards: forwards or backwards.
        rise: how far the camera rises (y points down) for each unit it goes backwards.
        ground_normal_cam: [3] unit, up; every displacement is turned into the plane and keeps its length.
        ground_rise: height above that way that the last frame reaches when going backwards.
    """
    step = strength * centre_depth / frames * (1 if inwards else -1)
    out = np.tile(np.eye(4), (frames, 1, 1))
    # The rotation stays; the camera alone rises.
    t = np.arange(frames)[:, None] * np.array([0.0, 0.0 if inwards else rise * abs(step), -step])
    if ground_normal_cam is not None:
        n = np.asarray(ground_normal_cam, float)
        length = np.linalg.norm(t, axis=1, keepdims=True)
        t = t - (t @ n)[:, None] * n
        t *= length / np.maximum(np.linalg.norm(t, axis=1, keepdims=True), 1e-12)
        if not inwards:
            t -= np.linspace(0, ground_rise, frames)[:, None] * n
    out[:, :3, 3] = t
    return out.astype(np.float32)


def ground_points(depth_z: np.ndarray, K: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """[N, 3] float32 points in the camera of the lowest part of a depth map [H, W], row by row."""
    expect_shape("depth_z", depth_z, (None, None))
    first = int(len(depth_z) * (1 - LOWEST_SHARE))
    known = (depth_z > NEAREST) & (depth_z < FARTHEST)
    if valid is not None:
        known &= expect_shape("valid", valid, depth_z.shape)
    points = unproject_reference(np.where(known, depth_z, 0.0), np.eye(4), expect_shape("K", K, (3, 3)))
    return points[first:][known[first:]]


def most_agreed_normal(points_cam: np.ndarray, triples: np.ndarray) -> np.ndarray | None:
    """Normal [3], up, of the plane through three points that most points lie on, as upstream counts; None without one.

    Args:
        points_cam: [N, 3].
        triples: [M, 3] indices of the planes to try; the first of equals wins.
    """
    best, normal = 0, None
    for trial in _normals(points_cam, triples):
        if trial is None:
            continue
        n, offset = trial
        count = int(np.count_nonzero(np.abs(points_cam @ n - offset) < _tolerance(points_cam)))
        if count > best:
            best, normal = count, n
    return normal


def ground_normal(
    depth_z: np.ndarray, K: np.ndarray, *, valid: np.ndarray | None = None, seed: int = 0
) -> np.ndarray | None:
    """Normal [3] of the ground in the camera, up (y < 0); None where no plane less than 45 degrees steep is seen.

    Upstream takes the plane with the most points within 5 % of their depth, and walls and furniture inside that band
    tilt it. Here close points count more than far ones, and the plane is fitted again to ever closer points.

    Args:
        depth_z: [H, W] seed depth.
        K: [3, 3] intrinsics; pixel centres at integer coordinates.
        valid: [H, W] bool.
        seed: of the draws.
    """
    points = ground_points(depth_z, K, valid).astype(np.float64)
    if len(points) < 3:
        return None
    rng = np.random.default_rng(seed)
    best, plane = 0.0, None
    tolerance = _tolerance(points)
    for trial in _normals(points, rng.integers(0, len(points), (DRAWS, 3))):
        if trial is None or -trial[0][1] < _STEEPEST_NY:
            continue
        n, offset = trial
        score = float(np.maximum(1 - ((points @ n - offset) / tolerance) ** 2, 0).sum())
        if score > best:
            best, plane = score, trial
    if plane is None:
        return None
    for share in _TIGHTER:
        n, offset = plane
        weight = np.maximum(1 - ((points @ n - offset) / (share * tolerance)) ** 2, 0) ** 2
        if np.count_nonzero(weight) < 3:
            break
        centre = weight @ points / weight.sum()
        spread = points - centre
        n = _upwards(np.linalg.eigh((spread * weight[:, None]).T @ spread)[1][:, 0])
        if -n[1] < _STEEPEST_NY:
            break
        plane = n, float(n @ centre)
    return plane[0]


def _normals(points: np.ndarray, triples: np.ndarray) -> list[tuple[np.ndarray, float] | None]:
    """Unit normal, up, and offset of the plane of each triple; None where the three points lie in line."""
    a, b, c = (points[triples[:, k]] for k in range(3))
    n = np.cross(b - a, c - a)
    length = np.linalg.norm(n, axis=1)
    return [
        (_upwards(v / size), float(_upwards(v / size) @ at)) if size > 1e-6 else None
        for v, size, at in zip(n, length, a, strict=True)
    ]


def _upwards(n: np.ndarray) -> np.ndarray:
    return -n if n[1] > 0 else n


def _tolerance(points: np.ndarray) -> np.ndarray:
    return TOLERANCE * np.maximum(points[:, 2], 0.1)
