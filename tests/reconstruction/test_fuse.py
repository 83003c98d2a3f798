"""Depth maps alone give back the analytic room."""

from __future__ import annotations

import numpy as np
import pytest

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.core.views import RgbdView, WorldViews
from lyra.worldgen.reconstruction.fuse import drop_floaters, fuse_views
from lyra.worldgen.reconstruction.mesh_extract import extract_surface
from rooms import analytic_room

pytest.importorskip("skimage")
pytest.importorskip("numba")
pytest.importorskip("embreex")


def test_fused_depth_is_the_room():
    """Vertices lie on walls, floor and boxes within half a voxel, faces look into free space, labels are right."""
    room = analytic_room()
    views = room.views(headings_deg=(0, 45, 90, 135, 180, 225, 270, 315)).views
    mesh = fuse_views(views, voxel_m=0.1)
    assert mesh.face_count > 2000
    centres, normals = mesh.triangles().mean(1), mesh.face_normals()
    eye = room.T_world_cam[:3, 3]
    # The distance to the true surface along the line of sight, for what can be seen from the photo's place.
    t, _ = room.cast(eye, (centres - eye) / np.linalg.norm(centres - eye, axis=1, keepdims=True))
    error = np.abs(t - np.linalg.norm(centres - eye, axis=1))
    assert np.median(error) < 0.03
    assert np.quantile(error, 0.8) < 0.1
    facing = np.einsum("ij,ij->i", normals, eye - centres)
    assert (facing > 0)[error < 0.03].mean() > 0.95
    assert mesh.face_labels is not None
    floor = (normals[:, 2] > 0.95) & (np.abs(centres[:, 2]) < 0.06)
    assert (mesh.face_labels[floor] == Label.FLOOR).mean() > 0.9


@pytest.mark.slow
def test_surface_without_proxy_is_fused():
    """Views without a proxy still give a surface."""
    views = analytic_room().views()
    assert extract_surface(WorldViews(views=views.views)).face_count > 1000


def test_floaters_go_and_the_largest_piece_stays():
    """A loose triangle far away is dropped, however small the rest is."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [9, 9, 9], [9, 8, 9], [8, 9, 9]], float)
    mesh = TriMesh(vertices=vertices, faces=np.array([[0, 1, 2], [1, 3, 2], [4, 5, 6]], np.int32))
    assert drop_floaters(mesh).face_count == 2


def test_nothing_solid_is_an_error():
    """Views that hold only sky name the problem."""
    view = analytic_room().render()
    sky = RgbdView(**{**vars(view), "labels": np.full(view.labels.shape, Label.SKY, np.uint8)})
    with pytest.raises(InputError, match="valid depth"):
        fuse_views([sky])
