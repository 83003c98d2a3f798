"""The floor in a depth map: which way is up, how far the floor is, and what shift and factor make the map metric.

On a plane inverse depth is linear in the ray, y = -up . ray / h, so the floor's labelled pixels give the up direction
and the camera's height in units of the map. Maps with an unknown shift leave one more unknown. In depth the floor
itself tells it, because a wrong shift bends the plane; in inverse depth planes stay planes, and what tells it is that
walls stand upright on the floor, and that the camera's lines say roughly where up is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.optional import require
from ..core.views import SPACE_DEPTH, SPACE_DISPARITY, DepthResult

LONG_SIDE_PX = 256
"""Size at which the plane is sought."""
MIN_FLOOR_PIXELS = 80
MIN_INLIER_SHARE = 0.35

_TOLERANCE = 0.04
_DRAWS = 96
_SAMPLES = 1500
_WINDOWS = (15, 7)
"""Sides of the windows that give normals; the larger one is steadier where walls are wide enough."""
_SHIFTS = 40
_PRIOR_SIGMA_RAD = np.radians(1.5)
_PLANE_SIGMA_RAD = np.radians(0.25)
_FARTHEST_TILT_RAD = np.radians(20.0)
_LEAN_SIGMA_RAD = np.radians(0.4)
_WAVES = 0.35
"""Share of the spread of wall normals that remains in their median: neighbouring windows err alike."""
_FLOOR_SIGMA = 0.02


@dataclass(frozen=True, kw_only=True)
class GroundFit:
    """How a depth map lies in the world."""

    up_cam: np.ndarray
    """[3] unit, world +Z in the camera."""
    factor: float
    """`factor * value + shift` is depth [m], or inverse depth [1/m] for disparity."""
    shift: float
    own_height: float
    """Camera height in the map's own units: metres for a metric map."""
    inlier_share: float
    """Share of the floor pixels that lie on the plane."""
    residual: float
    """Median relative error of their depth."""
    tilt_rad: float
    """How far the plane turned the up direction that was assumed before."""
    wall_yaw_rad: float | None
    """Azimuth of the main family of walls, left of the optical axis, in [0, pi/2); None where walls do not agree."""


@dataclass(frozen=True)
class _Scene:
    """The map at the size at which it is searched."""

    x: np.ndarray
    """[h, w] values of the map, 1 where invalid."""
    rays: np.ndarray
    """[h, w, 3]."""
    floor: np.ndarray
    """[n] flat indices of floor samples."""
    wall: np.ndarray
    """[h, w] bool: the whole window about the pixel is wall."""
    window: int
    """Side of that window."""
    step_xy: tuple[float, float]
    """Difference of X and Y of neighbouring rays."""
    space: str
    up: np.ndarray
    """[3] assumed up."""
    triplets: np.ndarray
    """[D, 3] indices into `floor`."""

    def inverse(self, shift: float, where: np.ndarray | None = None) -> np.ndarray:
        """Inverse depth up to a factor under a shift; not positive where the shift leaves no depth."""
        x = self.x if where is None else self.x.ravel()[where]
        if self.space == SPACE_DISPARITY:
            return x + shift
        return np.where(x + shift > 1e-9, 1.0 / np.maximum(x + shift, 1e-9), -1.0)


