"""Simplification: fewer faces, the same surface within the bound, borders in place."""

from __future__ import annotations

import numpy as np
import pytest

from lyra.worldgen.core.mesh import TriMesh
from lyra.worldgen.core.simplify import simplify

pytest.importorskip("numba")


def sheet(n: int, height) -> TriMesh:
    """n x n quads over [0, 4] x [0, 4] with z = height(x, y), facing up."""
    x, y = np.meshgrid(np.linspace(0, 4, n + 1), np.linspace(0, 4, n + 1), indexing="ij")
    number = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    a, b, c, d = number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return TriMesh(vertices=np.stack([x, y, height(x, y)], -1).reshape(-1, 3), faces=faces.astype(np.int32))


def test_a_plane_needs_few_faces_and_keeps_its_outline():
    """A flat sheet loses nearly all faces, no area, and no corner."""
    small, _ = simplify(sheet(40, lambda x, y: 0.1 * x), error_m=0.001)
    assert small.face_count < 100
    assert small.face_areas_m2().sum() == pytest.approx(16 * np.hypot(1, 0.1), rel=1e-6)
    np.testing.assert_allclose(small.bounds()[1], [4, 4, 0.4], atol=1e-9)
    assert (small.face_normals()[:, 2] > 0.9).all()


def test_an_edge_stays_sharp():
    """A roof keeps its ridge: every vertex stays on one of its two planes."""
    small, _ = simplify(sheet(40, lambda x, y: 2 - np.abs(x - 2)), error_m=0.001)
    assert small.face_count < 200
    centres = small.triangles().mean(1)
    np.testing.assert_allclose(centres[:, 2], 2 - np.abs(centres[:, 0] - 2), atol=1e-6)


def test_the_bound_holds_on_a_curved_surface_and_grows_to_meet_a_budget():
    """Vertices stay vertices of the input; the surface between them stays near; a budget is met by a looser bound."""
    dome = sheet(60, lambda x, y: 0.5 * np.cos(x - 2) * np.cos(y - 2))
    small, bound = simplify(dome, error_m=0.005)
    assert bound == 0.005 and small.face_count < dome.face_count / 4
    centres = small.triangles().mean(1)
    np.testing.assert_allclose(centres[:, 2], 0.5 * np.cos(centres[:, 0] - 2) * np.cos(centres[:, 1] - 2), atol=0.03)
    fewer, looser = simplify(dome, error_m=0.005, max_faces=small.face_count // 3)
    assert looser > bound and fewer.face_count <= small.face_count // 3
