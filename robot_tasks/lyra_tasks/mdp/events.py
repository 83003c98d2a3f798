"""Resets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ..navigation.env import NavigationEnv


def env_indices(env: NavigationEnv, env_ids: torch.Tensor | slice | None) -> torch.Tensor:
    """[n] long tensor of whatever Isaac Lab hands a term: a tensor, a slice or None for all."""
    if env_ids is None or isinstance(env_ids, slice):
        every = torch.arange(env.num_envs, device=env.device)
        return every if env_ids is None else every[env_ids]
    return env_ids.to(torch.long)


def reset_to_course(env: NavigationEnv, env_ids: torch.Tensor | slice | None) -> None:
    """Draw the next drive and put the robot to its start, at rest."""
    ids = env_indices(env, env_ids)
    env.book.begin(ids)
    robot = env.scene["robot"]
    pose = robot.data.default_root_pose.torch[ids].clone()
    yaw = env.book.start_yaw[ids]
    pose[:, :2] = env.book.start_xy_w[ids]
    pose[:, 3:5] = 0.0  # quaternions are xyzw
    pose[:, 5], pose[:, 6] = (yaw / 2).sin(), (yaw / 2).cos()
    robot.write_root_pose_to_sim_index(root_pose=pose, env_ids=ids)
    robot.write_root_velocity_to_sim_index(root_velocity=torch.zeros(len(ids), 6, device=env.device), env_ids=ids)
    still = torch.zeros(len(ids), robot.num_joints, device=env.device)
    robot.write_joint_position_to_sim_index(position=still, env_ids=ids)
    robot.write_joint_velocity_to_sim_index(velocity=still, env_ids=ids)
    env.drive.began(ids)
