"""What a robot bumps into: boxes behind floor, walls and ceiling, and one triangle mesh for everything else.

A box lies behind the surface it stands for, away from free space, so a fast body meets 20 cm of matter instead of a
shell, and wheels roll on one exact plane instead of reconstruction ripple. Boxes never enter free space: every cell of
a plane is probed with rays, and where the matter behind it is thinner than a box, the box gets thinner or the surface
stays in the mesh. This file decides; `usd_physics.py` writes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from ..core.config import SimulationConfig
from ..core.errors import ConversionError
from ..core.mesh import Label, TriMesh, concatenate_meshes
from ..core.optional import require
from ..core.raycast import Raycaster
from ..core.simplify import simplify
from .cover import cover, grid_edges, grown
from .planes import Plane, level_planes, upright_planes

PLANE_TOLERANCE_M = 0.015
"""Corners of a wall's faces lie this close to its plane; half of what ray agreement allows at its 95th percentile."""
LEVEL_TOLERANCE_M = 0.03
COVERED_M = 0.02
"""A face this close in front of a box adds nothing to it."""
SLAB_TILE_M = 7.5
"""Largest side of one box of a slab where robots drive, but for what it shares with its neighbours."""
TILE_OVERLAP_M = 0.25
"""How far each box of a slab reaches into those beside it.

A solver pushes a body that got into a box out through the nearest side. Where boxes only met, that would be the seam
for a ball that a fast impact left some centimetres deep beside it: each box would push it into the next one, and it
would sink between them. With the overlap one of them always pushes it up."""
MIN_PLANE_M2 = 0.08
MAX_BOXES = 256
MAX_SEALING_FACES = 3000
"""A reconstructed surface has more; its ripple in front of the boxes would undo their flatness."""
SHELL_GAP_M = 0.2
REST_ERROR_M = 0.004
FEW_FACES = 2000
"""A rest of fewer faces stays exactly as it is."""
FLOATER_M = 0.12
"""Loose pieces smaller than this are reconstruction dust."""
UNIT_CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
CUBE_FACES = np.array(
    [
        *([0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]),
        *([2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]),
    ],
    np.int32,
)


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


@dataclass(frozen=True, kw_only=True)
class ColliderPlan:
    """The whole static collider of a world."""

    boxes: tuple[ColliderBox, ...]
    rest: TriMesh
    """Everything that is no box, wound into free space; may be empty."""
    floor_z_m: float
    """Height of the fitted floor, the top of the floor's slab."""
    mode: str
    """`boxes`, or `mesh` where walls fit no planes and only the floor became a slab."""
    boxed_share: float
    """Share of the floor's, walls' and ceiling's area that boxes stand behind."""
    floaters_removed: int
    flipped_pieces: int
    rest_error_m: float = 0.0
    """Root mean square distance up to which the rest was moved to have fewer faces; 0 where it is as it was, infinite
    where it was so rough that the budget of faces alone decided."""

    def as_mesh(self) -> TriMesh:
        """Boxes and rest as triangles, for ray queries and pictures."""
        boxes = [
            TriMesh(vertices=b.corners_m(), faces=CUBE_FACES, face_labels=np.full(12, b.label, np.uint8))
            for b in self.boxes
        ]
        return concatenate_meshes([*boxes, self.rest])

    def box_names(self) -> list[str]:
        """Prim name of every box: floor_000, wall_000, ..., ceiling_000; backdrops are walls to a robot."""
        counters: dict[str, int] = {}
        names = []
        for box in self.boxes:
            stem = {Label.FLOOR: "floor", Label.CEILING: "ceiling"}.get(Label(box.label), "wall")
            names.append(f"{stem}_{counters.get(stem, 0):03d}")
            counters[stem] = counters.get(stem, 0) + 1
        return names


