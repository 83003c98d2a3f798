"""Things that stand on the floor, gathered from columns into objects with one depth, thickness and top each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

USUAL_HEIGHT_M = 1.5
"""Camera height for which sizes are meant; they grow with it."""
MIN_HEIGHT_M = 0.08
MIN_WIDTH_M = 0.12
MIN_THICKNESS_M = 0.3
THICKNESS_PER_HEIGHT = 0.5
KEEP_CLEAR_M = 0.6
"""Nothing is placed nearer to the camera's foot: the photographer stood there."""
WALL_MARGIN_M = 0.15
"""What starts this close to the wall is part of its picture."""

_SAME_OBJECT = 0.12
_MAX_GAP_BINS = 3


@dataclass(frozen=True, kw_only=True)
class Stixels:
    """Standing pieces of single columns."""

    column: np.ndarray
    """[S] int."""
    near_m: np.ndarray
    """[S] horizontal distance of the floor contact."""
    contact_seen: np.ndarray
    """[S] bool: False where the contact lies below the picture and `near_m` is a guess."""
    top_rad: np.ndarray
    """[S] elevation of the upper edge of its label."""
    shadow_m: np.ndarray
    """[S] length of floor hidden behind it; inf where no floor shows again."""

    def select(self, keep: np.ndarray) -> Stixels:
        return Stixels(**{name: value[keep] for name, value in vars(self).items()})

    def joined(self, other: Stixels) -> Stixels:
        return Stixels(**{name: np.concatenate([value, getattr(other, name)]) for name, value in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class StandingObjects:
    """Objects as pieces of columns, ready for a `PolarLayout`."""

    column: np.ndarray
    near_m: np.ndarray
    far_m: np.ndarray
    top_m: np.ndarray


def group_stixels(stixels: Stixels) -> np.ndarray:
    """[S] object number of each stixel: neighbours in azimuth at nearly the same distance belong together."""
    group = np.full(len(stixels.column), -1)
    order = np.lexsort((stixels.near_m, stixels.column))
    open_ends: list[tuple[int, float, int]] = []  # column, distance, group
    count = 0
    for i in order:
        column, near = int(stixels.column[i]), float(stixels.near_m[i])
        open_ends = [end for end in open_ends if column - end[0] <= _MAX_GAP_BINS]
        best, best_gap = None, _SAME_OBJECT
        for k, (end_column, end_near, _) in enumerate(open_ends):
            gap = abs(np.log(near / end_near))
            if end_column < column and gap < best_gap:
                best, best_gap = k, gap
        if best is None:
            group[i] = count
            count += 1
            open_ends.append((column, near, int(group[i])))
        else:
            group[i] = open_ends[best][2]
            open_ends[best] = (column, near, int(group[i]))
    return group


def build_objects(
    stixels: Stixels, boundary_m: np.ndarray, *, step_rad: float, height_m: float, top_limit_m: float
) -> StandingObjects:
    """Objects with robust distances and tops; specks, wall pictures and what nobody could see are left out.

    Args:
        stixels: pieces of columns.
        boundary_m: [A] distance of the wall in each column.
        step_rad: width of a column.
        height_m: camera height.
        top_limit_m: highest top, the ceiling where there is one.
    """
    group = group_stixels(stixels)
    unit = height_m / USUAL_HEIGHT_M
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    for g in range(int(group.max(initial=-1)) + 1):
        part = stixels.select(group == g)
        order = np.argsort(part.column, kind="stable")
        part = part.select(order)
        column = part.column
        if part.contact_seen.any():
            known = part.near_m[part.contact_seen]
            near = np.where(part.contact_seen, part.near_m, np.minimum(part.near_m, np.median(known)))
        else:
            near = part.near_m
        near = np.maximum(running_median(near, 7), KEEP_CLEAR_M)
        wall = boundary_m[column]
        width = len(column) * step_rad * float(np.median(near))
        rise = np.tan(np.clip(part.top_rad, -1.5, 1.3))
        tallest = height_m + near * rise
        # Seen from above, the upper edge of the label is the far edge of the top: thickness and height depend on
        # each other. thickness = THICKNESS_PER_HEIGHT * top and top = height + (near + thickness) * rise.
        lower = np.minimum(rise, 0.0)
        thickness = THICKNESS_PER_HEIGHT * tallest / (1.0 - THICKNESS_PER_HEIGHT * lower)
        thickness = float(np.median(np.minimum(np.maximum(thickness, MIN_THICKNESS_M * unit), part.shadow_m)))
        top = height_m + near * rise + np.minimum(thickness * rise, 0.0)
        top = running_median(top, 9)
        if np.percentile(top, 85) < 1.2 * max(np.percentile(top, 15), 0.05 * unit):
            top = np.full_like(top, np.median(top))  # a flat top is a flat top
        top = np.clip(top, 0.0, top_limit_m)
        if (
            len(column) < 3
            or width < MIN_WIDTH_M * unit
            or np.median(top) < MIN_HEIGHT_M * unit
            or thickness < 0.05 * unit
        ):
            continue
        far = np.minimum(near + thickness, wall - 0.02 * unit)
        ok = (near < wall - WALL_MARGIN_M * unit) & (far > near + 0.05 * unit) & (top > 0.04 * unit)
        if ok.sum() * step_rad * float(np.median(near)) < MIN_WIDTH_M * unit:
            continue
        kept.append((column[ok], near[ok], far[ok], top[ok]))
    parts = [np.concatenate(p) for p in zip(*kept, strict=True)] if kept else [np.zeros(0)] * 4
    order = np.lexsort((parts[1], parts[0]))
    return StandingObjects(
        column=parts[0][order].astype(np.int32), near_m=parts[1][order], far_m=parts[2][order], top_m=parts[3][order]
    )


def joined(first: StandingObjects, second: StandingObjects) -> StandingObjects:
    """Both, ordered by column, then outwards."""
    both = {name: np.concatenate([value, getattr(second, name)]) for name, value in vars(first).items()}
    order = np.lexsort((both["near_m"], both["column"]))
    return StandingObjects(**{name: value[order] for name, value in both.items()})


def running_median(values: np.ndarray, size: int) -> np.ndarray:
    """Running median with edges repeated."""
    size = min(size, 2 * ((len(values) - 1) // 2) + 1)
    if size < 3:
        return values
    padded = np.pad(values, size // 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, size), -1)
