"""The ring before diffusion: photo columns laid side by side along the walk, cut where neighbours agree best.

Each joint between two slabs is a seam of least disagreement through a narrow overlap; colours are evened out across it,
and a band around it, wide where the slabs disagree and narrow where they match, is handed to the sampler.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.mesh import Label
from .equirect import Strip
from .slab_layout import SlabWalk, slab_walk

LAYOUT_ROWS = 48
OVERLAP_DEG = 5.0
"""Half the width of the overlap in which a seam may run."""
BAND_MIN_DEG, BAND_MAX_DEG, BAND_PER_DISAGREEMENT_DEG = 0.5, 3.5, 14.0
"""Half the width of the band that is painted anew: least, most, and per unit of rms colour difference (0..1)."""
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
    """[R, C] row whose kind of content a pixel continues: its own, or the photo's nearest above or below."""
    column: np.ndarray
    """[C] strip column that each ring column copies; identity inside the photo's sector."""
    mirrored: np.ndarray
    """[C] bool."""
    joints: np.ndarray
    """[J] first ring column of each new slab, on an uncut ring."""


def plan_columns(
    strip: Strip,
    *,
    seed: int,
    boundary_m: np.ndarray | None = None,
    mirror_only: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Strip column [C] and mirrored flag [C] of every ring column.

    Args:
        strip: the photo, levelled.
        seed: varies the walk.
        boundary_m: [w] distance of the boundary behind each column of the sector [m].
        mirror_only: fold the photo back and forth instead of looking for a walk.
    """
    first, end = strip.sector
    count = len(strip.azimuth_rad)
    width, length = end - first, count - (end - first)
    column, mirrored = np.arange(count), np.zeros(count, bool)
    if length == 0:
        return column, mirrored
    outside = (end + np.arange(length)) % count
    if mirror_only:
        # Both edges continue as their own mirror image; the two chains meet opposite the photo.
        right, left = _folded(np.arange(length), width), _folded(np.arange(length)[::-1], width)
        near_right = np.arange(length) < length // 2
        column[outside] = first + np.where(near_right, width - 1 - right[0], left[0])
        mirrored[outside] = np.where(near_right, right[1], left[1])
        return column, mirrored
    walk = _walk(strip, length, seed=seed, boundary_m=boundary_m)
    column[outside], mirrored[outside] = first + walk.column, walk.mirrored
    return column, mirrored


def lay_out(strip: Strip, column: np.ndarray, mirrored: np.ndarray, *, seamless: bool = True) -> Collage:
    """Copy the columns, cut the seams and mark what has to be painted.

    Args:
        strip: the photo, levelled.
        column, mirrored: from `plan_columns`.
        seamless: False leaves straight joints and marks only what the photo cannot fill.
    """
    first, end = strip.sector
    count = len(column)
    filled, filled_labels, source_row = _extended(strip)
    real = strip.from_photo
    rgb, labels = filled[:, column].copy(), filled_labels[:, column].copy()
    valid, looks_like = real[:, column].copy(), source_row[:, column].copy()
    column, mirrored = column.copy(), mirrored.copy()
    joints = find_joints(column, mirrored, first, end)
    band = np.zeros(valid.shape, bool)
    if seamless:
        for k, joint in enumerate(joints):
            before = int(joint - joints[k - 1]) % count or count
            after = int(joints[(k + 1) % len(joints)] - joint) % count or count
            _cut_joint(
                strip, (filled, filled_labels, real), rgb, labels, valid, band, column, mirrored, int(joint),
                (before, after),
            )  # fmt: skip
    own_row = np.broadcast_to(np.arange(len(rgb))[:, None], valid.shape)
    looks_like = np.where(strip.from_photo | valid, own_row, looks_like)
    rgb = np.where(strip.from_photo[..., None], strip.rgb, rgb)
    labels = np.where(strip.from_photo, strip.labels, labels)
    hole = (band | ~valid) & ~strip.from_photo
    return Collage(
        rgb=rgb.astype(np.float32),
        labels=labels.astype(np.uint8),
        hole=hole,
        source_row=looks_like,
        column=column,
        mirrored=mirrored,
        joints=joints,
    )


def find_joints(column: np.ndarray, mirrored: np.ndarray, first: int, end: int) -> np.ndarray:
    """[J] ring columns where a slab begins, sorted; the photo's own sector is one slab."""
    count = len(column)
    index = np.arange(count)
    slab = np.where((index >= first) & (index < end), -1, 0)
    jump = np.abs(np.diff(np.concatenate([column[-1:], column]))) > 1
    jump |= mirrored != np.roll(mirrored, 1)
    jump |= slab != np.roll(slab, 1)
    # Walking backwards out of the photo's edge shows the edge column twice; that is no jump worth cutting.
    return np.flatnonzero(jump)


def _folded(offset: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the edge inside the photo, and whether that fold runs backwards."""
    phase = offset % (2 * width)
    return np.where(phase < width, phase, 2 * width - 1 - phase), phase < width


def _walk(strip: Strip, length: int, *, seed: int, boundary_m: np.ndarray | None) -> SlabWalk:
    """Plan on a coarse copy of the strip, then bring the walk to full resolution."""
    import cv2

    first, end = strip.sector
    width = end - first
    filled = _extended(strip)[0]
    scale = min(1.0, LAYOUT_ROWS / len(filled))
    coarse_w = max(4, round(width * scale))
    coarse_l = max(1, round(length * scale))
    coarse = cv2.resize(
        filled[:, first:end] / 255, (coarse_w, max(4, round(len(filled) * scale))), interpolation=cv2.INTER_AREA
    )
    at = ((np.arange(coarse_w) + 0.5) * width / coarse_w).astype(int)
    objects = (strip.labels[:, first:end] == Label.OBJECT).mean(0)
    column_deg = float(np.degrees(strip.step_rad)) * width / coarse_w
    walk = slab_walk(
        coarse,
        coarse_l,
        column_deg=column_deg,
        seed=seed,
        boundary_m=None if boundary_m is None else boundary_m[at],
        object_share=cv2.blur(objects[None].astype(np.float32), (max(1, width // 40) * 2 + 1, 1))[0][at],
    )
    return _refined(walk, length, width, coarse_w)


def _refined(walk: SlabWalk, length: int, width: int, coarse_w: int) -> SlabWalk:
    """Full-resolution columns: every run of the coarse walk becomes a run of consecutive columns."""
    coarse_l = len(walk.column)
    step = np.where(walk.mirrored, -1, 1)
    starts = np.flatnonzero(
        np.concatenate([[True], (np.diff(walk.column) != step[1:]) | (walk.mirrored[1:] != walk.mirrored[:-1])])
    )
    edges = np.round(np.append(starts, coarse_l) * length / coarse_l).astype(int)
    column, mirrored = np.zeros(length, np.int64), np.zeros(length, bool)
    for k, start in enumerate(starts):
        a, b = edges[k], edges[k + 1]
        backwards = bool(walk.mirrored[start])
        centre = (walk.column[start] + (1.0 if backwards else 0.0)) * width / coarse_w
        begin = round(centre) - (1 if backwards else 0)
        run = begin + np.arange(b - a) * (-1 if backwards else 1)
        # Rounding may push a run past the photo's edge by a pixel or two: shift the whole run back.
        run -= max(0, int(run.max(initial=0)) - (width - 1))
        run -= min(0, int(run.min(initial=0)))
        column[a:b], mirrored[a:b] = np.clip(run, 0, width - 1), backwards
    return SlabWalk(column=column, mirrored=mirrored)


def _extended(strip: Strip) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Strip colours, labels and elevation row [R, C] with each column's gaps filled from its nearest photo pixel.

    What lies above or below the photo's edge continues what is seen there: sky over sky, floor under floor. The row
    says where a filled pixel was taken from.
    """
    real = strip.from_photo
    rows, count = real.shape
    row = np.arange(rows)[:, None]
    first, end = strip.sector
    seen = real.any(0)
    top = np.where(seen, real.argmax(0), 0)
    bottom = np.where(seen, rows - 1 - real[::-1].argmax(0), rows - 1)
    source_row = np.clip(row, top[None], bottom[None])
    column = np.clip(np.arange(count), first, end - 1)
    column = np.where(seen, np.arange(count), column)
    source_row = source_row[:, column]
    return strip.rgb[source_row, column[None]], strip.labels[source_row, column[None]], source_row


def _cut_joint(
    strip: Strip,
    source: tuple[np.ndarray, np.ndarray, np.ndarray],
    rgb: np.ndarray,
    labels: np.ndarray,
    valid: np.ndarray,
    band: np.ndarray,
    column: np.ndarray,
    mirrored: np.ndarray,
    joint: int,
    room: tuple[int, int],
) -> None:
    """Cut one joint in place: seam, evened-out colours, band; the column map follows the seam at the floor line."""
    import cv2

    filled, filled_labels, real = source
    first, end = strip.sector
    count, rows = len(column), len(rgb)
    per_deg = np.radians(1.0) / strip.step_rad
    half = int(OVERLAP_DEG * per_deg)
    reach = (min(half, room[0] // 3), min(half, room[1] // 3))
    # The photo's own sector cannot give up columns; its ragged edge takes some more.
    fixed_left, fixed_right = first <= (joint - 1) % count < end, first <= joint % count < end
    ragged = _ragged_edge(real, joint, 1 if fixed_left else -1) if fixed_left or fixed_right else np.zeros(rows, int)
    beside = int(ragged.max() + EDGE_DEG * per_deg)
    if fixed_left:
        reach = (0, min(half + beside, room[1] // 2))
    if fixed_right:
        reach = (min(half + beside, room[0] // 2), 0)
    span = reach[0] + reach[1]
    if span < 2:
        return
    where = (joint - reach[0] + np.arange(span)) % count
    offset = np.arange(span) - reach[0]
    left_at = _continued(column[(joint - 1) % count], mirrored[(joint - 1) % count], offset + 1, first, end)
    right_at = _continued(column[joint % count], mirrored[joint % count], offset, first, end)
    left, right = filled[:, left_at[0]], filled[:, right_at[0]]
    left_labels, right_labels = filled_labels[:, left_at[0]], filled_labels[:, right_at[0]]
    left_real, right_real = real[:, left_at[0]], real[:, right_at[0]]
    row = np.arange(rows)
    if fixed_left:
        own = _mirrored_about(where, (end - 1 + ragged)[:, None], first, end, 1)
        left, left_labels, left_real = (a[row[:, None], own] for a in (filled, filled_labels, real))
    elif fixed_right:
        own = _mirrored_about(where, (first - ragged)[:, None], first, end, -1)
        right, right_labels, right_real = (a[row[:, None], own] for a in (filled, filled_labels, real))

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
    seam = least_cost_seam(cost.astype(np.float32))
    left, right = _even_at_seam(left, right, seam, share, per_deg)
    from_right = np.arange(span)[None] >= seam[:, None]
    free = ~strip.from_photo[:, where]
    pick = np.where(from_right[..., None], right, left)
    rgb[:, where] = np.where(free[..., None], pick, rgb[:, where])
    labels[:, where] = np.where(free, np.where(from_right, right_labels, left_labels), labels[:, where])
    valid[:, where] = np.where(free, np.where(from_right, right_real, left_real), valid[:, where])

    at_seam = np.clip(seam, 0, span - 1)
    gap = np.sqrt(np.square((right - left) / 255).mean(-1))
    near = cv2.blur(gap.astype(np.float32), (max(1, int(per_deg)) * 2 + 1, 1))[row, at_seam]
    near = np.maximum(near, cv2.GaussianBlur(near[:, None], (0, 0), CLIP_ROWS_DEG * per_deg)[:, 0])
    width = np.clip(BAND_MIN_DEG + BAND_PER_DISAGREEMENT_DEG * near, BAND_MIN_DEG, BAND_MAX_DEG) * per_deg
    centre = joint - reach[0] + seam
    around = np.arange(-int(BAND_MAX_DEG * per_deg) - 1, int(BAND_MAX_DEG * per_deg) + 2)
    for d in around:
        hit = np.abs(d + 0.5) <= width
        band[row[hit], (centre[hit] + d) % count] = True

    # Geometry is copied per column, so the map changes over where the seam crosses the floor line, else the middle.
    floor = (left_labels == Label.FLOOR) & (right_labels == Label.FLOOR)
    top = np.argmax(floor.any(1)) if floor.any() else rows // 2
    rows_near = slice(max(0, int(top) - int(2 * per_deg)), min(rows, int(top) + int(2 * per_deg) + 1))
    switch = int(np.median(seam[rows_near]))
    chosen = np.arange(span) >= switch
    edge = int(np.median(ragged[rows_near]))
    if fixed_left:
        own = _mirrored_about(where, np.array(end - 1 + edge), first, end, 1)
        left_at = own, own != where
    elif fixed_right:
        own = _mirrored_about(where, np.array(first - edge), first, end, -1)
        right_at = own, own != where
    inside = (where >= first) & (where < end)
    column[where] = np.where(inside, where, np.where(chosen, right_at[0], left_at[0]))
    mirrored[where] = np.where(inside, False, np.where(chosen, right_at[1], left_at[1]))


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


def _continued(column: int, mirrored: bool, offset: np.ndarray, first: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns that a walk passes `offset` steps on; at the photo's edge it turns round."""
    position = column + offset * (-1 if mirrored else 1) - first
    width = end - first
    phase = position % (2 * width)
    turned = phase >= width
    return first + np.where(turned, 2 * width - 1 - phase, phase), turned != mirrored


def least_cost_seam(cost: np.ndarray, *, slant_cost: float = 0.002) -> np.ndarray:
    """[R] column at which each row changes over, for a cost [R, S]; neighbours differ by one column at most.

    Walls have upright edges, so a slanted seam costs a little more than a straight one.
    """
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
