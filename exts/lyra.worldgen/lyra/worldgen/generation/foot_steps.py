"""Walls, pillars and things put where the floor's colour ends at their feet.

Labels are right to a degree, and they like to end at the upper edge of a skirting board, which far away is metres
behind the wall's foot. What the labels take for wall, but whose foot stands before it, becomes a thing of its own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .floor_end import HEIGHTS, LEAST_COLUMNS, ColumnColours, foot_in, foot_of
from .standing_objects import MIN_WIDTH_M, USUAL_HEIGHT_M, Stixels, group_stixels, running_median
from .walls import FREE, Line, WallEvidence

_WINDOW = 3
"""Columns to either side whose colours are taken together."""
_STRAIGHT = 6
"""Columns to either side over which a wall is taken for straight."""
_FARTHEST_RAD = np.radians(3.0)
_ON_SURFACE_RAD = np.radians(1.2)
_JUMP_LOG = 0.1
_BEFORE = 0.12
"""What stands before a wall does so by this distance, in camera heights."""
_TOP_STEP = 12.0
_BESIDE, _UNLIKE = 16, 14.0
"""Columns to either side that show the wall, and the least difference of a thing from it in 8-bit Lab."""


def contacts_on_the_floor(evidence: WallEvidence, colours: ColumnColours, *, height_m: float) -> np.ndarray:
    """[A] depressions of the contacts, moved to where the floor's colour ends around each column; NaN stays."""
    contact = evidence.contact_rad.copy()
    columns = np.flatnonzero(np.isfinite(contact) & (contact > _FARTHEST_RAD))
    if len(columns) < LEAST_COLUMNS:
        return contact
    inverse = np.tan(contact[columns]) / height_m
    level = running_median(inverse, 5)
    straight = np.empty(len(columns))
    parts = []
    for k, column in enumerate(columns):
        # Along a wall the inverse of the distance is nearly linear.
        first = max(0, k - _STRAIGHT)
        part = first + np.flatnonzero(
            (np.abs(columns[first : k + _STRAIGHT + 1] - column) <= _STRAIGHT)
            & (np.abs(np.log(level[first : k + _STRAIGHT + 1] / level[k])) < _JUMP_LOG)
        )
        x, y = columns[part] - column, inverse[part]
        slope = (x - x.mean()) @ y / max(float((x - x.mean()) @ (x - x.mean())), 1e-9)
        straight[k] = max(y.mean() - slope * x.mean(), 1e-3)
        # At a flat angle the columns beside it show other distances.
        width = _WINDOW if abs(slope) * _WINDOW < 0.5 * _JUMP_LOG * straight[k] else 0
        parts.append(part[np.abs(columns[part] - column) <= width])
    range_m = 1.0 / straight
    lab = colours.sample(evidence.azimuth_rad[columns], np.arctan2((HEIGHTS[:, None] - 1.0) * height_m, range_m))
    for k, column in enumerate(columns):
        z = foot_in(lab[:, parts[k]], range_m[k] / height_m, colours.camera.fx_px)
        if z is not None:
            contact[column] = np.arctan2((1.0 - z) * height_m, range_m[k])
    return contact


def walls_on_their_feet(
    boundary_m: np.ndarray,
    line: np.ndarray,
    lines: list[Line],
    evidence: WallEvidence,
    colours: ColumnColours,
    *,
    height_m: float,
    reach_m: float,
) -> tuple[np.ndarray, list[Line], np.ndarray]:
    """Boundary [A] and lines moved to where the floor ends, and [A] bool: the column's foot was found.

    Args:
        boundary_m: [A] of `walls.fit_walls`.
        line: [A] which line each column follows.
        lines: the lines.
        evidence: what they were fitted to; columns far from their surface hide it.
        colours: of the photo.
        height_m: camera height.
        reach_m: farthest boundary.
    """
    boundary_m, lines, found = boundary_m.copy(), list(lines), np.zeros(len(boundary_m), bool)
    with np.errstate(invalid="ignore"):
        off = np.abs(evidence.contact_rad - np.arctan2(height_m, boundary_m))
    meets = np.isfinite(off) & (off < _ON_SURFACE_RAD) & (boundary_m < 0.99 * reach_m)
    for piece in _surfaces(boundary_m, line):
        use = piece[meets[piece]]
        z = foot_of(colours, evidence.azimuth_rad[use], boundary_m[use], height_m=height_m)
        if z is None:
            continue
        # The same pixel on the floor instead of above or below it.
        nearer = 1.0 / (1.0 - z)
        boundary_m[piece] = np.minimum(boundary_m[piece] * nearer, reach_m)
        found[piece] = True
        if line[piece[0]] != FREE:
            k = int(line[piece[0]])
            lines[k] = Line(normal_rad=lines[k].normal_rad, distance_m=lines[k].distance_m * nearer)
    return boundary_m, lines, found


