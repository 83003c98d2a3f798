"""Coarser copies of a textured mesh for viewers: fewer faces, the same texture, the error measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .mesh import TriMesh
from .optional import require
from .raycast import Raycaster

FIRST_ERROR_M = 0.002
LAST_ERROR_M = 0.25
SEAM_PX = 0.5
"""Texels that the outline of a chart may move while the error is small; at most `LAST_SEAM_PX`, inside its gutter."""
LAST_SEAM_PX = 2.0
MIN_COS = 0.3
ROUNDS = 40
LEAST_GAIN = 0.8
"""A level with more than this share of the faces of the one before is not worth its place."""
SAMPLES = 40_000
STRAIGHT_M = 1e-4
NEAREST = 32


@dataclass(frozen=True, kw_only=True)
class MeshLevel:
    """One coarser copy."""

    mesh: TriMesh
    """With the texture coordinates, labels and texture of the full mesh; its vertices are vertices of the full mesh."""
    error_m: float
    """No sampled point of the full mesh is farther from this one [m]."""


def mesh_levels(mesh: TriMesh, budgets: Sequence[int]) -> list[MeshLevel]:
    """Coarser copies within budgets of faces, finest first.

    Vertices move onto neighbours, never across the outline of a chart of the texture or of a label, so one texture
    serves all levels. A budget that would leave out few faces is skipped, one that charts do not allow ends the list.

    Args:
        mesh: welded; uv, labels and texture are each optional.
        budgets: most faces of each level, in any order.

    Raises:
        DependencyError: numba or scipy is missing.
    """
    levels: list[MeshLevel] = []
    now, error_m = mesh, FIRST_ERROR_M
    for budget in sorted(set(budgets), reverse=True):
        if budget > LEAST_GAIN * now.face_count:
            continue
        now, error_m = _reduced(now, budget, error_m)
        if now.face_count > budget:
            break
        levels.append(MeshLevel(mesh=now, error_m=distance_m(mesh, now)))
    return levels


def _reduced(mesh: TriMesh, budget: int, error_m: float) -> tuple[TriMesh, float]:
    """With at most `budget` faces where that is possible, and the bound that it took."""
    from . import simplify_numba

    vertices = np.ascontiguousarray(mesh.vertices, np.float64)
    faces = np.ascontiguousarray(mesh.faces, np.int32).copy()
    wedges, uv = _wedges(mesh)
    height, width = (1, 1) if mesh.texture_u8 is None else mesh.texture_u8.shape[:2]
    uv_px = uv.astype(np.float64) * (width, height)
    labels = np.zeros(len(faces), np.uint8) if mesh.face_labels is None else mesh.face_labels
    origin = np.arange(len(vertices))
    quadric = simplify_numba.quadrics(vertices, faces, np.ones(len(faces)))
    rank = np.zeros(len(vertices), np.uint8)
    while len(faces) > budget and error_m <= LAST_ERROR_M:
        seam_px = min(SEAM_PX * error_m / FIRST_ERROR_M, LAST_SEAM_PX)
        longest_m, stale = 0.1, 0
        for _ in range(ROUNDS):
            alive, done = simplify_numba.collapse_round(
                vertices, faces, quadric, rank, error_m, longest_m, MIN_COS, error_m, wedges, uv_px, seam_px
            )
            faces, labels, wedges = faces[alive], labels[alive], wedges[alive]
            used = np.zeros(len(vertices), bool)
            used[faces] = True
            back = np.cumsum(used, dtype=np.int32) - 1
            vertices, quadric, rank, origin = vertices[used], quadric[used], rank[used], origin[used]
            faces = back[faces]
            if len(faces) <= budget:
                break
            if done < 0.01 * len(vertices):
                stale += 1
                longest_m *= 2.0
                if longest_m > 25.6 or stale > 9:
                    break
        error_m *= 2.0
    smaller = replace(
        mesh,
        vertices=vertices,
        faces=faces,
        face_labels=None if mesh.face_labels is None else labels,
        uv=None if mesh.uv is None else uv[wedges],
        vertex_rgb_u8=None if mesh.vertex_rgb_u8 is None else mesh.vertex_rgb_u8[origin],
    )
    return smaller, error_m


def _wedges(mesh: TriMesh) -> tuple[np.ndarray, np.ndarray]:
    """Number [F, 3] of every corner's vertex, label and texture coordinate together, and the coordinates [W, 2]."""
    uv = np.zeros((mesh.face_count, 3, 2), np.float32) if mesh.uv is None else mesh.uv
    labels = np.zeros(mesh.face_count, np.uint8) if mesh.face_labels is None else mesh.face_labels
    key = np.column_stack(
        [mesh.faces.reshape(-1), np.repeat(labels, 3), np.round(uv.reshape(-1, 2).astype(np.float64) * 2**22)]
    ).astype(np.int64)
    _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
    return inverse.reshape(-1, 3).astype(np.int32), uv.reshape(-1, 2)[first]


