"""How far a disc on a surface may reach in each direction before it stands out over the edge of a thing."""

from __future__ import annotations

import numpy as np

from ..core.mesh import TriMesh
from ..core.raycast import Raycaster
from .surface_grid import SurfaceGrid

EDGE_SPREAD = 0.5
"""Most standard deviations across an edge, relative to the distance from there: what sticks out would hide what lies
behind."""
MEETING_SPREAD = 1.0
"""The same where nothing sticks out: other splats go on, or the surface does, or another one rises from it."""
CREASE_RAD = np.radians(20.0)
"""Faces that meet at more than this do not go on into one another."""
_STEPS = 8
_FLAT_SHARE = 0.2
"""A surface goes on flat that leaves a disc's plane by no more than this share of the way."""
_LIFT_M, _LIFT_SHARE = 0.002, 0.2
"""Height above the surface from where what lies beyond an edge is looked for, as a length and a share of the way."""


def reaches(
    mesh: TriMesh, grid: SurfaceGrid, gaps: np.ndarray, face: np.ndarray, middle: np.ndarray, side: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Directions [N, 7, 3] in the world, unit and in the face, and the most standard deviations [N, 7] along each [m].

    Four are probed in the grid, up to the end of the gap; three are those of the face's own edges, exact, inf where the
    surface goes on flat.

    Args:
        mesh: the surface.
        grid: over it.
        gaps: [A, B] bool: cells that discs may cover.
        face, middle, side: of discs: face [N], middle in cells (x, y) [N, 2], side of their squares in cells [N].
    """
    caster, normals = Raycaster(mesh), mesh.face_normals()[face]
    points, cell_m = grid.points(face, middle), grid.cell_m[face]
    linear = grid.cell_to_world[face][:, :, :2]
    directions, limits_m = [], []
    for angle in np.pi / 4 * np.arange(4):
        in_cells = np.array([np.cos(angle), np.sin(angle)])
        along = _in_plane(np.einsum("nij,j->ni", linear, in_cells), normals)
        limit = np.full(len(face), np.inf)
        for sign in (1, -1):
            limit = np.minimum(
                limit,
                _gap_limit(caster, grid, gaps, face, middle, side, points, normals, sign * in_cells, sign * along),
            )
        directions.append(along)
        limits_m.append(limit * cell_m)
    corner, crease = mesh.triangles()[face], _creases(mesh)[face]
    for k in range(3):
        edge = corner[:, (k + 1) % 3] - corner[:, k]
        inward = _in_plane(np.cross(normals, edge), normals)
        off_m = np.abs(np.einsum("ni,ni->n", points - corner[:, k], inward))
        limit_m = np.full(len(face), np.inf)
        near = np.flatnonzero(crease[:, k] & (off_m < 2 * side * cell_m))
        beyond_m = off_m[near] + 0.25 * cell_m[near]
        meets = _nothing_sticks_out(caster, points[near], normals[near], -inward[near], beyond_m)
        limit_m[near] = off_m[near] * np.where(meets, MEETING_SPREAD, EDGE_SPREAD)
        directions.append(inward)
        limits_m.append(limit_m)
    return np.stack(directions, 1), np.stack(limits_m, -1)


def _gap_limit(
    caster: Raycaster,
    grid: SurfaceGrid,
    gaps: np.ndarray,
    face: np.ndarray,
    middle: np.ndarray,
    side: np.ndarray,
    points: np.ndarray,
    normals: np.ndarray,
    in_cells: np.ndarray,
    along: np.ndarray,
) -> np.ndarray:
    """[N] most standard deviations in one direction, in cells: how far the gap goes on, times what its end allows."""
    limit, ended = np.full(len(face), np.inf), np.zeros(len(face), bool)
    cell_m = grid.cell_m[face]
    for step in np.arange(1, _STEPS + 1) / 4:
        reached = (step - 0.125) * side
        todo = np.flatnonzero(~ended & (EDGE_SPREAD * reached < limit))
        way = step * side[todo]
        col, row = np.floor(middle[todo] + way[:, None] * in_cells).astype(int).T
        within = (row >= 0) & (col >= 0) & (row < gaps.shape[0]) & (col < gaps.shape[1])
        row, col = np.where(within, row, 0), np.where(within, col, 0)
        there = np.where(within, grid.face_map[row, col], -1)
        same = (there >= 0) & (grid.chart[there] == grid.chart[face[todo]])
        # Charts may go on around a corner; that is not where the disc goes.
        centre = np.stack([col, row], -1) + 0.5
        apart_m = np.linalg.norm(grid.points(face[todo], centre) - grid.points(np.maximum(there, 0), centre), axis=1)
        same &= apart_m < _FLAT_SHARE * way * cell_m[todo]
        share = np.full(len(todo), np.inf)
        share[same & ~gaps[row, col]] = MEETING_SPREAD
        # Where another chart or side begins the grid says nothing about the surface.
        ask = np.flatnonzero(~same)
        at = todo[ask]
        meets = _nothing_sticks_out(caster, points[at], normals[at], along[at], way[ask] * cell_m[at])
        share[ask] = np.where(meets, MEETING_SPREAD, EDGE_SPREAD)
        ended[at] = True
        limit[todo] = np.minimum(limit[todo], share * reached[todo])
    return limit


def _nothing_sticks_out(
    caster: Raycaster, points: np.ndarray, normals: np.ndarray, directions: np.ndarray, way_m: np.ndarray
) -> np.ndarray:
    """[N] bool: at the end of a way [N] along a plane another surface takes over, or one stands in the way before.

    Who meets the back of a surface comes from inside of a thing, and sticks out beyond it.
    """
    lift_m = np.maximum(_LIFT_SHARE * way_m, _LIFT_M)
    above = points + _LIFT_M * normals
    distance_m, face, _ = caster.cast(above, directions)
    front = np.einsum("ij,ij->i", caster.mesh.face_normals()[face], directions) < 0
    stands = (distance_m <= way_m) & front
    end = points + directions * way_m[:, None] + normals * lift_m[:, None]
    goes_on = caster.cast(end, -normals)[0] <= 2 * lift_m
    return stands | goes_on


def _in_plane(vectors: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Unit vectors [N, 3] without their part along the normals [N, 3]."""
    flat = vectors - normals * np.einsum("ni,ni->n", vectors, normals)[:, None]
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)


def _creases(mesh: TriMesh) -> np.ndarray:
    """[F, 3] bool: the edge from corner k to k + 1 ends the surface or bends it."""
    edge = np.sort(np.stack([mesh.faces, np.roll(mesh.faces, -1, 1)], -1).reshape(-1, 2), 1)
    _, group, size = np.unique(edge, axis=0, return_inverse=True, return_counts=True)
    group = group.reshape(-1)
    normal = np.repeat(mesh.face_normals(), 3, 0)
    total = np.stack([np.bincount(group, normal[:, i]) for i in range(3)], -1)
    # Two unit normals add up to two times the cosine of half the angle between them.
    flat = (size == 2) & (np.linalg.norm(total, axis=1) > 2 * np.cos(0.5 * CREASE_RAD))
    return ~flat[group].reshape(-1, 3)
