"""The flat spot on a surface that looks a given number of pixels wide in a view."""

from __future__ import annotations

import numpy as np

SPREAD_PX = 0.7
"""Standard deviation of a splat in its own view [pixels]; with less, its pixels come apart when one steps nearer."""
MERGED_SPREAD = 0.8
"""Standard deviation of a merged splat, relative to its block: no low-pass of the renderer helps to close its gaps."""
MAX_ELONGATION = 8.0
MIN_THICKNESS_M, MAX_THICKNESS_M = 0.0005, 0.003
"""Thicker, large splats would stand out of their wall by more than robots may be wrong about it."""


def discs(
    fx_px: float,
    fy_px: float,
    ray: np.ndarray,
    normal: np.ndarray,
    facing: np.ndarray,
    z: np.ndarray,
    spread: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Axes [N, 3, 3] in cam and standard deviations [N, 3] of a spot on its plane that looks `spread` [N] pixels wide.

    A step of one pixel moves the ray's hit by T = z (e - ray (n.e) / (n.ray)) with e = (1/fx, 0, 0) or (0, 1/fy, 0);
    the footprint's covariance is the sum of the two outer products.
    """
    step_u = z[:, None] * (np.array([1 / fx_px, 0, 0]) - ray * (normal[:, :1] / fx_px / facing[:, None]))
    step_v = z[:, None] * (np.array([0, 1 / fy_px, 0]) - ray * (normal[:, 1:2] / fy_px / facing[:, None]))
    a = step_u - normal * np.einsum("ij,ij->i", step_u, normal)[:, None]
    a /= np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12)
    b = np.cross(normal, a)
    ua, ub = np.einsum("ij,ij->i", step_u, a), np.einsum("ij,ij->i", step_u, b)
    va, vb = np.einsum("ij,ij->i", step_v, a), np.einsum("ij,ij->i", step_v, b)
    aa, bb, ab = ua**2 + va**2, ub**2 + vb**2, ua * ub + va * vb
    angle = 0.5 * np.arctan2(2 * ab, aa - bb)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    middle, half = 0.5 * (aa + bb), np.hypot(0.5 * (aa - bb), ab)
    small = spread * np.sqrt(np.maximum(middle - half, 1e-16))
    large = np.minimum(spread * np.sqrt(middle + half), MAX_ELONGATION * small)
    thin = np.clip(0.1 * small, MIN_THICKNESS_M, MAX_THICKNESS_M)
    first = cos * a + sin * b
    axes = np.stack([first, np.cross(normal, first), normal], -1)
    return axes, np.stack([np.maximum(large, thin), np.maximum(small, thin), thin], -1)
