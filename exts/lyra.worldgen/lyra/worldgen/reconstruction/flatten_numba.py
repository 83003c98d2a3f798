"""Compiled loops that find planes on a mesh and move vertices onto them; imported only by `flatten.py`."""

from __future__ import annotations

import numpy as np

from ..core.compiled import compiled


@compiled()
def vertex_normals(vertices, faces, smooth):
    """[V, 3] unit normals by face area, averaged over the faces' corners `smooth` more times."""
    normal = np.zeros(vertices.shape)
    for f in range(len(faces)):
        a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        x = (b[1] - a[1]) * (c[2] - a[2]) - (b[2] - a[2]) * (c[1] - a[1])
        y = (b[2] - a[2]) * (c[0] - a[0]) - (b[0] - a[0]) * (c[2] - a[2])
        z = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        for k in range(3):
            normal[faces[f, k], 0] += x
            normal[faces[f, k], 1] += y
            normal[faces[f, k], 2] += z
    for _ in range(smooth + 1):
        for v in range(len(normal)):
            size = np.sqrt(normal[v, 0] ** 2 + normal[v, 1] ** 2 + normal[v, 2] ** 2)
            if size > 1e-15:
                normal[v] /= size
        if _ == smooth:
            break
        mean = np.zeros_like(normal)
        for f in range(len(faces)):
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            for m in range(3):
                total = normal[i, m] + normal[j, m] + normal[k, m]
                mean[i, m] += total
                mean[j, m] += total
                mean[k, m] += total
        normal = mean
    return normal


@compiled()
def flatness(faces, normal):
    """[V] least cosine between a vertex's normal and its neighbours' normals."""
    least = np.ones(len(normal))
    for f in range(len(faces)):
        for k in range(3):
            u, v = faces[f, k], faces[f, (k + 1) % 3]
            cosine = normal[u, 0] * normal[v, 0] + normal[u, 1] * normal[v, 1] + normal[u, 2] * normal[v, 2]
            least[u] = min(least[u], cosine)
            least[v] = min(least[v], cosine)
    return least


@compiled()
def grow_regions(vertices, faces, start, around, normal, flat, order, tolerance_m, min_cos, seed_cos, least):
    """Connected vertices near one plane each.

    Args:
        vertices, faces: the mesh; start, around: `faces_of_vertices`.
        normal: [V, 3]; flat: [V] from `flatness`; order: [V] seeds, flattest first.
        tolerance_m: distance from the plane; min_cos: of the angle to its normal; seed_cos: flatness of a seed.
        least: regions of fewer vertices are given up.

    Returns:
        region [V] int32 (-1: none), and the number of regions.
    """
    region = np.full(len(vertices), -1, np.int32)
    queue = np.empty(len(vertices), np.int32)
    count = 0
    for seed in order:
        if flat[seed] < seed_cos:
            break
        if region[seed] != -1:
            continue
        n = normal[seed].copy()
        centre = vertices[seed].copy()
        total, square, slope = np.zeros(3), np.zeros((3, 3)), np.zeros(3)
        region[seed] = count
        queue[0] = seed
        head, tail, refit = 0, 1, 12
        while head < tail:
            v = queue[head]
            head += 1
            for a in range(3):
                total[a] += vertices[v, a] - vertices[seed, a]
                slope[a] += normal[v, a]
                for b in range(3):
                    square[a, b] += (vertices[v, a] - vertices[seed, a]) * (vertices[v, b] - vertices[seed, b])
            if head == refit:
                refit *= 3
                mean = total / head
                centre = mean + vertices[seed]
                if head < 60:
                    n = slope / np.sqrt((slope * slope).sum())
                else:
                    spread = square / head
                    for a in range(3):
                        for b in range(3):
                            spread[a, b] -= mean[a] * mean[b]
                    values, vectors = np.linalg.eigh(spread)
                    fit = vectors[:, 0].copy()
                    if (fit * slope).sum() < 0:
                        fit = -fit
                    # A strip is thin in the plane too; then its normals know better.
                    if values[1] > 9.0 * values[0]:
                        n = fit
                    else:
                        n = slope / np.sqrt((slope * slope).sum())
            for s in range(start[v], start[v + 1]):
                for k in range(3):
                    u = faces[around[s], k]
                    if region[u] != -1:
                        continue
                    if normal[u, 0] * n[0] + normal[u, 1] * n[1] + normal[u, 2] * n[2] < min_cos:
                        continue
                    off = 0.0
                    for a in range(3):
                        off += (vertices[u, a] - centre[a]) * n[a]
                    if abs(off) > tolerance_m:
                        continue
                    region[u] = count
                    queue[tail] = u
                    tail += 1
        if tail < least:
            for m in range(tail):
                region[queue[m]] = -2
        else:
            count += 1
    for v in range(len(region)):
        region[v] = max(region[v], -1)
    return region, count


