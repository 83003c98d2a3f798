"""Compiled loops of `raster`: perspective triangles into a z-buffer, then one texture look-up a pixel."""

from __future__ import annotations

import numpy as np

from ..core.compiled import compiled

NEAR_M = 0.03


@compiled(error_model="numpy")
def fill(vertices_cam, faces, uv, fx, fy, cx, cy, depth, face_of, u_of, v_of):  # pragma: no cover - compiled
    """Nearest triangle of every pixel: depth (inf before), face (-1 before), texture coordinates."""
    h, w = depth.shape
    poly = np.empty((4, 5))
    corner = np.empty((3, 5))
    for f in range(len(faces)):
        in_front = 0
        for k in range(3):
            p = vertices_cam[faces[f, k]]
            corner[k, 0], corner[k, 1], corner[k, 2] = p[0], p[1], p[2]
            corner[k, 3], corner[k, 4] = uv[f, k, 0], uv[f, k, 1]
            if p[2] > NEAR_M:
                in_front += 1
        if in_front == 0:
            continue
        n = 0
        for k in range(3):
            a, b = corner[k], corner[(k + 1) % 3]
            if a[2] > NEAR_M:
                poly[n] = a
                n += 1
            if (a[2] > NEAR_M) != (b[2] > NEAR_M):
                t = (NEAR_M - a[2]) / (b[2] - a[2])
                for c in range(5):
                    poly[n, c] = a[c] + t * (b[c] - a[c])
                poly[n, 2] = NEAR_M
                n += 1
        for k in range(1, n - 1):
            _triangle(poly[0], poly[k], poly[k + 1], f, fx, fy, cx, cy, depth, face_of, u_of, v_of, h, w)


@compiled(inline="always", error_model="numpy")
def _triangle(a, b, c, f, fx, fy, cx, cy, depth, face_of, u_of, v_of, h, w):  # pragma: no cover - compiled
    ia, ib, ic = 1 / a[2], 1 / b[2], 1 / c[2]
    ax, ay = fx * a[0] * ia + cx, fy * a[1] * ia + cy
    bx, by = fx * b[0] * ib + cx, fy * b[1] * ib + cy
    qx, qy = fx * c[0] * ic + cx, fy * c[1] * ic + cy
    area = (bx - ax) * (qy - ay) - (by - ay) * (qx - ax)
    if abs(area) < 1e-9:
        return
    x0, x1 = max(0, int(np.floor(min(ax, bx, qx) - 0.5))), min(w - 1, int(np.ceil(max(ax, bx, qx) - 0.5)))
    y0, y1 = max(0, int(np.floor(min(ay, by, qy) - 0.5))), min(h - 1, int(np.ceil(max(ay, by, qy) - 0.5)))
    if x0 > x1 or y0 > y1:
        return
    inv = 1 / area
    # Weights are linear in the picture: start and slope of each.
    wb_x, wb_y = (qy - ay) * inv, -(qx - ax) * inv
    wc_x, wc_y = -(by - ay) * inv, (bx - ax) * inv
    for y in range(y0, y1 + 1):
        dy = y + 0.5 - ay
        # The part of the row inside the triangle, from the three half-planes.
        lo, hi = float(x0), float(x1)
        base_b = wb_y * dy - wb_x * ax
        base_c = wc_y * dy - wc_x * ax
        for k in range(3):
            if k == 0:
                s, o = wb_x, base_b
            elif k == 1:
                s, o = wc_x, base_c
            else:
                s, o = -wb_x - wc_x, 1 - base_b - base_c
            if s > 0:
                lo = max(lo, np.ceil(-o / s - 0.5 - 1e-9))
            elif s < 0:
                hi = min(hi, np.floor(-o / s - 0.5 + 1e-9))
            elif o < 0:
                hi = -1.0
        if lo > hi:
            continue
        for x in range(int(lo), int(hi) + 1):
            wb = wb_x * (x + 0.5) + base_b
            wc = wc_x * (x + 0.5) + base_c
            wa = 1 - wb - wc
            iz = wa * ia + wb * ib + wc * ic
            if iz <= 0:
                continue
            z = 1 / iz
            if z < depth[y, x]:
                depth[y, x] = z
                face_of[y, x] = f
                u_of[y, x] = (wa * a[3] * ia + wb * b[3] * ib + wc * c[3] * ic) * z
                v_of[y, x] = (wa * a[4] * ia + wb * b[4] * ib + wc * c[4] * ic) * z


@compiled(error_model="numpy")
def shade(depth, face_of, u_of, v_of, texels_per_m, focal_px, level0, level1, level2, out):  # pragma: no cover
    """Bilinear colours from the level of the texture whose texels are as large as pixels; misses stay."""
    h, w = depth.shape
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    for y in range(h):
        for x in range(w):
            f = face_of[y, x]
            if f < 0:
                continue
            texels = texels_per_m[f] * depth[y, x] / focal_px
            texture = level0
            if texels > 2.8:
                texture = level2
            elif texels > 1.4:
                texture = level1
            th, tw = texture.shape[0], texture.shape[1]
            s = min(max(u_of[y, x] * np.float32(tw) - half, zero), np.float32(tw - 1))
            t = min(max((one - v_of[y, x]) * np.float32(th) - half, zero), np.float32(th - 1))
            s0, t0 = np.int32(s), np.int32(t)
            s1, t1 = min(s0 + 1, tw - 1), min(t0 + 1, th - 1)
            # Weights in 1/256 keep the look-ups in integers.
            fs, ft = np.int32((s - np.float32(s0)) * 256), np.int32((t - np.float32(t0)) * 256)
            w00, w01 = (256 - fs) * (256 - ft), fs * (256 - ft)
            w10, w11 = (256 - fs) * ft, fs * ft
            for c in range(3):
                total = w00 * texture[t0, s0, c] + w01 * texture[t0, s1, c]
                total += w10 * texture[t1, s0, c] + w11 * texture[t1, s1, c]
                out[y, x, c] = np.uint8((total + 32768) >> 16)


@compiled(error_model="numpy")
def sky(face_of, up_cam, fx, fy, cx, cy, low, top, out):  # pragma: no cover - compiled
    """A gradient by elevation where nothing was hit."""
    h, w = face_of.shape
    for y in range(h):
        for x in range(w):
            if face_of[y, x] >= 0:
                continue
            rx, ry = (x + 0.5 - cx) / fx, (y + 0.5 - cy) / fy
            rise = (up_cam[0] * rx + up_cam[1] * ry + up_cam[2]) / np.sqrt(rx * rx + ry * ry + 1)
            rise = min(max(rise, 0.0), 1.0)
            for c in range(3):
                out[y, x, c] = np.uint8(low[c] + (top[c] - low[c]) * rise)
