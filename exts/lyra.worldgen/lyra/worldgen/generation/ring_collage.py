"""The ring before diffusion: photo columns laid side by side along the walk, cut where neighbours agree best.

Each joint between two slabs is a seam of least disagreement through a narrow overlap; colours are evened out across it,
and a band around it, wide where the slabs disagree and narrow where they match, is handed to the sampler. In rooms
seams go straight up, and above the floor the band stays narrow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.mesh import Label
from .equirect import Strip
from .ring_course import Course
from .strip_reader import StripReader

OVERLAP_DEG = 5.0
"""Half the width of the overlap in which a seam may run."""
BAND_MIN_DEG, BAND_MAX_DEG, BAND_PER_DISAGREEMENT_DEG = 0.5, 3.5, 14.0
"""Half the width of the band that is painted anew: least, most, and per unit of rms colour difference (0..1)."""
UPRIGHT_BAND_DEG = 0.6
"""The most on what stands in a room: a wall may end at a straight edge, which looks built; a painted one looks torn."""
SLANT_COST, UPRIGHT_SLANT_COST = 0.002, 0.2
"""Cost of a step aside in a seam, relative to a colour difference of 1: walls have upright edges."""
EVEN_OUT_DEG = 12.0
"""Colour differences across a seam fade out over this distance."""
EVEN_OUT_LIMIT = 0.16
"""Differences much larger than this (0..1) are different content, not different light, and stay."""
LABEL_DISAGREEMENT = 0.5
OBJECT_CUT = 0.25
EDGE_DEG = BAND_MAX_DEG + 0.5
"""A seam keeps this far from the photo's edge, so that the band around it never touches the photo."""
CLIP_ROWS_DEG = 3.0


@dataclass(frozen=True, kw_only=True)
class Collage:
    """A full turn laid out from photo columns."""

    rgb: np.ndarray
    """[R, C, 3] float32 in 0..255."""
    labels: np.ndarray
    """[R, C] uint8 `Label`."""
    hole: np.ndarray
    """[R, C] bool: to be painted; never a pixel of the photo."""
    source_row: np.ndarray
    """[R, C] row of the photo whose kind of content a pixel shows or, beyond the photo's reach, continues."""
    column: np.ndarray
    """[C] float: strip column that each ring column copies; identity inside the photo's sector."""
    mirrored: np.ndarray
    """[C] bool."""
    stretch: np.ndarray
    """[C] how many times farther away a column is laid than it was taken from."""


def lay_out(strip: Strip, course: Course, *, seamless: bool = True, upright: bool = False) -> Collage:
    """Copy the runs, cut the seams and mark what has to be painted.

    Args:
        strip: the photo, levelled.
        course: from `plan_course`.
        seamless: False leaves straight joints and marks only what the photo cannot fill.
        upright: seams go straight up and stay narrow above the floor, as walls do in rooms.
    """
    first, end = strip.sector
    count, length = len(strip.azimuth_rad), len(course.along)
    source = StripReader.of(strip)
    column, mirrored, stretch = np.arange(count, dtype=float), np.zeros(count, bool), np.ones(count)
    edges = np.append(course.begin, length)
    for run in range(len(course.begin)):
        where = (end + np.arange(edges[run], edges[run + 1])) % count
        column[where], mirrored[where], stretch[where] = course.shown(run, where)
    rgb, labels, valid, looks_like = source.at(column, stretch)
    draft = _Draft(
        rgb=rgb,
        labels=labels,
        valid=valid,
        looks_like=looks_like,
        band=np.zeros(valid.shape, bool),
        column=column,
        mirrored=mirrored,
    )
    if seamless and length:
        # Run -1 is the photo itself, on both sides of the turn.
        runs = [-1, *range(len(course.begin)), -1]
        lengths = [end - first, *np.diff(edges).tolist(), end - first]
        for k, begin in enumerate(edges):
            joint = int(end + begin) % count
            both = (runs[k], runs[k + 1]), (lengths[k], lengths[k + 1])
            _cut_joint(strip, source, course, draft, joint, *both, upright=upright)
    own_row = np.broadcast_to(np.arange(len(rgb))[:, None], valid.shape)
    inside = (np.arange(count) >= first) & (np.arange(count) < end)
    return Collage(
        rgb=np.where(strip.from_photo[..., None], strip.rgb, draft.rgb).astype(np.float32),
        labels=np.where(strip.from_photo, strip.labels, draft.labels).astype(np.uint8),
        hole=(draft.band | ~draft.valid) & ~strip.from_photo,
        source_row=np.where(strip.from_photo, own_row, draft.looks_like),
        column=draft.column,
        mirrored=draft.mirrored,
        stretch=np.where(inside, 1.0, course.stretch(np.arange(count), draft.column)),
    )


