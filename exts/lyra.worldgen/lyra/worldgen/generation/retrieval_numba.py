"""Compiled inner loops of `retrieval_index`; arithmetic is that of `retrieval.project`, operation by operation.

No fast maths here: a fused or reordered sum could move a point into the neighbouring cell.
"""

from __future__ import annotations

import numpy as np

from ..core.compiled import compiled

BLOCK = 8
"""Side of the blocks of cells whose farthest depth stands for all of them."""
LARGEST_TEST = 64
"""Boxes that reach more cells than this are compared with blocks."""
MARGIN = 1e-3
"""Slack of every box test, relative to the grid: far above what float32 rounding moves a point."""
DEPTH_MARGIN = 1e-5
"""The same for depth, relative to the coordinates."""


@compiled(error_model="numpy")
def boxes_in_sight(which, boxes, w2c, K, h, w):
    """Of some boxes [N, 2, 3] those that may hold a point that lands on the grid: their numbers, least z float32 and
    cells x0, x1, y0, y1 (ends included) that they can reach. Never wrong about a no."""
    out = np.empty(len(which), np.int64)
    z_low = np.empty(len(which), np.float32)
    rect = np.empty((len(which), 4), np.int64)
    # pix = M p + t
    M, t = K @ w2c[:3, :3].copy(), K @ w2c[:3, 3].copy()
    low_u, high_u = -0.5 - MARGIN * w, w - 0.5 + MARGIN * w
    low_v, high_v = -0.5 - MARGIN * h, h - 0.5 + MARGIN * h
    count = 0
    for k in which:
        box = boxes[k]
        if not box[0, 0] <= box[1, 0]:
            continue
        left = right = above = below = 0
        z0, z1 = np.inf, -np.inf
        u0, u1, v0, v1 = np.inf, -np.inf, np.inf, -np.inf
        size = 0.0
        for corner in range(8):
            x = np.float64(box[corner & 1, 0])
            y = np.float64(box[(corner >> 1) & 1, 1])
            z = np.float64(box[corner >> 2, 2])
            a = M[0, 0] * x + M[0, 1] * y + M[0, 2] * z + t[0]
            b = M[1, 0] * x + M[1, 1] * y + M[1, 2] * z + t[1]
            c = M[2, 0] * x + M[2, 1] * y + M[2, 2] * z + t[2]
            size = max(size, abs(x), abs(y), abs(z))
            left += a < low_u * c
            right += a > high_u * c
            above += b < low_v * c
            below += b > high_v * c
            z0, z1 = min(z0, c), max(z1, c)
            if c > 0:
                u0, u1, v0, v1 = min(u0, a / c), max(u1, a / c), min(v0, b / c), max(v1, b / c)
        slack = DEPTH_MARGIN * (size + abs(t[2]))
        # A half-space that all corners miss is missed by the whole box, wherever the camera stands.
        if z1 < -slack or left == 8 or right == 8 or above == 8 or below == 8:
            continue
        if z0 > max(1e-3 * z1, slack):
            rect[count, 0] = min(max(int(np.floor(u0 - 0.5 - MARGIN * w)), 0), w - 1)
            rect[count, 1] = min(max(int(np.ceil(u1 + 0.5 + MARGIN * w)), 0), w - 1)
            rect[count, 2] = min(max(int(np.floor(v0 - 0.5 - MARGIN * h)), 0), h - 1)
            rect[count, 3] = min(max(int(np.ceil(v1 + 0.5 + MARGIN * h)), 0), h - 1)
        else:
            # Around the camera a box can reach everything.
            rect[count, 0], rect[count, 1], rect[count, 2], rect[count, 3] = 0, w - 1, 0, h - 1
        z_low[count] = max(z0 - slack, 0.0)
        out[count] = k
        count += 1
    return out[:count], z_low[:count], rect[:count]


