"""Exposure and white balance of the views, made alike before their colours meet on the surface.

Cameras that expose each picture by themselves show one wall in many shades. The gains that make spots shared by several
views alike are the solution of a linear problem in the logarithm of light; the photo keeps its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..core.frames import invert_rigid, transform_points
from ..core.optional import require
from ..core.progress import SILENT, SupportsProgress
from ..core.views import RgbdView
from .surface_hits import SurfaceHits

SPOTS = 1500
"""Spots per view that are looked up in all others."""
BLUR_PX = 1.5
"""Colours are compared after this much blur [px], so that half a pixel of misplacement does not count."""
DEPTH_TOLERANCE = 0.02
"""Relative difference of depth up to which two pixels show one spot."""
LEAST_SHARED = 30
"""Views that share fewer spots with others keep their exposure."""
LEAST_GAIN = 0.05
"""Views whose gains are all nearer to 1 than this keep their bytes. It is three grey levels of a medium grey, and
painted views, which have no exposure, come out up to 3 % apart because they are not equally sharp."""
LARGEST_GAIN = 4.0
_DARK_U8, _BRIGHT_U8 = 8, 247
"""Values outside say little about light: noise below, clipping above."""
_ANCHOR, _PRIOR = 1e9, 0.5
"""Weights, in spots, of the photo's own gain and of everybody's being 1."""
_ROUNDS = 25
_TUKEY = 4.685


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """What each view's light is multiplied by to match the photo."""

    gains: np.ndarray
    """[V, 3] float64 in linear light; exactly 1 for the photo and for views that agree with it or share too little."""
    shared: np.ndarray
    """[V] int: pairs of spots that tie each view to others."""


def measure_exposure(
    views: list[RgbdView], hits: list[SurfaceHits], *, progress: SupportsProgress = SILENT
) -> Exposure:
    """Gains that make views agree about the spots they share: robust least squares, channel by channel.

    Args:
        views: the photo first.
        hits: `cast_views(mesh, views)`.
        progress: one step per view, called "exposure".
    """
    count = len(views)
    first, second, difference = _shared_spots(views, hits, progress)
    shared = np.bincount(first, minlength=count) + np.bincount(second, minlength=count)
    log_gain, sigma = np.zeros((count, 3)), np.ones((count, 3))
    for channel in range(3 if len(first) else 0):
        log_gain[:, channel], sigma[:, channel] = _solve(count, first, second, difference[:, channel])
    sure = (np.abs(log_gain) > np.maximum(LEAST_GAIN, 3 * sigma)).any(1) & (shared >= LEAST_SHARED)
    sure[0] = False
    limit = np.log(LARGEST_GAIN)
    gains = np.where(sure[:, None], np.exp(np.clip(log_gain, -limit, limit)), 1.0)
    return Exposure(gains=gains, shared=shared)


def balanced(views: list[RgbdView], exposure: Exposure) -> list[RgbdView]:
    """The views with their gains applied; those whose gains are 1 are handed back as they are."""
    out = []
    for view, gain in zip(views, exposure.gains, strict=True):
        if (gain == 1.0).all():
            out.append(view)
            continue
        table = np.stack([srgb_from_linear(g * linear_from_srgb(np.arange(256) / 255.0)) for g in gain], -1)
        table_u8 = (np.clip(table, 0, 1) * 255 + 0.5).astype(np.uint8)
        out.append(replace(view, rgb_u8=np.stack([table_u8[view.rgb_u8[..., i], i] for i in range(3)], -1)))
    return out


def linear_from_srgb(srgb: np.ndarray) -> np.ndarray:
    """Light in 0..1 of sRGB values in 0..1 (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(light: np.ndarray) -> np.ndarray:
    """sRGB values of light, inverse of `linear_from_srgb`."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0.0) ** (1 / 2.4) - 0.055)


