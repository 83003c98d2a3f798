"""What a robot bumps into: boxes behind floor, walls and ceiling, and one triangle mesh for everything else.

A box lies behind the surface it stands for, away from free space, so a fast body meets 20 cm of matter instead of a
shell, and wheels roll on one exact plane instead of reconstruction ripple. Boxes never enter free space: every cell of
a plane is probed with rays, and where the matter behind it is thinner than a box, the box gets thinner or the surface
stays in the mesh. This file decides; `usd_physics.py` writes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.config import SimulationConfig
from ..core.errors import ConversionError
from ..core.mesh import Label, TriMesh, concatenate_meshes
from ..core.raycast import Raycaster
from .collider_boxes import PLANE_TOLERANCE_M, ColliderBox, slabs, wall_boxes
from .covered_faces import COVERED_M, faces_covered
from .free_probe import FreeSpaceProbe
from .planes import Plane, level_planes, upright_planes
from .solid_surface import simplified_within, without_floaters, without_sky, wound_into_free_space

LEVEL_TOLERANCE_M = 0.03
MIN_PLANE_M2 = 0.08
MAX_BOXES = 256
MAX_SEALING_FACES = 3000
"""A reconstructed surface has more; its ripple in front of the boxes would undo their flatness."""
SHELL_GAP_M = 0.2
REST_ERROR_M = 0.004
CUBE_FACES = np.array(
    [
        *([0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]),
        *([2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]),
    ],
    np.int32,
)


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
    solid = without_sky(mesh)
    solid, floaters = without_floaters(solid)
    if not solid.face_count:
        raise ConversionError("the mesh has no faces that could collide; expected at least a floor")
    solid, flipped = wound_into_free_space(solid, eye)
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
    boxes = slabs(solid, floor, Label.FLOOR, FreeSpaceProbe(solid), cfg.wall_thickness_m, beyond)
    if not boxes:
        raise ConversionError(f"the floor at z = {floor.offset_m:.2f} m has no matter under it; check the winding")
    for plane in level_planes(
        solid,
        labels == Label.CEILING if labelled else np.ones(solid.face_count, bool),
        up=False,
        tolerance_m=LEVEL_TOLERANCE_M,
        min_area_m2=1.0,
    )[:4]:
        boxes += slabs(solid, plane, Label.CEILING, probe, cfg.wall_thickness_m)

    wall_like = np.isin(labels, (Label.WALL, Label.BACKDROP)) if labelled else np.ones(solid.face_count, bool)
    walls = upright_planes(
        solid, wall_like, tolerance_m=PLANE_TOLERANCE_M, min_area_m2=MIN_PLANE_M2, max_planes=MAX_BOXES
    )
    for plane in walls:
        if len(boxes) >= MAX_BOXES:
            break
        boxes += wall_boxes(solid, plane, labels, probe, cfg.wall_thickness_m, limit=MAX_BOXES - len(boxes))

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


def ray_agreement_m(
    mesh: TriMesh, plan: ColliderPlan, origins_world: np.ndarray, *, seed: int, count: int = 4000
) -> np.ndarray:
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
