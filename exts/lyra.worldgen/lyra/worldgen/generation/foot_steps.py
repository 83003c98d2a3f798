"""Where the floor's colour ends: the exact foot of walls and pillars, below their skirting.

Labels are right to a degree, and they like to end at the upper edge of a skirting board, which far away is metres
behind the wall's foot. The colours along a whole wall say it better: laid out by height above the supposed foot and
averaged along the wall, they show one sharp step where the floor ends and never comes back. A joint of the floor is a
step, too, but behind it the floor goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import rotate_vectors
from ..core.optional import require
from .standing_objects import MIN_WIDTH_M, USUAL_HEIGHT_M, Stixels, group_stixels, running_median
from .walls import FREE, Line, WallEvidence

DEEPEST, HIGHEST = -0.12, 0.06
"""The foot is sought this far below and above the supposed one, in camera heights: a skirting and a label's error."""
_HEIGHTS = np.linspace(-0.36, 0.2, 180)
"""Of a profile over the supposed foot, in camera heights."""
_WINDOW = 3
"""Columns to either side whose colours are taken together."""
_STRAIGHT = 6
_FARTHEST_RAD = np.radians(3.0)
_LEAST_COLUMNS = 4
_LEAST_STEP, _LEAST_STEP_NARROW = 3.0, 5.0
"""Smallest difference in tint that ends a floor: along a whole surface, and in a few columns, where noise is larger."""
_OVER_OTHERS = 1.5
"""It has to be this much larger than the floor's own steps."""
_SHARP = 0.6
"""This share of that difference comes within three pixels."""
_RETURN = 0.05
"""A joint is narrower than this, in camera heights."""
_ON_SURFACE_RAD = np.radians(1.2)
_JUMP_LOG = 0.1
_BEFORE_HEIGHTS = 0.12
"""What stands before a wall does so by this distance, in camera heights."""
_TOP_STEP = 12.0
_BESIDE, _UNLIKE = 16, 14.0
"""Columns to either side that show the wall, and the least difference of a thing from it in 8-bit Lab."""


@dataclass(frozen=True)
class ColumnColours:
    """The photo's colours by azimuth and elevation."""

    lab: np.ndarray
    """[H, W, 3] float32, 8-bit Lab."""
    camera: PinholeCamera
    T_world_cam: np.ndarray

    @classmethod
    def of(cls, rgb_u8: np.ndarray, camera: PinholeCamera, T_world_cam: np.ndarray) -> ColumnColours:
        cv2 = require("cv2", extra="gen", package="opencv-python-headless")
        return cls(cv2.cvtColor(rgb_u8, cv2.COLOR_RGB2LAB).astype(np.float32), camera, T_world_cam)

    def sample(self, azimuth_rad: np.ndarray, elevation_rad: np.ndarray) -> np.ndarray:
        """[Z, A, 3] colours at azimuths [A] and elevations [Z, A]; NaN outside the picture."""
        cv2 = require("cv2", extra="gen", package="opencv-python-headless")
        level = np.cos(elevation_rad)
        rays = np.stack([level * np.cos(azimuth_rad), level * np.sin(azimuth_rad), np.sin(elevation_rad)], -1)
        uv, depth = self.camera.project(rotate_vectors(self.T_world_cam.T, rays))
        h, w = self.lab.shape[:2]
        with np.errstate(invalid="ignore"):
            inside = (depth > 0.02) & (uv[..., 0] > 1) & (uv[..., 0] < w - 1) & (uv[..., 1] > 1) & (uv[..., 1] < h - 1)
        uv = (np.where(inside[..., None], uv, 0.0) - 0.5).astype(np.float32)
        found = cv2.remap(
            self.lab, np.ascontiguousarray(uv[..., 0]), np.ascontiguousarray(uv[..., 1]), cv2.INTER_LINEAR
        )
        return np.where(inside[..., None], found, np.nan)


def foot_of(colours: ColumnColours, azimuth_rad: np.ndarray, range_m: np.ndarray, *, height_m: float) -> float | None:
    """Height over the supposed foot, in camera heights, at which the floor ends; None where no colour says so.

    Args:
        colours: of the photo.
        azimuth_rad: [N] columns in which an upright surface meets the floor.
        range_m: [N] its supposed distance.
        height_m: camera height.
    """
    if len(azimuth_rad) < _LEAST_COLUMNS:
        return None
    lab = colours.sample(azimuth_rad, np.arctan2((_HEIGHTS[:, None] - 1.0) * height_m, range_m))
    return _foot(lab, float(np.median(range_m)) / height_m, colours.camera.fx_px, _LEAST_STEP)