def fit_ground(
    result: DepthResult,
    camera: PinholeCamera,
    *,
    floor: np.ndarray,
    wall: np.ndarray,
    up_cam: np.ndarray,
    camera_height_m: float,
    seed: int = 0,
) -> GroundFit | str:
    """The floor plane of a depth map, or the reason why there is none.

    Args:
        result: what a depth model said about the photo.
        camera: intrinsics of the photo.
        floor: [H, W] bool, pixels that look like floor.
        wall: [H, W] bool, pixels that look like wall.
        up_cam: [3] up direction that the lines of the photo say.
        camera_height_m: what makes the map metric.
        seed: of the random draws.
    """
    scene = _scene(result, camera, floor, wall, up_cam, np.random.default_rng(seed))
    if isinstance(scene, str):
        return scene
    shift = _best_shift(scene, _LEAN_SIGMA_RAD)
    if scene.space in (SPACE_DEPTH, SPACE_DISPARITY):
        # Where the walls of the map are wavy, their median leans by chance: then lines say more about where up is.
        shift = _best_shift(scene, float(np.hypot(_LEAN_SIGMA_RAD, _WAVES * _wall_spread(scene, shift))))
    found = _plane(scene, shift)
    if found is None:
        return "no plane fits the floor pixels"
    abc, inlier = found
    share = float(inlier.mean())
    if share < MIN_INLIER_SHARE:
        return f"only {100 * share:.0f} % of the floor pixels lie on one plane"
    plane_up = -abc / np.linalg.norm(abc)
    up = _blended(plane_up, scene.up)
    y = scene.inverse(shift, scene.floor[inlier])
    fall = -(scene.rays.reshape(-1, 3)[scene.floor[inlier]] @ up)
    usable = (fall > 0.02) & (y > 0)
    if usable.sum() < MIN_FLOOR_PIXELS // 2:
        return "the floor plane lies above the horizon"
    ratio = fall[usable] / y[usable]  # camera height in units of the map
    own_height = float(np.median(ratio))
    residual = float(np.median(np.abs(np.log(ratio / own_height))))
    metres = camera_height_m / own_height
    factor = 1.0 / metres if result.space == SPACE_DISPARITY else metres
    return GroundFit(
        up_cam=up,
        factor=factor,
        shift=factor * shift,
        own_height=own_height,
        inlier_share=share,
        residual=residual,
        tilt_rad=_angle(up, scene.up),
        wall_yaw_rad=_wall_yaw(scene, shift, up),
    )