def things_before_walls(
    boundary_m: np.ndarray, evidence: WallEvidence, colours: ColumnColours, *, height_m: float, reach_m: float
) -> Stixels:
    """Standing pieces for what the labels take for wall, but whose foot stands before the wall.

    Walls are straight, so a narrow thing at their foot does not bend them; where the floor's colour ends at it as well
    it is no error of the labels either.

    Args:
        boundary_m: [A] distance of the walls.
        evidence: what they were fitted to.
        colours: of the photo.
        height_m: camera height.
        reach_m: farthest boundary.
    """
    azimuth, contact = evidence.azimuth_rad, evidence.contact_rad
    step = float(azimuth[1] - azimuth[0])
    inside = np.isfinite(contact) & (boundary_m < 0.99 * reach_m)
    range_m = height_m / np.tan(np.maximum(np.nan_to_num(contact), 1e-3))
    range_m = np.where(inside, np.minimum(range_m, boundary_m), boundary_m)
    # What the labels do not tell from the wall at all, its colours may.
    lab = colours.sample(azimuth, np.arctan2((HEIGHTS[:, None] - 1.0) * height_m, boundary_m))
    for column in np.flatnonzero(inside):
        z = foot_in(lab[:, max(0, column - 1) : column + 2], boundary_m[column] / height_m, colours.camera.fx_px)
        if z is not None:
            range_m[column] = min(range_m[column], boundary_m[column] / (1.0 - z))
    before = inside & (boundary_m - range_m > _BEFORE * height_m)
    columns = np.flatnonzero(before)
    range_m = range_m[columns]
    ends = np.flatnonzero((np.diff(columns) > 2) | (np.abs(np.diff(np.log(range_m))) > _JUMP_LOG)) + 1
    parts = []
    for piece in np.split(np.arange(len(columns)), ends):
        if len(piece) < LEAST_COLUMNS:
            continue
        column, own = columns[piece], running_median(range_m[piece], 7)
        z = foot_of(colours, azimuth[column], own, height_m=height_m)
        if z is None:
            continue
        near = own / (1.0 - z)
        gap = float(np.median(boundary_m[column] - near))
        if (
            gap < _BEFORE * height_m
            or len(piece) * step * float(np.median(near)) < MIN_WIDTH_M * height_m / USUAL_HEIGHT_M
        ):
            continue
        if not _unlike_the_wall(colours, azimuth, boundary_m, column, near, before, height_m):
            continue
        top = _top_of(colours, azimuth[column], near, height_m)
        parts.append((column, near, np.arctan2(top - height_m, near)))
    column, near, top = (np.concatenate(p) for p in zip(*parts, strict=True)) if parts else [np.zeros(0)] * 3
    return Stixels(
        column=column.astype(int),
        near_m=near,
        contact_seen=np.ones(len(column), bool),
        top_rad=top,
        shadow_m=np.full(len(column), np.inf),
    )


def _unlike_the_wall(
    colours: ColumnColours,
    azimuth_rad: np.ndarray,
    boundary_m: np.ndarray,
    column: np.ndarray,
    near_m: np.ndarray,
    before: np.ndarray,
    height_m: float,
) -> bool:
    """Whether a thing before a wall has another colour than the wall beside it, seen at the same heights."""
    z = np.linspace(0.03, 0.18, 12)[:, None] - 1.0
    beside = np.arange(column[0] - _BESIDE, column[-1] + _BESIDE + 1)
    beside = beside[(beside >= 0) & (beside < len(azimuth_rad))]
    beside = beside[~before[beside]]
    if not len(beside):
        return False
    own = colours.sample(azimuth_rad[column], np.arctan2(z * height_m, near_m))
    wall = colours.sample(azimuth_rad[beside], np.arctan2(z * height_m, boundary_m[beside]))
    own, wall = (np.median(part[np.isfinite(part[..., 0])], 0) for part in (own, wall))
    return bool(np.linalg.norm(own - wall) > _UNLIKE)


def _top_of(colours: ColumnColours, azimuth_rad: np.ndarray, range_m: np.ndarray, height_m: float) -> float:
    """Height [m] at which the colours of an upright thing change most; camera height where they do not."""
    z = np.linspace(0.2, 1.4, 90)
    lab = colours.sample(azimuth_rad, np.arctan2((z[:, None] - 1.0) * height_m, range_m))
    seen = np.isfinite(lab[..., 0]).mean(1) > 0.7
    profile = np.nanmedian(np.where(seen[:, None, None], lab, 0.0), 1)
    change = np.linalg.norm(profile[3:] - profile[:-3], axis=1) * (seen[3:] & seen[:-3])
    return height_m * float(z[1 + change.argmax()]) if change.max() > _TOP_STEP else height_m


def things_on_their_feet(
    stixels: Stixels, azimuth_rad: np.ndarray, colours: ColumnColours, *, height_m: float
) -> Stixels:
    """Standing pieces moved to where the floor ends before each object; azimuths [A] of all columns."""
    near = stixels.near_m.copy()
    group = group_stixels(stixels)
    for g in range(int(group.max(initial=-1)) + 1):
        part = np.flatnonzero((group == g) & stixels.contact_seen)
        part = part[np.argsort(stixels.column[part], kind="stable")]
        smooth = running_median(stixels.near_m[part], 7)
        z = foot_of(colours, azimuth_rad[stixels.column[part]], smooth, height_m=height_m)
        if z is not None:
            near[part] = smooth / (1.0 - z)
    return replace(stixels, near_m=near)


def _surfaces(boundary_m: np.ndarray, line: np.ndarray) -> list[np.ndarray]:
    """Columns of every line, and of every stretch without jumps that follows none."""
    free = np.flatnonzero(line == FREE)
    ends = np.flatnonzero((np.diff(free) > 1) | (np.abs(np.diff(np.log(boundary_m[free]))) > _JUMP_LOG)) + 1
    pieces = [np.flatnonzero(line == k) for k in np.unique(line[line != FREE])]
    return pieces + [part for part in np.split(free, ends) if len(part)]
