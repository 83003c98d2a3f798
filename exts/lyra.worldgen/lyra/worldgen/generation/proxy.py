"""The proxy world: one closed 2.5D mesh around the first camera from which every view takes its depth.

The photo tells what stands where in its own sector. The unseen rest of the turn copies that layout along the ring
panorama's column map, so that painted content and geometry agree: a copied column keeps its elevations, hence its
floor contact, hence its distance. The result is a star-shaped room (boundary walls, floor, ceiling or sky) with
objects as closed prisms; nothing can leave it and no direction ends in a hole.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..core.mesh import Label, TriMesh, concatenate_meshes
from ..core.views import PolarLayout
from .layout_cast import reaches_ceiling
from .painter import RingPanorama

SKY_RADIUS_FACTOR = 3.0
"""The sky dome's radius in units of the farthest boundary: far enough that a walk inside shows little parallax."""

OBJECT_MIN_HEIGHT_M = 0.08
OBJECT_MIN_WIDTH_M = 0.06
WALL_GAP_M = 0.02
"""Objects stop this far before the boundary, so that their back never fights with the wall."""


def mirror_map(layout: PolarLayout, azimuth_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Source azimuth [N] and mirrored flag [N] that unfold the photo's sector back and forth around the turn.

    Used when the painter brings no ring of its own.
    """
    first, last = layout.azimuth_rad[0], layout.azimuth_rad[-1]
    span = last - first
    outside = 2 * np.pi - span
    # An odd number of copies makes the last one end on the edge where the first one began.
    copies = max(1, round(outside / span) // 2 * 2 + 1)
    offset = np.mod(azimuth_rad - first, 2 * np.pi)
    inside = offset <= span
    t = np.clip((offset - span) / max(outside, 1e-9), 0, 1) * copies
    k = np.minimum(np.floor(t), copies - 1)
    backwards = k % 2 == 0
    fraction = np.where(backwards, 1 - (t - k), t - k)
    return np.where(inside, first + offset, first + fraction * span), ~inside & backwards


def full_turn(layout: PolarLayout, ring: RingPanorama | None, *, bins: int = 2880) -> PolarLayout:
    """The layout of the whole turn: the photo's own sector kept, the rest copied along the ring's column map.

    Args:
        layout: the photo's sector.
        ring: column map; None unfolds the sector by mirroring.
        bins: azimuth bins of the result.
    """
    step = 2 * np.pi / bins
    azimuth = -np.pi + (np.arange(bins) + 0.5) * step
    inside = (azimuth >= layout.azimuth_rad[0] - step) & (azimuth <= layout.azimuth_rad[-1] + step)
    column = np.zeros(bins, int)
    if ring is None:
        source, _ = mirror_map(layout, azimuth)
    else:
        # Ring azimuths descend; the nearest column decides, because averaging across a joint would invent a direction.
        order = np.argsort(np.mod(ring.azimuth_rad + np.pi, 2 * np.pi))
        keys = np.mod(ring.azimuth_rad + np.pi, 2 * np.pi)[order]
        where = np.mod(azimuth + np.pi, 2 * np.pi)
        right = np.searchsorted(keys, where) % len(keys)
        left = (right - 1) % len(keys)
        gap_right = np.abs(np.angle(np.exp(1j * (keys[right] - where))))
        gap_left = np.abs(np.angle(np.exp(1j * (keys[left] - where))))
        column = order[np.where(gap_left < gap_right, left, right)]
        sign = np.where(ring.mirrored[column], -1.0, 1.0)
        source = ring.source_azimuth_rad[column] + sign * np.angle(np.exp(1j * (azimuth - ring.azimuth_rad[column])))
    source = np.where(inside, azimuth, source)
    a = np.clip(source, layout.azimuth_rad[0], layout.azimuth_rad[-1])
    position = (a - layout.azimuth_rad[0]) / layout.step_rad
    nearest = np.clip(np.round(position).astype(int), 0, len(layout.azimuth_rad) - 1)
    low = np.clip(np.floor(position).astype(int), 0, len(layout.azimuth_rad) - 1)
    high = np.minimum(low + 1, len(layout.azimuth_rad) - 1)
    fraction = position - low
    # Inverse distance is linear along a straight wall, so interpolating it keeps walls straight; jumps stay jumps.
    smooth = np.abs(np.log(layout.boundary_m[high] / layout.boundary_m[low])) < 0.1
    inverse = (1 - fraction) / layout.boundary_m[low] + fraction / layout.boundary_m[high]
    boundary = np.where(smooth, 1 / inverse, layout.boundary_m[nearest])
    scale = np.ones(bins)
    if ring is not None and ring.boundary_m is not None and ring.stretch is not None:
        boundary = np.where(inside, boundary, _wall_at(ring.azimuth_rad, ring.boundary_m, azimuth))
        scale = np.where(inside, 1.0, ring.stretch[column])

    # Objects: every target bin takes the stixels of its source bin.
    order = np.argsort(layout.object_bin, kind="stable")
    starts = np.searchsorted(layout.object_bin[order], np.arange(len(layout.azimuth_rad) + 1))
    counts = starts[nearest + 1] - starts[nearest]
    target = np.repeat(np.arange(bins), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    index = order[starts[nearest][target] + within]
    return PolarLayout(
        azimuth_rad=azimuth,
        boundary_m=boundary,
        boundary_top_m=layout.boundary_top_m[nearest],
        boundary_label=layout.boundary_label[nearest],
        object_bin=target.astype(np.int32),
        object_near_m=layout.object_near_m[index] * scale[target],
        object_far_m=layout.object_far_m[index] * scale[target],
        object_top_m=layout.object_top_m[index],
        ceiling_m=layout.ceiling_m,
        camera_height_m=layout.camera_height_m,
    )


def _wall_at(ring_azimuth_rad: np.ndarray, boundary_m: np.ndarray, azimuth_rad: np.ndarray) -> np.ndarray:
    """[N] distance of the wall at other azimuths; inverse distance is linear along a straight wall."""
    ascending = ring_azimuth_rad[::-1]
    return 1 / np.interp(azimuth_rad, ascending, 1 / boundary_m[::-1], period=2 * np.pi)


def simplify_closed(points: np.ndarray, keep: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """Indices of a subset of a closed polyline that stays within `tolerance` [N] of it (Douglas-Peucker).

    Args:
        points: [N, D].
        keep: [N] bool, vertices that must stay; at least two.
        tolerance: [N] largest distance of a dropped vertex from the chord.
    """
    n = len(points)
    fixed = np.flatnonzero(keep)
    chosen = set(fixed.tolist())
    stack = [(int(a), int(b)) for a, b in zip(fixed, np.append(fixed[1:], fixed[0] + n), strict=True)]
    while stack:
        a, b = stack.pop()
        if b - a < 2:
            continue
        inner = np.arange(a + 1, b) % n
        start, chord = points[a % n], points[b % n] - points[a % n]
        length2 = float(chord @ chord)
        offset = points[inner] - start
        if length2 > 0:
            t = np.clip(offset @ chord / length2, 0, 1)
            offset = offset - t[:, None] * chord
        excess = np.linalg.norm(offset, axis=1) / tolerance[inner]
        worst = int(np.argmax(excess))
        if excess[worst] > 1.0:
            middle = a + 1 + worst
            chosen.add(middle % n)
            stack += [(a, middle), (middle, b)]
    return np.array(sorted(chosen))


def boundary_polygon(layout: PolarLayout) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Star-shaped outline of the free floor, counter-clockwise from above.

    Returns:
        xy [P, 2] [m]; top [P] height of the wall at each vertex [m], inf where it reaches the ceiling;
        label [P] uint8 of the wall from vertex i to i + 1.
    """
    r, a, n = layout.boundary_m, layout.azimuth_rad, len(layout.azimuth_rad)
    nxt = np.roll(np.arange(n), -1)
    jump = (np.abs(np.log(r[nxt] / r)) > 0.06) | (layout.boundary_label[nxt] != layout.boundary_label)
    # Both sides of a jump get a vertex at the shared bin edge: a radial wall closes the step.
    edge = a + layout.step_rad / 2
    angle = np.concatenate([a, edge[jump] - 1e-5, edge[jump] + 1e-5])
    radius = np.concatenate([r, r[jump], r[nxt][jump]])
    top = np.concatenate([layout.boundary_top_m, layout.boundary_top_m[jump], layout.boundary_top_m[nxt][jump]])
    label = np.concatenate([layout.boundary_label, layout.boundary_label[jump], layout.boundary_label[nxt][jump]])
    fixed = np.concatenate([np.zeros(n, bool), np.ones(2 * int(jump.sum()), bool)])
    order = np.argsort(angle, kind="stable")
    angle, radius, top, label, fixed = angle[order], radius[order], top[order], label[order], fixed[order]
    if fixed.sum() < 3:
        fixed[:: max(1, len(fixed) // 8)] = True
    xy = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    # The top edge joins the simplification with less weight: a skyline may be coarser than a wall.
    finite_top = np.where(np.isfinite(top), np.minimum(top, 40.0), 0.0)
    tolerance = np.maximum(0.012, 0.002 * radius)
    pick = simplify_closed(np.column_stack([xy, 0.1 * finite_top]), fixed, tolerance)
    return xy[pick], top[pick], label[pick]


def object_prisms(layout: PolarLayout) -> list[TriMesh]:
    """Closed prisms from runs of neighbouring stixels with similar distance and height."""
    n = len(layout.azimuth_rad)
    far = np.minimum(layout.object_far_m, layout.boundary_m[layout.object_bin] - WALL_GAP_M)
    usable = (far - layout.object_near_m > 0.03) & (layout.object_top_m > OBJECT_MIN_HEIGHT_M)
    by_bin: dict[int, list[int]] = {}
    for i in np.flatnonzero(usable):
        by_bin.setdefault(int(layout.object_bin[i]), []).append(int(i))
    open_runs: list[list[int]] = []
    runs: list[list[int]] = []
    for b in range(n):
        free = sorted(by_bin.get(b, []), key=lambda i: float(layout.object_near_m[i]))
        still_open = []
        for run in open_runs:
            last = run[-1]
            near, top = layout.object_near_m[last], layout.object_top_m[last]
            match = [
                i
                for i in free
                if abs(layout.object_near_m[i] - near) < max(0.12, 0.06 * near)
                and abs(layout.object_top_m[i] - top) < max(0.15, 0.2 * top)
            ]
            if match:
                best = min(match, key=lambda i: abs(float(layout.object_near_m[i] - near)))
                free.remove(best)
                run.append(best)
                still_open.append(run)
            else:
                runs.append(run)
        still_open += [[i] for i in free]
        open_runs = still_open
    runs += open_runs
    half = layout.step_rad / 2
    prisms = []
    for run in runs:
        bins = layout.object_bin[run]
        near, back, top = layout.object_near_m[run], far[run], layout.object_top_m[run]
        if len(run) * layout.step_rad * float(np.median(near)) < OBJECT_MIN_WIDTH_M:
            continue
        angle = layout.azimuth_rad[bins]
        angle = np.concatenate([[angle[0] - half], angle, [angle[-1] + half]])
        near, back, top = (np.concatenate([v[:1], v, v[-1:]]) for v in (near, back, top))
        keep = np.zeros(len(angle), bool)
        keep[[0, -1]] = True
        xy = near[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        pick = simplify_closed(np.column_stack([xy, 0.5 * top]), keep, np.maximum(0.015, 0.004 * near))
        upright = bool(reaches_ceiling(np.median(top), layout.ceiling_m))
        prisms.append(_prism(angle[pick], near[pick], back[pick], top[pick], Label.WALL if upright else Label.OBJECT))
    return prisms


def _prism(angle: np.ndarray, near: np.ndarray, back: np.ndarray, top: np.ndarray, label: Label) -> TriMesh:
    """Closed solid on the floor between two polylines of K vertices each; heights vary along it."""
    k = len(angle)
    direction = np.stack([np.cos(angle), np.sin(angle)], 1)
    zero = np.zeros(k)
    front_low = np.column_stack([near[:, None] * direction, zero])
    front_high = np.column_stack([near[:, None] * direction, top])
    back_low = np.column_stack([back[:, None] * direction, zero])
    back_high = np.column_stack([back[:, None] * direction, top])
    vertices = np.concatenate([front_low, front_high, back_low, back_high])
    fl, fh, bl, bh = (np.arange(k) + i * k for i in range(4))
    quads = []
    i, j = np.arange(k - 1), np.arange(1, k)
    # Angles ascend counter-clockwise seen from above; outward is towards the origin on the front side.
    quads.append(np.stack([fl[j], fl[i], fh[i], fh[j]], 1))
    quads.append(np.stack([bl[i], bl[j], bh[j], bh[i]], 1))
    quads.append(np.stack([fh[i], bh[i], bh[j], fh[j]], 1))
    quads.append(np.stack([fl[i], fl[j], bl[j], bl[i]], 1))
    quads.append(np.array([[fl[0], bl[0], bh[0], fh[0]], [bl[-1], fl[-1], fh[-1], bh[-1]]]))
    faces = _split(np.concatenate(quads))
    return TriMesh(vertices=vertices, faces=faces, face_labels=np.full(len(faces), label, np.uint8))


def _split(quads: np.ndarray) -> np.ndarray:
    """Two triangles [2Q, 3] per quad [Q, 4], same orientation."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


def build_proxy(layout: PolarLayout) -> TriMesh:
    """The closed proxy world of a full-turn layout, with face labels; faces point into free space."""
    xy, top, label = boundary_polygon(layout)
    n = len(xy)
    indoor = layout.ceiling_m is not None
    highest = layout.ceiling_m if layout.ceiling_m is not None else np.inf
    sky_radius = SKY_RADIUS_FACTOR * float(layout.boundary_m.max())
    height = np.minimum(np.where(np.isfinite(top), top, highest), highest)
    height = np.where(np.isfinite(height), height, 8.0) if not indoor else np.full(n, highest)
    height = np.maximum(height, 0.3)
    i, j = np.arange(n), np.roll(np.arange(n), -1)

    low = np.column_stack([xy, np.zeros(n)])
    high = np.column_stack([xy, height])
    walls = TriMesh(
        vertices=np.concatenate([low, high]),
        faces=_split(np.stack([j, i, i + n, j + n], 1)),
        face_labels=np.tile(label, 2).astype(np.uint8),
    )
    centre = np.zeros((1, 3))
    fan = np.stack([np.full(n, n), i, j], 1).astype(np.int32)
    floor = TriMesh(vertices=np.concatenate([low, centre]), faces=fan, face_labels=np.full(n, Label.FLOOR, np.uint8))
    parts = [floor, walls]
    if indoor:
        parts.append(
            TriMesh(
                vertices=np.concatenate([high, centre + np.array([0.0, 0.0, float(highest)])]),
                faces=fan[:, ::-1].copy(),
                face_labels=np.full(n, Label.CEILING, np.uint8),
            )
        )
    else:
        parts += [_ground_skirt(xy, sky_radius), _sky_dome(sky_radius)]
    return concatenate_meshes(parts + object_prisms(layout)).validate()


def _ground_skirt(xy: np.ndarray, radius: float) -> TriMesh:
    """Ground between the boundary and the sky, seen over low walls; scenery, not floor."""
    n = len(xy)
    direction = xy / np.linalg.norm(xy, axis=1, keepdims=True)
    vertices = np.column_stack([np.concatenate([xy, radius * direction]), np.zeros(2 * n)])
    i, j = np.arange(n), np.roll(np.arange(n), -1)
    faces = _split(np.stack([i, i + n, j + n, j], 1))
    return TriMesh(vertices=vertices, faces=faces, face_labels=np.full(len(faces), Label.BACKDROP, np.uint8))


def _sky_dome(radius: float, *, segments: int = 64, rings: int = 12) -> TriMesh:
    """Upper half of a sphere around the origin with a short cylinder below the horizon; faces look inwards."""
    elevation = np.linspace(0, np.pi / 2, rings + 1)[:-1]
    angle = np.arange(segments) * 2 * np.pi / segments
    grid = np.stack(
        [
            np.outer(np.cos(elevation), np.cos(angle)),
            np.outer(np.cos(elevation), np.sin(angle)),
            np.outer(np.sin(elevation), np.ones(segments)),
        ],
        -1,
    )
    vertices = np.concatenate([radius * grid.reshape(-1, 3), [[0.0, 0.0, radius]]])
    i, j = np.arange(segments), np.roll(np.arange(segments), -1)
    quads = [np.stack([k * segments + j, k * segments + i, (k + 1) * segments + i, (k + 1) * segments + j], 1)
             for k in range(rings - 1)]  # fmt: skip
    last = (rings - 1) * segments
    cap = np.stack([last + j, last + i, np.full(segments, len(vertices) - 1)], 1).astype(np.int32)
    faces = np.concatenate([_split(np.concatenate(quads)), cap])
    return TriMesh(vertices=vertices, faces=faces, face_labels=np.full(len(faces), Label.SKY, np.uint8))


def clear_start(layout: PolarLayout, radius_m: float = 0.6) -> PolarLayout:
    """The layout with nothing standing within `radius_m` of the origin: where the photographer stood is free."""
    keep = layout.object_near_m >= radius_m
    return replace(
        layout,
        boundary_m=np.maximum(layout.boundary_m, 1.5 * radius_m),
        object_bin=layout.object_bin[keep],
        object_near_m=layout.object_near_m[keep],
        object_far_m=layout.object_far_m[keep],
        object_top_m=layout.object_top_m[keep],
    )