def _scene(
    result: DepthResult,
    camera: PinholeCamera,
    floor: np.ndarray,
    wall: np.ndarray,
    up_cam: np.ndarray,
    rng: np.random.Generator,
) -> _Scene | str:
    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    height, width = result.valid.shape
    scale = min(1.0, LONG_SIDE_PX / max(height, width))
    small = camera.resized(max(8, round(width * scale)), max(8, round(height * scale)))
    # Pixels are picked, not averaged: a mean across a depth edge lies on no surface.
    rows = np.minimum(((np.arange(small.height_px) + 0.5) * height / small.height_px).astype(int), height - 1)
    cols = np.minimum(((np.arange(small.width_px) + 0.5) * width / small.width_px).astype(int), width - 1)
    grid = np.ix_(rows, cols)
    valid = result.valid[grid]
    if not valid.any():
        return "the map has no valid pixel"
    x = np.where(valid, result.values[grid].astype(float), 1.0)
    low, high = np.quantile(x[valid], [0.02, 0.98])
    if not high - low > 1e-4 * abs(high):
        return "the map is constant"
    u, v = np.meshgrid(cols + 0.5, rows + 0.5)
    rays = np.stack([(u - camera.cx_px) / camera.fx_px, (v - camera.cy_px) / camera.fy_px, np.ones_like(u)], -1)
    falls = rays @ up_cam < -0.03 * np.linalg.norm(rays, axis=-1)
    index = np.flatnonzero((floor[grid] & valid & falls).ravel())
    if len(index) < MIN_FLOOR_PIXELS:
        return f"{len(index)} pixels show floor; at least {MIN_FLOOR_PIXELS} are needed"
    if len(index) > _SAMPLES:
        index = index[np.linspace(0, len(index) - 1, _SAMPLES).astype(int)]
    whole, window = (wall[grid] & valid).astype(np.uint8), 0
    inside = whole
    for window in _WINDOWS:
        square = np.ones((window, window), np.uint8)
        inside = cv2.erode(whole, square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        if inside.sum() > 200:
            break
    return _Scene(
        x=x,
        rays=rays,
        floor=index,
        wall=inside.astype(bool),
        window=window,
        step_xy=(width / small.width_px / camera.fx_px, height / small.height_px / camera.fy_px),
        space=result.space,
        up=up_cam / np.linalg.norm(up_cam),
        triplets=rng.integers(0, len(index), (_DRAWS, 3)),
    )


def _best_shift(scene: _Scene, lean_sigma_rad: float) -> float:
    """The shift under which floor, walls and the assumed up direction agree best; 0 for maps without one."""
    if scene.space not in (SPACE_DEPTH, SPACE_DISPARITY):
        return 0.0
    x = np.append(scene.x.ravel()[scene.floor], scene.x[scene.wall])
    low, quarter, most = np.quantile(x, [0.01, 0.1, 0.9])
    spread = max(float(most - quarter), 1e-9)
    # The least value after the shift, in units of the spread of the values.
    levels = np.geomspace(0.01, 20.0, _SHIFTS)
    costs = [_shift_cost(scene, level * spread - float(low), lean_sigma_rad) for level in levels]
    k = int(np.argmin(costs))
    a, b = np.log(levels[max(k - 1, 0)]), np.log(levels[min(k + 1, _SHIFTS - 1)])
    ratio = 0.5 * (np.sqrt(5.0) - 1.0)
    for _ in range(16):
        c, d = b - ratio * (b - a), a + ratio * (b - a)
        left, right = (_shift_cost(scene, np.exp(e) * spread - float(low), lean_sigma_rad) for e in (c, d))
        a, b = (a, d) if left < right else (c, b)
    return float(np.exp(0.5 * (a + b)) * spread - low)


def _shift_cost(scene: _Scene, shift: float, lean_sigma_rad: float) -> float:
    """How badly floor, walls and the assumed up direction fit together under a shift."""
    found = _plane(scene, shift)
    if found is None:
        return np.inf
    abc, inlier = found
    up = -abc / np.linalg.norm(abc)
    cost = 0.5 * (_angle(up, scene.up) / _PRIOR_SIGMA_RAD) ** 2
    if scene.space == SPACE_DEPTH:
        # Compared in the map's own values: a large shift makes every relative error small and explains nothing.
        x = scene.x.ravel()[scene.floor]
        y = scene.rays.reshape(-1, 3)[scene.floor] @ abc
        off = 1.0 / np.maximum(y, 1e-9) - shift - x
        spread = float(np.subtract(*np.quantile(x[inlier], [0.95, 0.05]))) if inlier.any() else 1.0
        cost += 100.0 * float(np.mean(np.minimum(0.5 * (off / (_FLOOR_SIGMA * max(spread, 1e-9))) ** 2, 2.0)))
    normals = _wall_normals(scene, shift)
    if len(normals) >= 20:
        # A wrong shift leans all walls the same way; noise leans each window its own way, and the median ignores it.
        lean = float(np.median(np.arcsin(np.clip(normals @ up, -1.0, 1.0))))
        cost += min(0.5 * (lean / lean_sigma_rad) ** 2, 50.0)
    return cost


def _wall_spread(scene: _Scene, shift: float) -> float:
    """How differently the windows on walls lean [rad], as one standard deviation."""
    found, normals = _plane(scene, shift), _wall_normals(scene, shift)
    if found is None or len(normals) < 20:
        return 0.0
    lean = np.arcsin(np.clip(normals @ (-found[0] / np.linalg.norm(found[0])), -1.0, 1.0))
    return float(1.48 * np.median(np.abs(lean - np.median(lean))))


def _plane(scene: _Scene, shift: float) -> tuple[np.ndarray, np.ndarray] | None:
    """(a, b, c) with inverse depth = (a, b, c) . ray on the floor, and which floor samples lie on it."""
    y = scene.inverse(shift, scene.floor)
    rays = scene.rays.reshape(-1, 3)[scene.floor]
    ok = y > 0
    if ok.sum() < MIN_FLOOR_PIXELS // 2:
        return None
    y = np.where(ok, y, 1e9)
    corners = rays[scene.triplets]
    solvable = (np.abs(np.linalg.det(corners)) > 1e-6) & ok[scene.triplets].all(1)
    if not solvable.any():
        return None
    trial = np.linalg.solve(corners[solvable], y[scene.triplets[solvable]][..., None])[..., 0]
    norm = np.linalg.norm(trial, axis=1)
    upright = -(trial @ scene.up) > np.cos(_FARTHEST_TILT_RAD) * norm
    if not upright.any():
        return None
    trial = trial[upright]
    error = trial @ rays.T / y - 1.0
    support = np.clip(1.0 - (error / _TOLERANCE) ** 2, 0.0, None).sum(1)
    abc = trial[int(support.argmax())]
    for _ in range(8):
        error = rays @ abc / y - 1.0
        weight = np.clip(1.0 - (error / (2.0 * _TOLERANCE)) ** 2, 0.0, None)
        if weight.sum() < 10:
            return None
        rows = rays / y[:, None] * weight[:, None]
        abc = np.linalg.lstsq(rows, weight, rcond=None)[0]
    if not (np.isfinite(abc).all() and _angle(-abc, scene.up) < _FARTHEST_TILT_RAD):
        return None
    return abc, np.abs(rays @ abc / y - 1.0) < _TOLERANCE


def _wall_normals(scene: _Scene, shift: float) -> np.ndarray:
    """[N, 3] unit normals of small windows that lie wholly on walls."""
    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    if not scene.wall.any():
        return np.zeros((0, 3))
    y = scene.inverse(shift)
    y = np.where(y > 0, y, 0.0)
    k = np.arange(scene.window) - scene.window // 2
    slope, mean = k / float((k * k).sum()), np.full(scene.window, 1.0 / scene.window)
    across = cv2.sepFilter2D(y, cv2.CV_64F, slope, mean)[scene.wall] / scene.step_xy[0]
    down = cv2.sepFilter2D(y, cv2.CV_64F, mean, slope)[scene.wall] / scene.step_xy[1]
    rays = scene.rays[scene.wall]
    level = cv2.sepFilter2D(y, cv2.CV_64F, mean, mean)[scene.wall] - rays[:, 0] * across - rays[:, 1] * down
    normals = np.stack([across, down, level], -1)
    length = np.linalg.norm(normals, axis=1)
    facing = np.where((normals * rays).sum(1) > 0, -1.0, 1.0)  # towards the camera
    ok = length > 1e-12
    return (normals * facing[:, None])[ok] / length[ok, None]


def _wall_yaw(scene: _Scene, shift: float, up: np.ndarray) -> float | None:
    """The azimuth, modulo quarter turns, that most wall normals have."""
    normals = _wall_normals(scene, shift)
    normals = normals[np.abs(normals @ up) < np.sin(np.radians(15.0))]
    if len(normals) < 30:
        return None
    ahead = np.array([0.0, 0.0, 1.0]) - up[2] * up
    if np.linalg.norm(ahead) < 0.1:
        return None
    ahead /= np.linalg.norm(ahead)
    left = np.cross(up, ahead)
    angle = np.arctan2(normals @ left, normals @ ahead)
    turn = np.exp(4j * angle)
    main = np.angle(turn.mean())
    for _ in range(5):  # the mode, not the mean: round things have every direction
        near = np.abs(np.angle(turn * np.exp(-1j * main))) < 0.6
        if near.mean() < 0.4:
            return None
        main = float(np.angle(turn[near].mean()))
    return float(np.mod(main / 4.0, 0.5 * np.pi))


def _blended(plane_up: np.ndarray, lines_up: np.ndarray) -> np.ndarray:
    """Up directions weighted by how well each is known."""
    a, b = 1.0 / _PLANE_SIGMA_RAD**2, 1.0 / _PRIOR_SIGMA_RAD**2
    up = a * plane_up + b * lines_up
    return up / np.linalg.norm(up)


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    """Angle between two directions [3] [rad], exact for small ones."""
    return float(np.arctan2(np.linalg.norm(np.cross(a, b)), float(a @ b)))
