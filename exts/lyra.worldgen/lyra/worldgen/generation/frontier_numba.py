"""Compiled inner loops of exploration on the free-space grid; see `frontier` for what they are for."""

from __future__ import annotations

import heapq

import numpy as np

from ..core.compiled import compiled


@compiled()
def geodesic(open_cells, row, col, target):
    """Shortest way [cells] from a cell over 8 neighbours without cutting corners, and each cell's predecessor.

    Stops early at the flat index `target`; -1 computes everything. Cells out of reach are at infinity.
    """
    rows, cols = open_cells.shape
    distance = np.full(rows * cols, np.inf)
    previous = np.full(rows * cols, -1, np.int64)
    done = np.zeros(rows * cols, np.bool_)
    distance[row * cols + col] = 0.0
    queue = [(0.0, row * cols + col)]
    while len(queue):
        d, here = heapq.heappop(queue)
        if done[here]:
            continue
        done[here] = True
        if here == target:
            break
        r, c = here // cols, here % cols
        for dr in range(-1, 2):
            for dc in range(-1, 2):
                rr, cc = r + dr, c + dc
                if rr < 0 or cc < 0 or rr >= rows or cc >= cols or not open_cells[rr, cc]:
                    continue
                if dr != 0 and dc != 0 and not (open_cells[r, cc] and open_cells[rr, c]):
                    continue
                there = rr * cols + cc
                further = d + (np.sqrt(2.0) if dr != 0 and dc != 0 else 1.0)
                if further < distance[there]:
                    distance[there] = further
                    previous[there] = here
                    heapq.heappush(queue, (further, there))
    return distance, previous


@compiled()
def cells_in_sight(free, wanted, row, col, reach, stamp, mark):
    """How many `wanted` cells are in sight of a cell within `reach` [cells], over `free` cells only.

    `stamp` [rows, cols] int32 remembers which cells were counted for `mark`, a new positive number each call.
    """
    rows, cols = free.shape
    rays = max(16, int(np.ceil(2 * np.pi * reach)))
    count = 0
    for k in range(rays):
        angle = 2 * np.pi * k / rays
        dr, dc = np.sin(angle), np.cos(angle)
        for step in range(int(reach) + 1):
            r, c = int(np.floor(row + 0.5 + step * dr)), int(np.floor(col + 0.5 + step * dc))
            if r < 0 or c < 0 or r >= rows or c >= cols or not free[r, c]:
                break
            if wanted[r, c] and stamp[r, c] != mark:
                stamp[r, c] = mark
                count += 1
    return count