def build_colliders(mesh: TriMesh, cfg: SimulationConfig, *, viewpoint_world: np.ndarray | None = None) -> ColliderPlan:
    """Decide the collider of a world.

    Args:
        mesh: the visual surface, faces counter-clockwise seen from free space; labels optional. SKY never collides.
        cfg: thickness and budgets.
        viewpoint_world: [3] a point in free space, by default 1.5 m above the origin.

    Raises:
        ConversionError: no floor was found, so nothing could stand anywhere.
    """
    eye = np.array([0.0, 0.0, 1.5]) if viewpoint_world is None else np.asarray(viewpoint_world, float)
    solid = _without_sky(mesh)
    solid, floaters = _without_floaters(solid)
    if not solid.face_count:
        raise ConversionError("the mesh has no faces that could collide; expected at least a floor")
    solid, flipped = _wound_into_free_space(solid, eye)
    labels = np.zeros(solid.face_count, np.uint8) if solid.face_labels is None else solid.face_labels
    labelled = bool((labels != Label.UNKNOWN).any())
    floor = _floor_plane(solid, labels, labelled)
    # Undersides of what stands on the floor hide in its plane and would make the ground look hollow from below.
    height = floor.distance_m(solid.triangles())
    under = (np.abs(height).max(1) <= COVERED_M) & (solid.face_normals()[:, 2] < -0.7)
    if under.any():
        solid, labels = solid.select_faces(~under), labels[~under]
        floor = _floor_plane(solid, labels, labelled)
        height = height[~under]
    # Ground beyond low walls is scenery: what lies between it and the wall counts as matter.
    scenery = (labels == Label.BACKDROP) & (np.abs(solid.face_normals()[:, 2]) > 0.7)
    probe = FreeSpaceProbe(solid.select_faces(~scenery) if scenery.any() else solid)
    beyond = np.flatnonzero(scenery & (np.abs(height).max(1) <= LEVEL_TOLERANCE_M))
    boxes = _slabs(solid, floor, Label.FLOOR, FreeSpaceProbe(solid), cfg.wall_thickness_m, beyond)
    if not boxes:
        raise ConversionError(f"the floor at z = {floor.offset_m:.2f} m has no matter under it; check the winding")
    for plane in level_planes(
        solid,
        labels == Label.CEILING if labelled else np.ones(solid.face_count, bool),
        up=False,
        tolerance_m=LEVEL_TOLERANCE_M,
        min_area_m2=1.0,
    )[:4]:
        boxes += _slabs(solid, plane, Label.CEILING, probe, cfg.wall_thickness_m)

    wall_like = np.isin(labels, (Label.WALL, Label.BACKDROP)) if labelled else np.ones(solid.face_count, bool)
    walls = upright_planes(
        solid, wall_like, tolerance_m=PLANE_TOLERANCE_M, min_area_m2=MIN_PLANE_M2, max_planes=MAX_BOXES
    )
    for plane in walls:
        if len(boxes) >= MAX_BOXES:
            break
        boxes += _wall_boxes(solid, plane, labels, probe, cfg.wall_thickness_m, limit=MAX_BOXES - len(boxes))

    covered = faces_covered(solid, boxes)
    # Walls of few faces stay in the mesh although boxes back them: where two boxes meet, only the surface has no gap.
    sealing = wall_like & ~scenery
    if sealing.sum() > MAX_SEALING_FACES:
        sealing[:] = False
    area = solid.face_areas_m2()
    structural = (wall_like & ~scenery) | np.isin(labels, (Label.FLOOR, Label.CEILING))
    share = float(area[structural & covered].sum() / max(area[structural].sum(), 1e-9))
    rest, rest_error_m = simplified_within(
        concatenate_meshes([solid.select_faces(~covered | sealing), _second_shell(solid, sealing & ~covered, probe)]),
        REST_ERROR_M,
        cfg.rest_faces,
    )
    return ColliderPlan(
        boxes=tuple(boxes),
        rest=rest,
        floor_z_m=floor.offset_m,
        mode="boxes" if any(b.label in (Label.WALL, Label.BACKDROP) for b in boxes) else "mesh",
        boxed_share=share,
        floaters_removed=floaters,
        flipped_pieces=flipped,
        rest_error_m=rest_error_m,
    )


