"""The rest of a collider as convex pieces, for solvers that take meshes for their hulls (MuJoCo's own contacts).

Worlds are made of planes: things are prisms, walls are sheets. So the pieces follow from the shapes themselves:

- a connected piece that is convex already is one piece;
- a prism, or a stack of prisms, is cut under its tops: every convex part of a top, carried down to where the thing
  stands, is one piece, and together they are exactly the thing;
- everything else becomes plates behind its surface: every convex part of a plane, as thick as the matter behind allows.

All of these have exactly the visible surface. Only surfaces without planes, as reconstruction leaves them, are made
coarser first. Where such a thing is watertight, CoACD cuts it into fewer pieces, if it is installed and fast enough.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..core.mesh import Label, TriMesh, concatenate_meshes
from ..core.optional import require
from .coacd_process import solid_pieces
from .collision import ColliderPlan
from .covered_faces import COVERED_M, faces_covered
from .free_probe import FreeSpaceProbe
from .solid_surface import connected_pieces, simplified

FLAT_M = 0.004
"""Corners this close to a plane lie in it."""
LEVEL = 0.95
"""|z| of the normal of a level face, and its complement for an upright one."""
FOOT_M = 0.05
"""Pieces of what stands on the floor reach this far into its slab: no ray finds the seam."""
PLATES_M = (0.1, 0.05, 0.02)
"""Thicknesses that are tried for a plate; the first whose back lies in matter is taken."""
LEAST_PLATE_M = 0.01
MAX_PIECES = 1024
COARSE_FACES = 400
"""A surface without planes is decimated to so many faces before plates are made of it."""


@dataclass(frozen=True, kw_only=True)
class ConvexPiece:
    """A convex solid."""

    vertices: np.ndarray
    """[N, 3] world [m]; their hull is the piece."""
    label: int
    """`Label` of what it is a part of."""


@dataclass(frozen=True, kw_only=True)
class ConvexPlan:
    """A collider of boxes and convex pieces only."""

    pieces: tuple[ConvexPiece, ...]
    counts: dict[str, int]
    """Pieces by how they came about: `whole`, `prism`, `plate`, `coacd`."""
    coarse_faces: int
    """Faces that stand for surfaces without planes, 0 where every piece is exact."""
    problem: str = ""
    """Why CoACD did nothing although there was something for it."""

    def names(self) -> list[str]:
        """Prim name of every piece, starting with the kind of its material."""
        counters: dict[str, int] = {}
        names = []
        for piece in self.pieces:
            stem = {Label.FLOOR: "floor", Label.CEILING: "ceiling", Label.OBJECT: "object"}.get(
                Label(piece.label), "wall"
            )
            names.append(f"{stem}_piece_{counters.get(stem, 0):03d}")
            counters[stem] = counters.get(stem, 0) + 1
        return names

    def with_boxes(self, plan: ColliderPlan) -> ColliderPlan:
        """The plan with the pieces in the place of its rest, for ray queries."""
        return replace(plan, rest=concatenate_meshes([hull_mesh(piece) for piece in self.pieces]))


def convex_plan(plan: ColliderPlan, mesh: TriMesh, *, coacd_s: float = 60.0) -> ConvexPlan:
    """Cut everything that is no box into convex pieces.

    Args:
        plan: the collider with its triangle mesh.
        mesh: the visual mesh, which tells matter from free space; SKY does not count.
        coacd_s: time that CoACD may take for surfaces without planes [s]; 0 leaves it out.

    Raises:
        DependencyError: a package of the extra `sim` is missing.
    """
    solid = mesh if mesh.face_labels is None else mesh.select_faces(mesh.face_labels != Label.SKY)
    rest = plan.rest
    if rest.face_count:
        # Boxes stand behind these already; in the mesh they only close seams between boxes.
        rest = rest.select_faces(~faces_covered(rest, list(plan.boxes)))
    pieces: list[ConvexPiece] = []
    counts = {"whole": 0, "prism": 0, "plate": 0, "coacd": 0}
    open_faces = np.zeros(rest.face_count, bool)
    count, piece_of_face = connected_pieces(rest)
    for k in range(count):
        part = rest.select_faces(piece_of_face == k)
        exact, how = exact_pieces(part, _foot_m(part, plan.floor_z_m))
        pieces += exact
        if exact:
            counts[how] += len(exact)
        else:
            open_faces |= piece_of_face == k
    left = rest.select_faces(open_faces)
    cut, left, problem = solid_pieces(left, seconds=coacd_s, at_least_faces=COARSE_FACES)
    pieces += [ConvexPiece(vertices=hull, label=int(Label.OBJECT)) for hull in cut]
    counts["coacd"] = len(cut)
    plates, coarse = _plates(left, FreeSpaceProbe(solid), MAX_PIECES - len(pieces))
    pieces += plates
    counts["plate"] = len(plates)
    return ConvexPlan(pieces=tuple(pieces), counts=counts, coarse_faces=coarse, problem=problem)


def exact_pieces(part: TriMesh, foot_m: float) -> tuple[list[ConvexPiece], str]:
    """Convex pieces that together are a connected thing, and how they were found (`whole`, `prism`); none if it has
    other faces than level tops and upright sides and is not convex either.

    Args:
        part: its faces, without its underside.
        foot_m: height that the pieces reach down to.
    """
    whole = _whole(part, foot_m)
    return ([whole], "whole") if whole is not None else (_prisms(part, foot_m), "prism")


def hull_mesh(piece: ConvexPiece) -> TriMesh:
    """The piece's hull as triangles that face outwards; corners inside it are left out."""
    spatial = require("scipy.spatial", extra="sim")
    centre = piece.vertices.mean(0)
    hull = spatial.ConvexHull(piece.vertices - centre, qhull_options="QJ Pp" if _is_flat(piece.vertices) else "Qt Pp")
    corners = piece.vertices[hull.simplices]
    outward = hull.equations[:, :3]
    facing = np.einsum("fc,fc->f", np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), outward)
    faces = np.where((facing < 0)[:, None], hull.simplices[:, ::-1], hull.simplices).astype(np.int32)
    mesh = TriMesh(vertices=piece.vertices, faces=faces, face_labels=np.full(len(faces), piece.label, np.uint8))
    return mesh.select_faces(np.ones(len(faces), bool))


