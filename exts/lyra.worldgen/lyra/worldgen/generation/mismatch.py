"""Light that differs between a painted hole and what lies around it, evened out so that no edge shows."""

from __future__ import annotations

import numpy as np

LIGHT_LIMIT = 0.35
"""Mismatches at a hole's rim much larger than this (-1..1 units) are another thing, not another light."""


def spread_mismatch(
    painted: np.ndarray, truth: np.ndarray, known: np.ndarray, hole: np.ndarray, *, wrap: bool, reach_px: float = 24.0
) -> np.ndarray:
    """Carry the colour mismatch on a thin ring of known pixels smoothly into the hole, so that no edge shows.

    Args:
        painted: [H, W, 3] estimate that covers the hole and a rim of known pixels around it.
        truth: [H, W, 3], valid where `known`.
        known, hole: [H, W] bool.
        wrap: the right edge continues on the left.
        reach_px: how far the correction goes into the hole.
    """
    import cv2

    rim = known & (cv2.dilate(hole.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0)
    if not rim.any():
        return np.where(hole[..., None], painted, truth)
    pad = int(2 * reach_px) if wrap else 0
    ring = np.pad(rim.astype(np.float32), ((0, 0), (pad, pad)), mode="wrap") if pad else rim.astype(np.float32)
    wanted = (truth - painted) * rim[..., None]
    wanted *= np.exp(-np.square(np.abs(wanted).max(-1, keepdims=True) / LIGHT_LIMIT))
    wanted = np.pad(wanted, ((0, 0), (pad, pad), (0, 0)), mode="wrap") if pad else wanted
    both = np.dstack([wanted, ring]).astype(np.float32)
    total = np.zeros_like(both)
    scale = 1.0
    while scale <= reach_px:
        # Wide blurs need no full resolution.
        shrink = max(1, int(scale // 2))
        h, w = ring.shape
        small = cv2.resize(both, (max(1, w // shrink), max(1, h // shrink)), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), scale / shrink, borderType=cv2.BORDER_REPLICATE)
        total += cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR) / scale**2
        scale *= 2
    if pad:
        total = total[:, pad:-pad]
    distance = cv2.distanceTransform(np.pad(~rim, 1, constant_values=True).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    fade = np.exp(-np.square(distance / (0.5 * reach_px)))
    correction = total[..., :3] / np.maximum(total[..., 3:], 1e-5) * fade[..., None]
    return np.where(hole[..., None], painted + correction, truth).astype(np.float32)
