"""Level sections of worlds, sorted into square cells, so that a level ray looks at the pieces along its way only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lyra.worldgen.core.mesh import TriMesh
from lyra.worldgen.sim.occupancy import cut_at

CELL_M = 0.25
MOST_CELLS = 1_000_000
"""Of one world; larger ones get larger cells."""
SLACK_M = 1e-3
"""Pieces also count for cells that they miss by this much: rays walk through the cells in single precision."""


@dataclass(frozen=True, kw_only=True)
class SectionGrids:
    """Sections of K worlds, each in its own world's frame."""

    pieces: np.ndarray
    """[S, 4] float32 of straight pieces: where each begins (x, y), and from there to its end (x, y) [m]."""
    first: np.ndarray
    """[C + 1] int32: cell c holds `held[first[c]:first[c + 1]]`; the cells of a world lie together, row by row."""
    held: np.ndarray
    """[H] int32 numbers of pieces."""
    base: np.ndarray
    """[K] int32 first cell of each world."""
    shape: np.ndarray
    """[K, 2] int32 rows and columns."""
    origin_xy_m: np.ndarray
    """[K, 2] float32 corner of the first cell."""
    cell_m: np.ndarray
    """[K] float32."""


def section_grids(colliders: Sequence[TriMesh], heights_m: Sequence[float]) -> SectionGrids:
    """Cut every world's colliders at its height and sort what is found.

    Args:
        colliders: one mesh a world, world frame.
        heights_m: of each world's plane, world frame.
    """
    made = [_one(mesh, height) for mesh, height in zip(colliders, heights_m, strict=True)]
    pieces, counts, helds, shapes, origins, cells = zip(*made, strict=True)
    before = np.cumsum([0, *(len(p) for p in pieces)])
    sizes = np.array([len(c) for c in counts])
    return SectionGrids(
        pieces=np.concatenate(pieces).astype(np.float32),
        first=np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int32),
        held=np.concatenate([held + shift for held, shift in zip(helds, before[:-1], strict=True)]).astype(np.int32),
        base=(np.cumsum(sizes) - sizes).astype(np.int32),
        shape=np.array(shapes, np.int32),
        origin_xy_m=np.array(origins, np.float32),
        cell_m=np.array(cells, np.float32),
    )


def _one(mesh: TriMesh, height_m: float):
    """Pieces [S, 4], pieces in each cell [C], which [H], rows and columns, corner, cell size of one world."""
    start, end = (points[:, :2] for points in cut_at(mesh.triangles(), height_m))
    if not len(start):
        return np.zeros((0, 4)), np.zeros(1, int), np.zeros(0, int), (1, 1), (0.0, 0.0), CELL_M
    low = np.minimum(start, end).min(0) - 2 * SLACK_M
    extent = np.maximum(start, end).max(0) + 2 * SLACK_M - low
    cell = max(CELL_M, float(np.sqrt(extent.prod() / MOST_CELLS)))
    cols, rows = (int(np.floor(side / cell)) + 1 for side in extent)
    piece, cell_of = _crossed((start - low) / cell, (end - low) / cell, SLACK_M / cell, cols)
    order = np.argsort(cell_of, kind="stable")
    counts = np.bincount(cell_of, minlength=rows * cols)
    return np.c_[start, end - start], counts, piece[order], (rows, cols), tuple(low), cell


def _crossed(start: np.ndarray, end: np.ndarray, slack: float, cols: int) -> tuple[np.ndarray, np.ndarray]:
    """Which piece [H] crosses which cell [H] (row * cols + column); ends [S, 2] in cells.

    Row by row each piece takes the columns between where it enters the row and where it leaves it.
    """
    swap = start[:, 1] > end[:, 1]
    bottom, top = np.where(swap[:, None], end, start), np.where(swap[:, None], start, end)
    row_a = np.floor(bottom[:, 1] - slack).astype(int)
    row_b = np.floor(top[:, 1] + slack).astype(int)
    piece, row = _ranges(row_a, row_b)
    b, t = bottom[piece], top[piece]
    rise = t[:, 1] - b[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.clip((np.stack([row - slack, row + 1 + slack]) - b[:, 1]) / rise, 0.0, 1.0)
    # What hardly rises takes all of its columns in every row that it may lie in.
    share = np.where(rise > slack, share, np.array([[0.0], [1.0]]))
    x = b[:, 0] + share * (t[:, 0] - b[:, 0])
    col_a, col_b = np.floor(x.min(0) - slack).astype(int), np.floor(x.max(0) + slack).astype(int)
    which, col = _ranges(np.maximum(col_a, 0), np.minimum(col_b, cols - 1))
    return piece[which], row[which] * cols + col


def _ranges(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All integers of ranges [n] with both ends: of which range, and which integer."""
    lengths = np.maximum(last - first + 1, 0)
    which = np.repeat(np.arange(len(first)), lengths)
    begun = np.cumsum(lengths) - lengths
    return which, first[which] + np.arange(len(which)) - begun[which]
