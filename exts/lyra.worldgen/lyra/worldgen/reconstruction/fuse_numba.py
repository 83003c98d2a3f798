"""Compiled loop of the depth fusion; imported only by `fuse.py` when depth is fused."""

from __future__ import annotations

import numpy as np

from ..core.compiled import compiled


@compiled()
def integrate(distance, weight, origin, voxel_m, truncation_m, R, t, K, depth):
    """Add one depth map to a truncated signed distance field.

    Args:
        distance, weight: [X, Y, Z] float32, changed in place.
        origin: [3] world position of voxel (0, 0, 0).
        voxel_m, truncation_m: lengths.
        R, t: [3, 3] and [3], world to cam.
        K: [4] fx, fy, cx, cy.
        depth: [H, W] float32 along the optical axis, 0 where unknown.
    """
    nx, ny, nz = distance.shape
    h, w = depth.shape
    for i in range(nx):
        for j in range(ny):
            x = origin[0] + i * voxel_m
            y = origin[1] + j * voxel_m
            bx = R[0, 0] * x + R[0, 1] * y + t[0]
            by = R[1, 0] * x + R[1, 1] * y + t[1]
            bz = R[2, 0] * x + R[2, 1] * y + t[2]
            for k in range(nz):
                z = origin[2] + k * voxel_m
                cz = bz + R[2, 2] * z
                if cz < 0.05:
                    continue
                u = K[0] * (bx + R[0, 2] * z) / cz + K[2]
                v = K[1] * (by + R[1, 2] * z) / cz + K[3]
                if u < 0 or v < 0 or u >= w or v >= h:
                    continue
                d = depth[int(v), int(u)]
                if d <= 0:
                    continue
                s = (d - cz) / truncation_m
                if s < -1.0:
                    continue
                s = min(s, 1.0)
                # Near depth is sharper; its say falls off with the square like a pixel's density on the surface.
                gain = 1.0 / (cz * cz)
                old = weight[i, j, k]
                distance[i, j, k] = np.float32((distance[i, j, k] * old + s * gain) / (old + gain))
                weight[i, j, k] = np.float32(old + gain)
