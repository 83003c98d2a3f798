"""Depth maps alone give back the analytic room."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import camera_pose, rigid, rotation_from_quat_wxyz, transform_points
from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.core.raycast import Raycaster
from lyra.worldgen.core.views import RgbdView, WorldViews
from lyra.worldgen.reconstruction.fuse import drop_floaters, fuse_views
from lyra.worldgen.reconstruction.mesh_extract import extract_surface
from rooms import analytic_room

pytest.importorskip("skimage")
pytest.importorskip("numba")
pytest.importorskip("embreex")


def test_fused_depth_is_the_room():
    """Faces lie on walls, floor and boxes far below a voxel, look into free space, and their labels are right."""
    room = analytic_room()
    views = room.views(headings_deg=(0, 45, 90, 135, 180, 225, 270, 315)).views
    mesh = fuse_views(views, voxel_m=0.1)
    assert 100 < mesh.face_count < 2000
    centres, normals = mesh.triangles().mean(1), mesh.face_normals()
    eye = room.T_world_cam[:3, 3]
    # The distance to the true surface along the line of sight, for what can be seen from the photo's place.
    t, _ = room.cast(eye, (centres - eye) / np.linalg.norm(centres - eye, axis=1, keepdims=True))
    error = np.abs(t - np.linalg.norm(centres - eye, axis=1))
    assert np.median(error) < 0.005
    assert np.quantile(error, 0.8) < 0.1
    facing = np.einsum("ij,ij->i", normals, eye - centres)
    assert (facing > 0)[error < 0.03].mean() > 0.95
    assert mesh.face_labels is not None
    floor = (normals[:, 2] > 0.95) & (np.abs(centres[:, 2]) < 0.06)
    assert (mesh.face_labels[floor] == Label.FLOOR).mean() > 0.9


def test_a_wall_seen_at_a_low_angle_has_no_gaps():
    """Pixels that lie farther apart on a wall than voxels do still make one closed wall, and nothing past its end."""
    room = analytic_room(width_px=160, height_px=120)
    corridor = replace(
        room, lo_m=(-1.0, -0.5, 0.0), hi_m=(9.0, 1.5, 2.5), boxes_m=(((3.0, 0.9, 0.0), (5.0, 1.5, 2.0)),)
    )
    turn = rigid(rotation_from_quat_wxyz(np.array([np.cos(0.06), 0.0, 0.0, np.sin(0.06)])), np.zeros(3))
    poses = [camera_pose(np.array([0.0, y, 1.2]), heading_rad=h) for y in (-0.1, 0.3) for h in (0.0, 0.5)]
    # Voxels that are parallel to a wall would hide what happens between them.
    views = [replace(v, T_world_cam=turn @ v.T_world_cam) for v in (corridor.render(T_world_cam=T) for T in poses)]
    caster = Raycaster(fuse_views(views, voxel_m=0.05))
    x, z = np.meshgrid(np.arange(1.5, 8.5, 0.037), np.arange(0.5, 2.0, 0.1))
    start = np.stack([x, np.full_like(x, -0.2), z], -1).reshape(-1, 3)
    ray = np.broadcast_to(turn[:3, :3] @ [0.0, -1.0, 0.0], start.shape)
    t, _, _ = caster.cast(transform_points(turn, start), ray)
    assert (np.abs(t - 0.3) < 0.03).mean() > 0.995
    # The air behind the box's far end, which no view saw, stays open towards the corridor.
    x, z = np.meshgrid(np.arange(5.2, 6.5, 0.05), np.arange(0.3, 1.7, 0.1))
    start = np.stack([x, np.full_like(x, 0.6), z], -1).reshape(-1, 3)
    t, _, _ = caster.cast(transform_points(turn, start), np.broadcast_to(turn[:3, :3] @ [0.0, 1.0, 0.0], start.shape))
    assert (t < 0.4).mean() < 0.01


@pytest.mark.slow
def test_surface_without_proxy_is_fused():
    """Views without a proxy still give a surface."""
    views = analytic_room().views()
    mesh = extract_surface(WorldViews(views=views.views))
    assert mesh.face_areas_m2().sum() > 60.0


def test_noisy_depth_becomes_flat_and_level():
    """With noise of a percent the floor still is one level plane, and walls are upright."""
    room = analytic_room()
    views = room.views(headings_deg=(0, 60, 120, 180, 240, 300)).views
    rng = np.random.default_rng(0)
    noisy = [
        replace(v, depth_z_m=(v.depth_z_m * rng.normal(1, 0.01, v.depth_z_m.shape)).astype(np.float32)) for v in views
    ]
    mesh = fuse_views(noisy, voxel_m=0.08)
    normals, area = mesh.face_normals(), mesh.face_areas_m2()
    floor = (normals[:, 2] > 0.9) & (np.abs(mesh.triangles()[:, :, 2]).max(1) < 0.1)
    exact = floor & (normals[:, 2] > 1 - 1e-9) & (area > 1e-6)
    assert area[exact].sum() > 0.8 * area[floor].sum()
    assert np.abs(mesh.triangles()[exact][:, :, 2]).max() < 0.02


def test_a_world_too_large_for_its_voxels_is_refused():
    """The bound is checked before memory is taken."""
    view = analytic_room().render()
    with pytest.raises(InputError, match="larger"):
        fuse_views([replace(view, depth_z_m=view.depth_z_m * 1e4)], voxel_m=0.01)


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
