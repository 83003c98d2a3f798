"""Compiled loops of the sparse distance field; imported only by `volume.py` when depth is fused.

Blocks of 8x8x8 voxels are kept in one array; `table` [BX, BY, BZ] says where each block is, -1 where there is none.
"""

from __future__ import annotations

import numpy as np

from ..core.compiled import compiled

SIDE = 8
"""Voxels along one edge of a block."""
MOST_PARTS = 64
"""Into how many steps of less than a block the way from one pixel to the next is divided at most."""
NOISE_JUMPS = 4.0
"""Times the smallest edge: what noise of a per cent or two of the depth does not reach."""


@compiled()
def _torn(before, a, b, after, jump):
    """Whether a surface ends between two neighbours of four pixels in a row; arguments are inverse depths, 0 unknown.

    Inverse depth is linear in the picture on a plane. Where two planes meet between two pixels, the step between these
    lies between the steps beside it; where one plane hides another it lies outside.
    """
    if a == 0 or b == 0:
        return True
    step = b - a
    if abs(step) <= jump * max(a, b):
        return False
    left = a - before if before > 0 else 0.0
    right = after - b if after > 0 else 0.0
    # A plane that ends here without a neighbour beyond is known by its own side alone.
    if before <= 0:
        left = right
    if after <= 0:
        right = left
    if abs(step) > 2.0 * max(abs(left), abs(right)):
        return True
    # A step beside it may be an edge itself and continue nothing. Smaller ones may be noise, which has any sign.
    slack = abs(step) / 3.0
    outside = step > max(left, right) + slack or step < min(left, right) - slack
    return outside and abs(step) > NOISE_JUMPS * jump * max(a, b)


@compiled()
def broken_quads(w, jump):
    """Which squares of four neighbouring pixels do not lie on one smooth surface.

    Args:
        w: [H, W] inverse depth, 0 where unknown.
        jump: relative step between two pixels above which a step that its neighbours do not continue is an edge.

    Returns:
        [H - 1, W - 1] bool.
    """
    h, wd = w.shape
    cut_u = np.zeros((h, wd), np.bool_)
    cut_v = np.zeros((h, wd), np.bool_)
    for r in range(h):
        for c in range(wd - 1):
            before = w[r, c - 1] if c > 0 else 0.0
            after = w[r, c + 2] if c + 2 < wd else 0.0
            cut_u[r, c] = _torn(before, w[r, c], w[r, c + 1], after, jump)
    for r in range(h - 1):
        for c in range(wd):
            before = w[r - 1, c] if r > 0 else 0.0
            after = w[r + 2, c] if r + 2 < h else 0.0
            cut_v[r, c] = _torn(before, w[r, c], w[r + 1, c], after, jump)
    broken = np.zeros((h - 1, wd - 1), np.bool_)
    for r in range(h - 1):
        for c in range(wd - 1):
            broken[r, c] = cut_u[r, c] or cut_u[r + 1, c] or cut_v[r, c] or cut_v[r, c + 1]
    return broken


@compiled()
def _mark_around(marked, x, y, z, block_m, reach_m):
    """Mark the blocks within reach of a point relative to the first voxel."""
    nx, ny, nz = marked.shape
    for i in range(int(np.floor((x - reach_m) / block_m)), int(np.floor((x + reach_m) / block_m)) + 1):
        for j in range(int(np.floor((y - reach_m) / block_m)), int(np.floor((y + reach_m) / block_m)) + 1):
            for k in range(int(np.floor((z - reach_m) / block_m)), int(np.floor((z + reach_m) / block_m)) + 1):
                if 0 <= i < nx and 0 <= j < ny and 0 <= k < nz:
                    marked[i, j, k] = True