def _second_shell(mesh: TriMesh, sheets: np.ndarray, probe: FreeSpaceProbe) -> TriMesh:
    """Copies of walls that no box backs, moved into the matter behind them.

    A fast ball that bounces twice within one step can slip through a single sheet; then it meets the second one.
    """
    corners, normals = mesh.triangles()[sheets], mesh.face_normals()[sheets]
    moved = corners - SHELL_GAP_M * normals[:, None]
    inside_matter = ~probe.free(moved.mean(1)) if len(moved) else np.zeros(0, bool)
    moved = moved[inside_matter]
    labels = None if mesh.face_labels is None else mesh.face_labels[sheets][inside_matter]
    faces = np.arange(3 * len(moved), dtype=np.int32).reshape(-1, 3)
    return TriMesh(vertices=moved.reshape(-1, 3), faces=faces, face_labels=labels)


class FreeSpaceProbe:
    """Tells free space from matter: in free space most rays meet the front of a face, in matter its back."""

    def __init__(self, mesh: TriMesh, ray_count: int = 12) -> None:
        self._caster = Raycaster(mesh)
        self._normals = mesh.face_normals()
        # A Fibonacci sphere, turned by an odd angle so that no ray runs along a wall or through a corner.
        k = np.arange(ray_count) + 0.5
        z, turn = 1 - 2 * k / ray_count, np.pi * (1 + 5**0.5) * k + 0.3217
        self._directions = np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z], -1)

    def free(self, points_world: np.ndarray) -> np.ndarray:
        """[N] bool for points [N, 3]; a point that sees nothing is not free."""
        n, k = len(points_world), len(self._directions)
        if not n:
            return np.zeros(0, bool)
        directions = np.tile(self._directions, (n, 1))
        _, face, _ = self._caster.cast(np.repeat(points_world, k, axis=0), directions)
        facing = np.einsum("ij,ij->i", directions, self._normals[np.maximum(face, 0)])
        vote = np.where(face >= 0, -np.sign(facing), 0.0).reshape(n, k).sum(1)
        return vote > 0


def ray_agreement_m(mesh: TriMesh, plan: ColliderPlan, origins_world: np.ndarray, *, seed: int, count: int = 4000):
    """|distance to the visual mesh - distance to the collider| of random rays, [count] float64 [m].

    Args:
        mesh: the visual mesh; rays whose first hit is SKY or nothing are left out.
        plan: its collider.
        origins_world: [K, 3] points in free space that rays start from.
        seed: of the directions.
    """
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    origins = origins_world[rng.integers(0, len(origins_world), count)]
    seen, face, _ = Raycaster(mesh).cast(origins, directions)
    solid = face >= 0
    if mesh.face_labels is not None:
        solid &= mesh.face_labels[np.maximum(face, 0)] != Label.SKY
    felt, _, _ = Raycaster(plan.as_mesh()).cast(origins[solid], directions[solid])
    return np.abs(np.minimum(felt, 1e3) - seen[solid])


def simplified_within(mesh: TriMesh, error_m: float, face_budget: int) -> tuple[TriMesh, float]:
    """Welded, and where it has many faces with fewer, moved by at most `error_m` (root mean square); with its error.

    The bound is doubled where the budget demands it. Returns the mesh and the bound that was needed, 0 if none was.
    """
    mesh = simplified(mesh, max(mesh.face_count, 1))
    if mesh.face_count <= min(FEW_FACES, face_budget):
        return mesh, 0.0
    smaller, error_m = simplify(mesh, error_m=error_m, max_faces=face_budget)
    return simplified(smaller, face_budget), error_m


def simplified(mesh: TriMesh, face_budget: int) -> TriMesh:
    """Welded, without degenerate faces, decimated to `face_budget` faces if it has more; labels are dropped then."""
    if not mesh.face_count:
        return TriMesh(vertices=np.zeros((0, 3)), faces=np.zeros((0, 3), np.int32), face_labels=np.zeros(0, np.uint8))
    mesh = welded(mesh)
    if mesh.face_count <= face_budget:
        return mesh
    fast_simplification = require("fast_simplification", extra="sim", package="fast-simplification")
    vertices, faces = fast_simplification.simplify(
        mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32), target_count=face_budget, agg=5
    )
    return welded(TriMesh(vertices=np.asarray(vertices, float), faces=np.asarray(faces, np.int32)))


