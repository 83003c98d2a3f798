"""Planar lidar of `warp_caster`, as an observation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from isaaclab.managers import ManagerTermBase, ObservationTermCfg

from ..lidar_faults import LidarFaults
from ..rules import nearest_beams
from .events import env_indices

if TYPE_CHECKING:
    from ..navigation.driven_env import DrivenEnv


class WarpLidar(ManagerTermBase):
    """Observation [N, rays] of several beams each: `WarpCaster.shares`, `rules.nearest_beams`, and the faults of a real
    sensor where they are asked for."""

    def __init__(self, cfg: ObservationTermCfg, env: DrivenEnv) -> None:
        super().__init__(cfg, env)
        self._faults: LidarFaults | None = None

    def reset(self, env_ids: torch.Tensor | slice | None = None) -> None:
        if self._faults is not None:
            self._faults.reset(env_indices(self._env, env_ids))

    def __call__(self, env: DrivenEnv, rays: int, max_range_m: float, beams: int = 1) -> torch.Tensor:
        env.drive.measure()
        drive, height_m = env.drive, env.robot_spec.lidar_height_m
        told = env.caster.shares(drive.xy_w, drive.yaw, height_m=height_m, rays=rays * beams, max_range_m=max_range_m)
        shares = nearest_beams(told, beams)
        wanted = env.cfg.randomisation.lidar(max_range_m)
        if wanted is None:
            return shares
        if self._faults is None:
            self._faults = LidarFaults(wanted, env_count=env.num_envs, rays=rays, device=str(env.device))
        return self._faults.apply(shares, env.common_step_counter)