def _shared_spots(
    views: list[RgbdView], hits: list[SurfaceHits], progress: SupportsProgress
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """View numbers [N] and [N] of two views of one spot, and the first's log light minus the second's [N, 3]."""
    lights = [_log_light(view, hit) for view, hit in zip(views, hits, strict=True)]
    spots = [_spots(view, hit, light[1]) for view, hit, light in zip(views, hits, lights, strict=True)]
    points = np.concatenate([s[0] for s in spots])
    owner = np.repeat(np.arange(len(views)), [len(s[0]) for s in spots])
    own = np.concatenate([light[0][row, col] for light, (_, row, col) in zip(lights, spots, strict=True)])
    firsts, seconds, differences = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros((0, 3))]
    for j in progress.track("exposure", range(len(views)), len(views)):
        view, hit, (light, clear) = views[j], hits[j], lights[j]
        uv, z = view.camera.project(transform_points(invert_rigid(view.T_world_cam), points))
        uv = np.where(np.isfinite(uv) & (z > 0)[:, None], uv, -1.0)
        size = (view.camera.width_px, view.camera.height_px)
        at = np.flatnonzero((owner != j) & (uv >= 0).all(1) & (uv < size).all(1))
        col, row = uv[at].astype(int).T
        same = clear[row, col] & (np.abs(hit.depth_z_m[row, col] - z[at]) < DEPTH_TOLERANCE * z[at])
        at, row, col = at[same], row[same], col[same]
        firsts.append(owner[at])
        seconds.append(np.full(len(at), j))
        differences.append(own[at] - light[row, col])
    return np.concatenate(firsts), np.concatenate(seconds), np.concatenate(differences)


def _log_light(view: RgbdView, hit: SurfaceHits) -> tuple[np.ndarray, np.ndarray]:
    """Logarithm of blurred light [H, W, 3], and where it means something [H, W] bool."""
    cv2 = require("cv2", extra="recon", package="opencv-python-headless")
    usable = view.valid & (hit.face >= 0)
    usable &= (view.rgb_u8 > _DARK_U8).all(-1) & (view.rgb_u8 < _BRIGHT_U8).all(-1)
    # Not across outlines, where the blur mixes two surfaces.
    depth = hit.depth_z_m
    step = cv2.dilate(depth, np.ones((3, 3), np.uint8)) - cv2.erode(depth, np.ones((3, 3), np.uint8))
    usable &= step < 0.1 * depth
    clear = cv2.erode(np.pad(usable, 1).astype(np.uint8), np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0
    light = linear_from_srgb(view.rgb_u8.astype(np.float32) / 255.0).astype(np.float32)
    soft = cv2.GaussianBlur(light, (0, 0), BLUR_PX)
    return np.log(np.maximum(soft, 1e-6)), clear


def _spots(view: RgbdView, hit: SurfaceHits, clear: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """World points [n, 3] of evenly chosen clear pixels with their rows and columns."""
    row, col = np.nonzero(clear)
    pick = np.arange(0, len(row), max(1, len(row) // SPOTS))
    # Neighbouring rows would all begin at the same column; a fixed shuffle spreads the choice.
    chosen = np.sort(np.random.default_rng(0).permutation(len(row))[: len(pick)])
    row, col = row[chosen], col[chosen]
    z = hit.depth_z_m[row, col].astype(np.float64)
    c = view.camera
    ray = np.stack([(col + 0.5 - c.cx_px) / c.fx_px, (row + 0.5 - c.cy_px) / c.fy_px, np.ones(len(row))], -1)
    return transform_points(view.T_world_cam, ray * z[:, None]), row, col


def _solve(count: int, first: np.ndarray, second: np.ndarray, difference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log gains [V] with x_first + difference = x_second, and their standard deviations [V].

    Absolute differences first, which half of all spots may not spoil; then Tukey's weights around that solution.
    """
    x = np.zeros(count)
    scale = 1.0
    inverse = np.eye(count)
    for k in range(_ROUNDS):
        residual = x[first] + difference - x[second]
        if k < _ROUNDS // 2:
            weight = 1.0 / np.maximum(np.abs(residual), 1e-3)
            weight /= max(float(weight.max(initial=1.0)), 1e-12)
        else:
            scale = max(1.4826 * float(np.median(np.abs(residual))), 2e-3)
            weight = np.maximum(1 - (residual / (_TUKEY * scale)) ** 2, 0.0) ** 2
        A = np.zeros((count, count))
        np.add.at(A, (first, first), weight)
        np.add.at(A, (second, second), weight)
        np.add.at(A, (first, second), -weight)
        np.add.at(A, (second, first), -weight)
        A[np.diag_indices(count)] += _PRIOR
        A[0, 0] += _ANCHOR
        wanted = np.bincount(second, weight * difference, count) - np.bincount(first, weight * difference, count)
        inverse = np.linalg.inv(A)
        x = inverse @ wanted
    return x, scale * np.sqrt(np.diag(inverse))
