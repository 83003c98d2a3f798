"""Reprojection: an earlier frame carried through the geometry into a later one, and how far the two disagree there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.views import RgbdView
from .film import seen_in
from .likeness import flow_px

LEAST_SEEN = 0.05
"""With a smaller share of common pixels there is nothing to compare."""


@dataclass(frozen=True, kw_only=True)
class Reprojection:
    """One pair of frames."""

    first: int
    second: int
    seen_share: float
    """Of the later frame's pixels, those that the earlier one shows."""
    photometric: float | None
    """Mean absolute difference of colour there, 0 to 1."""
    flow_px: float | None
    """Median shift of the picture over the geometry there, by optical flow [px]."""


def carried(source: RgbdView, target: RgbdView) -> tuple[np.ndarray, np.ndarray]:
    """What a frame shows, seen from the other one's pose: rgb_u8 [H, W, 3], and where it shows anything [H, W]."""
    import cv2

    uv, seen = seen_in(source, target)
    # OpenCV's pixel centres lie on whole numbers.
    u, v = (np.where(seen, uv[..., k] - 0.5, 0).astype(np.float32) for k in (0, 1))
    rgb = cv2.remap(source.rgb_u8, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return rgb, seen


def reproject(frames: Sequence[RgbdView], first: int, second: int) -> Reprojection:
    """Carry frame `first` into frame `second` and compare."""
    target = frames[second]
    rgb, seen = carried(frames[first], target)
    share = float(seen.mean())
    if share < LEAST_SEEN:
        return Reprojection(first=first, second=second, seen_share=share, photometric=None, flow_px=None)
    apart = np.abs(rgb[seen].astype(np.float64) - target.rgb_u8[seen]).mean() / 255
    # Where nothing was carried the target itself stands, so that holes do not move.
    flow = flow_px(np.where(seen[..., None], rgb, target.rgb_u8), target.rgb_u8)
    return Reprojection(
        first=first,
        second=second,
        seen_share=share,
        photometric=float(apart),
        flow_px=float(np.median(flow[seen])),
    )
