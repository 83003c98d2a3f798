"""Fewer faces under a bound of geometric error: vertices move onto neighbours, never off the surface's planes."""

from __future__ import annotations

import numpy as np

from .mesh import TriMesh
from .optional import require

MIN_COS = 0.3
"""Of the angle by which one collapse may turn a face."""
FIRST_EDGE_M = 0.1
ROUNDS = 60
DOUBLINGS = 2


def simplify(
    mesh: TriMesh, *, error_m: float, max_faces: int | None = None, rank: np.ndarray | None = None
) -> tuple[TriMesh, float]:
    """Collapse edges while every vertex stays within `error_m` of the planes of all faces that it stands for.

    Remaining vertices are vertices of the input, so what lies in one plane stays in it. Open borders stay in place
    within the same bound.

    Args:
        mesh: welded; texture, uv and vertex colours are dropped, labels kept with the faces that stay.
        error_m: root mean square distance from the planes, by area, that is allowed.
        max_faces: the bound is doubled up to `DOUBLINGS` times to meet this; if it still is not met, faces are merged
            by their quadrics until it is, without any bound.
        rank: [V] uint8; a vertex moves only onto one of at least its own rank.

    Returns:
        The smaller mesh and the bound that was used in the end, infinite where only `max_faces` decided.

    Raises:
        DependencyError: numba is missing, or fast-simplification where it is needed.
    """
    from . import simplify_numba

    if not mesh.face_count:
        return mesh, error_m
    vertices = np.ascontiguousarray(mesh.vertices, np.float64)
    faces = np.ascontiguousarray(mesh.faces, np.int32).copy()
    labels = np.zeros(len(faces), np.uint8) if mesh.face_labels is None else mesh.face_labels
    quadric = simplify_numba.quadrics(vertices, faces, np.ones(len(faces)))
    ranks = np.zeros(len(vertices), np.uint8) if rank is None else np.asarray(rank, np.uint8)
    bound = error_m
    no_wedges, no_uv = np.zeros((0, 3), np.int32), np.zeros((0, 2))
    for doubling in range(DOUBLINGS + 1):
        # Short edges first: long ones over half-simplified ground would make needles.
        longest, stale = FIRST_EDGE_M, 0
        for _ in range(ROUNDS):
            alive, done = simplify_numba.collapse_round(
                vertices, faces, quadric, ranks, bound, longest, MIN_COS, bound, no_wedges, no_uv, 0.0
            )
            faces, labels = faces[alive], labels[alive]
            used = np.zeros(len(vertices), bool)
            used[faces] = True
            back = np.cumsum(used, dtype=np.int32) - 1
            vertices, quadric, ranks, faces = vertices[used], quadric[used], ranks[used], back[faces]
            if done < 0.02 * len(vertices):
                stale += 1
                longest *= 2.0
                if longest > 12.8 or stale > 10:
                    break
        if max_faces is None or len(faces) <= max_faces:
            break
        if doubling == DOUBLINGS:
            return _decimated(vertices, faces, max_faces), float("inf")
        # What still has too many faces is ripple, whose edges and corners are none.
        bound, ranks = 2.0 * bound, np.zeros_like(ranks)
    return TriMesh(vertices=vertices, faces=faces, face_labels=labels), bound


def _decimated(vertices: np.ndarray, faces: np.ndarray, max_faces: int) -> TriMesh:
    """To a number of faces, whatever that costs; without labels."""
    fast_simplification = require("fast_simplification", extra="recon", package="fast-simplification")
    points, triangles = fast_simplification.simplify(vertices.astype(np.float32), faces, target_count=max_faces, agg=4)
    return TriMesh(
        vertices=np.asarray(points, float),
        faces=np.asarray(triangles, np.int32),
        face_labels=np.zeros(len(triangles), np.uint8),
    )
