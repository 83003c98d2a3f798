"""What robots sense besides their goal, and what only teachers are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..rules import trail_told, velocity_told

if TYPE_CHECKING:
    from ..navigation.driven_env import DrivenEnv

PROBE_M = 0.15
"""How far around the robot the distance field is felt for its slope."""
PROBES = ((PROBE_M, 0.0), (-PROBE_M, 0.0), (0.0, PROBE_M), (0.0, -PROBE_M))


def planar_velocity(env: DrivenEnv) -> torch.Tensor:
    """[N, 2] forward speed and turn rate as shares of their largest; [N, 3] with that to the left for robots that
    strafe."""
    data, spec = env.scene["robot"].data, env.robot_spec
    linear = data.root_lin_vel_b.torch
    return velocity_told(linear[:, 0], data.root_ang_vel_b.torch[:, 2], spec, linear[:, 1])


def trail(env: DrivenEnv) -> torch.Tensor:
    """[N, 4] where the robot was a while ago, see `rules.trail_told`."""
    drive = env.drive
    drive.measure()
    return trail_told(drive.trail_w - drive.xy_w.unsqueeze(1), drive.yaw)


def goal_geodesic(env: DrivenEnv, far_m: float) -> torch.Tensor:
    """[N, 4] privileged: distance along the floor and clearance, as shares of `far_m` and of 1 m, and the way to go.

    The way is the unit vector in the robot's frame along which the distance to the next stop falls fastest.
    """
    drive, book = env.drive, env.book
    drive.measure()
    shifts = drive.xy_w.new_tensor(PROBES).unsqueeze(1)
    east, west, north, south = book.geodesic_m(drive.xy_w + shifts)
    slope = torch.stack([west - east, south - north], dim=-1)
    way = slope / slope.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    cos, sin = drive.yaw.cos(), drive.yaw.sin()
    ahead = cos * way[:, 0] + sin * way[:, 1]
    left = cos * way[:, 1] - sin * way[:, 0]
    far = (drive.geodesic_m / far_m).clamp(max=1.0)
    return torch.stack([far, drive.clearance_m.clamp(max=1.0), ahead, left], dim=-1)


def stops_done(env: DrivenEnv) -> torch.Tensor:
    """[N, 1] share of the drive's stops that are behind the robot."""
    return (env.book.leg / env.book.options.stops).unsqueeze(-1)