@compiled()
def mark_blocks(marked, w, broken, K, R, t, origin, block_m, reach_m, stride):
    """Mark [BX, BY, BZ] the blocks within reach of a view's surface.

    Args:
        marked: bool, changed in place.
        w: [H, W] inverse depth, 0 where unknown. broken: [H - 1, W - 1] from `broken_quads`.
        K: fx, fy, cx, cy. R, t: cam to world.
        origin: [3] world position of the first voxel; block_m: edge of a block.
        reach_m: distance from the surface that needs voxels, at most half a block.
        stride: only every so many-th pixel is looked at where the surface is near enough for that.
    """
    h, wd = w.shape
    step_m = 0.4 * block_m
    corner = np.empty((3, 3))
    for r in range(h):
        for c in range(wd):
            if w[r, c] <= 0:
                continue
            # The pixel itself, its right and its lower neighbour, on rays through pixel centres.
            across, down = 1, 1
            for m in range(3):
                rr, cc = r + int(m == 2), c + int(m == 1)
                if rr >= h or cc >= wd or (m > 0 and (r >= h - 1 or c >= wd - 1 or broken[r, c])):
                    continue
                z = 1.0 / w[rr, cc]
                x, y = (cc + 0.5 - K[2]) / K[0] * z, (rr + 0.5 - K[3]) / K[1] * z
                for q in range(3):
                    corner[m, q] = R[q, 0] * x + R[q, 1] * y + R[q, 2] * z + t[q] - origin[q]
                if m > 0:
                    apart = 0.0
                    for q in range(3):
                        apart += (corner[m, q] - corner[0, q]) ** 2
                    parts = min(int(np.ceil(np.sqrt(apart) / step_m)), MOST_PARTS)
                    if m == 1:
                        across = max(parts, 1)
                    else:
                        down = max(parts, 1)
            if across == 1 and down == 1:
                if r % stride == 0 and c % stride == 0:
                    _mark_around(marked, corner[0, 0], corner[0, 1], corner[0, 2], block_m, reach_m)
                continue
            # A wall seen at a low angle runs through several blocks from one pixel to the next.
            for i in range(down + 1):
                for j in range(across + 1):
                    a, b = i / down, j / across
                    _mark_around(
                        marked,
                        corner[0, 0] + a * (corner[2, 0] - corner[0, 0]) + b * (corner[1, 0] - corner[0, 0]),
                        corner[0, 1] + a * (corner[2, 1] - corner[0, 1]) + b * (corner[1, 1] - corner[0, 1]),
                        corner[0, 2] + a * (corner[2, 2] - corner[0, 2]) + b * (corner[1, 2] - corner[0, 2]),
                        block_m,
                        reach_m,
                    )


@compiled()
def _on_surface(w, broken, K, x, y, z, tolerance):
    """Whether a point in cam lies on the smooth surface that its pixel shows; tolerance is relative to its depth."""
    if z < 0.05:
        return False
    u, v = K[0] * x / z + K[2] - 0.5, K[1] * y / z + K[3] - 0.5
    if not (u >= 0 and v >= 0 and u < w.shape[1] - 1 and v < w.shape[0] - 1):
        return False
    c, r = int(u), int(v)
    if broken[r, c]:
        return False
    fu, fv = u - c, v - r
    top = w[r, c] + fu * (w[r, c + 1] - w[r, c])
    bottom = w[r + 1, c] + fu * (w[r + 1, c + 1] - w[r + 1, c])
    return abs(z * (top + fv * (bottom - top)) - 1.0) < tolerance