def welded(mesh: TriMesh) -> TriMesh:
    """Corners closer than 0.1 mm become one vertex; faces that lose their area go. Texture and colours are dropped."""
    key = np.round(mesh.vertices / 1e-4).astype(np.int64)
    _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
    faces = inverse.reshape(-1)[mesh.faces].astype(np.int32)
    labels = np.zeros(len(faces), np.uint8) if mesh.face_labels is None else mesh.face_labels
    merged = TriMesh(vertices=mesh.vertices[first], faces=faces, face_labels=labels)
    return merged.select_faces(merged.face_areas_m2() > 1e-8)


def _without_sky(mesh: TriMesh) -> TriMesh:
    if mesh.face_labels is None:
        return mesh
    return mesh.select_faces(mesh.face_labels != Label.SKY)


def connected_pieces(mesh: TriMesh) -> tuple[int, np.ndarray]:
    """Number of connected pieces and the piece of every face [F]; corners within 0.1 mm connect."""
    sparse = require("scipy.sparse", extra="sim")
    graph = require("scipy.sparse.csgraph", extra="sim")
    key = np.round(mesh.vertices / 1e-4).astype(np.int64)
    _, inverse = np.unique(key, axis=0, return_inverse=True)
    corner = inverse.reshape(-1)[mesh.faces]
    n = int(corner.max()) + 1 if len(corner) else 0
    links = sparse.coo_matrix(
        (np.ones(2 * len(corner), np.int8), (np.r_[corner[:, 0], corner[:, 1]], np.r_[corner[:, 1], corner[:, 2]])),
        shape=(n, n),
    )
    _, of_vertex = graph.connected_components(links, directed=False)
    _, piece = np.unique(of_vertex[corner[:, 0]], return_inverse=True)
    return (int(piece.max()) + 1 if len(piece) else 0), piece


def _without_floaters(mesh: TriMesh) -> tuple[TriMesh, int]:
    if not mesh.face_count:
        return mesh, 0
    count, piece = connected_pieces(mesh)
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    triangles = mesh.triangles()
    np.minimum.at(low, piece, triangles.min(1))
    np.maximum.at(high, piece, triangles.max(1))
    dust = np.linalg.norm(high - low, axis=1) < FLOATER_M
    return (mesh.select_faces(~dust[piece]) if dust.any() else mesh), int(dust.sum())


def _wound_into_free_space(mesh: TriMesh, eye_world: np.ndarray) -> tuple[TriMesh, int]:
    """Turn pieces round whose back the free space sees. A triangle collides only from its front."""
    k = np.arange(4000) + 0.5
    z, turn = 1 - 2 * k / len(k), np.pi * (1 + 5**0.5) * k
    directions = np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z], -1)
    _, face, _ = Raycaster(mesh).cast(np.broadcast_to(eye_world, directions.shape), directions)
    hit = face >= 0
    facing = np.einsum("ij,ij->i", directions[hit], mesh.face_normals()[face[hit]])
    count, piece = connected_pieces(mesh)
    votes = np.bincount(piece[face[hit]], np.sign(facing), count)
    total = np.bincount(piece[face[hit]], minlength=count)
    turned = (total >= 5) & (votes > 0.5 * total)
    flip = turned[piece]
    if not flip.any():
        return mesh, 0
    faces = mesh.faces.copy()
    faces[flip] = faces[flip][:, ::-1]
    # uv belongs to corners that just changed places; a collider needs none.
    return replace(mesh, faces=faces, uv=None, texture_u8=None), int(turned.sum())


def _floor_plane(mesh: TriMesh, labels: np.ndarray, labelled: bool) -> Plane:
    """The main floor: the largest level plane of FLOOR faces, or without labels the lowest large one that faces up."""
    candidates = labels == Label.FLOOR if labelled else np.ones(len(labels), bool)
    planes = level_planes(mesh, candidates, up=True, tolerance_m=LEVEL_TOLERANCE_M, min_area_m2=0.5)
    if not planes:
        raise ConversionError(
            "no level floor of at least 0.5 m² was found; expected FLOOR faces near one height that face up"
        )
    if labelled:
        return planes[0]
    return min((p for p in planes if p.area_m2 >= 0.3 * planes[0].area_m2), key=lambda p: p.offset_m)


