"""Poses are recovered from pictures alone, and reprojection sees what the camera did wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lyra.worldgen.core.frames import invert_rigid, rigid, rotation_x, rotation_y
from lyra.worldgen.core.views import RgbdView
from lyra.worldgen.evaluate.camera_control import pose_difference, pose_error, recover_pose
from lyra.worldgen.evaluate.film import film_pairs, resized, seen_in
from lyra.worldgen.evaluate.reprojection import carried, reproject
from textured_room import big_room, textured_view, walk_poses

pytestmark = pytest.mark.slow

ROOM = big_room()


@pytest.fixture(scope="module")
def walk() -> list[RgbdView]:
    """Twelve exact frames of a walk."""
    return [textured_view(ROOM, T, view_id=k) for k, T in enumerate(walk_poses(ROOM, 12))]


def painted_wrongly(frame: RgbdView, T_cam_wrong: np.ndarray) -> RgbdView:
    """A frame that shows what another pose sees, with the depth and the pose that were asked for."""
    wrong = textured_view(ROOM, frame.T_world_cam @ T_cam_wrong)
    return replace(frame, rgb_u8=wrong.rgb_u8)


def test_exact_frames_have_no_error(walk):
    """Within what features are located to: a twentieth of a degree, a centimetre."""
    for first, second in ((0, 5), (0, 11), (4, 8)):
        error = pose_error(walk, first, second)
        assert error.inliers >= 40 and error.rotation_deg is not None and error.translation_m is not None
        assert error.rotation_deg < 0.1 and error.translation_m < 0.012
        assert error.score > 95


@pytest.mark.parametrize("axis", [rotation_x, rotation_y])
@pytest.mark.parametrize("direction", [(1, 0, 0), (0, 0, 1), (0.6, 0.0, -0.8)])
def test_a_wrong_pose_is_measured_as_it_is(walk, axis, direction):
    """Two degrees and five centimetres."""
    T_wrong = rigid(axis(np.radians(2.0)), 0.05 * np.array(direction, float))
    frames = [*walk[:6], painted_wrongly(walk[6], T_wrong)]
    error = pose_error(frames, 0, 6)
    assert error.rotation_deg is not None and error.translation_m is not None
    np.testing.assert_allclose(error.rotation_deg, 2.0, atol=0.15)
    np.testing.assert_allclose(error.translation_m, 0.05, atol=0.012)
    want = 50 * (np.exp(-error.rotation_deg / 5) + np.exp(-error.translation_m / 0.25))
    np.testing.assert_allclose(error.score, want)
    in_feet = pose_error(frames, 0, 6, metres_per_unit=0.3048)
    np.testing.assert_allclose(in_feet.translation_m, error.translation_m * 0.3048)


def test_the_commanded_pose_takes_no_part(walk):
    """Half a metre and twenty degrees from the command are found as well."""
    T_wrong = rigid(rotation_y(np.radians(20.0)), np.array([0.4, 0.0, 0.3]))
    error = pose_error([walk[0], painted_wrongly(walk[1], T_wrong)], 0, 1)
    assert error.rotation_deg is not None and error.translation_m is not None
    np.testing.assert_allclose(error.rotation_deg, 20.0, atol=0.3)
    np.testing.assert_allclose(error.translation_m, 0.5, atol=0.03)


def test_pictures_without_features_or_of_something_else_have_no_pose(walk):
    plain = np.full_like(walk[0].rgb_u8, 90)
    noise = np.random.default_rng(3).integers(0, 256, plain.shape).astype(np.uint8)
    for picture in (plain, noise):
        assert recover_pose(walk[0], picture, walk[0].camera) is None
        error = pose_error([walk[0], replace(walk[1], rgb_u8=picture)], 0, 1)
        assert (error.inliers, error.rotation_deg, error.translation_m, error.score) == (0, None, None, 0.0)


def test_pose_difference_is_exact_near_nothing_and_near_half_a_turn():
    T = ROOM.T_world_cam
    for angle in (0.0, 1e-6, 90.0, 179.9):
        moved = T @ rigid(rotation_x(np.radians(angle)), np.array([0.0, 3e-4, 4e-4]))
        got = pose_difference(T, moved)
        np.testing.assert_allclose(got, (angle, 5e-4), atol=1e-9)


def test_exact_frames_reproject_onto_each_other(walk):
    for first, second in ((0, 6), (3, 11)):
        found = reproject(walk, first, second)
        assert found.seen_share > 0.6 and found.photometric is not None and found.flow_px is not None
        assert found.flow_px < 0.25 and found.photometric < 0.02


def test_a_turned_frame_moves_by_what_it_was_turned(walk):
    """A turn of a degree moves the middle of the picture by fx tan(1 degree)."""
    T_wrong = rigid(rotation_y(np.radians(1.0)), np.zeros(3))
    found = reproject([walk[0], painted_wrongly(walk[4], T_wrong)], 0, 1)
    exact = reproject(walk, 0, 4)
    assert found.flow_px is not None and exact.flow_px is not None and found.photometric is not None
    want = ROOM.camera.fx_px * np.tan(np.radians(1.0))
    np.testing.assert_allclose(found.flow_px, want, rtol=0.3)
    assert exact.photometric is not None and found.photometric > 2 * exact.photometric


def test_hidden_and_foreign_points_are_not_compared(walk):
    """What a box hides is not carried, and frames that share nothing have no figure."""
    from rooms import analytic_room

    room = analytic_room(width_px=256, height_px=192)
    T = room.T_world_cam.copy()
    T[:3, 3] += [1.5, -1.6, 0.0]
    beside = textured_view(room, T)
    uv, seen = seen_in(walk[0], beside)
    points = beside.camera.unproject(beside.depth_z_m).reshape(-1, 3) @ T[:3, :3].T + T[:3, 3]
    eye = walk[0].T_world_cam[:3, 3]
    free, _ = room.cast(np.broadcast_to(eye, points.shape), points - eye)  # 1 where nothing stands between
    hidden = free < 0.96
    inside = np.isfinite(uv).all(-1) & (uv > 0).all(-1) & (uv[..., 0] < 256) & (uv[..., 1] < 192)
    assert (hidden & inside.reshape(-1)).mean() > 0.01
    # Depth is known by pixels, so silhouettes are a pixel wide.
    assert hidden[seen.reshape(-1)].mean() < 1e-3
    rgb, where = carried(walk[0], beside)
    assert np.array_equal(where, seen) and rgb.shape == beside.rgb_u8.shape and uv.shape == (192, 256, 2)

    back = walk[0].T_world_cam @ rigid(rotation_y(np.pi), np.zeros(3))
    nothing = reproject([walk[0], textured_view(ROOM, back)], 0, 1)
    assert nothing.seen_share < 0.05 and nothing.photometric is None and nothing.flow_px is None


def test_pairs_reach_back_as_far_as_the_view_does(walk):
    pairs = film_pairs(walk)
    assert [second for _, second in pairs] == list(range(1, 12))
    assert pairs[0] == (0, 1) and pairs[7] == (0, 8) and pairs[10] == (3, 11)
    turned = [textured_view(ROOM, walk[0].T_world_cam @ rigid(rotation_y(a), np.zeros(3))) for a in (0, 1.2, 2.4)]
    assert film_pairs(turned) == [(0, 1), (1, 2)]


def test_a_resized_view_keeps_its_field_of_view(walk):
    small = resized(walk[0], 64, 48)
    assert small.rgb_u8.shape == (48, 64, 3) and small.valid.dtype == bool and small.labels.dtype == np.uint8
    np.testing.assert_allclose(small.camera.hfov_rad, walk[0].camera.hfov_rad)
    np.testing.assert_allclose(invert_rigid(small.T_world_cam) @ walk[0].T_world_cam, np.eye(4), atol=1e-12)
    exact = textured_view(replace(ROOM, camera=small.camera))
    assert np.abs(small.depth_z_m - exact.depth_z_m).mean() < 0.05
    assert resized(small, 64, 48) is small
