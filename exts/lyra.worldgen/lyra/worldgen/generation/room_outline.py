"""The outline of a star-shaped room on the floor, and the doors cut into it.

All coordinates are in the room's own frame: origin at the place the room is star-shaped about; outlines are
counter-clockwise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..core.mesh import Label
from ..core.views import PolarLayout
from .proxy import WALL_GAP_M, boundary_polygon

JAMB_M = 0.15
"""Flat wall on either side of a door."""
NEAREST_DOOR_M = 0.8
"""A wall nearer to the room's origin gets no door: nobody could look around in front of it."""
MERGED_M = 0.02
"""Steps of the wall smaller than this are no faces of their own."""
PROFILE_STEP_M = 0.05


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A closed polygon with what stands on its edges; edge i leads from vertex i to vertex i + 1."""

    xy_m: np.ndarray
    """[P, 2], star-shaped about the origin."""
    label: np.ndarray
    """[P] uint8 `Label` of the wall on each edge."""
    door: np.ndarray
    """[P] int32 index of the door whose opening the edge is, -1 for a wall."""


@dataclass(frozen=True, kw_only=True)
class DoorSpot:
    """A place in the wall, straight ahead of the room's origin, where a door can be."""

    angle_rad: float
    """Direction of the door's axis, out of the room."""
    distance_m: float
    """From the origin to the flat panel that holds the door."""
    half_panel_m: float
    depth_m: float
    """How far the wall recedes behind the panel at most."""
    obstructed: bool
    """An object stands between the origin and the panel."""

    @property
    def half_angle_rad(self) -> float:
        """Half of the angle under which the panel appears from the origin."""
        return float(np.arctan2(self.half_panel_m, self.distance_m))


def outline_of(layout: PolarLayout) -> Outline:
    """The outline that `proxy.build_proxy` builds walls on, without doors."""
    xy, _, label = boundary_polygon(layout)
    return Outline(xy_m=xy, label=label, door=np.full(len(xy), -1, np.int32))


def mirrored(layout: PolarLayout) -> PolarLayout:
    """The layout seen in a mirror along the room's x axis; its bins must be symmetric about azimuth 0."""
    bins = len(layout.azimuth_rad)
    return replace(
        layout,
        azimuth_rad=-layout.azimuth_rad[::-1],
        boundary_m=layout.boundary_m[::-1].copy(),
        boundary_top_m=layout.boundary_top_m[::-1].copy(),
        boundary_label=layout.boundary_label[::-1].copy(),
        object_bin=(bins - 1 - layout.object_bin).astype(np.int32),
    )


