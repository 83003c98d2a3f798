"""Few rectangles that cover the marked cells of a grid with uneven rows and columns."""

from __future__ import annotations

import itertools

import numpy as np


def grid_edges(coordinates: np.ndarray, *, step_m: float, gap_m: float, most: int) -> np.ndarray:
    """Ascending cell borders [n + 1] from the first to the last coordinate.

    Args:
        coordinates: where the surface may begin and end.
        step_m: longest cell.
        gap_m: coordinates closer than this share one border.
        most: more borders than this are not kept exactly; even steps replace them.
    """
    values = np.unique(np.round(coordinates, 6))
    kept = [values[0]]
    for value in values[1:]:
        if value - kept[-1] >= gap_m:
            kept.append(value)
    if kept[-1] < values[-1]:
        # The far end is exact even when the border before it has to give way.
        if len(kept) > 1:
            kept[-1] = values[-1]
        else:
            kept.append(values[-1])
    if len(kept) > most:
        return np.linspace(kept[0], kept[-1], max(1, int(np.ceil((kept[-1] - kept[0]) / step_m))) + 1)
    edges = [kept[0]]
    for a, b in itertools.pairwise(kept):
        edges.extend(np.linspace(a, b, max(1, int(np.ceil((b - a) / step_m))) + 1)[1:])
    return np.array(edges)


def largest_rectangle(
    usable: np.ndarray, wanted: np.ndarray, row_m: np.ndarray, col_m: np.ndarray
) -> tuple[float, tuple[int, int, int, int]]:
    """The rectangle of usable cells that holds the most wanted area.

    Args:
        usable: [R, C] bool cells a rectangle may hold.
        wanted: [R, C] bool cells that are worth their area.
        row_m: [R] heights of the rows.
        col_m: [C] widths of the columns.

    Returns:
        Wanted area [m²] and half-open bounds (row0, row1, col0, col1); area 0 if there is none.
    """
    rows, cols = usable.shape
    blocked = np.vstack([np.zeros((1, cols), int), np.cumsum(~usable, axis=0)])
    worth = np.vstack([np.zeros((1, cols)), np.cumsum(wanted * row_m[:, None], axis=0)]) * col_m
    best, where = 0.0, (0, 0, 0, 0)
    for r0 in range(rows):
        # All rectangles that begin in row r0 at once: [ends, C].
        clear = blocked[r0 + 1 :] == blocked[r0]
        total = np.cumsum(worth[r0 + 1 :] - worth[r0], axis=1)
        before = np.concatenate([np.zeros((len(total), 1)), total[:, :-1]], axis=1)
        # Worth gathered up to the last blocked column; a run's worth is what came since.
        base = np.maximum.accumulate(np.where(clear, 0.0, total), axis=1)
        run = np.where(clear, total - base, 0.0)
        k = int(run.argmax())
        if run.flat[k] > best + 1e-9:
            end, last = divmod(k, cols)
            stops = np.flatnonzero(~clear[end, : last + 1])
            first = int(stops[-1]) + 1 if len(stops) else 0
            # Trim worthless columns off the left of the run.
            gains = np.flatnonzero(total[end, first : last + 1] - before[end, first : last + 1] > 0)
            first += int(gains[0])
            best, where = float(run.flat[k]), (r0, r0 + 1 + end, first, last + 1)
    return best, where


def cover(
    usable: np.ndarray,
    wanted: np.ndarray,
    row_m: np.ndarray,
    col_m: np.ndarray,
    *,
    min_area_m2: float,
    min_side_m: float,
    limit: int,
) -> list[tuple[int, int, int, int]]:
    """Greedy rectangles (row0, row1, col0, col1) over the wanted cells, largest first; they do not share wanted cells.

    Cells that are usable but not wanted may be covered for free; rectangles that are too small end the search.
    """
    wanted = wanted & usable
    found: list[tuple[int, int, int, int]] = []
    while len(found) < limit and wanted.any():
        area, (r0, r1, c0, c1) = largest_rectangle(usable, wanted, row_m, col_m)
        if area < min_area_m2 or min(row_m[r0:r1].sum(), col_m[c0:c1].sum()) < min_side_m:
            break
        found.append((r0, r1, c0, c1))
        wanted = wanted.copy()
        wanted[r0:r1, c0:c1] = False
    return found


def grown(rectangle: tuple[int, int, int, int], usable: np.ndarray) -> tuple[int, int, int, int]:
    """The rectangle pushed outwards over usable cells, one side after the other, as far as each goes."""
    r0, r1, c0, c1 = rectangle
    while r0 > 0 and usable[r0 - 1, c0:c1].all():
        r0 -= 1
    while r1 < usable.shape[0] and usable[r1, c0:c1].all():
        r1 += 1
    while c0 > 0 and usable[r0:r1, c0 - 1].all():
        c0 -= 1
    while c1 < usable.shape[1] and usable[r0:r1, c1].all():
        c1 += 1
    return r0, r1, c0, c1
