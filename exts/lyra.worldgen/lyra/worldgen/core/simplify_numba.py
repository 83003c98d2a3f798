"""Compiled loops of mesh simplification and of walks over a mesh's edges; imported only when a mesh is simplified."""

from __future__ import annotations

import numpy as np

from .compiled import compiled


@compiled()
def faces_of_vertices(faces, count):
    """Offsets [count + 1] and face numbers: the faces around every vertex, ascending."""
    start = np.zeros(count + 1, np.int64)
    for f in range(len(faces)):
        for k in range(3):
            start[faces[f, k] + 1] += 1
    for v in range(count):
        start[v + 1] += start[v]
    fill = start[:-1].copy()
    around = np.empty(3 * len(faces), np.int32)
    for f in range(len(faces)):
        for k in range(3):
            v = faces[f, k]
            around[fill[v]] = f
            fill[v] += 1
    return start, around


@compiled()
def quadrics(vertices, faces, weight):
    """[V, 11] area-weighted sums over the faces around each vertex: nn^T (6), n d (3), d^2 and the weight."""
    out = np.zeros((len(vertices), 11))
    q = np.empty(11)
    for f in range(len(faces)):
        a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        nx = (b[1] - a[1]) * (c[2] - a[2]) - (b[2] - a[2]) * (c[1] - a[1])
        ny = (b[2] - a[2]) * (c[0] - a[0]) - (b[0] - a[0]) * (c[2] - a[2])
        nz = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        size = np.sqrt(nx * nx + ny * ny + nz * nz)
        if size < 1e-14:
            continue
        nx, ny, nz = nx / size, ny / size, nz / size
        d = -(nx * a[0] + ny * a[1] + nz * a[2])
        q[0], q[1], q[2], q[3], q[4], q[5] = nx * nx, nx * ny, nx * nz, ny * ny, ny * nz, nz * nz
        q[6], q[7], q[8], q[9], q[10] = nx * d, ny * d, nz * d, d * d, 1.0
        g = 0.5 * size * weight[f]
        for k in range(3):
            for m in range(11):
                out[faces[f, k], m] += g * q[m]
    return out


@compiled()
def _square_error(q, p):
    """Mean squared distance of a point to the planes of a quadric."""
    x, y, z = p[0], p[1], p[2]
    e = q[0] * x * x + q[3] * y * y + q[5] * z * z + 2 * (q[1] * x * y + q[2] * x * z + q[4] * y * z)
    e += 2 * (q[6] * x + q[7] * y + q[8] * z) + q[9]
    return max(e, 0.0) / max(q[10], 1e-20)


@compiled()
def _keeps_shape(vertices, faces, start, around, v, u, min_cos, alive):
    """Whether moving v onto u turns no face round its v by more than allowed and makes no sliver worse."""
    for s in range(start[v], start[v + 1]):
        f = around[s]
        if not alive[f]:
            continue
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        if a == u or b == u or c == u:
            continue
        if a == v:
            i, j = b, c
        elif b == v:
            i, j = c, a
        else:
            i, j = a, b
        p, q = vertices[i], vertices[j]
        ox, oy, oz = vertices[v, 0] - p[0], vertices[v, 1] - p[1], vertices[v, 2] - p[2]
        nx, ny, nz = vertices[u, 0] - p[0], vertices[u, 1] - p[1], vertices[u, 2] - p[2]
        ex, ey, ez = q[0] - p[0], q[1] - p[1], q[2] - p[2]
        o0, o1, o2 = ey * oz - ez * oy, ez * ox - ex * oz, ex * oy - ey * ox
        n0, n1, n2 = ey * nz - ez * ny, ez * nx - ex * nz, ex * ny - ey * nx
        old, new = np.sqrt(o0 * o0 + o1 * o1 + o2 * o2), np.sqrt(n0 * n0 + n1 * n1 + n2 * n2)
        if old > 1e-12 and o0 * n0 + o1 * n1 + o2 * n2 < min_cos * old * new:
            return False
        edge = ex * ex + ey * ey + ez * ez
        side = nx * nx + ny * ny + nz * nz
        third = (vertices[u, 0] - q[0]) ** 2 + (vertices[u, 1] - q[1]) ** 2 + (vertices[u, 2] - q[2]) ** 2
        longest = max(edge, side, third)
        # Height over the longest side; needles have no normal worth trusting.
        if new < 0.02 * longest and new < 0.9 * old:
            return False
        if new < 1e-3 * np.sqrt(longest):
            return False
    return True