def turned(xy_m: np.ndarray, angle_rad: float) -> np.ndarray:
    """Points [..., 2] turned counter-clockwise about the origin."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.stack([c * xy_m[..., 0] - s * xy_m[..., 1], s * xy_m[..., 0] + c * xy_m[..., 1]], -1)


def wrapped(angle_rad: np.ndarray | float) -> np.ndarray:
    """The same angle in [-pi, pi)."""
    return np.mod(np.asarray(angle_rad) + np.pi, 2 * np.pi) - np.pi


def door_spot(
    outline: Outline, layout: PolarLayout, angle_rad: float, *, width_m: float, kept: list[tuple[float, float]]
) -> DoorSpot | None:
    """The door in one direction, or None where the wall does not allow it.

    Args:
        outline: the room's present outline.
        layout: says where objects stand.
        angle_rad: direction of the door's axis.
        width_m: of the opening.
        kept: (middle, half width) of the angles [rad] that the panel must not touch.
    """
    half = 0.5 * width_m + JAMB_M
    start = turned(outline.xy_m, -angle_rad)
    step = np.roll(start, -1, 0) - start
    # The part of each edge inside the strip |y| <= half, as an interval of the edge's parameter.
    flat = np.abs(step[:, 1]) < 1e-12
    rise = np.where(flat, 1.0, step[:, 1])
    enter, leave = (-half - start[:, 1]) / rise, (half - start[:, 1]) / rise
    enter, leave = np.minimum(enter, leave), np.maximum(enter, leave)
    level = np.abs(start[:, 1]) <= half
    enter = np.clip(np.where(flat, np.where(level, 0.0, 1.0), enter), 0, 1)
    leave = np.clip(np.where(flat, np.where(level, 1.0, 0.0), leave), 0, 1)
    ends = start[:, :1] + np.stack([enter, leave], 1) * step[:, :1]
    ahead = (enter < leave) & (ends.max(1) > 0)
    if not ahead.any() or (outline.label[ahead] != Label.WALL).any() or (outline.door[ahead] >= 0).any():
        return None
    nearest = float(ends[ahead].min())
    if nearest < NEAREST_DOOR_M:
        return None
    spot = DoorSpot(
        angle_rad=float(wrapped(angle_rad)),
        distance_m=nearest,
        half_panel_m=half,
        depth_m=float(ends[ahead].max()) - nearest,
        obstructed=bool(objects_ahead(layout, angle_rad, nearest, half).any()),
    )
    for middle, width in kept:
        if abs(float(wrapped(angle_rad - middle))) <= width + spot.half_angle_rad:
            return None
    return spot


def objects_ahead(layout: PolarLayout, angle_rad: float, distance_m: float, half_m: float) -> np.ndarray:
    """[M] bool: the object touches the strip from the origin to the panel, half its width to each side."""
    a = layout.azimuth_rad[layout.object_bin] - angle_rad
    # An object is drawn half a bin wider than its rays.
    side = np.maximum(np.abs(np.sin(a)) - layout.step_rad, 0.0)
    return (np.cos(a) > 0) & (layout.object_near_m * side < half_m) & (layout.object_near_m * np.cos(a) < distance_m)


def with_panel(layout: PolarLayout, spot: DoorSpot) -> PolarLayout:
    """The layout with the door's flat panel as a closed wall, and nothing in front of or behind it."""
    a = wrapped(layout.azimuth_rad - spot.angle_rad)
    inside = np.abs(a) < spot.half_angle_rad
    panel = spot.distance_m / np.cos(np.where(inside, a, 0.0))
    boundary = np.where(inside, np.minimum(layout.boundary_m, panel), layout.boundary_m)
    behind = inside[layout.object_bin] & (layout.object_near_m > boundary[layout.object_bin] - WALL_GAP_M)
    keep = ~behind & ~objects_ahead(layout, spot.angle_rad, spot.distance_m, spot.half_panel_m)
    return replace(
        layout,
        boundary_m=boundary,
        object_bin=layout.object_bin[keep],
        object_near_m=layout.object_near_m[keep],
        object_far_m=layout.object_far_m[keep],
        object_top_m=layout.object_top_m[keep],
    )


def with_door(outline: Outline, spot: DoorSpot, *, width_m: float, door: int) -> Outline:
    """The outline with a flat panel and an opening in its middle; every vertex outside the panel stays what it is."""
    d, half = spot.distance_m, spot.half_panel_m
    # Steps beside the panel are not quite radial: the floor's fan would get triangles without area.
    reach = float(np.arctan2(half + MERGED_M, d))
    local = turned(outline.xy_m, -spot.angle_rad)
    azimuth = np.arctan2(local[:, 1], local[:, 0])
    first = int(np.argmin(np.where(azimuth > reach, azimuth, np.inf)))
    order = np.roll(np.arange(len(local)), -first)
    kept = order[np.abs(azimuth[order]) > reach]
    # Vertices hidden by the panel come last in `order`.
    before, after = kept[-1], kept[0]
    hidden = order[len(kept) :]
    hit_right = _ray_on_edge(-reach, local[before], local[hidden[0] if len(hidden) else after])
    hit_left = _ray_on_edge(reach, local[hidden[-1] if len(hidden) else before], local[after])
    right, left = np.array([d, -half]), np.array([d, half])
    chain = [hit_right] if np.linalg.norm(hit_right - right) < 2 * MERGED_M else [hit_right, right]
    chain += [np.array([d, -0.5 * width_m]), np.array([d, 0.5 * width_m])]
    opening = len(chain) - 2
    chain += [hit_left] if np.linalg.norm(hit_left - left) < 2 * MERGED_M else [left, hit_left]
    labels = np.full(len(chain), Label.WALL, np.uint8)
    labels[-1] = outline.label[hidden[-1] if len(hidden) else before]
    doors = np.full(len(chain), -1, np.int32)
    doors[opening] = door
    return Outline(
        xy_m=np.concatenate([outline.xy_m[kept], turned(np.array(chain), spot.angle_rad)]),
        label=np.concatenate([outline.label[kept], labels]),
        door=np.concatenate([outline.door[kept], doors]),
    )


