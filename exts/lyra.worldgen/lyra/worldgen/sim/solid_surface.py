"""A surface made fit to collide with: welded, without sky and dust, wound into free space, with fewer faces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..core.mesh import Label, TriMesh
from ..core.optional import require
from ..core.raycast import Raycaster, directions_all_around
from ..core.simplify import simplify

FEW_FACES = 2000
"""A rest of fewer faces stays exactly as it is."""
FLOATER_M = 0.12
"""Loose pieces smaller than this are reconstruction dust."""


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


def without_sky(mesh: TriMesh) -> TriMesh:
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


def without_floaters(mesh: TriMesh) -> tuple[TriMesh, int]:
    if not mesh.face_count:
        return mesh, 0
    count, piece = connected_pieces(mesh)
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    triangles = mesh.triangles()
    np.minimum.at(low, piece, triangles.min(1))
    np.maximum.at(high, piece, triangles.max(1))
    dust = np.linalg.norm(high - low, axis=1) < FLOATER_M
    return (mesh.select_faces(~dust[piece]) if dust.any() else mesh), int(dust.sum())


def wound_into_free_space(mesh: TriMesh, eye_world: np.ndarray) -> tuple[TriMesh, int]:
    """Turn pieces round whose back the free space sees. A triangle collides only from its front."""
    directions = directions_all_around(4000)
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
