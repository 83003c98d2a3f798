"""Resets, and what happens to robots on their way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from isaaclab.managers import EventTermCfg, ManagerTermBase

if TYPE_CHECKING:
    from ..navigation.driven_env import DrivenEnv


def env_indices(env: DrivenEnv, env_ids: torch.Tensor | slice | None) -> torch.Tensor:
    """[n] long tensor of whatever Isaac Lab hands a term: a tensor, a slice or None for all."""
    if env_ids is None or isinstance(env_ids, slice):
        every = torch.arange(env.num_envs, device=env.device)
        return every if env_ids is None else every[env_ids]
    return env_ids.to(torch.long)


def reset_to_course(env: DrivenEnv, env_ids: torch.Tensor | slice | None) -> None:
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
    posture = robot.data.default_joint_pos.torch[ids]
    robot.write_joint_position_to_sim_index(position=posture, env_ids=ids)
    robot.write_joint_velocity_to_sim_index(velocity=torch.zeros_like(posture), env_ids=ids)
    env.drive.began(ids)


class CarryPayload(ManagerTermBase):
    """Once the first stop is reached, the robot's base is heavier, until its drive ends.

    An interval event that runs every step. Mass and inertia grow alike, as if the load were spread over the base.
    """

    def __init__(self, cfg: EventTermCfg, env: DrivenEnv) -> None:
        super().__init__(cfg, env)
        self._robot = env.scene["robot"]
        self._body = self._robot.find_bodies(env.robot_spec.base_body)[0]
        self._empty: tuple[torch.Tensor, torch.Tensor] | None = None
        """Mass [N, 1] and inertia [N, 1, 9] without a load."""
        self._loaded = torch.zeros(env.num_envs, dtype=torch.bool, device=env.device)

    def __call__(self, env: DrivenEnv, env_ids: torch.Tensor | slice | None, payload_kg: float) -> None:
        if self._empty is None:
            # Not earlier: events of the start-up may change the mass.
            data = self._robot.data
            self._empty = (
                data.body_mass.torch[:, self._body].clone(),
                data.body_inertia.torch[:, self._body].clone(),
            )
        empty_kg, empty_inertia = self._empty
        loaded = env.book.leg > 0
        ids = (loaded != self._loaded).nonzero().flatten()
        if not len(ids):
            return
        self._loaded = loaded
        mass = empty_kg[ids] + payload_kg * loaded[ids].unsqueeze(1)
        inertia = empty_inertia[ids] * (mass / empty_kg[ids]).unsqueeze(-1)
        ids = ids.to(torch.int32)
        self._robot.set_masses_index(masses=mass, body_ids=self._body, env_ids=ids)
        self._robot.set_inertias_index(inertias=inertia, body_ids=self._body, env_ids=ids)