@compiled()
def collapse_round(vertices, faces, quadric, rank, limit_m, longest_m, min_cos, border_m, wedges, uv_px, seam_px):
    """One round of collapses of vertices onto neighbours; vertices that one of them touched wait for the next round.

    Args:
        vertices: [V, 3]; faces: [F, 3], changed in place.
        quadric: [V, 11], changed in place.
        rank: [V] uint8; a vertex moves only onto one of at least its own rank.
        limit_m: root mean square distance from the original planes that a vertex may have where it ends.
        longest_m: edges above this wait.
        min_cos: of the angle by which faces may turn.
        border_m: distance that an open border may move.
        wedges: [F, 3] int32 number of each corner's texture coordinate, changed in place; [0, 3] without a texture.
        uv_px: [W, 2] texture coordinates in texels.
        seam_px: texels that the outline of a chart may move.

    Returns:
        [F] bool faces that are left, and the number of collapses.
    """
    count = len(vertices)
    start, around = faces_of_vertices(faces, count)
    alive = np.ones(len(faces), np.bool_)
    touched = np.zeros(count, np.bool_)
    mark = np.full(count, -1, np.int64)
    uses = np.zeros(count, np.int64)
    ring = np.empty(256, np.int32)
    q = np.empty(11)
    old, new = np.empty(2, np.int32), np.empty(2, np.int32)
    done = 0
    for v in range(count):
        if touched[v] or start[v] == start[v + 1]:
            continue
        # The ring around v, and how many faces use each spoke: one at an open border.
        n = 0
        for s in range(start[v], start[v + 1]):
            for k in range(3):
                u = faces[around[s], k]
                if u == v:
                    continue
                if mark[u] != v:
                    mark[u] = v
                    uses[u] = 0
                    if n < 256:
                        ring[n] = u
                        n += 1
                uses[u] += 1
        if n >= 256:
            continue
        border, crowded = 0, False
        for m in range(n):
            border += uses[ring[m]] == 1
            crowded |= uses[ring[m]] > 2 or touched[ring[m]]
        if crowded or border not in (0, 2):
            continue
        best, best_cost = -1, np.inf
        for m in range(n):
            u = ring[m]
            if rank[u] < rank[v] or (border == 2 and uses[u] != 1):
                continue
            length = np.sqrt(
                (vertices[u, 0] - vertices[v, 0]) ** 2
                + (vertices[u, 1] - vertices[v, 1]) ** 2
                + (vertices[u, 2] - vertices[v, 2]) ** 2
            )
            if length > longest_m:
                continue
            for k in range(11):
                q[k] = quadric[v, k] + quadric[u, k]
            error = np.sqrt(max(_square_error(quadric[v], vertices[u]), _square_error(q, vertices[u])))
            if error > limit_m:
                continue
            cost = error / limit_m + 0.1 * length / longest_m
            if cost < best_cost:
                if border == 2:
                    # The border from the neighbour before to the one after must stay where it is.
                    other = -1
                    for m2 in range(n):
                        if uses[ring[m2]] == 1 and ring[m2] != u:
                            other = ring[m2]
                    if _off_line(vertices[other], vertices[u], vertices[v]) > border_m:
                        continue
                # Exactly the two faces beside the edge may share neighbours of both ends, or the surface would pinch.
                wanted = 1 if uses[u] == 1 else 2
                if _common(faces, start, around, u, v, mark) != wanted:
                    continue
                if not _keeps_shape(vertices, faces, start, around, v, u, min_cos, alive):
                    continue
                if len(wedges) and not _keeps_charts(faces, wedges, uv_px, start, around, v, u, seam_px, old, new):
                    continue
                best, best_cost = u, cost
        if best < 0:
            continue
        if len(wedges):
            _move_wedges(faces, wedges, start, around, v, best, old, new)
        for s in range(start[v], start[v + 1]):
            f = around[s]
            for k in range(3):
                touched[faces[f, k]] = True
            if faces[f, 0] == best or faces[f, 1] == best or faces[f, 2] == best:
                alive[f] = False
            else:
                for k in range(3):
                    if faces[f, k] == v:
                        faces[f, k] = best
        for s in range(start[best], start[best + 1]):
            for k in range(3):
                touched[faces[around[s], k]] = True
        for k in range(11):
            quadric[best, k] += quadric[v, k]
        done += 1
    return alive, done


