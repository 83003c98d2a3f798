"""Where the floor's colour ends in a photo.

Laid out by height above the supposed foot of an upright surface and averaged along it, a photo's colours show one sharp
step where the floor ends and never comes back. A joint of the floor is a step, too, but behind it the floor goes on;
shadows at the foot change the brightness only, and reflections change the colour slowly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import rotate_vectors
from ..core.optional import require

DEEPEST, HIGHEST = -0.12, 0.06
"""The foot is sought this far below and above the supposed one, in camera heights: a skirting and a label's error."""
HEIGHTS = np.linspace(-0.36, 0.2, 180)
"""Of a profile over the supposed foot, in camera heights."""
LEAST_COLUMNS = 4
_LEAST_STEP, _LEAST_STEP_NARROW = 3.0, 5.0
"""Smallest difference in tint that ends a floor: along a whole surface, and in a few columns, where noise is larger."""
_OVER_OTHERS = 1.5
"""It has to be this much larger than the floor's own steps."""
_SHARP = 0.6
"""This share of that difference comes within three pixels."""
_RETURN = 0.05
"""A joint is narrower than this, in camera heights."""


@dataclass(frozen=True)
class ColumnColours:
    """The photo's colours by azimuth and elevation."""

    lab: np.ndarray
    """[H, W, 3] float32, 8-bit Lab."""
    camera: PinholeCamera
    T_world_cam: np.ndarray

    @classmethod
    def of(cls, rgb_u8: np.ndarray, camera: PinholeCamera, T_world_cam: np.ndarray) -> ColumnColours:
        cv2 = require("cv2", extra="gen", package="opencv-python-headless")
        return cls(cv2.cvtColor(rgb_u8, cv2.COLOR_RGB2LAB).astype(np.float32), camera, T_world_cam)

    def sample(self, azimuth_rad: np.ndarray, elevation_rad: np.ndarray) -> np.ndarray:
        """[Z, A, 3] colours at azimuths [A] and elevations [Z, A]; NaN outside the picture."""
        cv2 = require("cv2", extra="gen", package="opencv-python-headless")
        level = np.cos(elevation_rad)
        rays = np.stack([level * np.cos(azimuth_rad), level * np.sin(azimuth_rad), np.sin(elevation_rad)], -1)
        uv, depth = self.camera.project(rotate_vectors(self.T_world_cam.T, rays))
        h, w = self.lab.shape[:2]
        with np.errstate(invalid="ignore"):
            inside = (depth > 0.02) & (uv[..., 0] > 1) & (uv[..., 0] < w - 1) & (uv[..., 1] > 1) & (uv[..., 1] < h - 1)
        uv = (np.where(inside[..., None], uv, 0.0) - 0.5).astype(np.float32)
        found = cv2.remap(
            self.lab, np.ascontiguousarray(uv[..., 0]), np.ascontiguousarray(uv[..., 1]), cv2.INTER_LINEAR
        )
        return np.where(inside[..., None], found, np.nan)


def foot_of(colours: ColumnColours, azimuth_rad: np.ndarray, range_m: np.ndarray, *, height_m: float) -> float | None:
    """Height over the supposed foot, in camera heights, at which the floor ends; None where no colour says so.

    Args:
        colours: of the photo.
        azimuth_rad: [N] columns in which an upright surface meets the floor.
        range_m: [N] its supposed distance.
        height_m: camera height.
    """
    if len(azimuth_rad) < LEAST_COLUMNS:
        return None
    lab = colours.sample(azimuth_rad, np.arctan2((HEIGHTS[:, None] - 1.0) * height_m, range_m))
    return foot_in(lab, float(np.median(range_m)) / height_m, colours.camera.fx_px, _LEAST_STEP)


def foot_in(lab: np.ndarray, range_in_heights: float, f_px: float, least: float = _LEAST_STEP_NARROW) -> float | None:
    """`foot_of` from colours [Z, N, 3] that were sampled at `HEIGHTS`.

    Args:
        lab: of the columns of one surface; NaN outside the picture.
        range_in_heights: its distance in camera heights.
        f_px: focal length.
        least: smallest difference in tint that ends a floor.
    """
    seen = np.isfinite(lab[..., 0]).mean(1) > 0.7
    if seen[(HEIGHTS > DEEPEST) & (HEIGHTS < HIGHEST)].mean() < 0.95:
        return None
    # Rows that hardly any column sees get the colour of nothing; `seen` leaves them out.
    profile = median_of_seen(np.where(seen[:, None, None], lab, 0.0))
    # Height on the surface that one pixel covers there.
    pixel = (range_in_heights + 1.0 / range_in_heights) / f_px
    return end_of_floor(_tint(profile), HEIGHTS, seen, pixel, least)


def median_of_seen(lab: np.ndarray) -> np.ndarray:
    """[Z, 3] `np.nanmedian` over the columns of [Z, N, 3], tens of times faster for a few columns."""
    ordered = np.sort(lab, 1)
    count = np.maximum(np.isfinite(lab[..., 0]).sum(1), 1)
    row = np.arange(len(lab))
    return 0.5 * (ordered[row, (count - 1) // 2] + ordered[row, count // 2])


def _tint(lab: np.ndarray) -> np.ndarray:
    """[..., 2] colour without brightness, which shadows at the foot of walls do not change."""
    return 100.0 * (lab[..., 1:] - 128.0) / (lab[..., :1] + 20.0)


def end_of_floor(
    tint: np.ndarray, z: np.ndarray, seen: np.ndarray, pixel: float, least: float = _LEAST_STEP
) -> float | None:
    """Where a profile of colours stops being floor, None where it does not or where that is not clear.

    Args:
        tint: [Z, 2] colours.
        z: [Z] heights, ascending, evenly spaced.
        seen: [Z] bool.
        pixel: size of a pixel in the same unit.
        least: smallest difference that counts.
    """
    front = seen & (z < DEEPEST)
    if front.sum() < 8:
        return None
    floor = np.median(tint[front], 0)
    off = np.linalg.norm(tint - floor, axis=1)
    limit = max(least, _OVER_OTHERS * float(np.quantile(off[front], 0.95)))
    other = np.where(seen, off > limit, False)
    size = max(2, int(np.ceil((_RETURN + pixel) / (z[1] - z[0]))))
    total = np.concatenate([[0], np.cumsum(other)])
    stays = total[size:-1] - total[: -size - 1] == size
    starts = np.flatnonzero(stays & (z[: len(stays)] >= DEEPEST - pixel) & (z[: len(stays)] <= HIGHEST))
    if not len(starts):
        return None
    half = max(1, round(0.5 * pixel / (z[1] - z[0])))
    rise = np.zeros(len(z))
    rise[half:-half] = off[2 * half :] - off[: -2 * half]
    first = max(half, int(starts[0]) - 2 * half)
    last = min(len(z) - half - 1, int(starts[0]) + 4 * half)
    part = np.arange(first, last + 1)
    # Wall behind skirting rises once more; the first rise is the foot.
    top = [
        i for i in part if rise[i] >= rise[max(0, i - half) : i + half + 1].max() and rise[i] > 0.4 * rise[part].max()
    ]
    i = top[0] if top else int(part[rise[part].argmax()])
    # Reflections of the wall change the floor's colour as well, but slowly.
    wide = max(1, round(1.5 * pixel / (z[1] - z[0])))
    if off[min(i + wide, len(z) - 1)] - off[max(i - wide, 0)] < _SHARP * limit:
        return None
    return float(z[i]) if DEEPEST <= z[i] <= HIGHEST else None