def _foot(lab: np.ndarray, range_in_heights: float, f_px: float, least: float = _LEAST_STEP_NARROW) -> float | None:
    """`foot_of` from sampled colours [Z, N, 3]."""
    seen = np.isfinite(lab[..., 0]).mean(1) > 0.7
    if seen[(_HEIGHTS > DEEPEST) & (_HEIGHTS < HIGHEST)].mean() < 0.95:
        return None
    # Rows that hardly any column sees get the colour of nothing; `seen` leaves them out.
    profile = np.nanmedian(np.where(seen[:, None, None], lab, 0.0), 1)
    # Height on the surface that one pixel covers there.
    pixel = (range_in_heights + 1.0 / range_in_heights) / f_px
    return end_of_floor(_tint(profile), _HEIGHTS, seen, pixel, least)


def contacts_on_the_floor(evidence: WallEvidence, colours: ColumnColours, *, height_m: float) -> np.ndarray:
    """[A] depressions of the contacts, moved to where the floor's colour ends around each column; NaN stays."""
    contact = evidence.contact_rad.copy()
    columns = np.flatnonzero(np.isfinite(contact) & (contact > _FARTHEST_RAD))
    if len(columns) < _LEAST_COLUMNS:
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
    lab = colours.sample(evidence.azimuth_rad[columns], np.arctan2((_HEIGHTS[:, None] - 1.0) * height_m, range_m))
    for k, column in enumerate(columns):
        z = _foot(lab[:, parts[k]], range_m[k] / height_m, colours.camera.fx_px)
        if z is not None:
            contact[column] = np.arctan2((1.0 - z) * height_m, range_m[k])
    return contact


def _tint(lab: np.ndarray) -> np.ndarray:
    """[..., 2] colour without brightness, which shadows at the foot of walls do not change."""
    return 100.0 * (lab[..., 1:] - 128.0) / (lab[..., :1] + 20.0)


def end_of_floor(
    tint: np.ndarray, z: np.ndarray, seen: np.ndarray, pixel: float, least: float = _LEAST_STEP
) -> float | None:
    """Where a profile of colours stops being floor, None where it does not or where that is not clear.

    Args:
        tint: [Z, 2] colours.
        z: [Z] heights, ascending, evenly spaced.
        seen: [Z] bool.
        pixel: size of a pixel in the same unit.
        least: smallest difference that counts.
    """
    front = seen & (z < DEEPEST)
    if front.sum() < 8:
        return None
    floor = np.median(tint[front], 0)
    off = np.linalg.norm(tint - floor, axis=1)
    limit = max(least, _OVER_OTHERS * float(np.quantile(off[front], 0.95)))
    other = np.where(seen, off > limit, False)
    size = max(2, int(np.ceil((_RETURN + pixel) / (z[1] - z[0]))))
    stays = np.array([other[i : i + size].all() for i in range(len(z) - size)])
    starts = np.flatnonzero(stays & (z[: len(stays)] >= DEEPEST - pixel) & (z[: len(stays)] <= HIGHEST))
    if not len(starts):
        return None
    half = max(1, round(0.5 * pixel / (z[1] - z[0])))
    rise = np.zeros(len(z))
    rise[half:-half] = off[2 * half :] - off[: -2 * half]
    first = max(half, int(starts[0]) - 2 * half)
    last = min(len(z) - half - 1, int(starts[0]) + 4 * half)
    part = np.arange(first, last + 1)
    # Wall behind skirting rises once more; the first rise is the foot.
    top = [
        i for i in part if rise[i] >= rise[max(0, i - half) : i + half + 1].max() and rise[i] > 0.4 * rise[part].max()
    ]
    i = top[0] if top else int(part[rise[part].argmax()])
    # Reflections of the wall change the floor's colour as well, but slowly.
    wide = max(1, round(1.5 * pixel / (z[1] - z[0])))
    if off[min(i + wide, len(z) - 1)] - off[max(i - wide, 0)] < _SHARP * limit:
        return None
    return float(z[i]) if DEEPEST <= z[i] <= HIGHEST else None


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
    lab = colours.sample(azimuth, np.arctan2((_HEIGHTS[:, None] - 1.0) * height_m, boundary_m))
    for column in np.flatnonzero(inside):
        z = _foot(lab[:, max(0, column - 1) : column + 2], boundary_m[column] / height_m, colours.camera.fx_px)
        if z is not None:
            range_m[column] = min(range_m[column], boundary_m[column] / (1.0 - z))
    before = inside & (boundary_m - range_m > _BEFORE_HEIGHTS * height_m)
    columns = np.flatnonzero(before)
    range_m = range_m[columns]
    ends = np.flatnonzero((np.diff(columns) > 2) | (np.abs(np.diff(np.log(range_m))) > _JUMP_LOG)) + 1
    parts = []
    for piece in np.split(np.arange(len(columns)), ends):
        if len(piece) < _LEAST_COLUMNS:
            continue
        column, own = columns[piece], running_median(range_m[piece], 7)
        z = foot_of(colours, azimuth[column], own, height_m=height_m)
        if z is None:
            continue
        near = own / (1.0 - z)
        gap = float(np.median(boundary_m[column] - near))
        if (
            gap < _BEFORE_HEIGHTS * height_m
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