@compiled()
def region_moments(vertices, normal, region, count, middle):
    """Of every region, about a common middle: vertices, sums [R, 3], squares [R, 3, 3], normals [R, 3]."""
    number = np.zeros(count, np.int64)
    total, square, slope = np.zeros((count, 3)), np.zeros((count, 3, 3)), np.zeros((count, 3))
    for v in range(len(vertices)):
        r = region[v]
        if r < 0:
            continue
        number[r] += 1
        for a in range(3):
            p = vertices[v, a] - middle[a]
            total[r, a] += p
            slope[r, a] += normal[v, a]
            for b in range(3):
                square[r, a, b] += p * (vertices[v, b] - middle[b])
    return number, total, square, slope


@compiled()
def snap(vertices, faces, start, around, plane, normals, offsets, near_m, reach_m):
    """Move vertices onto their plane, onto the line of two planes or the corner of three.

    Args:
        vertices: [V, 3]; faces, start, around: the mesh.
        plane: [V] int32 plane of each vertex, -1: none.
        normals: [P, 3], offsets: [P].
        near_m: a vertex belongs to a plane two rings away when it is this close.
        reach_m: longest way a vertex may be moved.

    Returns:
        moved vertices [V, 3], and the number of planes [V] uint8 that each lies on.
    """
    out = vertices.copy()
    rank = np.zeros(len(vertices), np.uint8)
    seen = np.empty(48, np.int32)
    off = np.empty(48)
    n = np.zeros((3, 3))
    for v in range(len(vertices)):
        count = 0
        for s in range(start[v], start[v + 1]):
            for k in range(3):
                u = faces[around[s], k]
                for s2 in range(start[u], start[u + 1]):
                    for k2 in range(3):
                        p = plane[faces[around[s2], k2]]
                        if p < 0 or count == 48:
                            continue
                        known = False
                        for m in range(count):
                            known |= seen[m] == p
                        if known:
                            continue
                        d = offsets[p]
                        for a in range(3):
                            d -= normals[p, a] * vertices[v, a]
                        if abs(d) <= near_m or p == plane[v]:
                            seen[count] = p
                            off[count] = abs(d) if p != plane[v] else -1.0
                            count += 1
        if count == 0:
            continue
        chosen = 0
        for _ in range(3):
            best, least = -1, np.inf
            for m in range(count):
                if off[m] >= least or off[m] == np.inf:
                    continue
                q = normals[seen[m]]
                apart = True
                for a in range(chosen):
                    apart &= abs((n[a] * q).sum()) < 0.94
                if chosen == 2:
                    apart &= abs((np.cross(n[0], n[1]) * q).sum()) > 0.3
                if apart:
                    best, least = m, off[m]
            if best < 0:
                break
            n[chosen] = normals[seen[best]]
            d = offsets[seen[best]]
            off[best] = np.inf
            # The shortest way onto this plane that stays on the planes before it.
            size = chosen + 1
            gap = np.zeros(size)
            gram = np.eye(size)
            for a in range(size):
                for b in range(size):
                    gram[a, b] = (n[a] * n[b]).sum()
            gap[chosen] = d - (n[chosen] * out[v]).sum()
            way = np.linalg.solve(gram, gap)
            move = np.zeros(3)
            for a in range(size):
                for b in range(3):
                    move[b] += way[a] * n[a, b]
            new = out[v] + move
            if ((new - vertices[v]) ** 2).sum() > reach_m * reach_m:
                n[chosen] = 0.0
                continue
            out[v] = new
            chosen += 1
        rank[v] = chosen
    return out, rank
