"""Compiled loops of the texture baker; imported only by `texture.py` when something is baked."""

from __future__ import annotations

import numpy as np

from ..core.compiled import compiled


@compiled()
def rasterise(xy_px, chart, face_map, inset_px, reach_px):
    """Write the face under each texel.

    Args:
        xy_px: [F, 3, 2] corners in the atlas.
        chart: [F] chart of each face.
        face_map: [A, B] int32, filled with -1 before; receives face numbers.
        inset_px: [A, B] float32, filled with -inf before; receives the distance to the face's nearest edge, negative
            outside.
        reach_px: texels this far outside a face still belong to it when no face is nearer.
    """
    rows, cols = face_map.shape
    for f in range(len(xy_px)):
        x0, y0 = xy_px[f, 0, 0], xy_px[f, 0, 1]
        x1, y1 = xy_px[f, 1, 0], xy_px[f, 1, 1]
        x2, y2 = xy_px[f, 2, 0], xy_px[f, 2, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0.0:
            continue
        sign = 1.0 if area > 0 else -1.0
        l0 = max(np.hypot(x1 - x0, y1 - y0), 1e-9)
        l1 = max(np.hypot(x2 - x1, y2 - y1), 1e-9)
        l2 = max(np.hypot(x0 - x2, y0 - y2), 1e-9)
        left = max(0, int(np.floor(min(x0, x1, x2) - reach_px - 0.5)))
        right = min(cols - 1, int(np.ceil(max(x0, x1, x2) + reach_px - 0.5)))
        top = max(0, int(np.floor(min(y0, y1, y2) - reach_px - 0.5)))
        bottom = min(rows - 1, int(np.ceil(max(y0, y1, y2) + reach_px - 0.5)))
        for r in range(top, bottom + 1):
            y = r + 0.5
            for c in range(left, right + 1):
                x = c + 0.5
                d = sign * ((x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)) / l0
                d = min(d, sign * ((x2 - x1) * (y - y1) - (x - x1) * (y2 - y1)) / l1)
                d = min(d, sign * ((x0 - x2) * (y - y2) - (x - x2) * (y0 - y2)) / l2)
                if d < -reach_px:
                    continue
                other = face_map[r, c]
                if d < 0 and other >= 0 and chart[other] != chart[f]:
                    # Gutters never reach into a neighbour, even if the packer left less room than asked for.
                    if inset_px[r, c] >= 0 or inset_px[r, c] > d:
                        continue
                if d > inset_px[r, c]:
                    inset_px[r, c] = d
                    face_map[r, c] = f


@compiled()
def _weight_cubic(t, w):
    """Catmull-Rom weights of the four neighbours at fraction t."""
    w[0] = ((-0.5 * t + 1.0) * t - 0.5) * t
    w[1] = (1.5 * t - 2.5) * t * t + 1.0
    w[2] = ((-1.5 * t + 2.0) * t + 0.5) * t
    w[3] = (0.5 * t - 0.5) * t * t


@compiled()
def shade(
    face_map,
    first_row,
    to_world,
    normals,
    seen_start,
    seen_view,
    view_start,
    view_size,
    view_K,
    view_R,
    view_t,
    rgb,
    depth,
    trust,
    tolerance,
    texture,
    known,
):
    """Colour every texel from the views that see its surface.

    Args:
        face_map: [a, B] int32 face of each texel in some rows of the texture, -1 outside.
        first_row: texture row of the first of them.
        to_world: [F, 3, 3] texel (x, y, 1) to world point.
        normals: [F, 3] unit normals.
        seen_start, seen_view: views per face, as offsets [F + 1] into a list.
        view_start: [V] first pixel of each view in the flat pixel arrays.
        view_size: [V, 2] width and height.
        view_K: [V, 4] fx, fy, cx, cy.
        view_R, view_t: [V, 3, 3] and [V, 3], world to cam.
        rgb: [P, 3] uint8; depth: [P] float32 of the surface itself; trust: [P] float32, 0 where the pixel says nothing.
        tolerance: relative depth difference up to which a pixel shows the texel's own surface.
        texture: [a, B, 3] uint8, written; known: [a, B] bool, written.
    """
    rows, cols = face_map.shape
    best_view = np.empty(4, np.int64)
    best_weight = np.empty(4)
    wx, wy = np.empty(4), np.empty(4)
    for r in range(rows):
        for c in range(cols):
            f = face_map[r, c]
            if f < 0:
                continue
            x, y = c + 0.5, first_row + r + 0.5
            px = to_world[f, 0, 0] * x + to_world[f, 0, 1] * y + to_world[f, 0, 2]
            py = to_world[f, 1, 0] * x + to_world[f, 1, 1] * y + to_world[f, 1, 2]
            pz = to_world[f, 2, 0] * x + to_world[f, 2, 1] * y + to_world[f, 2, 2]
            nx, ny, nz = normals[f, 0], normals[f, 1], normals[f, 2]
            count = 0
            total = 0.0
            for k in range(seen_start[f], seen_start[f + 1]):
                v = seen_view[k]
                R, t = view_R[v], view_t[v]
                z = R[2, 0] * px + R[2, 1] * py + R[2, 2] * pz + t[2]
                if z <= 1e-3:
                    continue
                fx, fy = view_K[v, 0], view_K[v, 1]
                u = fx * (R[0, 0] * px + R[0, 1] * py + R[0, 2] * pz + t[0]) / z + view_K[v, 2]
                w = fy * (R[1, 0] * px + R[1, 1] * py + R[1, 2] * pz + t[1]) / z + view_K[v, 3]
                width, height = view_size[v, 0], view_size[v, 1]
                if u < 0 or w < 0 or u >= width or w >= height:
                    continue
                col, row = int(u), int(w)
                at = view_start[v] + row * width + col
                if trust[at] <= 0:
                    continue
                # Where the ray through the pixel's centre meets the texel's own plane: exact at grazing angles, where
                # comparing the depths of texel and pixel would need a tolerance of metres.
                nxc = R[0, 0] * nx + R[0, 1] * ny + R[0, 2] * nz
                nyc = R[1, 0] * nx + R[1, 1] * ny + R[1, 2] * nz
                nzc = R[2, 0] * nx + R[2, 1] * ny + R[2, 2] * nz
                cx = R[0, 0] * px + R[0, 1] * py + R[0, 2] * pz + t[0]
                cy = R[1, 0] * px + R[1, 1] * py + R[1, 2] * pz + t[1]
                plane = nxc * cx + nyc * cy + nzc * z
                slope = nxc * (col + 0.5 - view_K[v, 2]) / fx + nyc * (row + 0.5 - view_K[v, 3]) / fy + nzc
                if slope == 0.0:
                    continue
                expected = plane / slope
                if abs(expected - depth[at]) > tolerance * depth[at] + 0.002:
                    continue
                cosine = abs(plane) / np.sqrt(cx * cx + cy * cy + z * z)
                sharp = fx / z * np.sqrt(max(cosine, 0.02))
                # The fourth power lets the sharpest view win nearly alone, so that views never average into a blur.
                weight = trust[at] * (sharp * 1e-2) ** 4
                slot = count if count < 4 else 3
                if count >= 4 and weight <= best_weight[3]:
                    continue
                if count < 4:
                    count += 1
                while slot > 0 and best_weight[slot - 1] < weight:
                    best_weight[slot] = best_weight[slot - 1]
                    best_view[slot] = best_view[slot - 1]
                    slot -= 1
                best_weight[slot] = weight
                best_view[slot] = v
            red, green, blue = 0.0, 0.0, 0.0
            for k in range(count):
                weight = best_weight[k]
                if weight < 0.01 * best_weight[0]:
                    break
                v = best_view[k]
                R, t = view_R[v], view_t[v]
                z = R[2, 0] * px + R[2, 1] * py + R[2, 2] * pz + t[2]
                u = view_K[v, 0] * (R[0, 0] * px + R[0, 1] * py + R[0, 2] * pz + t[0]) / z + view_K[v, 2]
                w = view_K[v, 1] * (R[1, 0] * px + R[1, 1] * py + R[1, 2] * pz + t[1]) / z + view_K[v, 3]
                width, height, start = view_size[v, 0], view_size[v, 1], view_start[v]
                own = depth[start + int(w) * width + int(u)]
                x0, y0 = int(np.floor(u - 0.5)), int(np.floor(w - 0.5))
                _weight_cubic(u - 0.5 - x0, wx)
                _weight_cubic(w - 0.5 - y0, wy)
                sr, sg, sb, sw = 0.0, 0.0, 0.0, 0.0
                for j in range(4):
                    row = min(max(y0 - 1 + j, 0), height - 1)
                    for i in range(4):
                        col = min(max(x0 - 1 + i, 0), width - 1)
                        at = start + row * width + col
                        # Pixels across a silhouette, or undefined ones, must not bleed in.
                        if trust[at] <= 0 or abs(depth[at] - own) > 0.1 * own:
                            continue
                        s = wx[i] * wy[j]
                        sr += s * rgb[at, 0]
                        sg += s * rgb[at, 1]
                        sb += s * rgb[at, 2]
                        sw += s
                if sw < 0.5:
                    at = start + int(w) * width + int(u)
                    sr, sg, sb, sw = float(rgb[at, 0]), float(rgb[at, 1]), float(rgb[at, 2]), 1.0
                red += weight * min(max(sr / sw, 0.0), 255.0)
                green += weight * min(max(sg / sw, 0.0), 255.0)
                blue += weight * min(max(sb / sw, 0.0), 255.0)
                total += weight
            if total > 0:
                texture[r, c, 0] = np.uint8(red / total + 0.5)
                texture[r, c, 1] = np.uint8(green / total + 0.5)
                texture[r, c, 2] = np.uint8(blue / total + 0.5)
                known[r, c] = True