def hull_volume_m3(piece: ConvexPiece) -> float:
    """Volume of the piece."""
    triangles = hull_mesh(piece).triangles() - piece.vertices.mean(0)
    return float(np.einsum("fc,fc->", triangles[:, 0], np.cross(triangles[:, 1], triangles[:, 2])) / 6)


def _is_flat(vertices: np.ndarray) -> bool:
    return bool(np.linalg.svd(vertices - vertices.mean(0), compute_uv=False)[-1] < 1e-6)


def _label(part: TriMesh) -> int:
    """The label of most of its area."""
    if part.face_labels is None:
        return int(Label.OBJECT)
    return int(np.bincount(part.face_labels, part.face_areas_m2(), 8).argmax())


def _foot_m(part: TriMesh, floor_z_m: float) -> float:
    """How deep pieces of a thing reach: into the floor's slab if it stands on the floor."""
    low = float(part.vertices[:, 2].min())
    return floor_z_m - FOOT_M if low <= floor_z_m + COVERED_M else low


def _whole(part: TriMesh, foot_m: float) -> ConvexPiece | None:
    """The piece as it is, if it is convex and closed but for its underside."""
    triangles, normals = part.triangles(), part.face_normals()
    if part.face_count > 2000:
        return None
    behind = np.einsum("fc,vc->fv", normals, part.vertices) - np.einsum("fc,fc->f", normals, triangles[:, 0])[:, None]
    if behind.max() > FLAT_M or np.ptp(part.vertices, axis=0).min() < LEAST_PLATE_M or _is_flat(part.vertices):
        return None
    low = part.vertices[:, 2].min()
    ring = part.vertices[part.vertices[:, 2] <= low + FLAT_M]
    piece = ConvexPiece(
        vertices=np.concatenate([part.vertices, np.c_[ring[:, :2], np.full(len(ring), foot_m)]]), label=_label(part)
    )
    hull = hull_mesh(ConvexPiece(vertices=part.vertices, label=piece.label))
    area, up = hull.face_areas_m2(), hull.face_normals()[:, 2]
    closed = float(area[up > -LEVEL].sum())
    own = float(part.face_areas_m2()[normals[:, 2] > -LEVEL].sum())
    return piece if own >= 0.98 * closed else None


def _prisms(part: TriMesh, foot_m: float) -> list[ConvexPiece]:
    """Columns under the tops of a thing of level tops and upright sides; none if it has other faces."""
    up = part.face_normals()[:, 2]
    tops = up > LEVEL
    if not tops.any() or not (tops | (np.abs(up) < 1 - LEVEL)).all():
        return []
    label = _label(part)
    pieces = []
    for polygon in convex_polygons(part.select_faces(tops)):
        low = np.c_[polygon[:, :2], np.full(len(polygon), foot_m)]
        pieces.append(ConvexPiece(vertices=np.concatenate([polygon, low]), label=label))
    return pieces