def _ray_on_edge(azimuth_rad: float, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where the ray from the origin meets the edge from a to b."""
    normal = np.array([-np.sin(azimuth_rad), np.cos(azimuth_rad)])
    from_a, from_b = float(a @ normal), float(b @ normal)
    t = np.clip(from_a / (from_a - from_b), 0, 1) if from_a != from_b else 0.0
    return a + t * (b - a)


def profile(outline: Outline, angle_rad: float, *, half_count: int, margin_m: float) -> np.ndarray:
    """Farthest extent along a direction per lateral strip, [2 * half_count] [m]; -inf where the room does not reach.

    Strip k spans `PROFILE_STEP_M` to the left of (k - half_count) * PROFILE_STEP_M and also counts what lies within
    `margin_m` of it.
    """
    local = turned(outline.xy_m, -angle_rad)
    step = np.roll(local, -1, 0) - local
    pieces = np.ceil(np.linalg.norm(step, axis=1) / (0.4 * PROFILE_STEP_M)).astype(int) + 1
    edge = np.repeat(np.arange(len(local)), pieces)
    t = (np.arange(len(edge)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) / pieces[edge]
    points = local[edge] + t[:, None] * step[edge]
    strip = np.clip(np.floor(points[:, 1] / PROFILE_STEP_M).astype(int) + half_count, 0, 2 * half_count - 1)
    farthest = np.full(2 * half_count, -np.inf)
    np.maximum.at(farthest, strip, points[:, 0])
    spread = int(np.ceil(margin_m / PROFILE_STEP_M)) + 1
    padded = np.pad(farthest, spread, constant_values=-np.inf)
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * spread + 1).max(1)


def contains(polygon_xy_m: np.ndarray, points_xy_m: np.ndarray) -> np.ndarray:
    """[N] bool: the point [N, 2] lies inside the polygon [P, 2]."""
    a, b = polygon_xy_m, np.roll(polygon_xy_m, -1, 0)
    x, y = points_xy_m[:, :1], points_xy_m[:, 1:]
    crosses = (a[:, 1] > y) != (b[:, 1] > y)
    rise = np.where(b[:, 1] == a[:, 1], 1.0, b[:, 1] - a[:, 1])
    return np.count_nonzero(crosses & (x < a[:, 0] + (y - a[:, 1]) / rise * (b[:, 0] - a[:, 0])), axis=1) % 2 == 1


def gap_between(p_xy_m: np.ndarray, q_xy_m: np.ndarray) -> float:
    """Distance between two polygons [m]; 0 when they touch, cross or one contains the other."""
    if contains(p_xy_m, q_xy_m).any() or contains(q_xy_m, p_xy_m).any() or _edges_cross(p_xy_m, q_xy_m):
        return 0.0
    # Disjoint polygons are nearest at a vertex of one of them.
    return min(_vertices_to_edges(p_xy_m, q_xy_m), _vertices_to_edges(q_xy_m, p_xy_m))


def _vertices_to_edges(p: np.ndarray, q: np.ndarray) -> float:
    edge = np.roll(q, -1, 0) - q
    offset = p[:, None] - q
    t = np.clip(np.einsum("ijk,jk->ij", offset, edge) / np.maximum(np.einsum("jk,jk->j", edge, edge), 1e-18), 0, 1)
    return float(np.linalg.norm(offset - t[..., None] * edge, axis=-1).min())


def _edges_cross(p: np.ndarray, q: np.ndarray) -> bool:
    def side(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        u, v = b - a, c - a
        return np.sign(u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0])

    a, b = p[:, None], np.roll(p, -1, 0)[:, None]
    c, d = q[None], np.roll(q, -1, 0)[None]
    # Touching is left to the distance of vertices: edges that lie on one line have no side to be on.
    return bool(((side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)).any())
