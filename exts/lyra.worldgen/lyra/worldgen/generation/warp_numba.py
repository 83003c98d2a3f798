"""Compiled forward splat for processors; see `warp.forward_warp` for the rule."""

from __future__ import annotations

import numpy as np

from ..core.compiled import compiled


@compiled(error_model="numpy")
def largest_depth(points, w2c, K):
    """Largest z of points [N, 3] in a target, at least 0."""
    M = K @ w2c[:3, :3].copy()
    t = K @ w2c[:3, 3].copy()
    largest = np.float32(0)
    for n in range(len(points)):
        z = M[2, 0] * points[n, 0] + M[2, 1] * points[n, 1] + M[2, 2] * points[n, 2] + t[2]
        if z > largest:
            largest = z
    return largest


@compiled(error_model="numpy")
def splat(points, values, w2c, K, log_max, h, w, total):
    """Add points [N, 3] with values [N, C] to sums [(h + 2) * (w + 2), C + 2]: values, z, weight."""
    channels = values.shape[1]
    sharpness = np.float32(50) / (np.float32(log_max) + np.float32(1e-7))
    for n in range(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        cx = w2c[0, 0] * x + w2c[0, 1] * y + w2c[0, 2] * z + w2c[0, 3]
        cy = w2c[1, 0] * x + w2c[1, 1] * y + w2c[1, 2] * z + w2c[1, 3]
        cz = w2c[2, 0] * x + w2c[2, 1] * y + w2c[2, 2] * z + w2c[2, 3]
        depth = K[2, 0] * cx + K[2, 1] * cy + K[2, 2] * cz
        if not depth > 0:
            continue
        u = (K[0, 0] * cx + K[0, 1] * cy + K[0, 2] * cz) / (depth + np.float32(1e-7)) + np.float32(1)
        v = (K[1, 0] * cx + K[1, 1] * cy + K[1, 2] * cz) / (depth + np.float32(1e-7)) + np.float32(1)
        u = min(max(u, np.float32(0)), np.float32(w + 1))
        v = min(max(v, np.float32(0)), np.float32(h + 1))
        x0, y0, x1, y1 = np.floor(u), np.floor(v), np.ceil(u), np.ceil(v)
        near = np.float32(1) / (np.exp(min(np.float32(80), sharpness * np.log1p(depth))) + np.float32(1e-7))
        for corner in range(4):
            i = x1 if corner & 1 else x0
            j = y1 if corner & 2 else y0
            weight = (np.float32(1) - abs(u - i)) * (np.float32(1) - abs(v - j)) * near
            cell = int(j) * (w + 2) + int(i)
            for c in range(channels):
                total[cell, c] += weight * values[n, c]
            total[cell, channels] += weight * depth
            total[cell, channels + 1] += weight
