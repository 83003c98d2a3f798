"""Coordinate frames and rigid transforms.

`world` is right-handed, +Z up, metres, origin on the floor under the photo's camera, +X along its heading, +Y left.
`cam` is OpenCV: +X right, +Y down, +Z forward. `usdcam` is USD and OpenGL: +X right, +Y up, -Z forward.
`T_a_b` is float64 [4, 4] and takes column vectors from b to a: `p_a = T_a_b @ p_b`.
"""

from __future__ import annotations

import numpy as np

from .arrays import expect_shape
from .errors import InputError

CAM_FROM_USDCAM = np.diag([1.0, -1.0, -1.0, 1.0])
"""Flips Y and Z; its own inverse."""

WORLD_FROM_LEVEL_CAM = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Rotation of a level camera that looks along world +X, [3, 3]."""


def rotation_x(angle_rad: float) -> np.ndarray:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def rotation_y(angle_rad: float) -> np.ndarray:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def rotation_z(angle_rad: float) -> np.ndarray:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def rigid(R: np.ndarray, t: np.ndarray) -> np.ndarray:
    """[4, 4] transform from a rotation [3, 3] and a translation [3]."""
    T = np.eye(4)
    T[:3, :3] = R
    T[:3, 3] = t
    return T


def invert_rigid(T_a_b: np.ndarray) -> np.ndarray:
    """T_b_a of a rigid transform, [..., 4, 4]; exact transpose instead of a general inverse."""
    R = np.swapaxes(T_a_b[..., :3, :3], -1, -2)
    T_b_a = np.zeros_like(T_a_b)
    T_b_a[..., :3, :3] = R
    T_b_a[..., :3, 3] = -(R @ T_a_b[..., :3, 3:])[..., 0]
    T_b_a[..., 3, 3] = 1.0
    return T_b_a


def transform_points(T_a_b: np.ndarray, points_b: np.ndarray) -> np.ndarray:
    """Points [..., 3] from frame b to frame a."""
    return rotate_vectors(T_a_b, points_b) + T_a_b[:3, 3]


def rotate_vectors(T_a_b: np.ndarray, vectors_b: np.ndarray) -> np.ndarray:
    """Directions [..., 3] from frame b to frame a; translation is ignored."""
    # Matrix products of three columns cost a BLAS five times the work, and the last bit depends on which one it is.
    return np.einsum("ij,...j->...i", T_a_b[:3, :3], vectors_b)


def camera_pose(
    position_world: np.ndarray, *, heading_rad: float = 0.0, pitch_rad: float = 0.0, roll_rad: float = 0.0
) -> np.ndarray:
    """T_world_cam of a camera at `position_world` [3].

    Args:
        position_world: optical centre [m], [3].
        heading_rad: rotation about world +Z; 0 looks along +X, positive turns left (counter-clockwise from above).
        pitch_rad: positive looks up.
        roll_rad: positive turns the camera clockwise about its optical axis, so the picture content turns
            counter-clockwise; `up_in_cam` states the sign.
    """
    R = rotation_z(heading_rad) @ WORLD_FROM_LEVEL_CAM @ rotation_x(pitch_rad) @ rotation_z(roll_rad)
    return rigid(R, np.asarray(position_world, float))


def mirrored_poses(Ts_world_cam: np.ndarray) -> np.ndarray:
    """Poses [..., 4, 4] of cameras in the mirror image of their world, y being -y there.

    A camera's right becomes its left, so that the pose stays a rotation: what it shows is the mirror image of what it
    showed.
    """
    flip = np.ones((4, 4))
    flip[1] *= -1.0  # world y
    flip[:, 0] *= -1.0  # camera x
    return np.asarray(Ts_world_cam, float) * flip


def up_in_cam(pitch_rad: float, roll_rad: float) -> np.ndarray:
    """World +Z seen from the camera, [3]: `(-sin r cos p, -cos r cos p, sin p)`."""
    return np.array([-np.sin(roll_rad) * np.cos(pitch_rad), -np.cos(roll_rad) * np.cos(pitch_rad), np.sin(pitch_rad)])


def pitch_roll_of(T_world_cam: np.ndarray) -> tuple[float, float]:
    """Pitch and roll [rad] of a camera pose, inverse of `up_in_cam`."""
    up_cam = T_world_cam[2, :3]
    return float(np.arcsin(np.clip(up_cam[2], -1.0, 1.0))), float(np.arctan2(-up_cam[0], -up_cam[1]))


def heading_of(T_world_cam: np.ndarray) -> float:
    """Heading [rad] of the optical axis in the world's XY plane."""
    forward_world = T_world_cam[:3, 2]
    return float(np.arctan2(forward_world[1], forward_world[0]))


def usd_from_cv_camera(T_world_cam: np.ndarray) -> np.ndarray:
    """T_world_usdcam of an OpenCV camera pose."""
    return T_world_cam @ CAM_FROM_USDCAM


def cv_from_usd_camera(T_world_usdcam: np.ndarray) -> np.ndarray:
    """T_world_cam of a USD camera pose."""
    return T_world_usdcam @ CAM_FROM_USDCAM


def quat_wxyz_from_rotation(R: np.ndarray) -> np.ndarray:
    """Unit quaternions [..., 4] with w >= 0 from rotations [..., 3, 3] (Shepperd's method, stable everywhere)."""
    R = np.asarray(R, float)
    m00, m11, m22 = R[..., 0, 0], R[..., 1, 1], R[..., 2, 2]
    candidates = np.stack([m00 + m11 + m22, m00, m11, m22], -1)
    case = np.argmax(candidates, -1)
    q = np.empty((*R.shape[:-2], 4))
    w = 1.0 + m00 + m11 + m22
    x = 1.0 + m00 - m11 - m22
    y = 1.0 - m00 + m11 - m22
    z = 1.0 - m00 - m11 + m22
    d21, d02, d10 = R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]
    s10, s20, s21 = R[..., 1, 0] + R[..., 0, 1], R[..., 2, 0] + R[..., 0, 2], R[..., 2, 1] + R[..., 1, 2]
    rows = [(w, d21, d02, d10), (d21, x, s10, s20), (d02, s10, y, s21), (d10, s20, s21, z)]
    for i, row in enumerate(rows):
        pick = case == i
        q[pick] = np.stack(row, -1)[pick]
    q /= np.linalg.norm(q, axis=-1, keepdims=True)
    return np.where(q[..., :1] < 0, -q, q)


def rotation_from_quat_wxyz(q_wxyz: np.ndarray) -> np.ndarray:
    """Rotations [..., 3, 3] from quaternions [..., 4]; raises `InputError` for a zero quaternion."""
    q = np.asarray(q_wxyz, float)
    norm = np.linalg.norm(q, axis=-1, keepdims=True)
    if np.any(norm == 0):
        raise InputError("q_wxyz holds a zero quaternion; expected unit length")
    w, x, y, z = np.moveaxis(q / norm, -1, 0)
    return np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
            np.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
            np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
        ],
        -2,
    )


def expect_rigid(name: str, T: np.ndarray) -> np.ndarray:
    """Return `T` as float64 if it is a rigid [4, 4] transform; raises `InputError` otherwise."""
    T = expect_shape(name, np.asarray(T, float), (4, 4))
    error = np.abs(T[:3, :3] @ T[:3, :3].T - np.eye(3)).max()
    if not np.isfinite(T).all() or error > 1e-4 or np.linalg.det(T[:3, :3]) < 0:
        raise InputError(
            f"{name} is not a rigid transform (orthogonality error {error:.2g}); remove scale and mirroring"
        )
    return T
