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
def project(
    rows,
    means,
    scales_m,
    quats_wxyz,
    opacities,
    T_cam_world,
    camera,
    limits,
    centre,
    covariance,
    bend,
    box,
    depth_z,
    reach_z,
    opacity,
    inside,
):
    """What `ProjectedSplats` says of splats, one after the other.

    A ray through the centre plus (dx, dy) pixels: with a = W ray and W the map to standard deviations, its distance
    from the centre is z |a x d| / |a + d| where d = W (dx / fx, dy / fy, 0); the numerator is what a linear projection
    has, too. The box is bounded by the tangents (1, 0, -u) of the outline's dual m A A^T - c c^T, a conic, in front of
    the camera; what reaches behind it is bounded on the side of the picture's middle alone.

    Args:
        rows: [M] of the splats, all of them before the camera.
        means, scales_m: [N, 3]; quats_wxyz: [N, 4]; opacities: [N]; T_cam_world: [4, 4].
        camera: fx, fy, cx, cy, width and height in pixels.
        limits: nearest depth, variance of the low-pass, least alpha.
        centre: [M, 2], covariance: [M, 3], bend: [M, 5], box: [M, 4], depth_z, reach_z, opacity: [M] float64, written.
        inside: [M] bool, written: the splat can touch the picture.

    Returns:
        Whether all quaternions had a length.
    """
    fx, fy, cx, cy, width, height = camera
    near_m, blur, alpha_min = limits
    half, axes = np.empty((3, 3)), np.empty((3, 3))
    inverse, c, low, high = np.empty(3), np.empty(3), np.empty(2), np.empty(2)
    for j in range(len(rows)):
        i = rows[j]
        o = np.float64(opacities[i])
        for k in range(3):
            c[k] = (
                T_cam_world[k, 0] * np.float64(means[i, 0])
                + T_cam_world[k, 1] * np.float64(means[i, 1])
                + T_cam_world[k, 2] * np.float64(means[i, 2])
                + T_cam_world[k, 3]
            )
        w, x, y, z = quats_wxyz[i]
        w, x, y, z = np.float64(w), np.float64(x), np.float64(y), np.float64(z)
        norm = np.sqrt(w * w + x * x + y * y + z * z)
        if norm == 0.0:
            return False
        w, x, y, z = w / norm, x / norm, y / norm, z / norm
        largest = np.float64(max(scales_m[i, 0], scales_m[i, 1], scales_m[i, 2]))
        for k in range(3):
            # Column k of the rotation: the k-th unit axis of the ellipsoid in the world, then in cam.
            if k == 0:
                a, b, d = 1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)
            elif k == 1:
                a, b, d = 2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)
            else:
                a, b, d = 2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)
            scale = np.float64(scales_m[i, k])
            # What is a thousandth as thick as long is flat; thinner would only cost digits.
            inverse[k] = 1.0 / max(scale, 1e-3 * largest)
            for r in range(3):
                axes[r, k] = T_cam_world[r, 0] * a + T_cam_world[r, 1] * b + T_cam_world[r, 2] * d
                half[r, k] = axes[r, k] * scale
        x, y, z = c[0], c[1], c[2]
        xx = xy = yy = square = b0 = b1 = b2 = b3 = b4 = 0.0
        for k in range(3):
            au = fx * (half[0, k] - x / z * half[2, k]) / z
            av = fy * (half[1, k] - y / z * half[2, k]) / z
            xx += au * au
            xy += au * av
            yy += av * av
            a = (axes[0, k] * (x / z) + axes[1, k] * (y / z) + axes[2, k]) * inverse[k]
            du, dv = axes[0, k] * inverse[k] / fx, axes[1, k] * inverse[k] / fy
            square += a * a
            b0 += a * du
            b1 += a * dv
            b2 += du * du
            b3 += du * dv
            b4 += dv * dv
        # alpha = opacity * exp(-m / 2) reaches the least alpha at this squared Mahalanobis distance.
        m = max(2.0 * np.log(max(o / alpha_min, 1.0)), 0.0)
        zz = m * (half[2, 0] ** 2 + half[2, 1] ** 2 + half[2, 2] ** 2)
        near_z, far_z = z - np.sqrt(zz), z + np.sqrt(zz)
        for k in range(2):
            kk = m * (half[k, 0] ** 2 + half[k, 1] ** 2 + half[k, 2] ** 2)
            kz = m * (half[k, 0] * half[2, 0] + half[k, 1] * half[2, 1] + half[k, 2] * half[2, 2])
            if near_z > near_m:
                den, cross = z * z - zz, c[k] * z - kz
                root = np.sqrt(max(cross * cross + (kk - c[k] * c[k]) * den, 0.0))
                low[k], high[k] = (cross - root) / den, (cross + root) / den
            else:
                least, most = c[k] - np.sqrt(kk), c[k] + np.sqrt(kk)
                low[k] = least / far_z if least > 0 else -np.inf
                high[k] = most / far_z if most < 0 else np.inf
        pad = np.sqrt(m * blur)
        box[j, 0] = min(max(fx * low[0] + cx - pad, -1.0), width + 1.0)
        box[j, 1] = min(max(fy * low[1] + cy - pad, -1.0), height + 1.0)
        box[j, 2] = min(max(fx * high[0] + cx + pad, -1.0), width + 1.0)
        box[j, 3] = min(max(fy * high[1] + cy + pad, -1.0), height + 1.0)
        inside[j] = o >= alpha_min and box[j, 2] > 0 and box[j, 3] > 0 and box[j, 0] < width and box[j, 1] < height
        centre[j, 0], centre[j, 1] = fx * x / z + cx, fy * y / z + cy
        covariance[j, 0], covariance[j, 1], covariance[j, 2] = xx, xy, yy
        bend[j, 0], bend[j, 1], bend[j, 2] = b0 / square, b1 / square, b2 / square
        bend[j, 3], bend[j, 4] = b3 / square, b4 / square
        depth_z[j], reach_z[j], opacity[j] = z, np.sqrt(zz), o
    return True


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
