"""Boxes behind planes: slabs of floors and ceilings, boxes of walls, as thick as the matter behind them allows."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from ..core.mesh import Label, TriMesh
from ..core.raycast import Raycaster
from .cover import cover, grid_edges, grown
from .free_probe import FreeSpaceProbe
from .planes import Plane

PLANE_TOLERANCE_M = 0.015
"""Corners of a wall's faces lie this close to its plane; half of what ray agreement allows at its 95th percentile."""
SLAB_TILE_M = 7.5
"""Largest side of one box of a slab where robots drive, but for what it shares with its neighbours."""
TILE_OVERLAP_M = 0.25
"""How far each box of a slab reaches into those beside it.

A solver pushes a body that got into a box out through the nearest side. Where boxes only met, that would be the seam
for a ball that a fast impact left some centimetres deep beside it: each box would push it into the next one, and it
would sink between them. With the overlap one of them always pushes it up."""
UNIT_CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)


@dataclass(frozen=True, kw_only=True)
class ColliderBox:
    """An oriented solid box."""

    label: int
    """`Label` of the surface it stands for: FLOOR, WALL, CEILING or BACKDROP."""
    centre_m: np.ndarray
    """[3] world."""
    half_m: np.ndarray
    """[3] half extents along the box's own axes."""
    R_world_box: np.ndarray
    """[3, 3]; the box's +z is world up, its +y points into free space for walls."""

    def corners_m(self) -> np.ndarray:
        """[8, 3] world."""
        return (UNIT_CUBE * self.half_m) @ self.R_world_box.T + self.centre_m

    def contains(self, points_world: np.ndarray, margin_m: float = 0.0) -> np.ndarray:
        """[N] bool for points [N, 3]."""
        inside = np.abs((points_world - self.centre_m) @ self.R_world_box) <= self.half_m + margin_m
        return np.logical_and.reduce(inside, axis=1)


def slabs(
    mesh: TriMesh,
    plane: Plane,
    label: Label,
    probe: FreeSpaceProbe,
    thickness_m: float,
    beyond: np.ndarray | None = None,
) -> list[ColliderBox]:
    """Boxes behind a level plane. They may reach past the surface (under walls, over holes) but not into free space.

    `beyond` are faces at the same height that the boxes shall reach as well.
    """
    reach = plane.faces if beyond is None else np.concatenate([plane.faces, beyond])
    corners = mesh.triangles()[reach].reshape(-1, 3)
    low, high = corners[:, :2].min(0) - thickness_m, corners[:, :2].max(0) + thickness_m
    count = np.clip(np.ceil((high - low) / 0.25).astype(int), 4, 96)
    edges_x, edges_y = np.linspace(low[0], high[0], count[0] + 1), np.linspace(low[1], high[1], count[1] + 1)
    sign, level = plane.normal_world[2], abs(plane.offset_m) * np.sign(plane.offset_m * plane.normal_world[2])
    x, y = np.meshgrid((edges_x[1:] + edges_x[:-1]) / 2, (edges_y[1:] + edges_y[:-1]) / 2)
    at_level = np.stack([x, y, np.full_like(x, level)], -1).reshape(-1, 3)
    wanted = _seen(_caster_of(mesh, plane.faces), at_level, plane.normal_world).reshape(x.shape)
    blocked = np.zeros(x.shape, bool)
    for share in (0.15, 0.55, 0.95):
        depth = level - sign * share * thickness_m
        blocked |= probe.free(np.stack([x, y, np.full_like(x, depth)], -1).reshape(-1, 3)).reshape(x.shape)
    rectangles = cover(~blocked, wanted, np.diff(edges_y), np.diff(edges_x), min_area_m2=0.25, min_side_m=0.2, limit=24)
    own = mesh.triangles()[plane.faces].reshape(-1, 3)
    boxes = []
    for rectangle in rectangles:
        r0, r1, c0, c1 = grown(rectangle, ~blocked)
        # The part that wheels touch is cut into tiles: PhysX loses contacts of small wheels on very large boxes.
        xs = _tile_edges(edges_x[c0], edges_x[c1], own[:, 0].min(), own[:, 0].max())
        ys = _tile_edges(edges_y[r0], edges_y[r1], own[:, 1].min(), own[:, 1].max())
        for (x0, x1), (y0, y1) in itertools.product(_overlapping(xs), _overlapping(ys)):
            half = np.array([x1 - x0, y1 - y0, thickness_m]) / 2
            centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2, level - sign * thickness_m / 2])
            boxes.append(ColliderBox(label=int(label), centre_m=centre, half_m=half, R_world_box=np.eye(3)))
    return boxes


