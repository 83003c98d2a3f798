"""No splat is longer than a robot that comes close may see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.core.mesh import Label
from lyra.worldgen.core.splats import GaussianCloud
from lyra.worldgen.reconstruction.splat_length import LONGEST_M, cut_long, longest_m_at
from lyra.worldgen.reconstruction.splat_lift import lift_splats
from lyra.worldgen.reconstruction.splat_render import render_splats
from lyra.worldgen.reconstruction.surface_hits import cast_views
from rooms import analytic_room

for _package in ("numba", "embreex", "cv2", "scipy", "xatlas"):
    pytest.importorskip(_package)


def test_no_surface_splat_is_too_long():
    """Floor that the photo sees from afar becomes rows of short splats, so that a robot that stands on it sees the
    surface where it is."""
    room = analytic_room(width_px=96, height_px=72)
    hall = replace(room, lo_m=(-2.0, -6.0, 0.0), hi_m=(24.0, 6.0, 4.0), boxes_m=())
    mesh, views = hall.mesh(), [hall.render()]
    cloud = lift_splats(mesh, views, cast_views(mesh, views), budget=10**6).splats
    distance_m = np.linalg.norm(cloud.means - views[0].T_world_cam[:3, 3], axis=1)
    longest_m = longest_m_at(distance_m)
    # Pieces lie a little beside the middle of what they were cut from.
    assert (cloud.scales_m.max(1) <= 1.05 * longest_m + 0.01).all() and len(cloud) > 96 * 72
    camera = PinholeCamera.from_hfov(64, 48, np.radians(70))
    pose = camera_pose(np.array([12.0, 0.0, 0.4]), heading_rad=0.4, pitch_rad=-0.2)
    seen = render_splats(cloud, camera, pose)
    truth = hall.render(camera, pose).depth_z_m
    solid = seen.median_depth_z_m > 0
    assert (np.abs(seen.median_depth_z_m - truth) < 0.05 + 0.03 * truth)[solid].mean() > 0.9


def test_pieces_cover_what_they_were_cut_from():
    """A long splat becomes a row along its axis: same middle, orientation, opacity and colour, and its own length."""
    long = GaussianCloud(
        means=np.array([[1.0, 2.0, 3.0]], np.float32),
        scales_m=np.array([[4 * LONGEST_M, 0.5 * LONGEST_M, 0.001]], np.float32),
        quats_wxyz=np.array([[np.sqrt(0.5), 0, 0, np.sqrt(0.5)]], np.float32),
        opacities=np.array([0.9], np.float32),
        sh=np.zeros((1, 1, 3), np.float32),
        labels=np.array([Label.FLOOR], np.uint8),
    )
    pieces, owner = cut_long(long, np.array([7], np.int32), 100, np.array([LONGEST_M]))
    assert len(pieces) == 4 and (owner == 7).all()
    np.testing.assert_allclose(pieces.means.mean(0), long.means[0], atol=1e-6)
    assert np.ptp(pieces.means[:, 0]) < 1e-5 and np.ptp(pieces.means[:, 1]) > 3 * LONGEST_M  # turned by 90 degrees
    np.testing.assert_allclose(pieces.scales_m, np.tile([LONGEST_M, 0.5 * LONGEST_M, 0.001], (4, 1)), rtol=1e-6)
    sky = replace(long, labels=np.array([Label.SKY], np.uint8))
    assert len(cut_long(sky, np.array([7], np.int32), 100, np.array([LONGEST_M]))[0]) == 1
    assert len(cut_long(long, np.array([7], np.int32), 2, np.array([LONGEST_M]))[0]) == 2  # no room for more
