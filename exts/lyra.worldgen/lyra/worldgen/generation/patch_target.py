"""A picture to complete with patches, at several scales."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

KNOWN_SD = 0.08
KNOWN_SD_SHARE = 0.35
"""Known pixels count as observed with sd max(KNOWN_SD, KNOWN_SD_SHARE * s): a little slack lets patches fit at all."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A picture to complete."""

    rgb: np.ndarray
    """[H, W, 3] float32 in -1..1; outside `known` a first guess if `guided`, else ignored."""
    known: np.ndarray
    """[H, W] bool: condition on these."""
    hole: np.ndarray
    """[H, W] bool: paint these; pixels in neither mask are outside the picture."""
    prior: np.ndarray | None = None
    """[H, W] float32 elevation [rad]; None switches the prior off."""
    code: np.ndarray | None = None
    """[H, W] uint8: only sources of the same code may be copied, `ANY_CODE` takes all."""
    guided: bool = False
    wrap: bool = False
    """The right edge continues on the left."""


def noise_map(target: Target, s: float) -> np.ndarray:
    """[H, W] standard deviation of each pixel: s in the hole, a little slack where known, nothing said outside."""
    known = max(KNOWN_SD, KNOWN_SD_SHARE * s)
    return np.where(target.hole, s, np.where(target.known, known, np.inf)).astype(np.float32)


def filled(rgb: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Gaps take the colour of the nearest good pixel."""
    from scipy.ndimage import distance_transform_edt

    if good.all():
        return rgb
    at = np.asarray(distance_transform_edt(~good, return_distances=False, return_indices=True))
    return rgb[at[0], at[1]]


def nearest_known(target: Target) -> np.ndarray:
    return filled(target.rgb, target.known) if target.known.any() else np.zeros_like(target.rgb)


def padded_target(target: Target, rows: int, columns: int) -> Target:
    """The picture with rows below and columns to the right that belong to neither mask."""
    if not rows and not columns:
        return target
    room = ((0, rows), (0, columns))
    return replace(
        target,
        rgb=np.pad(target.rgb, (*room, (0, 0))),
        known=np.pad(target.known, room),
        hole=np.pad(target.hole, room),
        prior=None if target.prior is None else np.pad(target.prior, room, mode="edge"),
        code=None if target.code is None else np.pad(target.code, room, mode="edge"),
    )


def reduced_target(target: Target, halvings: int) -> Target:
    """The picture after `halvings` reductions by two; a block is a hole when half of what it holds is."""
    if not halvings:
        return target
    unit = 1 << halvings
    known = block_mean(target.known.astype(np.float32), unit)
    open_ = block_mean(target.hole.astype(np.float32), unit)
    hole = (open_ > 0) & (open_ >= known)
    known_rgb = block_mean(target.rgb * target.known[..., None], unit) / np.maximum(known, 1e-6)[..., None]
    hole_rgb = block_mean(target.rgb * target.hole[..., None], unit) / np.maximum(open_, 1e-6)[..., None]
    half = unit // 2
    return replace(
        target,
        rgb=np.where(hole[..., None], hole_rgb, known_rgb).astype(np.float32),
        known=(known > 0) & ~hole,
        hole=hole,
        prior=None if target.prior is None else block_mean(target.prior.astype(np.float32), unit),
        code=None if target.code is None else target.code[half::unit, half::unit],
    )


def block_mean(array: np.ndarray, unit: int) -> np.ndarray:
    """Mean over blocks of `unit` x `unit`; sizes must be multiples."""
    if unit == 1:
        return array
    h, w = array.shape[:2]
    return array.reshape(h // unit, unit, w // unit, unit, *array.shape[2:]).mean((1, 3))


def doubled(picture: np.ndarray, *, wrap: bool) -> np.ndarray:
    import cv2

    h, w = picture.shape[:2]
    around = np.pad(picture, ((0, 0), (2, 2), (0, 0)), mode="wrap" if wrap else "edge")
    return cv2.resize(around, (2 * w + 8, 2 * h), interpolation=cv2.INTER_CUBIC)[:, 4:-4]


def pad_around(array: np.ndarray, r: int, wrap: bool) -> np.ndarray:
    """Rows padded with zeros, columns with zeros or around the corner."""
    rest = [(0, 0)] * (array.ndim - 2)
    if wrap:
        array = np.pad(array, [(0, 0), (r, r), *rest], mode="wrap")
        return np.pad(array, [(r, r), (0, 0), *rest])
    return np.pad(array, [(r, r), (r, r), *rest])
