"""Compiled loops of the splat renderer; imported only by `splat_render.py` when something is rendered."""

from __future__ import annotations

import numpy as np

from ..core.compiled import compiled


@compiled()
def candidates(means, scales_m, T_cam_world, camera, near_m, reach, blur_px, keep):
    """Splats that may touch the picture, a few that do not included.

    Args:
        means, scales_m: [N, 3]; T_cam_world: [4, 4].
        camera: fx, fy, cx, cy, width and height in pixels.
        near_m: nearer splats are not drawn.
        reach: standard deviations to which a splat is visible; blur_px: standard deviation of the low-pass.
        keep: [N] bool, false before.
    """
    fx, fy, cx, cy, width, height = camera
    pad = reach * blur_px
    # Slopes of the four planes through the camera and the widened rim of the picture.
    left, right = (cx + pad) / fx, (width + pad - cx) / fx
    top, bottom = (cy + pad) / fy, (height + pad - cy) / fy
    left_long, right_long = np.sqrt(1 + left * left), np.sqrt(1 + right * right)
    top_long, bottom_long = np.sqrt(1 + top * top), np.sqrt(1 + bottom * bottom)
    for i in range(len(means)):
        mx, my, mz = np.float64(means[i, 0]), np.float64(means[i, 1]), np.float64(means[i, 2])
        z = T_cam_world[2, 0] * mx + T_cam_world[2, 1] * my + T_cam_world[2, 2] * mz + T_cam_world[2, 3]
        if z <= near_m:
            continue
        x = T_cam_world[0, 0] * mx + T_cam_world[0, 1] * my + T_cam_world[0, 2] * mz + T_cam_world[0, 3]
        y = T_cam_world[1, 0] * mx + T_cam_world[1, 1] * my + T_cam_world[1, 2] * mz + T_cam_world[1, 3]
        radius = reach * max(scales_m[i, 0], scales_m[i, 1], scales_m[i, 2])
        keep[i] = (
            x - right * z < radius * right_long
            and -x - left * z < radius * left_long
            and y - bottom * z < radius * bottom_long
            and -y - top * z < radius * top_long
        )


@compiled()
def composite(
    order, centre, covariance, bend, box, opacity, z, reach_z, solid, blur, colour, first_row, rgb, light, depth, middle
):
    """Blend splats front to back into rows `first_row` and on of the picture.

    Args:
        order: [M] splats, nearest first.
        centre, covariance, bend, box, opacity, z, reach_z, solid: as in `ProjectedSplats`.
        blur: variance of the low-pass; colour: [N, 3].
        first_row: picture row of row 0 of the output.
        rgb: [h, W, 3], light: [h, W] remaining transmittance, depth: [h, W] sum of weighted depths, middle: [h, W]
            depth at which half of the light is gone; zero, one, zero and zero before.
    """
    rows, cols = light.shape
    for i in order:
        u, v = centre[i, 0], centre[i, 1]
        top = max(0, int(np.ceil(box[i, 1] - 0.5)) - first_row)
        bottom = min(rows - 1, int(np.floor(box[i, 3] - 0.5)) - first_row)
        if top > bottom:
            continue
        left = max(0, int(np.ceil(box[i, 0] - 0.5)))
        right = min(cols - 1, int(np.floor(box[i, 2] - 0.5)))
        xx, xy, yy = covariance[i, 0], covariance[i, 1], covariance[i, 2]
        b0, b1, b2, b3, b4 = bend[i, 0], bend[i, 1], bend[i, 2], bend[i, 3], bend[i, 4]
        # The low-pass shows a plane seen edge-on beside itself, where its depth soon means nothing.
        o, nearest, farthest = opacity[i], min(z[i] - reach_z[i], 0.6 * z[i]), max(z[i] + reach_z[i], 1.7 * z[i])
        r, g, bl = colour[i, 0], colour[i, 1], colour[i, 2]
        for row in range(top, bottom + 1):
            dy = first_row + row + 0.5 - v
            for col in range(left, right + 1):
                t = light[row, col]
                if t < 1e-4:
                    continue
                dx = col + 0.5 - u
                along = 1.0 + b0 * dx + b1 * dy
                if along <= 0.0:
                    continue
                square = 2.0 * along - 1.0 + b2 * dx * dx + 2.0 * b3 * dx * dy + b4 * dy * dy
                sx, sy, sxy = xx * square + blur, yy * square + blur, xy * square
                power = 0.5 * (sy * dx * dx - 2.0 * sxy * dx * dy + sx * dy * dy) / (sx * sy - sxy * sxy)
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
                here = min(max(z[i] * along / square, nearest), farthest)
                depth[row, col] += w * here
                if t > 0.5 and t - w <= 0.5 and solid[i]:
                    middle[row, col] = here
                light[row, col] = t - w


