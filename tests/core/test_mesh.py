"""Triangle meshes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.mesh import Label, TriMesh, concatenate_meshes
from rooms import analytic_room


@pytest.fixture
def mesh() -> TriMesh:
    return analytic_room().mesh()


def test_room_mesh_faces_point_into_free_space(mesh):
    """A step along any face's normal leads into the room and out of every box."""
    room = analytic_room()
    inside = mesh.triangles().mean(1) + 0.05 * mesh.face_normals()
    assert ((inside > room.lo_m) & (inside < room.hi_m)).all()
    for a, b in room.boxes_m:
        assert not ((inside > a) & (inside < b)).all(-1).any()


def test_areas_by_label(mesh):
    """Face areas add up to the room's surfaces."""
    areas = mesh.face_areas_m2()
    assert np.isclose(areas[mesh.face_labels == Label.FLOOR].sum(), 7 * 6)
    assert np.isclose(areas[mesh.face_labels == Label.WALL].sum(), 2 * (7 + 6) * 2.8)
    np.testing.assert_allclose(mesh.bounds(), [[-2, -3, 0], [5, 3, 2.8]])


def test_select_faces_drops_unused_vertices_and_keeps_attributes(mesh):
    """What belongs to a face goes with it."""
    uv = np.arange(mesh.face_count * 6, dtype=np.float32).reshape(-1, 3, 2)
    colours = np.arange(len(mesh.vertices) * 3, dtype=np.uint8).reshape(-1, 3)
    full = replace(mesh, uv=uv, vertex_rgb_u8=colours)
    keep = mesh.face_labels == Label.FLOOR
    floor = full.select_faces(keep).validate()
    assert floor.face_count == keep.sum() and len(floor.vertices) == 4
    np.testing.assert_allclose(floor.triangles(), full.triangles()[keep])
    np.testing.assert_array_equal(floor.uv, uv[keep])
    np.testing.assert_array_equal(floor.vertex_rgb_u8[floor.faces], colours[full.faces[keep]])


def test_concatenation_keeps_faces_and_labels(mesh):
    """Splitting by label and joining again gives the same triangles."""
    parts = [mesh.select_faces(mesh.face_labels == label) for label in np.unique(mesh.face_labels)]
    joined = concatenate_meshes(parts).validate()
    assert joined.face_count == mesh.face_count
    np.testing.assert_array_equal(np.sort(joined.face_labels), np.sort(mesh.face_labels))
    np.testing.assert_allclose(joined.face_areas_m2().sum(), mesh.face_areas_m2().sum())
    assert concatenate_meshes([]).face_count == 0


def test_a_face_without_area_has_a_unit_normal():
    """Degenerate faces never give NaN or zero normals."""
    flat = TriMesh(vertices=np.zeros((3, 3)), faces=np.array([[0, 1, 2]], np.int32))
    np.testing.assert_array_equal(flat.face_normals(), [[0, 0, 1]])
    assert flat.face_areas_m2()[0] == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"faces": np.array([[0, 1, 99]], np.int32)}, "faces"),
        ({"faces": np.array([[0, 1, -1]], np.int32)}, "faces"),
        ({"vertices": np.full((16, 3), np.nan)}, "vertices"),
        ({"face_labels": np.zeros(2, np.uint8)}, "face_labels"),
        ({"uv": np.zeros((1, 3, 2), np.float32)}, "uv"),
        ({"vertex_rgb_u8": np.zeros((1, 3), np.uint8)}, "vertex_rgb_u8"),
    ],
)
def test_validate_names_the_broken_part(mesh, change, named):
    """Each broken part is named."""
    with pytest.raises(InputError, match=named):
        replace(mesh, **change).validate()


def test_wrong_shapes_are_refused_at_construction():
    """Shapes are checked when the record is made."""
    with pytest.raises(InputError, match="vertices"):
        TriMesh(vertices=np.zeros((3, 2)), faces=np.zeros((0, 3), np.int32))


def test_empty_mesh_has_no_bounds():
    """Bounds of nothing are an error, not infinities."""
    with pytest.raises(InputError, match="no vertices"):
        TriMesh(vertices=np.zeros((0, 3)), faces=np.zeros((0, 3), np.int32)).bounds()