@compiled()
def integrate(distance, weight, where, origin, voxel_m, front_m, back_m, R, t, K, w, broken):
    """Add one depth map to the blocks of a truncated signed distance field.

    Inverse depth is linear in the picture on any plane, so interpolating it gives planes exactly; its slope gives the
    plane's distance along its normal instead of along the ray.

    Args:
        distance, weight: [N, 8, 8, 8] float32, changed in place; distance in metres, positive in free space.
        where: [N, 3] block numbers along the axes.
        origin, voxel_m: world position of the first voxel and edge of a voxel.
        front_m, back_m: truncation in free space and in matter.
        R, t: world to cam. K: fx, fy, cx, cy.
        w: [H, W] inverse depth, 0 where unknown. broken: [H - 1, W - 1] from `broken_quads`.
    """
    h, wd = w.shape
    side = SIDE * voxel_m
    radius = 0.5 * side * np.sqrt(3.0)
    su, sv = np.sqrt(1 + max(K[2], wd - K[2]) ** 2 / K[0] ** 2), np.sqrt(1 + max(K[3], h - K[3]) ** 2 / K[1] ** 2)
    for n in range(len(where)):
        bx, by, bz = origin[0] + where[n, 0] * side, origin[1] + where[n, 1] * side, origin[2] + where[n, 2] * side
        mx, my, mz = bx + 0.5 * (side - voxel_m), by + 0.5 * (side - voxel_m), bz + 0.5 * (side - voxel_m)
        cx = R[0, 0] * mx + R[0, 1] * my + R[0, 2] * mz + t[0]
        cy = R[1, 0] * mx + R[1, 1] * my + R[1, 2] * mz + t[1]
        cz = R[2, 0] * mx + R[2, 1] * my + R[2, 2] * mz + t[2]
        if cz < -radius:
            continue
        # Planes of the picture's four sides, with the sphere around the block.
        if K[0] * cx + (K[2] - wd) * cz > radius * su * K[0] or -K[0] * cx - K[2] * cz > radius * su * K[0]:
            continue
        if K[1] * cy + (K[3] - h) * cz > radius * sv * K[1] or -K[1] * cy - K[3] * cz > radius * sv * K[1]:
            continue
        for i in range(SIDE):
            for j in range(SIDE):
                x, y = bx + i * voxel_m, by + j * voxel_m
                ax = R[0, 0] * x + R[0, 1] * y + t[0] + R[0, 2] * bz
                ay = R[1, 0] * x + R[1, 1] * y + t[1] + R[1, 2] * bz
                az = R[2, 0] * x + R[2, 1] * y + t[2] + R[2, 2] * bz
                for k in range(SIDE):
                    z = az + R[2, 2] * voxel_m * k
                    if z < 0.05:
                        continue
                    su_, sv_ = (ax + R[0, 2] * voxel_m * k) / z, (ay + R[1, 2] * voxel_m * k) / z
                    u, v = K[0] * su_ + K[2] - 0.5, K[1] * sv_ + K[3] - 0.5
                    if not (u > -0.5 and v > -0.5 and u < wd - 0.5 and v < h - 0.5):
                        continue
                    c, r = min(max(int(np.floor(u)), 0), wd - 2), min(max(int(np.floor(v)), 0), h - 2)
                    length = np.sqrt(1.0 + su_ * su_ + sv_ * sv_)
                    if broken[r, c]:
                        near = w[min(max(int(np.round(v)), 0), h - 1), min(max(int(np.round(u)), 0), wd - 1)]
                        if near == 0:
                            continue
                        # Whose pixel this is remains unclear: the distance counts, but softly.
                        s = (1.0 / near - z) * length * 0.7
                        behind = -s
                        cosine, gain = 0.5, 0.05
                    else:
                        fu, fv = u - c, v - r
                        w00, w01, w10, w11 = w[r, c], w[r, c + 1], w[r + 1, c], w[r + 1, c + 1]
                        top, bottom = w00 + fu * (w01 - w00), w10 + fu * (w11 - w10)
                        here = top + fv * (bottom - top)
                        a = K[0] * ((1 - fv) * (w01 - w00) + fv * (w11 - w10))
                        b = K[1] * ((1 - fu) * (w10 - w00) + fu * (w11 - w01))
                        # The plane is a x + b y + e z = 1 in cam.
                        e = here - a * su_ - b * sv_
                        size = np.sqrt(a * a + b * b + e * e)
                        s = (1.0 - z * here) / size
                        if here <= 0:
                            continue
                        behind = (z - 1.0 / here) * length
                        cosine = min(here / (size * length), 1.0)
                        gain = cosine * cosine
                        if behind > 2.5 * back_m and s > -back_m:
                            # Seen at a low angle, matter close to its surface lies far behind it along the ray. It is
                            # matter if the view saw the surface right beside it too, and not only where the ray meets
                            # the plane, which may end before.
                            fz = z + s * e / size
                            fx, fy = su_ * z + s * a / size, sv_ * z + s * b / size
                            if _on_surface(w, broken, K, fx, fy, fz, 0.25 * voxel_m * size):
                                behind = 0.0
                    if s < -back_m or behind > 2.5 * back_m:
                        continue
                    s = min(s, front_m)
                    gain = max(gain, 0.002) / (z * z + 0.25)
                    old = weight[n, i, j, k]
                    distance[n, i, j, k] = np.float32((distance[n, i, j, k] * old + s * gain) / (old + gain))
                    weight[n, i, j, k] = np.float32(old + gain)


@compiled()
def _at(table, i, j, k):
    """Number of a voxel in the flat arrays, -1 where there is no block."""
    if i < 0 or j < 0 or k < 0:
        return -1
    bi, bj, bk = i // SIDE, j // SIDE, k // SIDE
    if bi >= table.shape[0] or bj >= table.shape[1] or bk >= table.shape[2]:
        return -1
    b = table[bi, bj, bk]
    if b < 0:
        return -1
    return ((b * SIDE + i % SIDE) * SIDE + j % SIDE) * SIDE + k % SIDE


