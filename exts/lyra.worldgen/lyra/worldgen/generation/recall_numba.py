"""Compiled inner loop of recalling colours; `warp.gather` is the plain version."""

from __future__ import annotations

import math

import numpy as np

from ..core.compiled import compiled

ONE_SURFACE = 0.2
"""Relative depth difference up to which neighbouring pixels may show one surface at a grazing angle."""


@compiled()
def recall_from_view(
    points: np.ndarray,
    T_cam_world: np.ndarray,
    intrinsics: np.ndarray,
    depth_z: np.ndarray,
    rgb: np.ndarray,
    usable: np.ndarray,
    preference: float,
    tolerance: float,
    quality: np.ndarray,
    colour: np.ndarray,
) -> None:
    """Let one view answer for points that it resolves more finely than the views before it.

    Args:
        points: [N, 3] world.
        T_cam_world: [4, 4].
        intrinsics: fx, fy, cx, cy [px], pixel centres at +0.5.
        depth_z, rgb, usable: [H, W] float32, [H, W, 3] uint8, [H, W] bool.
        preference: factor on this view's resolution.
        tolerance: relative depth difference up to which a point counts as visible.
        quality: [N] float32, best resolution so far [px/m]; changed in place.
        colour: [N, 3] float32; changed in place.
    """
    height, width = depth_z.shape
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    m = T_cam_world
    for i in range(len(points)):
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        z = m[2, 0] * px + m[2, 1] * py + m[2, 2] * pz + m[2, 3]
        if z <= 1e-3:
            continue
        value = np.float32(fx / z) * np.float32(preference)
        if value <= quality[i]:
            continue
        u = fx * (m[0, 0] * px + m[0, 1] * py + m[0, 2] * pz + m[0, 3]) / z + cx
        v = fy * (m[1, 0] * px + m[1, 1] * py + m[1, 2] * pz + m[1, 3]) / z + cy
        # A point between the outermost pixel centres and the picture's edge still belongs to the picture.
        if not (0.0 <= u <= width and 0.0 <= v <= height):
            continue
        x, y = min(int(u), width - 1), min(int(v), height - 1)
        if not usable[y, x]:
            continue
        left, up = math.floor(u - 0.5), math.floor(v - 0.5)
        a, b = u - 0.5 - left, v - 0.5 - up
        x0, x1 = min(max(left, 0), width - 1), min(max(left + 1, 0), width - 1)
        y0, y1 = min(max(up, 0), height - 1), min(max(up + 1, 0), height - 1)
        # At a grazing surface neighbouring pixels differ much in depth; where they are one surface they bracket it.
        near = far = depth_z[y, x]
        for z_beside in (depth_z[y0, x0], depth_z[y0, x1], depth_z[y1, x0], depth_z[y1, x1]):
            if abs(z_beside - depth_z[y, x]) < ONE_SURFACE * depth_z[y, x]:
                near, far = min(near, z_beside), max(far, z_beside)
        if z < near - tolerance * max(z, 0.5) or z > far + tolerance * max(z, 0.5):
            continue
        quality[i] = value
        for c in range(3):
            top = (1 - a) * rgb[y0, x0, c] + a * rgb[y0, x1, c]
            low = (1 - a) * rgb[y1, x0, c] + a * rgb[y1, x1, c]
            colour[i, c] = np.float32((1 - b) * top + b * low)
