"""Cracks between remembered pixels: thin gaps along edges that no view happened to sample. Filled, not painted."""

from __future__ import annotations

import numpy as np

REACH_PX = 3
"""Farthest known pixel that may answer for a gap."""
SAME_SURFACE = 0.1
"""Relative depth difference up to which a neighbour belongs to the same surface."""
OTHER_SURFACE_WEIGHT = 1e-6


def fill_cracks(
    rgb: np.ndarray, unknown: np.ndarray, known: np.ndarray, depth_z: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Give unknown pixels in thin gaps the mean colour of known neighbours, on their own surface if there are any.

    Args:
        rgb: [H, W, 3] float32; changed in place.
        unknown: [H, W] bool: surface without a colour.
        known: [H, W] bool: pixels that may answer.
        depth_z: [H, W].
        labels: [H, W] uint8.

    Returns:
        [H, W] bool: what was filled.
    """
    import cv2

    filled = np.zeros(unknown.shape, bool)
    if not unknown.any() or not known.any():
        return filled
    # A gap is thin when no square of twice the reach fits into it.
    side = 2 * REACH_PX
    wide = cv2.morphologyEx(unknown.astype(np.uint8), cv2.MORPH_OPEN, np.ones((side, side), np.uint8)) > 0
    wide = cv2.dilate(wide.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    y, x = np.nonzero(unknown & ~wide)
    if not len(y):
        return filled
    height, width = unknown.shape
    total = np.zeros((len(y), 3))
    weight = np.zeros(len(y))
    for dy in range(-REACH_PX, REACH_PX + 1):
        for dx in range(-REACH_PX, REACH_PX + 1):
            yy, xx = np.clip(y + dy, 0, height - 1), np.clip(x + dx, 0, width - 1)
            similar = np.abs(depth_z[yy, xx] - depth_z[y, x]) < SAME_SURFACE * depth_z[y, x]
            similar &= labels[yy, xx] == labels[y, x]
            # Nearer pixels count far more, so that an edge stays an edge; another surface only where there is no other.
            w = known[yy, xx] * np.where(similar, 1.0, OTHER_SURFACE_WEIGHT) / (dy * dy + dx * dx + 1) ** 2
            total += w[:, None] * rgb[yy, xx]
            weight += w
    ok = weight > 0
    rgb[y[ok], x[ok]] = (total[ok] / weight[ok, None]).astype(np.float32)
    filled[y[ok], x[ok]] = True
    return filled
