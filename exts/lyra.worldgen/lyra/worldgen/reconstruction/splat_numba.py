"""Compiled loops of the splat renderer; imported only by `splat_render.py` when something is rendered."""

from __future__ import annotations

import numpy as np

from ..core.compiled import compiled


@compiled()
def candidates(means, scales_m, T_cam_world, camera, limit, near_m, reach, blur_px, keep):
    """Splats that may touch the picture, a few that do not included.

    Args:
        means, scales_m: [N, 3]; T_cam_world: [4, 4].
        camera: fx, fy, cx, cy, width and height in pixels.
        limit: [2] slopes at which the linearised projection is clamped.
        near_m: nearer splats are not drawn.
        reach: standard deviations to which a splat is visible; blur_px: standard deviation of the low-pass.
        keep: [N] bool, false before.
    """
    fx, fy, cx, cy, width, height = camera
    for i in range(len(means)):
        mx, my, mz = np.float64(means[i, 0]), np.float64(means[i, 1]), np.float64(means[i, 2])
        z = T_cam_world[2, 0] * mx + T_cam_world[2, 1] * my + T_cam_world[2, 2] * mz + T_cam_world[2, 3]
        if z <= near_m:
            continue
        x = (T_cam_world[0, 0] * mx + T_cam_world[0, 1] * my + T_cam_world[0, 2] * mz + T_cam_world[0, 3]) / z
        y = (T_cam_world[1, 0] * mx + T_cam_world[1, 1] * my + T_cam_world[1, 2] * mz + T_cam_world[1, 3]) / z
        if abs(x) >= 3 * limit[0] + 1 or abs(y) >= 3 * limit[1] + 1:
            continue
        wide = reach * max(scales_m[i, 0], scales_m[i, 1], scales_m[i, 2]) / z
        slope_x, slope_y = min(abs(x), limit[0]), min(abs(y), limit[1])
        wide_x = fx * wide * np.sqrt(1 + slope_x * slope_x) + reach * blur_px
        wide_y = fy * wide * np.sqrt(1 + slope_y * slope_y) + reach * blur_px
        u, v = fx * x + cx, fy * y + cy
        keep[i] = u + wide_x > 0 and u - wide_x < width and v + wide_y > 0 and v - wide_y < height


@compiled()
def composite(order, centre, conic, reach, opacity, z, slope, colour, first_row, rgb, light, depth, middle):
    """Blend splats front to back into rows `first_row` and on of the picture.

    Args:
        order: [M] splats, nearest first.
        centre: [N, 2] pixels; conic: [N, 3] inverse 2D covariance (xx, xy, yy); reach: [N, 2] half size of the box in
            which alpha can exceed 1/255; opacity: [N]; z: [N] depth; slope: [N, 2] of 1/depth; colour: [N, 3].
        first_row: picture row of row 0 of the output.
        rgb: [h, W, 3], light: [h, W] remaining transmittance, depth: [h, W] sum of weighted depths, middle: [h, W]
            depth at which half of the light is gone; zero, one, zero and zero before.
    """
    rows, cols = light.shape
    for i in order:
        u, v = centre[i, 0], centre[i, 1]
        top = max(0, int(np.ceil(v - reach[i, 1] - 0.5)) - first_row)
        bottom = min(rows - 1, int(np.floor(v + reach[i, 1] - 0.5)) - first_row)
        if top > bottom:
            continue
        left = max(0, int(np.ceil(u - reach[i, 0] - 0.5)))
        right = min(cols - 1, int(np.floor(u + reach[i, 0] - 0.5)))
        a, b, c = conic[i, 0], conic[i, 1], conic[i, 2]
        o, inverse = opacity[i], 1.0 / z[i]
        # Behind the horizon of a plane seen edge-on its inverse depth means nothing.
        least, most = 0.6 * inverse, 1.7 * inverse
        r, g, bl = colour[i, 0], colour[i, 1], colour[i, 2]
        for row in range(top, bottom + 1):
            dy = first_row + row + 0.5 - v
            for col in range(left, right + 1):
                t = light[row, col]
                if t < 1e-4:
                    continue
                dx = col + 0.5 - u
                power = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
                if power > 5.6 or power < 0.0:
                    continue
                alpha = o * np.exp(-power)
                if alpha < 1.0 / 255.0:
                    continue
                if alpha > 0.999:
                    alpha = 0.999
                w = t * alpha
                rgb[row, col, 0] += w * r
                rgb[row, col, 1] += w * g
                rgb[row, col, 2] += w * bl
                here = 1.0 / min(max(inverse + slope[i, 0] * dx + slope[i, 1] * dy, least), most)
                depth[row, col] += w * here
                if t > 0.5 and t - w <= 0.5:
                    middle[row, col] = here
                light[row, col] = t - w