def distance_m(mesh: TriMesh, other: TriMesh, *, samples: int = SAMPLES) -> float:
    """Largest distance [m] of the vertices of a mesh, and of points all over it, to the surface of another."""
    rng = np.random.default_rng(0)
    area_m2 = mesh.face_areas_m2()
    face = rng.choice(mesh.face_count, samples, p=area_m2 / area_m2.sum())
    weight = rng.dirichlet((1, 1, 1), samples)
    points = (mesh.triangles()[face] * weight[..., None]).sum(1)
    normal, caster = mesh.face_normals()[face], Raycaster(other)
    # Along the normal the other surface is found at once, however large its faces are; elsewhere by its nearest faces.
    straight = np.full(samples, np.inf)
    for start_m in (0.01, -0.01, 0.1, -0.1):
        t, _, _ = caster.cast(points + start_m * normal, -np.sign(start_m) * normal)
        straight = np.minimum(straight, np.abs(t - abs(start_m)))
    far = straight > STRAIGHT_M
    if far.any():
        straight[far] = np.minimum(straight[far], point_distance_m(points[far], other))
    vertices = mesh.vertices[np.unique(mesh.faces)]
    return float(max(straight.max(), point_distance_m(vertices, other).max()))


def point_distance_m(points: np.ndarray, mesh: TriMesh) -> np.ndarray:
    """[N] distance of points to a surface, exact to the nearest of the faces around; never less than the true one."""
    cKDTree = require("scipy.spatial", extra="recon", package="scipy").cKDTree
    corner = mesh.triangles()
    # Large faces are looked for by many points, small ones by their middle.
    area_m2 = mesh.face_areas_m2()
    count = np.clip(np.ceil(area_m2 / max(area_m2.sum() / 60_000, 1e-12)), 1, 4096).astype(int)
    face = np.repeat(np.arange(len(corner)), count)
    weight = np.random.default_rng(1).dirichlet((1, 1, 1), len(face))
    weight[np.cumsum(count) - count] = 1 / 3
    seed = np.concatenate([(corner[face] * weight[..., None]).sum(1), corner.reshape(-1, 3)])
    face = np.concatenate([face, np.repeat(np.arange(len(corner)), 3)])
    _, near = cKDTree(seed).query(points, min(NEAREST, len(seed)))
    best = np.full(len(points), np.inf)
    for column in near.reshape(len(points), -1).T:
        best = np.minimum(best, _to_triangles(points, corner[face[column]]))
    return best


def _to_triangles(p: np.ndarray, triangle: np.ndarray) -> np.ndarray:
    """[N] distance of each point [N, 3] to its triangle [N, 3, 3]."""
    a, b, c = triangle[:, 0], triangle[:, 1], triangle[:, 2]
    normal = np.cross(b - a, c - a)
    length = np.maximum(np.linalg.norm(normal, axis=1), 1e-300)
    height = np.einsum("ij,ij->i", p - a, normal) / length
    inside = np.ones(len(p), bool)
    best = np.full(len(p), np.inf)
    for start, end in ((a, b), (b, c), (c, a)):
        edge = end - start
        inside &= np.einsum("ij,ij->i", np.cross(edge, p - start), normal) >= 0
        t = np.einsum("ij,ij->i", p - start, edge) / np.maximum(np.einsum("ij,ij->i", edge, edge), 1e-300)
        best = np.minimum(best, np.linalg.norm(p - start - np.clip(t, 0, 1)[:, None] * edge, axis=1))
    return np.where(inside, np.abs(height), best)