@compiled()
def gather(order, centre, covariance, bend, box, opacity, blur, residual, light, total, weight):
    """Transpose of `composite` with respect to colour: what each splat's pixels still miss.

    Args:
        order, centre, covariance, bend, box, opacity, blur: as in `composite`.
        residual: [H, W, 3] wanted minus rendered picture.
        light: [H, W], ones before.
        total: [N, 3] and weight: [N]: blending weights times residual, and blending weights; zeros before.
    """
    rows, cols = light.shape
    for i in order:
        u, v = centre[i, 0], centre[i, 1]
        top = max(0, int(np.ceil(box[i, 1] - 0.5)))
        bottom = min(rows - 1, int(np.floor(box[i, 3] - 0.5)))
        left = max(0, int(np.ceil(box[i, 0] - 0.5)))
        right = min(cols - 1, int(np.floor(box[i, 2] - 0.5)))
        xx, xy, yy = covariance[i, 0], covariance[i, 1], covariance[i, 2]
        b0, b1, b2, b3, b4 = bend[i, 0], bend[i, 1], bend[i, 2], bend[i, 3], bend[i, 4]
        o = opacity[i]
        for row in range(top, bottom + 1):
            dy = row + 0.5 - v
            for col in range(left, right + 1):
                t = light[row, col]
                if t < 1e-4:
                    continue
                dx = col + 0.5 - u
                along = 1.0 + b0 * dx + b1 * dy
                if along <= 0.0:
                    continue
                square = 2.0 * along - 1.0 + b2 * dx * dx + 2.0 * b3 * dx * dy + b4 * dy * dy
                sx, sy, sxy = xx * square + blur, yy * square + blur, xy * square
                power = 0.5 * (sy * dx * dx - 2.0 * sxy * dx * dy + sx * dy * dy) / (sx * sy - sxy * sxy)
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


@compiled()
def vote(means, radius_m, own, T_cam_world, camera, nearest, farthest, trust, limits, support, against):
    """What one view says about splats: it sees them, sees through them, or cannot tell.

    Args:
        means: [N, 3]; radius_m: [N] standard deviation; own: [N] bool, lifted from this view.
        T_cam_world: [4, 4]; camera: fx, fy, cx, cy, and fx relative to the finest view's.
        nearest, farthest, trust: [H, W] least and largest depth around each pixel, and what it counts.
        limits: share and length that depth may be off, how much more the own view counts, nearest depth, and up to
            which depth and uncertainty pixels count fully.
        support, against: [N], added to.
    """
    rows, cols = trust.shape
    for i in range(len(means)):
        mx, my, mz = np.float64(means[i, 0]), np.float64(means[i, 1]), np.float64(means[i, 2])
        z = T_cam_world[2, 0] * mx + T_cam_world[2, 1] * my + T_cam_world[2, 2] * mz + T_cam_world[2, 3]
        if z <= limits[3]:
            continue
        x = T_cam_world[0, 0] * mx + T_cam_world[0, 1] * my + T_cam_world[0, 2] * mz + T_cam_world[0, 3]
        y = T_cam_world[1, 0] * mx + T_cam_world[1, 1] * my + T_cam_world[1, 2] * mz + T_cam_world[1, 3]
        u, v = camera[0] * x / z + camera[2], camera[1] * y / z + camera[3]
        if u < 1 or v < 1 or u >= cols - 1 or v >= rows - 1:
            continue
        row, col = int(v), int(u)
        weight = trust[row, col]
        if weight <= 0:
            continue
        if own[i]:
            weight *= limits[2]
        slack = max(limits[0] * z, limits[1])
        if nearest[row, col] > z + slack + radius_m[i]:
            # A pixel of a far view says little about where within it something lies.
            against[i] += weight * min(1.0, camera[4] * limits[4] / z)
        elif farthest[row, col] >= z - slack and nearest[row, col] <= z + slack:
            support[i] += weight * min(1.0, limits[5] / slack)