@compiled()
def _new_wedges(faces, wedges, start, around, v, u, old, new):
    """Which coordinates of u take the place of which of v: those of the faces beside the edge; returns how many.

    -1 where that is ambiguous, or where v has coordinates in a chart that the edge does not border.
    """
    n = 0
    for s in range(start[v], start[v + 1]):
        f = around[s]
        at_v, at_u = -1, -1
        for k in range(3):
            if faces[f, k] == v:
                at_v = wedges[f, k]
            elif faces[f, k] == u:
                at_u = wedges[f, k]
        if at_u < 0:
            continue
        known = False
        for m in range(n):
            if old[m] == at_v:
                known = True
                if new[m] != at_u:
                    return -1
        if not known:
            if n == 2:
                return -1
            old[n], new[n] = at_v, at_u
            n += 1
    for s in range(start[v], start[v + 1]):
        f = around[s]
        for k in range(3):
            if faces[f, k] == v:
                mapped = False
                for m in range(n):
                    mapped |= old[m] == wedges[f, k]
                if not mapped:
                    return -1
    return n


@compiled()
def _doubled_area(a, b, c):
    return (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])


@compiled()
def _keeps_charts(faces, wedges, uv_px, start, around, v, u, seam_px, old, new):
    """Whether moving v onto u turns no face over in the texture and leaves the outlines of its charts in place."""
    n = _new_wedges(faces, wedges, start, around, v, u, old, new)
    if n < 0:
        return False
    for m in range(n):
        change = 0.0
        step = np.hypot(uv_px[new[m], 0] - uv_px[old[m], 0], uv_px[new[m], 1] - uv_px[old[m], 1])
        for s in range(start[v], start[v + 1]):
            f = around[s]
            own = -1
            for k in range(3):
                if wedges[f, k] == old[m]:
                    own = k
            if own < 0:
                continue
            a, b, c = wedges[f, own], wedges[f, (own + 1) % 3], wedges[f, (own + 2) % 3]
            before = _doubled_area(uv_px[a], uv_px[b], uv_px[c])
            change -= before
            if faces[f, (own + 1) % 3] == u or faces[f, (own + 2) % 3] == u:
                continue
            after = _doubled_area(uv_px[new[m]], uv_px[b], uv_px[c])
            # Meshes without a texture have no area in it.
            if before != 0 and (after * before <= 0 or abs(after) < 1e-3 * abs(before)):
                return False
            change += after
        # The outline sweeps a triangle whose base is about the step.
        if abs(change) > seam_px * max(step, 1.0):
            return False
    return True


@compiled()
def _move_wedges(faces, wedges, start, around, v, u, old, new):
    """Give the corners at v the coordinates of u."""
    n = _new_wedges(faces, wedges, start, around, v, u, old, new)
    for s in range(start[v], start[v + 1]):
        f = around[s]
        for k in range(3):
            if faces[f, k] == v:
                for m in range(n):
                    if wedges[f, k] == old[m]:
                        wedges[f, k] = new[m]
                        break


@compiled()
def _common(faces, start, around, u, v, mark):
    """Number of different vertices beside both ends of an edge; the ring of v is marked with v."""
    found = np.empty(64, np.int32)
    n = 0
    for s in range(start[u], start[u + 1]):
        for k in range(3):
            x = faces[around[s], k]
            if x == u or x == v or mark[x] != v:
                continue
            known = False
            for m in range(n):
                known |= found[m] == x
            if not known:
                if n == 64:
                    return 64
                found[n] = x
                n += 1
    return n


@compiled()
def _off_line(a, b, p):
    """Distance of a point to a segment."""
    e0, e1, e2 = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    p0, p1, p2 = p[0] - a[0], p[1] - a[1], p[2] - a[2]
    t = min(max((p0 * e0 + p1 * e1 + p2 * e2) / max(e0 * e0 + e1 * e1 + e2 * e2, 1e-18), 0.0), 1.0)
    return np.sqrt((p0 - t * e0) ** 2 + (p1 - t * e1) ** 2 + (p2 - t * e2) ** 2)