@compiled(error_model="numpy")
def block_max(nearest):
    """Farthest of every block of cells."""
    h, w = nearest.shape
    out = np.zeros(((h + BLOCK - 1) // BLOCK, (w + BLOCK - 1) // BLOCK), np.float32)
    for y in range(h):
        for x in range(w):
            if nearest[y, x] > out[y // BLOCK, x // BLOCK]:
                out[y // BLOCK, x // BLOCK] = nearest[y, x]
    return out


@compiled(error_model="numpy")
def _behind(z_low, x0, x1, y0, y1, tolerance, depth):
    for y in range(y0, y1 + 1):
        for x in range(x0, x1 + 1):
            if z_low <= depth[y, x] + tolerance:
                return False
    return True


@compiled(error_model="numpy")
def _hidden(z_low, rect, tolerance, far, nearest):
    """Whether everything at z_low or beyond in these cells lies behind what is drawn, by more than the tolerance."""
    if (rect[1] - rect[0] + 1) * (rect[3] - rect[2] + 1) > LARGEST_TEST:
        return _behind(z_low, rect[0] // BLOCK, rect[1] // BLOCK, rect[2] // BLOCK, rect[3] // BLOCK, tolerance, far)
    return _behind(z_low, rect[0], rect[1], rect[2], rect[3], tolerance, nearest)


@compiled(error_model="numpy")
def hidden(z_low, rect, tolerance, far):
    """The same for many boxes, by blocks alone."""
    out = np.zeros(len(z_low), np.bool_)
    for k in range(len(z_low)):
        r = rect[k]
        out[k] = _behind(z_low[k], r[0] // BLOCK, r[1] // BLOCK, r[2] // BLOCK, r[3] // BLOCK, tolerance, far)
    return out


@compiled(error_model="numpy")
def _cell(p, w2c, K):
    """`retrieval.project` of one point."""
    x, y, z = p[0], p[1], p[2]
    cx = w2c[0, 0] * x + w2c[0, 1] * y + w2c[0, 2] * z + w2c[0, 3]
    cy = w2c[1, 0] * x + w2c[1, 1] * y + w2c[1, 2] * z + w2c[1, 3]
    cz = w2c[2, 0] * x + w2c[2, 1] * y + w2c[2, 2] * z + w2c[2, 3]
    px = K[0, 0] * cx + K[0, 1] * cy + K[0, 2] * cz
    py = K[1, 0] * cx + K[1, 1] * cy + K[1, 2] * cz
    pz = K[2, 0] * cx + K[2, 1] * cy + K[2, 2] * cz
    return np.rint(px / pz), np.rint(py / pz), pz


@compiled(error_model="numpy")
def draw(order, tiles, z_low, rect, points, start, w2c, K, tolerance, far, nearest, drawn):
    """Least z of every cell; tiles that are proven hidden are skipped and stay out of `drawn`."""
    h, w = nearest.shape
    for t in order:
        if _hidden(z_low[t], rect[t], tolerance, far, nearest):
            continue
        drawn[t] = True
        for n in range(start[tiles[t]], start[tiles[t] + 1]):
            x, y, z = _cell(points[n], w2c, K)
            if z > 0 and x >= 0 and x < w and y >= 0 and y < h:
                i, j = int(y), int(x)
                if z < nearest[i, j]:
                    nearest[i, j] = z


@compiled(error_model="numpy")
def mark(tiles, z_low, rect, row_of, points, start, w2c, K, tolerance, nearest, first_bit, cover):
    """Set bit first_bit + cell in a tile's row for every point within the tolerance of its cell's nearest."""
    h, w = nearest.shape
    far = block_max(nearest)
    for t in range(len(tiles)):
        if _hidden(z_low[t], rect[t], tolerance, far, nearest):
            continue
        row = cover[row_of[t]]
        for n in range(start[tiles[t]], start[tiles[t] + 1]):
            x, y, z = _cell(points[n], w2c, K)
            if z > 0 and x >= 0 and x < w and y >= 0 and y < h:
                i, j = int(y), int(x)
                if z <= nearest[i, j] + tolerance:
                    bit = first_bit + i * w + j
                    row[bit >> 6] |= np.uint64(1) << np.uint64(bit & 63)


@compiled(error_model="numpy")
def gains(cover, covered, taken, out):
    """Cells that each row would add; -1 for rows that are taken."""
    for k in range(cover.shape[0]):
        if taken[k]:
            out[k] = -1
            continue
        total = 0
        for i in range(cover.shape[1]):
            x = cover[k, i] & ~covered[i]
            # Population count by parallel sums.
            x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
            x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
            x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
            total += np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))
        out[k] = total
