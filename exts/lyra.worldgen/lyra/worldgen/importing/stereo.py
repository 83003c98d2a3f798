"""Depth of posed pictures by multi-view stereo: plane sweep, semi-global smoothing, and agreement between pictures.

Each picture is compared with its best partners on planes of equal inverse depth by normalised correlation; the better
half of the partners counts, because what one of them does not see another does (Collins, 1996; Kang et al., 2001).
Only what other pictures measure at the same place stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import invert_rigid, transform_points
from ..core.machine import map_threads
from ..core.optional import require
from ..core.progress import SILENT, SupportsProgress

LONG_SIDE_PX = 400
SOURCES = 5
WINDOW_PX = 7
PLANES = (48, 160)
SMALL, LARGE = 0.12, 1.6
LEAST_CORRELATION = 0.4
"""Of the winner; smoothing alone decides below it."""
LEAST_CONTRAST = 1.2
"""Grey levels of 255 within the window; below it there is nothing to correlate."""
AGREES = 0.02
LEAST_WITNESSES = 2
_ANGLES_DEG = (2.0, 5.0, 16.0, 40.0)
"""Angles between the rays to a typical point: below the first and above the last a partner is useless, between the
middle ones it is best."""


@dataclass(frozen=True, kw_only=True)
class StereoPicture:
    """A picture with its pose in any world and unit."""

    camera: PinholeCamera
    T_world_cam: np.ndarray
    """[4, 4]."""
    rgb_u8: np.ndarray
    """[H, W, 3]."""
    inside: np.ndarray
    """[H, W] bool."""


@dataclass(frozen=True, kw_only=True)
class StereoDepth:
    """What was measured, at the size of the pictures."""

    depth_z: list[np.ndarray]
    """[H, W] float32 of each picture, 0 where nothing is known."""
    coverage: float
    """Share of all pixels that are known."""


@dataclass(frozen=True, kw_only=True)
class _Small:
    """A picture at the size at which it is compared."""

    camera: PinholeCamera
    T_world_cam: np.ndarray
    grey: np.ndarray
    """[H, W] float32."""
    inside: np.ndarray


def measure_depth(
    pictures: Sequence[StereoPicture], points_world: np.ndarray, *, progress: SupportsProgress = SILENT
) -> StereoDepth:
    """Depth of all pictures.

    Args:
        pictures: at least three, from different places.
        points_world: [N, 3] sparse points of the scene, which tell how far things are; may be empty.
        progress: one step per picture, called "stereo".

    Raises:
        DependencyError: OpenCV or numba is missing.
    """
    small = [_reduced(picture) for picture in pictures]
    ranges = _depth_ranges(small, points_world)
    chosen = [_sources(small, i, ranges[i]) for i in range(len(small))]

    def one(i: int) -> np.ndarray:
        if not len(chosen[i]):
            return np.zeros(small[i].grey.shape, np.float32)
        return _sweep(small[i], [small[j] for j in chosen[i]], ranges[i])

    measured = []
    for depth in progress.track("stereo", map_threads(one, range(len(small))), len(small)):
        measured.append(depth)
    kept = [_confirmed(small, measured, i) for i in range(len(small))]
    result = [_enlarged(depth, picture) for depth, picture in zip(kept, pictures, strict=True)]
    return StereoDepth(depth_z=result, coverage=float(np.mean([np.mean(depth > 0) for depth in result])))


def _reduced(picture: StereoPicture) -> _Small:
    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    c = picture.camera
    scale = min(1.0, LONG_SIDE_PX / max(c.width_px, c.height_px))
    camera = c.resized(max(16, round(c.width_px * scale)), max(16, round(c.height_px * scale)))
    size = (camera.width_px, camera.height_px)
    grey = cv2.cvtColor(picture.rgb_u8, cv2.COLOR_RGB2GRAY).astype(np.float32)
    if scale < 1.0:
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    inside = cv2.resize(picture.inside.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return _Small(camera=camera, T_world_cam=picture.T_world_cam, grey=grey, inside=inside)


def _depth_ranges(small: Sequence[_Small], points_world: np.ndarray) -> list[tuple[float, float]]:
    """Nearest and farthest depth to look at, by the sparse points in view, else by how far the cameras moved."""
    places = np.stack([s.T_world_cam[:3, 3] for s in small])
    spread = np.linalg.norm(places[:, None] - places, axis=2)
    travelled = float(spread.max())
    step = float(np.median(np.where(spread > 1e-3 * max(travelled, 1e-12), spread, np.inf).min(1)))
    usual = (0.6 * step, max(6.0 * travelled, 40.0 * step))
    if not np.isfinite(step):
        usual = (0.05, 10.0)
    ranges = []
    for s in small:
        if len(points_world) < 50:
            ranges.append(usual)
            continue
        px, z = s.camera.project(transform_points(invert_rigid(s.T_world_cam), points_world))
        seen = (z > 0) & (px[:, 0] >= 0) & (px[:, 1] >= 0)
        seen &= (px[:, 0] < s.camera.width_px) & (px[:, 1] < s.camera.height_px)
        if seen.sum() < 20:
            ranges.append(usual)
            continue
        low, high = np.quantile(z[seen], (0.02, 0.98))
        ranges.append((float(0.5 * low), float(1.6 * high)))
    return ranges


def _sources(small: Sequence[_Small], i: int, depth_range: tuple[float, float]) -> np.ndarray:
    """Indices of the partners of picture i, best first: they see the same from a useful angle."""
    ref = small[i]
    typical = float(np.sqrt(depth_range[0] * depth_range[1]))
    h, w = ref.grey.shape
    v, u = np.mgrid[0.15:0.85:5j, 0.15:0.85:5j]
    rays = np.stack(
        [
            (u * w - ref.camera.cx_px) / ref.camera.fx_px,
            (v * h - ref.camera.cy_px) / ref.camera.fy_px,
            np.ones_like(u),
        ],
        -1,
    ).reshape(-1, 3)
    points = transform_points(ref.T_world_cam, np.concatenate([rays * typical * k for k in (0.6, 1.0, 1.7)]))
    worth = np.zeros(len(small))
    for j, other in enumerate(small):
        if j == i:
            continue
        px, z = other.camera.project(transform_points(invert_rigid(other.T_world_cam), points))
        seen = (z > 0) & (px[:, 0] >= 0) & (px[:, 1] >= 0)
        seen &= (px[:, 0] < other.camera.width_px) & (px[:, 1] < other.camera.height_px)
        a, b = points - ref.T_world_cam[:3, 3], points - other.T_world_cam[:3, 3]
        cosine = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)
        angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        worth[j] = float((seen * np.interp(angle, _ANGLES_DEG, (0.0, 1.0, 1.0, 0.0))).mean())
    order = np.argsort(-worth, kind="stable")[:SOURCES]
    return order[worth[order] > 0.05]


def _plane_depths(ref: _Small, sources: Sequence[_Small], depth_range: tuple[float, float]) -> np.ndarray:
    """[D] descending inverse depths, about a pixel apart in the partner that moves most."""
    near, far = depth_range
    baseline = np.quantile([np.linalg.norm(s.T_world_cam[:3, 3] - ref.T_world_cam[:3, 3]) for s in sources], 0.75)
    step = 1.0 / (ref.camera.fx_px * float(baseline))
    count = int(np.clip((1 / near - 1 / far) / step, *PLANES))
    # Where there are not enough planes, the nearest depths are given up: coarser planes would blur all the others.
    return 1 / far + min(step, (1 / near - 1 / far) / count) * np.arange(count)[::-1]


def _sweep(ref: _Small, sources: Sequence[_Small], depth_range: tuple[float, float]) -> np.ndarray:
    """[H, W] float32 depth, 0 where the picture holds nothing to compare."""
    from . import stereo_numba

    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    inverse = _plane_depths(ref, sources, depth_range)
    h, w = ref.grey.shape
    window = (WINDOW_PX, WINDOW_PX)

    def mean(image: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(image, -1, window, borderType=cv2.BORDER_REFLECT)

    mean_ref = mean(ref.grey)
    variance_ref = np.maximum(mean(ref.grey * ref.grey) - mean_ref * mean_ref, 0.0)
    best = np.full((2, len(inverse), h, w), -1.0, np.float32)
    K_ref_inv = np.linalg.inv(_cv_K(ref.camera))
    for source in sources:
        T_source_ref = invert_rigid(source.T_world_cam) @ ref.T_world_cam
        K = _cv_K(source.camera)
        outside = np.where(source.inside, 0.0, 1.0).astype(np.float32)
        for d, inv in enumerate(inverse):
            H = K @ (T_source_ref[:3, :3] + np.outer(T_source_ref[:3, 3], [0.0, 0.0, inv])) @ K_ref_inv
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            moved = cv2.warpPerspective(source.grey, H, (w, h), flags=flags, borderMode=cv2.BORDER_REPLICATE)
            unseen = cv2.warpPerspective(
                outside, H, (w, h), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=1.0
            )
            m = mean(moved)
            variance = np.maximum(mean(moved * moved) - m * m, 0.0)
            # Two grey levels of noise: what is flatter correlates with nothing.
            score = (mean(ref.grey * moved) - mean_ref * m) / np.sqrt((variance_ref + 1.0) * (variance + 1.0))
            score = np.where(unseen > 0.01, -1.0, score)
            second = np.minimum(best[0, d], score)
            best[0, d] = np.maximum(best[0, d], score)
            best[1, d] = np.maximum(best[1, d], second)
    # The mean of the two best; a pixel that only one partner sees makes do with it.
    lone = best[1] <= -1.0
    cost = 1.0 - np.where(lone, 0.8 * best[0], 0.5 * (best[0] + best[1]))
    volume = np.ascontiguousarray(np.moveaxis(cost, 0, -1), np.float32)
    total = np.zeros_like(volume)
    stereo_numba.smooth_volume(volume, ref.grey, np.float32(SMALL), np.float32(LARGE), np.float32(1.5 * SMALL), total)
    winner, offset = np.zeros((h, w), np.int32), np.zeros((h, w), np.float32)
    lowest = np.zeros((h, w), np.float32)
    stereo_numba.pick_planes(total, volume, winner, offset, lowest)
    step = inverse[1] - inverse[0]
    depth = 1.0 / np.maximum(inverse[winner] + offset * step, 1e-12)
    good = ref.inside & (lowest < 1.0 - LEAST_CORRELATION) & (variance_ref > LEAST_CONTRAST**2)
    good &= (winner > 0) & (winner < len(inverse) - 1)
    return np.where(good, depth, 0.0).astype(np.float32)


def _cv_K(camera: PinholeCamera) -> np.ndarray:
    """[3, 3] for OpenCV, whose pixel centres lie on whole numbers."""
    K = camera.K_px
    K[:2, 2] -= 0.5
    return K


def _confirmed(small: Sequence[_Small], measured: Sequence[np.ndarray], i: int) -> np.ndarray:
    """[H, W] float32: the mean of what this and other pictures measured where enough of them agree, else 0."""
    ref, depth = small[i], measured[i]
    known = depth > 0
    if not known.any():
        return depth
    rays = ref.camera.rays_cam()[known]
    points = transform_points(ref.T_world_cam, rays * depth[known][:, None])
    ahead = ref.T_world_cam[:3, 2]
    witnesses, summed = np.zeros(len(points)), depth[known].astype(float)
    for j, other in enumerate(small):
        if j == i:
            continue
        apart = np.linalg.norm(other.T_world_cam[:3, 3] - ref.T_world_cam[:3, 3])
        if apart < 1e-6:
            continue
        px, z = other.camera.project(transform_points(invert_rigid(other.T_world_cam), points))
        inside = (z > 0) & (px[:, 0] >= 0) & (px[:, 1] >= 0)
        inside &= (px[:, 0] < other.camera.width_px) & (px[:, 1] < other.camera.height_px)
        if not inside.any():
            continue
        u, v = px[inside].astype(int).T
        theirs = measured[j][v, u].astype(float)
        agree = (theirs > 0) & (np.abs(theirs / z[inside] - 1.0) < AGREES)
        at = np.flatnonzero(inside)[agree]
        witnesses[at] += 1
        rays_other = other.camera.rays_cam()[v[agree], u[agree]]
        there = transform_points(other.T_world_cam, rays_other * theirs[agree][:, None])
        summed[at] += (there - ref.T_world_cam[:3, 3]) @ ahead
    mean = summed / (1 + witnesses)
    out = np.zeros_like(depth)
    out[known] = np.where(witnesses >= LEAST_WITNESSES, mean, 0.0)
    return out


def _enlarged(depth: np.ndarray, picture: StereoPicture) -> np.ndarray:
    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    size = (picture.camera.width_px, picture.camera.height_px)
    large = depth if depth.shape == size[::-1] else cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST)
    return np.where(picture.inside, large, 0.0).astype(np.float32)
