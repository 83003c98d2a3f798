"""Faces turned towards free space: what collides from its front only must show it to whoever may come along."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..core.mesh import TriMesh
from ..core.optional import require
from ..core.raycast import Raycaster, directions_all_around

RAYS = 6000
EYES = 24
BOTH_SIDES = 0.2
"""A face that at least this share of the rays meets from its other side is a sheet with free space on both."""


@dataclass(frozen=True, kw_only=True)
class WoundMesh:
    """A mesh and what was done to it."""

    mesh: TriMesh
    turned: int
    """Faces that were turned round."""
    doubled: int
    """Faces that got a second side."""


def wound_into_free_space(mesh: TriMesh, eyes: np.ndarray, *, metres_per_unit: float) -> WoundMesh:
    """Turn faces by what is seen of them from free space; faces that nobody sees follow the piece they belong to.

    Args:
        mesh: with or without texture, which turns with its faces.
        eyes: [V, 3] places in free space, along which somebody may walk.
        metres_per_unit: of the mesh.
    """
    front, back = _seen_sides(mesh, eyes, metres_per_unit)
    pieces, piece = _pieces(mesh)
    seen = front + back
    of_piece_front = np.bincount(piece, front, pieces)
    of_piece_back = np.bincount(piece, back, pieces)
    turn_piece = of_piece_back > of_piece_front
    # Where a piece is wound evenly, its own majority also turns what few rays hit by chance from behind.
    even = np.minimum(of_piece_front, of_piece_back) < 0.1 * np.maximum(of_piece_front + of_piece_back, 1)
    turn = np.where(even[piece] | (seen < 3), turn_piece[piece], back > front)
    both = (seen >= 6) & (np.minimum(front, back) >= BOTH_SIDES * seen)
    turned = _flipped(mesh, turn)
    if both.any():
        turned = _with_second_side(turned, both)
    return WoundMesh(mesh=turned, turned=int(turn.sum()), doubled=int(both.sum()))


def _seen_sides(mesh: TriMesh, eyes: np.ndarray, metres_per_unit: float) -> tuple[np.ndarray, np.ndarray]:
    """How many rays meet the front and the back of every face, [F] each."""
    caster, normals = Raycaster(mesh), mesh.face_normals()
    directions = directions_all_around(RAYS)
    front, back = np.zeros(mesh.face_count), np.zeros(mesh.face_count)
    chosen = eyes[np.unique(np.linspace(0, len(eyes) - 1, min(EYES, len(eyes))).astype(int))]
    for eye in chosen:
        for drop_m in (0.0, 0.7):
            start = eye - [0.0, 0.0, min(drop_m / metres_per_unit, 0.7 * eye[2])]
            _, face, _ = caster.cast(np.broadcast_to(start, directions.shape), directions)
            hit = face >= 0
            facing = np.einsum("ij,ij->i", directions[hit], normals[face[hit]])
            front += np.bincount(face[hit][facing < 0], minlength=mesh.face_count)
            back += np.bincount(face[hit][facing >= 0], minlength=mesh.face_count)
    return front, back


def _pieces(mesh: TriMesh) -> tuple[int, np.ndarray]:
    """Number of pieces that share corners, by position, and the piece of every face [F]."""
    sparse = require("scipy.sparse", extra="recon", package="scipy")
    graph = require("scipy.sparse.csgraph", extra="recon", package="scipy")
    size = max(float(np.ptp(mesh.vertices, axis=0).max()), 1e-12)
    key = np.round((mesh.vertices - mesh.vertices.min(0)) / size * 1e6).astype(np.int64)
    _, inverse = np.unique(key, axis=0, return_inverse=True)
    corner = inverse.reshape(-1)[mesh.faces]
    n = int(corner.max()) + 1
    ends = (np.r_[corner[:, 0], corner[:, 1]], np.r_[corner[:, 1], corner[:, 2]])
    links = sparse.coo_matrix((np.ones(len(ends[0]), np.int8), ends), shape=(n, n))
    count, of_vertex = graph.connected_components(links, directed=False)
    return int(count), of_vertex[corner[:, 0]]


def _flipped(mesh: TriMesh, turn: np.ndarray) -> TriMesh:
    if not turn.any():
        return mesh
    faces = mesh.faces.copy()
    faces[turn] = faces[turn][:, ::-1]
    uv = mesh.uv
    if uv is not None:
        uv = uv.copy()
        uv[turn] = uv[turn][:, ::-1]
    return replace(mesh, faces=faces, uv=uv)


def _with_second_side(mesh: TriMesh, both: np.ndarray) -> TriMesh:
    """With a copy of some faces that is wound the other way."""
    uv = None if mesh.uv is None else np.concatenate([mesh.uv, mesh.uv[both][:, ::-1]])
    labels = None if mesh.face_labels is None else np.concatenate([mesh.face_labels, mesh.face_labels[both]])
    faces = np.concatenate([mesh.faces, mesh.faces[both][:, ::-1]])
    return replace(mesh, faces=faces, uv=uv, face_labels=labels)
