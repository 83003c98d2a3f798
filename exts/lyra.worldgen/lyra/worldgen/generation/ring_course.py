"""Which part of the photo each column of the ring shows, and how far away it is laid.

Outdoors, and where walls are not known well enough, a walk through the photo's columns is turned round the camera as it
is. In a room the photo's walls are unrolled to metres and laid on the walls of a closed box: what is copied then has
the perspective of the place where it is seen. Where that would blur too much, columns keep their width and are only
moved to the distance of the box's walls: what is level stays level at its height.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..core.mesh import Label
from .equirect import Strip
from .room_closing import ClosedRoom, corners_in, length_along
from .slab_layout import SlabWalk, slab_walk
from .strip_reader import StripReader, extended

LAYOUT_ROWS = 48
COARSE_SOURCE, COARSE_RING = 72, 240
"""Most steps in which the walls of the photo and of the closed room are planned."""
WALL_ROWS_M = (1.6, -1.5)
"""Heights above the eye between which walls are compared."""
BLUR_WEIGHT, STRETCH_WEIGHT = 0.06, 0.04
"""Cost per step and octave (e-fold) of laying content nearer, where it blurs, or farther, where its top is missing."""
WALL_RUN_DEG = 38.0
"""Shortest run along a wall, as azimuth of the photo."""
MOST_BLUR = 0.4
"""Mean e-folds of magnification up to which the photo's walls are laid on the room's."""
EVEN_WALL_DEG = 7.0
CORNER_WEIGHT = 0.15
"""Cost of a corner painted on a straight wall, or a corner of the room painted as a straight wall."""
CORNER_JUMP = 0.4
"""Factor on the cost of a jump in a corner of the room, where content changes anyway."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """What each column of the ring shows: runs through the photo, one after the other.

    Positions are lengths along what is copied and along where it is copied to, in one unit: columns when the photo is
    turned round the camera as it is, metres when its walls are laid on the walls of a closed room.
    """

    sector: tuple[int, int]
    """First column and end of the photo's own columns, [w] of [C]."""
    along: np.ndarray
    """[L] position of the columns outside the sector, from its right edge to its left one."""
    source_along: np.ndarray
    """[w] position of the photo's columns, ascending."""
    begin: np.ndarray
    """[J] index into `along` where each run begins; the first is 0."""
    source_begin: np.ndarray
    """[J] position in the photo that a run begins with; beyond the photo's ends it goes back."""
    mirrored: np.ndarray
    """[J] bool: the run goes through the photo from right to left."""
    boundary_m: np.ndarray | None = None
    """[C] distance of the walls that content is laid on; None when it keeps its own."""
    source_boundary_m: np.ndarray | None = None
    """[w] distance of the walls in the photo."""

    def shown(self, run: int, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Strip column [N] float, mirrored flag [N] and stretch [N] of a run at ring columns, also beyond its ends.

        The stretch is how many times farther away the content is laid than it was taken from.
        """
        first, end = self.sector
        count = end - first + len(self.along)
        middle = (self.begin[run] + (self.begin[run + 1] if run + 1 < len(self.begin) else len(self.along))) / 2
        # Counted from the sector's right edge, on the side of the turn where the run is.
        index = (columns - end) % count
        index = index - count * np.rint((index - middle) / count)
        low, high = self.along[0], self.along[-1]
        step = np.diff(self.along)
        at = np.interp(index, np.arange(len(self.along)), self.along)
        at = np.where(index < 0, low + index * (step[0] if len(step) else 1.0), at)
        at = np.where(
            index > len(self.along) - 1, high + (index - len(self.along) + 1) * (step[-1] if len(step) else 1.0), at
        )
        walked = at - self.along[self.begin[run]]
        position = self.source_begin[run] + (-walked if self.mirrored[run] else walked)
        margin = (
            0.5 * (self.source_along[1] - self.source_along[0]),
            0.5 * (self.source_along[-1] - self.source_along[-2]),
        )
        bottom, length = self.source_along[0] - margin[0], np.ptp(self.source_along) + sum(margin)
        phase = np.mod(position - bottom, 2 * length)
        turned = phase >= length
        inside = np.where(turned, 2 * length - phase, phase) + bottom
        column = first + np.interp(inside, self.source_along, np.arange(end - first))
        return column, turned != self.mirrored[run], self.stretch(columns, column)

    def stretch(self, columns: np.ndarray, source: np.ndarray) -> np.ndarray:
        """How many times farther away ring `columns` are than the strip columns `source` that they show."""
        if self.boundary_m is None or self.source_boundary_m is None:
            return np.ones(np.broadcast_shapes(np.shape(columns), np.shape(source)))
        first, end = self.sector
        nearest = np.clip(np.round(source).astype(int) - first, 0, end - first - 1)
        return self.boundary_m[columns % len(self.boundary_m)] / self.source_boundary_m[nearest]


def plan_course(
    strip: Strip,
    *,
    seed: int,
    boundary_m: np.ndarray | None = None,
    room: ClosedRoom | None = None,
    mirror_only: bool = False,
) -> Course:
    """Which part of the photo each column of the ring shows.

    Args:
        strip: the photo, levelled.
        seed: varies the walk.
        boundary_m: [w] distance of the boundary behind each column of the sector [m].
        room: walls to lay the content on; needs `boundary_m`.
        mirror_only: fold the photo back and forth instead of looking for a walk.
    """
    first, end = strip.sector
    width, length = end - first, len(strip.azimuth_rad) - (end - first)
    turn = Course(
        sector=strip.sector,
        along=np.arange(length, dtype=float),
        source_along=np.arange(width, dtype=float),
        begin=np.zeros(min(1, length), int),
        source_begin=np.zeros(min(1, length)),
        mirrored=np.zeros(min(1, length), bool),
    )
    if length == 0:
        return turn
    if mirror_only:
        # Both edges continue as their own mirror image; the two chains meet opposite the photo.
        half = length // 2
        return replace(
            turn,
            begin=np.array([0, half]),
            source_begin=np.array([width, half - length], float),
            mirrored=np.zeros(2, bool),
        )
    if room is not None and boundary_m is not None and width >= 16:
        smooth_m = _evened(boundary_m, strip.step_rad)
        course = _walk_on_walls(strip, turn, room, boundary_m, smooth_m, seed=seed)
        if course is not None:
            return course
        outside_m = room.boundary_m[(end + np.arange(length)) % len(strip.azimuth_rad)]
        walk = _walk(strip, length, seed=seed, boundary_m=smooth_m, wall_m=outside_m)
        turn = replace(turn, boundary_m=room.boundary_m, source_boundary_m=smooth_m)
    else:
        walk = _walk(strip, length, seed=seed, boundary_m=boundary_m)
    begin = _run_begins(walk)
    return replace(turn, begin=begin, source_begin=walk.column[begin].astype(float), mirrored=walk.mirrored[begin])


def _evened(boundary_m: np.ndarray, step_rad: float) -> np.ndarray:
    """Distances [w] without steps: a step in the photo's walls must not tear what is painted on a straight one."""
    from scipy import ndimage

    return np.exp(ndimage.gaussian_filter1d(np.log(boundary_m), EVEN_WALL_DEG / np.degrees(step_rad), mode="nearest"))


def _walk_on_walls(
    strip: Strip, turn: Course, room: ClosedRoom, boundary_m: np.ndarray, smooth_m: np.ndarray, *, seed: int
) -> Course | None:
    """Plan along the walls of a closed room, both the photo's and the room's unrolled to metres; None if the room's
    walls are so near that the photo's would blur on them."""
    import cv2

    first, end = strip.sector
    count, length, width = len(strip.azimuth_rad), len(turn.along), end - first
    outside = (end + np.arange(length)) % count
    azimuth = np.unwrap(strip.azimuth_rad[outside])
    source_azimuth = strip.azimuth_rad[first:end]
    along = length_along(room.boundary_m[outside], azimuth)
    source_along = length_along(boundary_m, source_azimuth)
    step_m = max(source_along[-1] / COARSE_SOURCE, along[-1] / COARSE_RING)
    coarse_w, coarse_l = max(8, int(source_along[-1] / step_m)), max(1, int(along[-1] / step_m))
    at = np.interp((np.arange(coarse_w) + 0.5) * source_along[-1] / coarse_w, source_along, np.arange(width))
    to = np.interp((np.arange(coarse_l) + 0.5) * along[-1] / coarse_l, along, np.arange(length))
    near, there = np.round(at).astype(int), np.round(to).astype(int)
    # The photo's walls seen straight on, rows in metres above and below the eye.
    heights = np.linspace(*WALL_ROWS_M, LAYOUT_ROWS)
    filled = StripReader.of(strip)
    y = np.interp(
        -np.arctan(heights[:, None] / smooth_m[near]), -strip.elevation_rad, np.arange(len(strip.elevation_rad))
    )
    x = np.broadcast_to(first + at, y.shape)
    unrolled = cv2.remap(filled.rgb / 255, x.astype(np.float32), y.astype(np.float32), cv2.INTER_AREA)
    # Columns of the ring that are narrower than the photo's at the same wall show it blurred.
    per_column = np.gradient(along)[there], np.gradient(source_along)[near]
    blur = np.log(np.maximum(per_column[1], 1e-3)[None] / np.maximum(per_column[0], 1e-3)[:, None])
    stretch = np.log(room.boundary_m[outside][there][:, None] / smooth_m[near][None])
    corner = (
        _near(room.corner[outside], there, along, step_m),
        _near(corners_in(boundary_m, source_azimuth), near, source_along, step_m),
    )
    blur = np.clip(np.maximum(blur, -stretch), 0, 2)
    place = BLUR_WEIGHT * blur + STRETCH_WEIGHT * np.clip(stretch, 0, 2)
    place = place + CORNER_WEIGHT * np.abs(corner[0][:, None] - corner[1][None])
    objects = (strip.labels[:, first:end] == Label.OBJECT).mean(0)
    objects = cv2.blur(objects[None].astype(np.float32), (max(1, width // 40) * 2 + 1, 1))[0][near]
    walk = slab_walk(
        unrolled,
        coarse_l,
        column_deg=float(np.degrees(strip.step_rad)) * width / coarse_w,
        seed=seed,
        object_share=objects,
        place_cost=place,
        jump_scale=1 - (1 - CORNER_JUMP) * corner[0],
        min_run_deg=WALL_RUN_DEG,
    )
    if blur[np.arange(coarse_l), walk.column].mean() > MOST_BLUR:
        return None
    runs = _run_begins(walk)
    begin = np.round(np.interp(runs * along[-1] / coarse_l, along, np.arange(length))).astype(int)
    begin[0] = 0
    source_begin = (walk.column[runs] + np.where(walk.mirrored[runs], 1.0, 0.0)) * source_along[-1] / coarse_w
    keep = np.append(np.diff(begin) > 0, True)
    return replace(
        turn,
        along=along,
        source_along=source_along,
        begin=begin[keep],
        source_begin=source_begin[keep],
        mirrored=walk.mirrored[runs][keep],
        boundary_m=room.boundary_m,
        source_boundary_m=smooth_m,
    )


def _near(flag: np.ndarray, columns: np.ndarray, along: np.ndarray, step_m: float) -> np.ndarray:
    """[N] float 1 where a flagged column lies within a step and a half of the given ones."""
    marks = along[np.flatnonzero(flag)]
    if not len(marks):
        return np.zeros(len(columns))
    return (np.abs(along[columns][:, None] - marks[None]).min(1) < 1.5 * step_m).astype(float)


def _run_begins(walk: SlabWalk) -> np.ndarray:
    """[J] indices at which a walk jumps or turns."""
    step = np.where(walk.mirrored, -1, 1)
    jump = (np.diff(walk.column) != step[1:]) | (walk.mirrored[1:] != walk.mirrored[:-1])
    return np.flatnonzero(np.concatenate([[True], jump]))


def _walk(
    strip: Strip, length: int, *, seed: int, boundary_m: np.ndarray | None, wall_m: np.ndarray | None = None
) -> SlabWalk:
    """Plan on a coarse copy of the strip, then bring the walk to full resolution.

    Content keeps the distance [w] that it was seen at, or with `wall_m` [L] is laid on walls that are given.
    """
    import cv2

    first, end = strip.sector
    width = end - first
    filled = extended(strip)[0]
    scale = min(1.0, LAYOUT_ROWS / len(filled))
    coarse_w = max(4, round(width * scale))
    coarse_l = max(1, round(length * scale))
    coarse = cv2.resize(
        filled[:, first:end] / 255, (coarse_w, max(4, round(len(filled) * scale))), interpolation=cv2.INTER_AREA
    )
    at = ((np.arange(coarse_w) + 0.5) * width / coarse_w).astype(int)
    objects = (strip.labels[:, first:end] == Label.OBJECT).mean(0)
    column_deg = float(np.degrees(strip.step_rad)) * width / coarse_w
    place = None
    if wall_m is not None and boundary_m is not None:
        there = ((np.arange(coarse_l) + 0.5) * length / coarse_l).astype(int)
        place = STRETCH_WEIGHT * np.clip(np.abs(np.log(wall_m[there][:, None] / boundary_m[at][None])), 0, 2)
    walk = slab_walk(
        coarse,
        coarse_l,
        column_deg=column_deg,
        seed=seed,
        boundary_m=boundary_m[at] if boundary_m is not None and place is None else None,
        place_cost=place,
        object_share=cv2.blur(objects[None].astype(np.float32), (max(1, width // 40) * 2 + 1, 1))[0][at],
    )
    return _refined(walk, length, width, coarse_w)


def _refined(walk: SlabWalk, length: int, width: int, coarse_w: int) -> SlabWalk:
    """Full-resolution columns: every run of the coarse walk becomes a run of consecutive columns."""
    coarse_l = len(walk.column)
    starts = _run_begins(walk)
    edges = np.round(np.append(starts, coarse_l) * length / coarse_l).astype(int)
    column, mirrored = np.zeros(length, np.int64), np.zeros(length, bool)
    for k, start in enumerate(starts):
        a, b = edges[k], edges[k + 1]
        backwards = bool(walk.mirrored[start])
        centre = (walk.column[start] + (1.0 if backwards else 0.0)) * width / coarse_w
        begin = round(float(centre)) - (1 if backwards else 0)
        run = begin + np.arange(b - a) * (-1 if backwards else 1)
        # Rounding may push a run past the photo's edge by a pixel or two: shift the whole run back.
        run -= max(0, int(run.max(initial=0)) - (width - 1))
        run -= min(0, int(run.min(initial=0)))
        column[a:b], mirrored[a:b] = np.clip(run, 0, width - 1), backwards
    return SlabWalk(column=column, mirrored=mirrored)
