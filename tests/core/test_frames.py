"""Rigid transforms and frame conversions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core import frames
from lyra.worldgen.core.errors import InputError
from strategies import rigid_transforms, rotations

angles = st.floats(-1.4, 1.4)


@given(rigid_transforms())
def test_usd_camera_round_trip(T_world_cam):
    """OpenCV to USD to OpenCV camera axes is the identity."""
    back = frames.cv_from_usd_camera(frames.usd_from_cv_camera(T_world_cam))
    np.testing.assert_allclose(back, T_world_cam, atol=1e-12)


@given(rigid_transforms(), rigid_transforms())
def test_inverse_and_composition(T_a_b, T_b_c):
    """Neighbouring frames cancel: the inverse undoes, a stack inverts like its members."""
    np.testing.assert_allclose(frames.invert_rigid(T_a_b) @ T_a_b, np.eye(4), atol=1e-9)
    stacked = frames.invert_rigid(np.stack([T_a_b, T_b_c]))
    np.testing.assert_allclose(stacked[1], frames.invert_rigid(T_b_c), atol=1e-12)


@given(rigid_transforms(), rigid_transforms())
def test_points_follow_composition_and_vectors_ignore_translation(T_a_b, T_b_c):
    """Transforming twice equals transforming by the product; directions only turn."""
    points_c = np.array([[0.0, 0.0, 0.0], [1.0, -2.0, 3.0]])
    twice = frames.transform_points(T_a_b, frames.transform_points(T_b_c, points_c))
    np.testing.assert_allclose(frames.transform_points(T_a_b @ T_b_c, points_c), twice, atol=1e-9)
    difference = frames.transform_points(T_a_b, points_c)[1] - frames.transform_points(T_a_b, points_c)[0]
    np.testing.assert_allclose(frames.rotate_vectors(T_a_b, points_c[1] - points_c[0]), difference, atol=1e-9)


@given(rotations())
def test_quaternion_round_trip(R):
    """Rotation to quaternion and back, half turns and near-identity included; w is never negative."""
    q = frames.quat_wxyz_from_rotation(R)
    assert q[0] >= 0
    np.testing.assert_allclose(np.linalg.norm(q), 1.0, atol=1e-12)
    np.testing.assert_allclose(frames.rotation_from_quat_wxyz(q), R, atol=1e-7)


def test_quaternions_convert_in_batches():
    """Leading axes survive both ways."""
    q = np.array([[[1.0, 0, 0, 0], [0, 1, 0, 0]], [[0, 0, 1, 0], [0, 0, 0, 1]]])
    R = frames.rotation_from_quat_wxyz(q)
    assert R.shape == (2, 2, 3, 3)
    np.testing.assert_allclose(np.abs(frames.quat_wxyz_from_rotation(R)), np.abs(q), atol=1e-12)


def test_zero_quaternion_is_refused():
    """A zero quaternion names no rotation."""
    with pytest.raises(InputError, match="quaternion"):
        frames.rotation_from_quat_wxyz(np.zeros(4))


@given(angles, angles, st.floats(-3.1, 3.1))
def test_pitch_roll_heading_round_trip(pitch, roll, heading):
    """The three angles of a camera pose can be read back, and `up_in_cam` agrees with the pose."""
    T = frames.camera_pose(np.array([1.0, 2.0, 3.0]), heading_rad=heading, pitch_rad=pitch, roll_rad=roll)
    np.testing.assert_allclose(frames.pitch_roll_of(T), (pitch, roll), atol=1e-7)
    np.testing.assert_allclose(frames.heading_of(T), heading, atol=1e-7)
    np.testing.assert_allclose(T[2, :3], frames.up_in_cam(pitch, roll), atol=1e-12)


def test_level_camera_looks_along_world_x():
    """Heading 0 looks along +X with the picture's right along -Y and its top along +Z; positive heading turns left."""
    T = frames.camera_pose(np.zeros(3))
    np.testing.assert_allclose(T[:3, 2], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(T[:3, 0], [0, -1, 0], atol=1e-12)
    np.testing.assert_allclose(-T[:3, 1], [0, 0, 1], atol=1e-12)
    left = frames.camera_pose(np.zeros(3), heading_rad=np.pi / 2)
    np.testing.assert_allclose(left[:3, 2], [0, 1, 0], atol=1e-12)
    assert frames.camera_pose(np.zeros(3), pitch_rad=0.1)[2, 2] > 0, "positive pitch looks up"


@pytest.mark.parametrize(
    "T",
    [np.diag([2.0, 2.0, 2.0, 1.0]), np.diag([-1.0, 1.0, 1.0, 1.0]), np.full((4, 4), np.nan), np.eye(3)],
    ids=["scaled", "mirrored", "nan", "wrong shape"],
)
def test_expect_rigid_refuses_what_is_not_rigid(T):
    """Scale, mirroring, NaN and wrong shapes are named."""
    with pytest.raises(InputError, match="T_world_cam"):
        frames.expect_rigid("T_world_cam", T)


@given(rigid_transforms())
def test_expect_rigid_accepts_rigid(T):
    """A rigid transform passes unchanged."""
    np.testing.assert_array_equal(frames.expect_rigid("T", T), T)
