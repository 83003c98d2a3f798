"""Planar priors: what is nearly flat becomes flat, level or upright where it nearly is, with sharp edges between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.mesh import TriMesh

SEED_COS = np.cos(np.radians(8.0))
GROW_COS = np.cos(np.radians(22.0))
"""Normals of a noisy surface still belong to their plane within this angle."""
LEAST_VERTICES = 14
MERGE_COS = np.cos(np.radians(3.0))
UPRIGHT_SIN = np.sin(np.radians(2.0))
"""Planes this close to level or upright become so, where their vertices allow it: gravity is known."""
FAMILY_RAD = np.radians(1.0)
"""Walls this close to the building's main directions turn to them, where their vertices allow it."""


@dataclass(frozen=True, kw_only=True)
class FlatMesh:
    """A mesh with its planes."""

    mesh: TriMesh
    rank: np.ndarray
    """[V] uint8: 0 free, 1 in a plane, 2 on an edge of two planes, 3 at a corner."""
    normals: np.ndarray
    """[P, 3] towards free space."""
    offsets_m: np.ndarray
    """[P]: normal @ point."""


def flatten(mesh: TriMesh, *, tolerance_m: float, reach_m: float) -> FlatMesh:
    """Find planes by growing regions and move their vertices onto them.

    Args:
        mesh: fine and welded, faces towards free space; labels are dropped.
        tolerance_m: a vertex belongs to a plane when it is this close.
        reach_m: longest way a vertex may move; about the size of a face.

    Raises:
        DependencyError: numba is missing.
    """
    from ..core import simplify_numba
    from . import flatten_numba

    vertices = np.ascontiguousarray(mesh.vertices, np.float64)
    faces = np.ascontiguousarray(mesh.faces, np.int32)
    normal = flatten_numba.vertex_normals(vertices, faces, 1)
    flat = flatten_numba.flatness(faces, normal)
    start, around = simplify_numba.faces_of_vertices(faces, len(vertices))
    order = np.argsort(-np.round(flat, 4), kind="stable")
    region, count = flatten_numba.grow_regions(
        vertices, faces, start, around, normal, flat, order, tolerance_m, GROW_COS, SEED_COS, LEAST_VERTICES
    )
    middle = vertices.mean(0) if len(vertices) else np.zeros(3)
    number, total, square, slope = flatten_numba.region_moments(vertices, normal, region, count, middle)
    plane_of_region, normals, offsets = _merged(number, total, square, slope, tolerance_m)
    plane = np.where(region >= 0, plane_of_region[np.maximum(region, 0)] if count else -1, -1).astype(np.int32)
    offsets = offsets + normals @ middle
    moved, rank = flatten_numba.snap(vertices, faces, start, around, plane, normals, offsets, 0.75 * reach_m, reach_m)
    return FlatMesh(mesh=TriMesh(vertices=moved, faces=faces), rank=rank, normals=normals, offsets_m=offsets)


def _merged(
    number: np.ndarray, total: np.ndarray, square: np.ndarray, slope: np.ndarray, tolerance_m: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Plane of every region [R], and the planes' normals [P, 3] and offsets [P]; coplanar regions share a plane."""
    normals, offsets = np.zeros((0, 3)), np.zeros(0)
    plane_of_region = np.full(len(number), -1)
    sums: list[list[np.ndarray]] = []
    for r in np.argsort(-number, kind="stable"):
        n, _ = _fit(number[r], total[r], square[r], slope[r])
        centre = total[r] / number[r]
        fits = np.flatnonzero((normals @ n > MERGE_COS) & (np.abs(normals @ centre - offsets) < 0.6 * tolerance_m))
        if len(fits):
            p = int(fits[np.abs(normals[fits] @ centre - offsets[fits]).argmin()])
            joint = [a + b for a, b in zip(sums[p], (number[r], total[r], square[r], slope[r]), strict=True)]
            n, offset = _fit(*joint)
            if _rms(n, *joint[:3]) < 0.5 * tolerance_m:
                plane_of_region[r], sums[p], normals[p], offsets[p] = p, joint, n, offset
                continue
        plane_of_region[r] = len(sums)
        sums.append([number[r], total[r], square[r], slope[r]])
        normals = np.concatenate([normals, n[None]])
        offsets = np.append(offsets, n @ centre)
    for p, moments in enumerate(sums):
        normals[p] = _adjusted(normals[p], _upright_or_level(normals[p]), moments, tolerance_m)
    weight = np.array([float(m[0]) for m in sums])
    for p, turned in enumerate(_in_families(normals, weight)):
        normals[p] = _adjusted(normals[p], turned, sums[p], tolerance_m)
        offsets[p] = normals[p] @ (sums[p][1] / sums[p][0])
    return plane_of_region, normals, offsets


def _fit(number: np.ndarray, total: np.ndarray, square: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray, float]:
    """Unit normal [3] and offset of the plane of least squares, or by its normals where the points are a strip."""
    centre = total / number
    values, vectors = np.linalg.eigh(square / number - np.outer(centre, centre))
    normal = vectors[:, 0] if values[1] > 9 * values[0] else slope / max(float(np.linalg.norm(slope)), 1e-12)
    normal = normal if normal @ slope >= 0 else -normal
    return normal, float(normal @ centre)


def _rms(normal: np.ndarray, number: np.ndarray, total: np.ndarray, square: np.ndarray) -> float:
    """Root mean square distance of the points from the plane through their middle."""
    centre = total / number
    return float(np.sqrt(max(normal @ (square / number - np.outer(centre, centre)) @ normal, 0.0)))


def _adjusted(normal: np.ndarray, wish: np.ndarray, moments: list[np.ndarray], tolerance_m: float) -> np.ndarray:
    """The wished normal if the points hardly mind, else the old one."""
    before, after = _rms(normal, *moments[:3]), _rms(wish, *moments[:3])
    return wish if after < max(1.5 * before, 0.15 * tolerance_m) else normal


def _upright_or_level(normal: np.ndarray) -> np.ndarray:
    if abs(normal[2]) < UPRIGHT_SIN:
        return np.array([normal[0], normal[1], 0.0]) / np.hypot(normal[0], normal[1])
    if np.hypot(normal[0], normal[1]) < UPRIGHT_SIN:
        return np.array([0.0, 0.0, np.sign(normal[2])])
    return normal


def _in_families(normals: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Normals [P, 3] with upright ones turned to the main pair of directions where they nearly are."""
    turned = normals.copy()
    upright = normals[:, 2] == 0
    if not upright.any():
        return turned
    angle = np.arctan2(normals[upright, 1], normals[upright, 0])
    folded = angle % (np.pi / 2)
    apart = np.abs((folded[:, None] - folded + np.pi / 4) % (np.pi / 2) - np.pi / 4)
    near = apart < FAMILY_RAD
    best = int((near * weight[upright]).sum(1).argmax())
    share = near[best] * weight[upright]
    main = folded[best] + np.average((folded - folded[best] + np.pi / 4) % (np.pi / 2) - np.pi / 4, weights=share)
    off = (angle - main + np.pi / 4) % (np.pi / 2) - np.pi / 4
    angle = np.where(near[best], angle - off, angle)
    turned[upright] = np.stack([np.cos(angle), np.sin(angle), 0 * angle], -1)
    return turned
