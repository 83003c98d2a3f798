"""The cut between a new piece and what is laid already, compiled. Only imported by `quilting`."""

from __future__ import annotations

import numpy as np

from ..core.compiled import compiled

LEAST_FILLED = 0.05
"""A border strip that is filled by less than this share needs no cut."""


@compiled(boundscheck=False)
def cut_out(gap, done, overlap):
    """Which pixels of a new piece [S, S] to use: all that are open, and up to a cut of least disagreement through each
    border strip that is filled.

    Args:
        gap: [S, S] float32 squared disagreement with what is laid.
        done: [S, S] bool: laid.
        overlap: width of a border strip [px].
    """
    size = gap.shape[0]
    inside = np.ones((size, size), np.bool_)
    total = np.zeros((size, overlap), np.float32)
    for side in range(4):
        filled = 0
        for i in range(size):
            for j in range(overlap):
                y, x = _at(side, i, j, size)
                filled += done[y, x]
        if filled < LEAST_FILLED * size * overlap:
            continue
        for i in range(size):
            for j in range(overlap):
                y, x = _at(side, i, j, size)
                cost = gap[y, x] if done[y, x] else np.float32(0.0)
                if i > 0:
                    best = total[i - 1, j]
                    if j > 0 and total[i - 1, j - 1] < best:
                        best = total[i - 1, j - 1]
                    if j + 1 < overlap and total[i - 1, j + 1] < best:
                        best = total[i - 1, j + 1]
                    cost += best
                total[i, j] = cost
        at = 0
        for j in range(overlap):
            if total[size - 1, j] < total[size - 1, at]:
                at = j
        for k in range(size):
            i = size - 1 - k
            for j in range(at):
                y, x = _at(side, i, j, size)
                if done[y, x]:
                    inside[y, x] = False
            if i > 0:
                best = at
                for j in range(max(0, at - 1), min(overlap, at + 2)):
                    if total[i - 1, j] < total[i - 1, best]:
                        best = j
                at = best
    return inside


@compiled(boundscheck=False)
def _at(side, i, j, size):
    """Pixel of step i along and j into a square's side: left, right, upper, lower."""
    if side == 0:
        return i, j
    if side == 1:
        return i, size - 1 - j
    if side == 2:
        return j, i
    return size - 1 - j, i