@dataclass(kw_only=True)
class _Draft:
    """The ring while its joints are being cut; fields as in `Collage`."""

    rgb: np.ndarray
    labels: np.ndarray
    valid: np.ndarray
    """[R, C] bool: shows a pixel of the photo."""
    looks_like: np.ndarray
    band: np.ndarray
    """[R, C] bool: along a seam."""
    column: np.ndarray
    mirrored: np.ndarray


def _cut_joint(
    strip: Strip,
    source: StripReader,
    course: Course,
    draft: _Draft,
    joint: int,
    runs: tuple[int, int],
    room: tuple[int, int],
    *,
    upright: bool,
) -> None:
    """Cut one joint in place: seam, evened-out colours, band; the column map follows the seam at the floor line.

    Args:
        strip, source, course: what is laid out.
        draft: is changed.
        joint: ring column where the right run begins.
        runs: left and right run, -1 for the photo itself.
        room: their lengths [px].
        upright: see `lay_out`.
    """
    import cv2

    rgb, count, rows = draft.rgb, len(draft.column), len(draft.rgb)
    first, end = strip.sector
    per_deg = np.radians(1.0) / strip.step_rad
    half = int(OVERLAP_DEG * per_deg)
    reach = (min(half, room[0] // 3), min(half, room[1] // 3))
    # The photo's own sector cannot give up columns; its ragged edge takes some more.
    fixed_left, fixed_right = runs[0] < 0, runs[1] < 0
    ragged = np.zeros(rows, int)
    if fixed_left or fixed_right:
        ragged = _ragged_edge(source.real, joint, 1 if fixed_left else -1)
    beside = int(ragged.max() + EDGE_DEG * per_deg)
    if fixed_left:
        reach = (0, min(half + beside, room[1] // 2))
    if fixed_right:
        reach = (min(half + beside, room[0] // 2), 0)
    span = reach[0] + reach[1]
    if span < 2:
        return
    where = (joint - reach[0] + np.arange(span)) % count
    row = np.arange(rows)
    # Beyond its ragged edge the photo goes on as its own mirror image for a little while.
    left, left_labels, left_real, left_row = source.at(*_side(course, runs[0], where, ragged[:, None], 1)[::2])
    right, right_labels, right_real, right_row = source.at(*_side(course, runs[1], where, ragged[:, None], -1)[::2])

    # Light first: the mean difference per row, smoothed along the rows, as far as it is small enough to be light.
    difference = ((right - left) / 255).mean(1)
    difference = cv2.GaussianBlur(difference[:, None], (0, 0), 2.5 * per_deg, borderType=cv2.BORDER_REPLICATE)[:, 0]
    difference *= np.exp(-np.square(np.abs(difference).max(-1, keepdims=True) / EVEN_OUT_LIMIT))
    share = 1.0 if fixed_left else (0.0 if fixed_right else 0.5)  # how much of it the right side takes
    left = left + 255 * (1 - share) * difference[:, None]
    right = right - 255 * share * difference[:, None]
    # Full inside the overlap, then fading out towards the middle of each slab.
    for sign, start, room_px, part in ((-1, reach[0], room[0], 1 - share), (1, reach[1], room[1], -share)):
        fade_px = max(1, min(int(EVEN_OUT_DEG * per_deg), room_px // 2 - start))
        weight = 0.5 + 0.5 * np.cos(np.pi * (np.arange(fade_px) + 0.5) / fade_px)
        columns = (joint + (start + np.arange(fade_px) if sign > 0 else -start - 1 - np.arange(fade_px))) % count
        free = ~strip.from_photo[:, columns]
        rgb[:, columns] += 255 * part * free[..., None] * weight[None, :, None] * difference[:, None]

    gap = np.sqrt(np.square((right - left) / 255).mean(-1))
    edges = np.abs(cv2.Sobel(left.mean(-1), cv2.CV_32F, 1, 0) - cv2.Sobel(right.mean(-1), cv2.CV_32F, 1, 0)) / (8 * 255)
    cost = gap**2 + 0.5 * edges**2 + 0.002
    cost += LABEL_DISAGREEMENT * 0.1 * (left_labels != right_labels)
    cost += OBJECT_CUT * 0.1 * ((left_labels == Label.OBJECT) | (right_labels == Label.OBJECT))
    # A seam through pixels that nobody has seen costs nothing: they are painted anyway.
    cost = np.where(left_real & right_real, cost, 0.001)
    # The photo's own edge cannot be painted over: the photo continues a little, mirrored, before anything changes.
    keep_off = np.minimum(int(EDGE_DEG * per_deg) + ragged, span - 1)[:, None]
    if fixed_left:
        cost += np.arange(span)[None] < keep_off
    if fixed_right:
        cost += np.arange(span)[None] >= span - keep_off
    slant_cost = UPRIGHT_SLANT_COST if upright else SLANT_COST
    seam = least_cost_seam(cost.astype(np.float32), slant_cost=slant_cost)
    left, right = _even_at_seam(left, right, seam, share, per_deg)
    from_right = np.arange(span)[None] >= seam[:, None]
    free = ~strip.from_photo[:, where]
    pick = np.where(from_right[..., None], right, left)
    rgb[:, where] = np.where(free[..., None], pick, rgb[:, where])
    for whole, a, b in (
        (draft.labels, left_labels, right_labels),
        (draft.valid, left_real, right_real),
        (draft.looks_like, left_row, right_row),
    ):
        whole[:, where] = np.where(free, np.where(from_right, b, a), whole[:, where])

    at_seam = np.clip(seam, 0, span - 1)
    gap = np.sqrt(np.square((right - left) / 255).mean(-1))
    near = cv2.blur(gap.astype(np.float32), (max(1, int(per_deg)) * 2 + 1, 1))[row, at_seam]
    near = np.maximum(near, cv2.GaussianBlur(near[:, None], (0, 0), CLIP_ROWS_DEG * per_deg)[:, 0])
    on_floor = (left_labels == Label.FLOOR)[row, at_seam] & (right_labels == Label.FLOOR)[row, at_seam]
    most_deg = np.where(on_floor | (not upright), BAND_MAX_DEG, UPRIGHT_BAND_DEG)
    width = np.clip(BAND_MIN_DEG + BAND_PER_DISAGREEMENT_DEG * near, BAND_MIN_DEG, most_deg) * per_deg
    centre = joint - reach[0] + seam
    around = np.arange(-int(BAND_MAX_DEG * per_deg) - 1, int(BAND_MAX_DEG * per_deg) + 2)
    for d in around:
        hit = np.abs(d + 0.5) <= width
        draft.band[row[hit], (centre[hit] + d) % count] = True

    # Geometry is copied per column, so the map changes over where the seam crosses the floor line, else the middle.
    floor = (left_labels == Label.FLOOR) & (right_labels == Label.FLOOR)
    top = np.argmax(floor.any(1)) if floor.any() else rows // 2
    rows_near = slice(max(0, int(top) - int(2 * per_deg)), min(rows, int(top) + int(2 * per_deg) + 1))
    switch = int(np.median(seam[rows_near]))
    chosen = np.arange(span) >= switch
    edge = np.array([int(np.median(ragged[rows_near]))])
    left_at, right_at = (_side(course, run, where, edge, sign) for run, sign in zip(runs, (1, -1), strict=True))
    inside = (where >= first) & (where < end)
    draft.column[where] = np.where(inside, where, np.where(chosen, right_at[0], left_at[0]))
    draft.mirrored[where] = ~inside & np.where(chosen, right_at[1], left_at[1])


def _side(
    course: Course, run: int, where: np.ndarray, ragged: np.ndarray, direction: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Strip column, mirrored flag and stretch [N] of one side of a joint; [R, N] for the photo, whose edge is ragged.

    `direction` is 1 for the left side and -1 for the right one; the photo reaches `ragged` columns beyond its sector.
    """
    if run >= 0:
        return course.shown(run, where)
    first, end = course.sector
    own = _mirrored_about(where, end - 1 + ragged if direction > 0 else first - ragged, first, end, direction)
    return own.astype(float), own != where, course.stretch(where, own)


def _ragged_edge(real: np.ndarray, joint: int, direction: int) -> np.ndarray:
    """[R] how many columns each row of the photo reaches beyond its sector: right (1) or left (-1) of `joint`."""
    count = real.shape[1]
    start = joint if direction > 0 else joint - 1
    beyond = real[:, (start + direction * np.arange(count // 4)) % count]
    inner = real[:, (start - direction) % count]
    return np.where(inner, np.cumprod(beyond, 1).sum(1), 0)


def _mirrored_about(columns: np.ndarray, edge: np.ndarray, first: int, end: int, direction: int) -> np.ndarray:
    """Columns up to `edge` as they are, those beyond it mirrored back."""
    beyond = columns > edge if direction > 0 else columns < edge
    low, high = np.minimum(first, edge), np.maximum(end - 1, edge)
    return np.where(beyond, np.clip(2 * edge + direction - columns, low, high), columns)


def _even_at_seam(
    left: np.ndarray, right: np.ndarray, seam: np.ndarray, share: float, per_deg: float
) -> tuple[np.ndarray, np.ndarray]:
    """Take the colour step that is left at the seam out of both sides [R, S, 3], fading towards the overlap's ends."""
    import cv2

    rows, span = left.shape[:2]
    reach = max(1, int(0.7 * per_deg))
    at = np.clip(seam[:, None] + np.arange(-reach, reach + 1)[None], 0, span - 1)
    row = np.arange(rows)[:, None]
    step = ((right - left)[row, at] / 255).mean(1)
    step = cv2.GaussianBlur(step[:, None], (0, 0), 1.2 * per_deg, borderType=cv2.BORDER_REPLICATE)[:, 0]
    step *= np.exp(-np.square(np.abs(step).max(-1, keepdims=True) / EVEN_OUT_LIMIT))
    x = np.arange(span)[None]
    at_seam = np.clip(seam, 0, span)[:, None]
    to_left = np.clip(1 - (at_seam - x) / np.maximum(at_seam, 1), 0, 1)
    to_right = np.clip(1 - (x - at_seam) / np.maximum(span - at_seam, 1), 0, 1)
    left = left + 255 * (1 - share) * (to_left**2)[..., None] * step[:, None]
    right = right - 255 * share * (to_right**2)[..., None] * step[:, None]
    return left, right


def least_cost_seam(cost: np.ndarray, *, slant_cost: float = SLANT_COST) -> np.ndarray:
    """[R] column at which each row changes over, for a cost [R, S]; neighbours differ by one column at most."""
    rows = len(cost)
    total = cost.copy()
    for row in range(1, rows):
        above = np.pad(total[row - 1], 1, constant_values=np.inf)
        total[row] += np.minimum(np.minimum(above[:-2], above[2:]) + slant_cost, above[1:-1])
    seam = np.zeros(rows, np.int64)
    seam[-1] = int(total[-1].argmin())
    for row in range(rows - 2, -1, -1):
        x = seam[row + 1]
        low = max(0, x - 1)
        options = total[row, low : x + 2] + slant_cost * (np.arange(low, min(x + 2, cost.shape[1])) != x)
        seam[row] = low + int(options.argmin())
    return seam
