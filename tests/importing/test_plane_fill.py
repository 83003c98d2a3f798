"""Bare surfaces between measured places lie on the room's planes; the bare front of a box does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.core.mesh import Label
from lyra.worldgen.importing.plane_fill import ScenePlane, fill_planes, plane_depths, scene_planes
from lyra.worldgen.importing.view_consistency import DepthPicture
from lyra.worldgen.importing.view_samples import sample_views
from rooms import AnalyticRoom


@pytest.mark.slow
def test_bare_walls_are_filled_and_boxes_are_not(rng):
    """Depth of a few stripes becomes the whole room, exact on its planes; a box without texture stays unknown."""
    room = AnalyticRoom(
        lo_m=(-2.0, -2.0, 0.0),
        hi_m=(3.5, 2.5, 2.6),
        boxes_m=(((1.4, -0.6, 0.0), (2.0, 0.2, 0.9)),),
        camera=PinholeCamera.from_hfov(160, 120, np.radians(80)),
        T_world_cam=camera_pose(np.array([0.0, 0.0, 1.4])),
    )
    views = [
        room.render(
            None, camera_pose(np.array([0.2 * k, 0.3 * k - 0.5, 1.3]), heading_rad=h, pitch_rad=-0.2), view_id=k
        )
        for k, h in enumerate((0.1, -0.2, 0.3, 1.6))
    ]
    pictures, grey = [], []
    for view in views:
        known = (np.add.outer(np.arange(120), np.arange(160)) % 24 < 6) & (view.labels != Label.OBJECT)
        edge = np.abs(np.diff(view.labels.astype(int), axis=1, prepend=0)) > 0
        known |= np.roll(edge, 1, 1) | edge
        depth = view.depth_z_m * np.exp(rng.normal(0, 0.006, view.depth_z_m.shape))
        pictures.append(
            DepthPicture(
                camera=view.camera, T_world_cam=view.T_world_cam, depth_z=np.where(known, depth, 0).astype(np.float32)
            )
        )
        grey.append(view.labels * 40.0)
    grey = [g.astype(np.float32) for g in grey]
    samples = sample_views(pictures, [view.rgb_u8 for view in views], count=40_000)
    planes = scene_planes(samples, ceiling_m=2.6)
    offsets = sorted(round(p.offset_m, 1) for p in planes)
    assert {-2.0, -2.5, -3.5, 0.0, -2.6} <= set(offsets)
    filled = fill_planes(pictures, grey, planes)
    off, known, wrong = [], [], []
    for depth, view in zip(filled, views, strict=True):
        solid = view.labels != Label.OBJECT
        off.append(np.abs(depth / view.depth_z_m - 1)[solid & (depth > 0)])
        known.append((depth > 0)[solid])
        wrong.append(((depth > 0) & (np.abs(depth / view.depth_z_m - 1) > 0.05))[~solid])
    assert np.concatenate(known).mean() > 0.9
    assert np.median(np.concatenate(off)) < 0.004 and np.mean(np.concatenate(off) > 0.05) < 0.01
    assert np.concatenate(wrong).mean() < 0.25


def test_planes_are_seen_from_their_front_only():
    """Depth along the optical axis, and none for a plane behind the camera or seen from behind."""
    camera = PinholeCamera.from_hfov(16, 12, 1.2)
    T = camera_pose(np.array([0.0, 0.0, 1.2]))
    ahead = ScenePlane(normal=np.array([-1.0, 0.0, 0.0]), offset_m=-2.0)
    floor = ScenePlane(normal=np.array([0.0, 0.0, 1.0]), offset_m=0.0)
    depth = plane_depths(camera, T, [ahead, floor, replace(ahead, normal=-ahead.normal, offset_m=2.0)])
    np.testing.assert_allclose(depth[..., 0], 2.0, rtol=1e-6)
    assert not np.isfinite(depth[:6, :, 1]).any()
    np.testing.assert_allclose(depth[-1, 0, 1], 1.2 * camera.fy_px / 5.5, rtol=1e-6)
    assert not np.isfinite(depth[..., 2]).any()