def _tile_edges(low: float, high: float, used_low: float, used_high: float) -> list[float]:
    """Ascending cuts from `low` to `high`, at most SLAB_TILE_M apart within the used range."""
    a, b = max(low, min(used_low, high)), min(high, max(used_high, low))
    # A narrow rim joins the tile beside it.
    a, b = (low if a - low < 1.0 else a), (high if high - b < 1.0 else b)
    inner = np.linspace(a, b, max(1, int(np.ceil((b - a) / SLAB_TILE_M))) + 1) if b > a else np.zeros(0)
    return np.unique(np.concatenate([[low, high], inner])).tolist()


def _overlapping(edges: list[float]) -> list[tuple[float, float]]:
    """From and to of each tile between ascending cuts; all but the outermost ends reach into the neighbour."""
    first, last = edges[0], edges[-1]
    return [(max(a - TILE_OVERLAP_M, first), min(b + TILE_OVERLAP_M, last)) for a, b in itertools.pairwise(edges)]


def wall_boxes(
    mesh: TriMesh, plane: Plane, labels: np.ndarray, probe: FreeSpaceProbe, thickness_m: float, *, limit: int
) -> list[ColliderBox]:
    """Boxes behind an upright plane: exactly over its surface, as thick as the matter behind it allows."""
    normal = plane.normal_world
    tangent = np.array([normal[1], -normal[0], 0.0])  # tangent, normal, up: right-handed
    R = np.stack([tangent, normal, np.array([0.0, 0.0, 1.0])], 1)
    corners = mesh.triangles()[plane.faces].reshape(-1, 3)
    along, up = (
        grid_edges(corners @ tangent, step_m=0.15, gap_m=0.02, most=400),
        grid_edges(corners[:, 2], step_m=0.3, gap_m=0.02, most=24),
    )
    if len(along) < 2 or len(up) < 2:
        return []
    foot = normal * plane.offset_m

    def at(s: np.ndarray, z: np.ndarray, behind_m: float) -> np.ndarray:
        return foot + s[..., None] * tangent + z[..., None] * [0, 0, 1] - behind_m * normal

    # Five samples a cell, off its diagonals because triangle edges like to run there.
    covered = np.zeros((len(up) - 1, len(along) - 1), int)
    surface = _caster_of(mesh, plane.faces)
    for u, v in ((0.52, 0.47), (0.07, 0.11), (0.91, 0.06), (0.09, 0.94), (0.94, 0.88)):
        s, z = np.meshgrid(along[:-1] + u * np.diff(along), up[:-1] + v * np.diff(up))
        covered += _seen(surface, at(s, z, 0.0).reshape(-1, 3), normal).reshape(s.shape)
    exact = len(plane.faces) <= 1000
    wanted = covered >= (5 if exact else 3)
    if not exact:
        wanted = _closed(wanted)
    s, z = np.meshgrid((along[1:] + along[:-1]) / 2, (up[1:] + up[:-1]) / 2)
    depth_ok = np.zeros(s.shape)
    alive = wanted.copy()
    levels = (thickness_m / 4, thickness_m / 2, thickness_m)
    for previous, deep in zip((0.0, *levels[:-1]), levels, strict=True):
        for behind in (previous + 0.5 * (deep - previous), 0.97 * deep):
            where = np.flatnonzero(alive)
            inside = probe.free(at(s, z, behind).reshape(-1, 3)[where])
            alive.flat[where[inside]] = False
        depth_ok[alive] = deep

    label = int(np.bincount(labels[plane.faces], mesh.face_areas_m2()[plane.faces], 8).argmax())
    label = label if label in (Label.WALL, Label.BACKDROP) else int(Label.WALL)
    boxes: list[ColliderBox] = []
    row_m, col_m = np.diff(up), np.diff(along)
    # A ragged upper edge is not worth a flight of small boxes.
    least_m2 = max(0.02, 0.03 * float((wanted * row_m[:, None] * col_m).sum()))
    for thinner, deep in zip(reversed((0.0, *levels[:-1])), reversed(levels), strict=True):
        usable = wanted & (depth_ok >= deep)
        for r0, r1, c0, c1 in cover(
            usable, usable, row_m, col_m, min_area_m2=least_m2, min_side_m=0.05, limit=limit - len(boxes)
        ):
            # Where matter ends in a wedge, the box's end reaches through it: cut columns off until it does not. They
            # get another chance with a thinner box.
            while c0 < c1:
                centre = foot + R @ np.array([(along[c0] + along[c1]) / 2, -deep / 2, (up[r0] + up[r1]) / 2])
                half = np.array([along[c1] - along[c0], deep, up[r1] - up[r0]]) / 2
                box = ColliderBox(label=label, centre_m=centre, half_m=half, R_world_box=R)
                rim = _rim(box)
                astray = ((rim - centre) @ tangent)[probe.free(rim)]
                if not len(astray):
                    wanted[r0:r1, c0:c1] = False
                    boxes.append(_lengthened(box, thickness_m, probe))
                    break
                if (astray <= 0).any():
                    depth_ok[r0:r1, c0] = thinner
                    c0 += 1
                if (astray > 0).any() and c0 < c1:
                    c1 -= 1
                    depth_ok[r0:r1, c1] = thinner
    return boxes


