"""Discs end at the edges of things and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.reconstruction.mesh_extract import clean_mesh
from lyra.worldgen.reconstruction.splat_reach import EDGE_SPREAD, MEETING_SPREAD, reaches
from lyra.worldgen.reconstruction.surface_grid import SurfaceGrid
from reconstruction.analytic_world import quad

for _package in ("numba", "embreex", "cv2", "scipy"):
    pytest.importorskip(_package)

CELL_M = 0.01


def floor_with(rise_m: float) -> TriMesh:
    """Floor of 0..1 m whose far side (x = 1) is met by a wall that goes up, down (negative), or by nothing (zero)."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    triangles = [quad(*corners[:, None])]
    if rise_m:
        low, high = corners[[1, 2]], corners[[1, 2]] + (0, 0, rise_m)
        wall = quad(low[1:], low[:1], high[:1], high[1:])
        triangles.append(wall if rise_m > 0 else wall[:, ::-1])
    points = np.concatenate(triangles)
    return clean_mesh(
        TriMesh(
            vertices=points.reshape(-1, 3),
            faces=np.arange(3 * len(points), dtype=np.int32).reshape(-1, 3),
            face_labels=np.full(len(points), Label.FLOOR, np.uint8),
        )
    )


@pytest.mark.parametrize(("rise_m", "spread"), [(0.0, EDGE_SPREAD), (-0.5, EDGE_SPREAD), (0.5, MEETING_SPREAD)])
def test_only_what_would_stick_out_is_narrow(rise_m, spread):
    """At the edge of a table and above a drop a disc is narrow across the edge; at the foot of a wall it reaches it."""
    mesh = floor_with(rise_m)
    flat = np.abs(mesh.face_normals()[:, 2]) > 0.9
    face = int(
        np.flatnonzero(flat & (mesh.triangles()[:, :, 0].min(1) >= 0) & (mesh.triangles()[..., 1].min(1) == 0))[0]
    )
    to_world = np.tile(np.array([[CELL_M, 0, 0], [0, -CELL_M, 1], [0, 0, 0]]), (mesh.face_count, 1, 1))
    cells = np.full((100, 100), face, np.int32)
    grid = SurfaceGrid(
        face_map=cells,
        chart=np.where(flat, 0, 1).astype(np.int32),
        cell_to_world=to_world,
        cell_m=np.full(mesh.face_count, CELL_M),
        chart_to_texel=np.array([[1.0, 0, 0], [1.0, 0, 0]]),
    )
    middle, side = np.array([[97.0, 50.0], [50.0, 50.0]]), np.array([4, 4])
    direction, limit_m = reaches(mesh, grid, cells >= 0, np.array([face, face]), middle, side)
    np.testing.assert_allclose(np.linalg.norm(direction, axis=-1), 1.0, atol=1e-9)
    along = np.abs(direction[..., 0]) > 0.99
    np.testing.assert_allclose(np.where(along, limit_m, np.inf)[0].min(), spread * 0.03, rtol=0.2)
    # In the middle of the floor nothing ends, the diagonal between its two faces included.
    assert np.isinf(np.where(np.arange(7) < 4, limit_m, np.inf)[1]).all()
    assert limit_m[1].min() > 0.1