def _slabs(
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
    wanted = _seen(mesh, plane.faces, np.stack([x, y, np.full_like(x, level)], -1).reshape(-1, 3), plane.normal_world)
    wanted = wanted.reshape(x.shape)
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


def _wall_boxes(
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
    for u, v in ((0.52, 0.47), (0.07, 0.11), (0.91, 0.06), (0.09, 0.94), (0.94, 0.88)):
        s, z = np.meshgrid(along[:-1] + u * np.diff(along), up[:-1] + v * np.diff(up))
        covered += _seen(mesh, plane.faces, at(s, z, 0.0).reshape(-1, 3), normal).reshape(s.shape)
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


def _seen(mesh: TriMesh, faces: np.ndarray, points_world: np.ndarray, normal_world: np.ndarray) -> np.ndarray:
    """[N] bool: a line through the point along the normal meets one of `faces` within 10 cm."""
    keep = np.zeros(mesh.face_count, bool)
    keep[faces] = True
    start = points_world + 0.1 * normal_world
    t, _, _ = Raycaster(mesh.select_faces(keep)).cast(start, np.broadcast_to(-normal_world, start.shape))
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


def faces_covered(mesh: TriMesh, boxes: list[ColliderBox]) -> np.ndarray:
    """[F] bool: boxes stand behind the whole face, so the mesh need not repeat it."""
    corners = _drawn_in(mesh.triangles())
    flat = corners.reshape(-1, 3)
    whole = np.zeros(mesh.face_count, bool)
    touched = np.zeros((mesh.face_count, 3), bool)
    for box in boxes:
        # A box is convex: with its corners the whole face is inside.
        inside = box.contains(flat, COVERED_M).reshape(-1, 3)
        whole |= inside.all(1)
        touched |= inside
    open_faces = np.flatnonzero(touched.all(1) & ~whole)
    if len(open_faces):
        point, owner = _samples(corners[open_faces], spacing_m=0.12)
        inside = np.zeros(len(point), bool)
        for box in boxes:
            left = np.flatnonzero(~inside)
            inside[left] = box.contains(point[left], COVERED_M)
        whole[open_faces] = np.bincount(owner, ~inside, len(open_faces)) == 0
    return whole


def _drawn_in(triangles: np.ndarray) -> np.ndarray:
    """Corners [F, 3, 3] moved at most 5 mm towards the centre: exactly on an edge the neighbour would answer."""
    centre = triangles.mean(1, keepdims=True)
    arm = np.linalg.norm(triangles - centre, axis=2, keepdims=True)
    return triangles + (centre - triangles) * np.minimum(0.02, 0.005 / np.maximum(arm, 1e-9))


def _samples(triangles: np.ndarray, *, spacing_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 3] over triangles [F, 3, 3], at most `spacing_m` apart, with the triangle of each [N].

    Rows run along the longest edge, so that slivers cost what their area is worth.
    """
    edge = np.linalg.norm(np.roll(triangles, -1, axis=1) - triangles, axis=2)
    first = edge.argmax(1)
    a, b, c = (np.take_along_axis(triangles, ((first + k) % 3)[:, None, None], axis=1)[:, 0] for k in range(3))
    longest = edge.max(1)
    height = np.linalg.norm(np.cross(b - a, c - a), axis=1) / np.maximum(longest, 1e-9)
    cols = np.clip(np.ceil(longest / spacing_m), 1, 400).astype(int)
    rows = np.clip(np.ceil(height / spacing_m), 1, 400).astype(int)
    counts = (cols + 1) * (rows + 1)
    owner = np.repeat(np.arange(len(triangles)), counts)
    k = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    v = (k // (cols[owner] + 1)) / rows[owner]
    u = (k % (cols[owner] + 1)) / cols[owner] * (1 - v)
    return a[owner] + u[:, None] * (b - a)[owner] + v[:, None] * (c - a)[owner], owner