def _plates(part: TriMesh, probe: FreeSpaceProbe, limit: int) -> tuple[list[ConvexPiece], int]:
    """Plates behind a surface, and how many faces of it had to be made coarser for them."""
    if not part.face_count:
        return [], 0
    polygons, labels = _labelled_polygons(part)
    coarse = 0
    if len(polygons) > limit:
        part = simplified(part, min(COARSE_FACES, max(limit, 1)))
        coarse = part.face_count
        polygons, labels = _labelled_polygons(part)
    plates = []
    for polygon, label in zip(polygons[:limit], labels, strict=False):
        normal = _normal(polygon)
        depth = next((d for d in PLATES_M if not probe.free(_back(polygon, normal, d)).any()), LEAST_PLATE_M)
        plates.append(ConvexPiece(vertices=np.concatenate([polygon, polygon - depth * normal]), label=label))
    return plates, coarse


def _labelled_polygons(part: TriMesh) -> tuple[list[np.ndarray], list[int]]:
    labels = np.full(part.face_count, Label.OBJECT) if part.face_labels is None else part.face_labels
    polygons: list[np.ndarray] = []
    owners: list[int] = []
    for label in np.unique(labels):
        some = convex_polygons(part.select_faces(labels == label))
        polygons += some
        owners += [int(label)] * len(some)
    return polygons, owners


def _back(polygon: np.ndarray, normal: np.ndarray, depth_m: float) -> np.ndarray:
    """Points [N, 3] that tell whether a plate of that depth stays in matter: its back, and half-way there."""
    centre = polygon.mean(0)
    inner = np.concatenate([centre[None], centre + 0.9 * (polygon - centre)])
    return np.concatenate([inner - 0.97 * depth_m * normal, inner - 0.5 * depth_m * normal])


def _normal(polygon: np.ndarray) -> np.ndarray:
    """Unit normal of a planar polygon [N, 3] (Newell)."""
    after = np.roll(polygon, -1, axis=0)
    normal = np.cross(polygon - polygon.mean(0), after - polygon.mean(0)).sum(0)
    return normal / max(float(np.linalg.norm(normal)), 1e-12)


def convex_polygons(mesh: TriMesh) -> list[np.ndarray]:
    """Planar convex polygons [N, 3] that together are the surface: neighbours in one plane are joined while they may.

    Hertel and Mehlhorn (1983): an inner edge goes when both its ends stay convex; at most four times the optimum.
    """
    vertices, faces, normals = mesh.vertices, mesh.faces, mesh.face_normals()
    key = np.round(vertices / 1e-4).astype(np.int64)
    _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
    corner = first[inverse.reshape(-1)[faces]]
    polygons: dict[int, list[int]] = {f: [int(v) for v in corner[f]] for f in range(len(faces))}
    home = list(range(len(faces)))
    edges: dict[tuple[int, int], int] = {}
    for f, ring in polygons.items():
        for a, b in zip(ring, (*ring[1:], ring[0]), strict=True):
            edges.setdefault((a, b), f)

    def root(f: int) -> int:
        while home[f] != f:
            f = home[f]
        return f

    for (a, b), f in sorted(edges.items()):
        if a > b or (b, a) not in edges:
            continue
        p, q = root(f), root(edges[b, a])
        if p == q or normals[p] @ normals[q] < 1 - 1e-6:
            continue
        if np.abs((vertices[polygons[q]] - vertices[polygons[p][0]]) @ normals[p]).max() > FLAT_M:
            continue
        joined = _joined(polygons[p], polygons[q], a, b)
        if joined is not None and _is_convex(vertices[joined], normals[p]):
            polygons[p], home[q] = joined, p
            del polygons[q]
    return [_without_straight(vertices[ring]) for ring in polygons.values()]


def _joined(p: list[int], q: list[int], a: int, b: int) -> list[int] | None:
    """Ring of two rings that share the edge a-b, which p runs through forwards and q backwards."""
    i, j = p.index(a) if a in p else -1, q.index(b) if b in q else -1
    if i < 0 or j < 0 or p[(i + 1) % len(p)] != b or q[(j + 1) % len(q)] != a:
        return None
    ring = [*p[i + 1 :], *p[: i + 1]][:-1] + [*q[j + 1 :], *q[: j + 1]][:-1]
    return ring if len(set(ring)) == len(ring) else None


def _is_convex(ring: np.ndarray, normal: np.ndarray) -> bool:
    edge = np.roll(ring, -1, axis=0) - ring
    turn = np.cross(edge, np.roll(edge, -1, axis=0)) @ normal
    length = np.linalg.norm(edge, axis=1)
    return bool((turn >= -1e-5 * length * np.roll(length, -1)).all())


def _without_straight(ring: np.ndarray) -> np.ndarray:
    """Without corners on straight edges."""
    before, after = np.roll(ring, 1, axis=0) - ring, np.roll(ring, -1, axis=0) - ring
    area = np.linalg.norm(np.cross(before, after), axis=1)
    keep = area > 1e-6 * np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    return ring[keep] if keep.sum() >= 3 else ring
