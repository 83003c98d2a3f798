"""Surfaces are welded, cleaned and split without changing their shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.core.views import WorldViews
from lyra.worldgen.reconstruction.mesh_extract import clean_mesh, extract_surface, refine_near
from reconstruction.analytic_world import polar_proxy


def open_edges(mesh: TriMesh) -> int:
    """Edges without a partner that runs the other way."""
    directed = np.stack([mesh.faces, np.roll(mesh.faces, -1, 1)], -1).reshape(-1, 2)
    forward = {tuple(e) for e in directed.tolist()}
    return sum((b, a) not in forward for a, b in forward)


def test_cleaning_welds_and_drops():
    """Twin vertices are welded; slivers, repeated faces and unused vertices go; order and labels stay."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1e-7, 0, 0], [0.5, 0, 0], [9, 9, 9]], float)
    faces = np.array([[0, 1, 2], [1, 2, 3], [0, 4, 1], [0, 3, 2], [0, 2, 1]], np.int32)
    labels = np.arange(5, dtype=np.uint8)
    clean = clean_mesh(TriMesh(vertices=vertices, faces=faces, face_labels=labels))
    assert clean.face_count == 2 and len(clean.vertices) == 3
    np.testing.assert_array_equal(clean.face_labels, [0, 4])  # one front, one back: windings are kept apart
    np.testing.assert_allclose(clean.face_normals()[:, 2], [1, -1])


def test_the_proxy_stays_closed_and_keeps_its_area():
    """Welding closes the soup of the proxy; splitting near eyes keeps it closed, flat and equally large."""
    mesh = clean_mesh(polar_proxy(bins=48))
    shell = mesh.select_faces(mesh.face_labels != Label.OBJECT)
    assert open_edges(shell) == 0
    eyes = np.array([[0.0, 0.0, 1.5], [1.0, 0.5, 1.5]])
    fine = refine_near(shell, eyes, shortest_m=0.5)
    assert fine.face_count > shell.face_count and open_edges(fine) == 0
    np.testing.assert_allclose(fine.face_areas_m2().sum(), shell.face_areas_m2().sum(), rtol=1e-9)
    for label in (Label.FLOOR, Label.WALL, Label.CEILING):
        np.testing.assert_allclose(
            fine.face_areas_m2()[fine.face_labels == label].sum(),
            shell.face_areas_m2()[shell.face_labels == label].sum(),
            rtol=1e-9,
        )


@given(seed=st.integers(0, 1000), ratio=st.floats(0.3, 1.0))
def test_splitting_reaches_its_size_and_keeps_normals(seed: int, ratio: float):
    """Whatever the triangle, no edge stays longer than allowed and every child keeps the parent's normal."""
    rng = np.random.default_rng(seed)
    mesh = TriMesh(vertices=rng.uniform(-3, 3, (3, 3)), faces=np.array([[0, 1, 2]], np.int32))
    eye = rng.uniform(-4, 4, (1, 3))
    fine = refine_near(mesh, eye, ratio=ratio, shortest_m=0.5, max_faces=10**6)
    np.testing.assert_allclose(fine.face_normals() @ mesh.face_normals()[0], 1.0, atol=1e-6)
    edge = np.linalg.norm(fine.triangles() - np.roll(fine.triangles(), 1, 1), axis=2)
    far = np.linalg.norm(fine.triangles().mean(1) - eye, axis=1)
    assert (edge.max(1) <= np.maximum(0.5, ratio * (far + edge.max(1))) + 1e-9).all()
    np.testing.assert_allclose(fine.face_areas_m2().sum(), mesh.face_areas_m2().sum(), rtol=1e-9)


def test_an_empty_proxy_is_refused(room):
    """A proxy without faces is an error that says what is wrong."""
    empty = TriMesh(vertices=np.zeros((0, 3)), faces=np.zeros((0, 3), np.int32))
    with pytest.raises(InputError, match="no surface"):
        extract_surface(WorldViews(views=[room.render()], proxy=empty))