def _lengthened(box: ColliderBox, reach_m: float, probe: FreeSpaceProbe) -> ColliderBox:
    """The box carried on past its sides and its top and bottom where there is only matter.

    Neighbours then close the corner between them, and a wall reaches through the floor's slab: a solver pushes a ball
    that got into a box out through the nearest side, and for one that rolls on the floor that must not be the bottom.
    """
    for axis, end in itertools.product((0, 2), (-1.0, 1.0)):
        outward = end * np.eye(3)[axis]
        for reach in (reach_m, reach_m / 2):
            half = np.where(outward != 0, reach / 2, box.half_m)
            more = replace(box, centre_m=box.centre_m + box.R_world_box @ (outward * (box.half_m + half)), half_m=half)
            if not probe.free(_rim(more)).any():
                box = replace(
                    box,
                    centre_m=box.centre_m + box.R_world_box @ (outward * reach / 2),
                    half_m=box.half_m + np.abs(outward) * reach / 2,
                )
                break
    return box


def _rim(box: ColliderBox) -> np.ndarray:
    """Points [N, 3] just inside the box: its front and back, along the ends and every 0.25 m between them."""
    half = np.maximum(box.half_m - 0.01, 0.25 * box.half_m)
    axes = [np.linspace(-h, h, max(2, int(np.ceil(2 * h / 0.25)) + 1)) for h in half]
    # The front is probed behind the ripple that the plane's tolerance allows.
    axes[1] = np.array([-half[1], max(box.half_m[1] - PLANE_TOLERANCE_M - 0.005, 0.0)])
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    return grid @ box.R_world_box.T + box.centre_m


def _caster_of(mesh: TriMesh, faces: np.ndarray) -> Raycaster:
    """Rays against some faces alone."""
    keep = np.zeros(mesh.face_count, bool)
    keep[faces] = True
    return Raycaster(mesh.select_faces(keep))


def _seen(surface: Raycaster, points_world: np.ndarray, normal_world: np.ndarray) -> np.ndarray:
    """[N] bool: a line through the point along the normal meets the surface within 10 cm."""
    start = points_world + 0.1 * normal_world
    t, _, _ = surface.cast(start, np.broadcast_to(-normal_world, start.shape))
    return t <= 0.2


def _closed(mask: np.ndarray) -> np.ndarray:
    """Morphological closing by one cell: pinholes of a fused mesh are no doors."""
    padded = np.pad(mask, 2)

    def grow(m: np.ndarray) -> np.ndarray:
        out = m.copy()
        for axis in (0, 1):
            out = out | np.roll(out, 1, axis) | np.roll(out, -1, axis)
        return out

    return ~grow(~grow(padded))[2:-2, 2:-2]