@compiled()
def surface_nets(distance, weight, where, table):
    """One vertex per voxel cube that the surface passes, one quad per edge between voxels that it crosses.

    Args:
        distance, weight: [N * 512] flat. where: [N, 3]; table: [BX, BY, BZ].

    Returns:
        vertices [V, 3] float64 in voxels from the first one; faces [F, 3] int32, facing growing distance.
    """
    count = len(distance)
    vertex = np.full(count, -1, np.int32)
    points = np.empty((max(16, count // 4), 3))
    nv = 0
    value, known = np.empty(8), np.empty(8, np.bool_)
    for n in range(len(where)):
        for i in range(SIDE):
            for j in range(SIDE):
                for k in range(SIDE):
                    x, y, z = where[n, 0] * SIDE + i, where[n, 1] * SIDE + j, where[n, 2] * SIDE + k
                    inside = i < SIDE - 1 and j < SIDE - 1 and k < SIDE - 1
                    base = ((n * SIDE + i) * SIDE + j) * SIDE + k
                    positive, negative = False, False
                    for m in range(8):
                        if inside:
                            at = base + (m & 1) * SIDE * SIDE + ((m >> 1) & 1) * SIDE + (m >> 2)
                        else:
                            at = _at(table, x + (m & 1), y + ((m >> 1) & 1), z + (m >> 2))
                        known[m] = at >= 0 and weight[at] > 0
                        if known[m]:
                            value[m] = distance[at]
                            positive |= value[m] > 0
                            negative |= value[m] <= 0
                    if not (positive and negative):
                        continue
                    px, py, pz, hits = 0.0, 0.0, 0.0, 0
                    for m in range(8):
                        for axis in range(3):
                            o = m | (1 << axis)
                            if o == m or not (known[m] and known[o]) or (value[m] > 0) == (value[o] > 0):
                                continue
                            f = value[m] / (value[m] - value[o])
                            px += (m & 1) + (f if axis == 0 else 0.0)
                            py += ((m >> 1) & 1) + (f if axis == 1 else 0.0)
                            pz += (m >> 2) + (f if axis == 2 else 0.0)
                            hits += 1
                    if hits == 0:
                        continue
                    if nv == len(points):
                        points = np.concatenate((points, np.empty_like(points)))
                    points[nv, 0], points[nv, 1], points[nv, 2] = x + px / hits, y + py / hits, z + pz / hits
                    vertex[base] = nv
                    nv += 1
    faces = np.empty((max(16, 3 * nv), 3), np.int32)
    nf = 0
    quad = np.empty(4, np.int32)
    for n in range(len(where)):
        for i in range(SIDE):
            for j in range(SIDE):
                for k in range(SIDE):
                    base = ((n * SIDE + i) * SIDE + j) * SIDE + k
                    if weight[base] <= 0:
                        continue
                    x, y, z = where[n, 0] * SIDE + i, where[n, 1] * SIDE + j, where[n, 2] * SIDE + k
                    for axis in range(3):
                        dx, dy, dz = int(axis == 0), int(axis == 1), int(axis == 2)
                        other = _at(table, x + dx, y + dy, z + dz)
                        if other < 0 or weight[other] <= 0 or (distance[base] > 0) == (distance[other] > 0):
                            continue
                        # The four cubes around the edge, counter-clockwise seen from the end of the axis.
                        ux, uy, uz = dz, dx, dy
                        vx, vy, vz = dy, dz, dx
                        complete = True
                        for m in range(4):
                            a, b = (1 if m in (0, 3) else 0), (1 if m in (0, 1) else 0)
                            at = _at(table, x - a * ux - b * vx, y - a * uy - b * vy, z - a * uz - b * vz)
                            quad[m] = vertex[at] if at >= 0 else -1
                            complete &= quad[m] >= 0
                        if not complete:
                            continue
                        p0, p1, p2, p3 = quad[0], quad[1], quad[2], quad[3]
                        if distance[base] > 0:
                            p1, p3 = p3, p1
                        if nf + 2 > len(faces):
                            faces = np.concatenate((faces, np.empty_like(faces)))
                        d02, d13 = 0.0, 0.0
                        for q in range(3):
                            d02 += (points[p0, q] - points[p2, q]) ** 2
                            d13 += (points[p1, q] - points[p3, q]) ** 2
                        if d02 <= d13:
                            faces[nf] = np.array((p0, p1, p2), np.int32)
                            faces[nf + 1] = np.array((p0, p2, p3), np.int32)
                        else:
                            faces[nf] = np.array((p0, p1, p3), np.int32)
                            faces[nf + 1] = np.array((p1, p2, p3), np.int32)
                        nf += 2
    return points[:nv].copy(), faces[:nf].copy()