@compiled()
def gather(order, centre, conic, reach, opacity, residual, light, total, weight):
    """Transpose of `composite` with respect to colour: what each splat's pixels still miss.

    Args:
        order, centre, conic, reach, opacity: as in `composite`.
        residual: [H, W, 3] wanted minus rendered picture.
        light: [H, W], ones before.
        total: [N, 3] and weight: [N]: blending weights times residual, and blending weights; zeros before.
    """
    rows, cols = light.shape
    for i in order:
        u, v = centre[i, 0], centre[i, 1]
        top = max(0, int(np.ceil(v - reach[i, 1] - 0.5)))
        bottom = min(rows - 1, int(np.floor(v + reach[i, 1] - 0.5)))
        left = max(0, int(np.ceil(u - reach[i, 0] - 0.5)))
        right = min(cols - 1, int(np.floor(u + reach[i, 0] - 0.5)))
        a, b, c = conic[i, 0], conic[i, 1], conic[i, 2]
        o = opacity[i]
        for row in range(top, bottom + 1):
            dy = row + 0.5 - v
            for col in range(left, right + 1):
                t = light[row, col]
                if t < 1e-4:
                    continue
                dx = col + 0.5 - u
                power = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
                if power > 5.6 or power < 0.0:
                    continue
                alpha = o * np.exp(-power)
                if alpha < 1.0 / 255.0:
                    continue
                if alpha > 0.999:
                    alpha = 0.999
                w = t * alpha
                total[i, 0] += w * residual[row, col, 0]
                total[i, 1] += w * residual[row, col, 1]
                total[i, 2] += w * residual[row, col, 2]
                weight[i] += w
                light[row, col] = t - w


@compiled()
def claim_voxels(keys, coarser, view, table_key, table_view, taken):
    """Let candidates claim their voxels in order; a voxel that another view has claimed is taken.

    Args:
        keys: [N] int64 voxel of each candidate at its own level, in the order of priority.
        coarser: [N, K] int64 the voxels around it at other levels that it claims too.
        view: [N] int32.
        table_key: [2^p] int64 filled with -1, table_view: [2^p] int32; an open hash table.
        taken: [N] bool, written: some other view claimed the voxel before.
    """
    mask = len(table_key) - 1
    for i in range(len(keys)):
        slot = _slot(keys[i], mask)
        while table_key[slot] != -1 and table_key[slot] != keys[i]:
            slot = (slot + 1) & mask
        if table_key[slot] == keys[i] and table_view[slot] != view[i]:
            taken[i] = True
            continue
        table_key[slot] = keys[i]
        table_view[slot] = view[i]
        for k in range(coarser.shape[1]):
            key = coarser[i, k]
            slot = _slot(key, mask)
            while table_key[slot] != -1 and table_key[slot] != key:
                slot = (slot + 1) & mask
            if table_key[slot] == -1:
                table_key[slot] = key
                table_view[slot] = view[i]


@compiled()
def _slot(key, mask):
    """Where to look first for a key."""
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64(mixed >> np.uint64(20)) & mask
