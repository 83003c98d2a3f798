"""What both Isaac Sim drivers need to know of the embedded robot, and of the stage that it stands on."""

from __future__ import annotations

import math

import numpy as np

from .. import rules
from ..robots.diff_drive import WHEEL_JOINTS, DiffDriveSpec
from .nav_task import RobotState

WORLD_PATH, ROBOT_PATH, SCENE_PATH = "/World/Lyra", "/World/Robot", "/World/PhysicsScene"
JOINTS = list(WHEEL_JOINTS)
DROP_M = 0.002
"""A robot is put down this much above the floor."""


def wheel_damping(spec: DiffDriveSpec) -> float:
    """Gain of the wheels' velocity drives [N m s/rad], the one that policies are trained with."""
    return 0.5 * spec.wheel_effort_nm


def base_pose(state: RobotState, spec: DiffDriveSpec, floor_z_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Position [3] and quaternion `wxyz` [4] of the link `base` of a robot that stands there."""
    x, y = state.xy_m
    position = np.array([x, y, floor_z_m + spec.hull_z_m + DROP_M])
    return position, np.array([math.cos(state.yaw_rad / 2), 0.0, 0.0, math.sin(state.yaw_rad / 2)])


def robot_state(
    position: np.ndarray, quat_wxyz: np.ndarray, linear_m_s: np.ndarray, angular_rad_s: np.ndarray
) -> RobotState:
    """The state that these [3], [4], [3], [3] of the link `base` in the stage's frame are."""
    w, x, y, z = np.asarray(quat_wxyz, float)[:, None]
    yaw = float(rules.yaw_of(x, y, z, w)[0])
    return RobotState(
        xy_m=(float(position[0]), float(position[1])),
        yaw_rad=yaw,
        speed_m_s=float(linear_m_s[0]) * math.cos(yaw) + float(linear_m_s[1]) * math.sin(yaw),
        turn_rad_s=float(angular_rad_s[2]),
    )
