"""Speed and turn rate to wheel speeds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from isaaclab.envs import ManagerBasedEnv
from isaaclab.managers import ActionTerm, ActionTermCfg
from isaaclab.utils import configclass

from ..robots.diff_drive import SIZES, WHEEL_JOINTS
from ..rules import wheel_speeds


class DiffDriveAction(ActionTerm):
    """(speed, turn rate) as shares of their largest, clipped to [-1, 1], to velocity targets of both wheels."""

    cfg: DiffDriveActionCfg

    def __init__(self, cfg: DiffDriveActionCfg, env: ManagerBasedEnv) -> None:
        super().__init__(cfg, env)
        self._joints = [self._asset.find_joints(name)[0][0] for name in WHEEL_JOINTS]
        self._raw = torch.zeros(self.num_envs, 2, device=self.device)
        self._wheels_rad_s = torch.zeros_like(self._raw)
        self._told = False
        """The simulation knows this step's targets; it is asked before every step of physics."""

    @property
    def action_dim(self) -> int:
        return 2

    @property
    def raw_actions(self) -> torch.Tensor:
        return self._raw

    @property
    def processed_actions(self) -> torch.Tensor:
        """[N, 2] left and right wheel [rad/s]."""
        return self._wheels_rad_s

    def process_actions(self, actions: torch.Tensor) -> None:
        self._raw[:] = actions
        self._wheels_rad_s[:] = wheel_speeds(actions, self.cfg)
        self._told = False

    def apply_actions(self) -> None:
        if not self._told:
            self._asset.set_joint_velocity_target_index(target=self._wheels_rad_s, joint_ids=self._joints)
        self._told = True

    def reset(self, env_ids: Sequence[int] | slice | None = None) -> None:
        self._raw[slice(None) if env_ids is None else env_ids] = 0.0


@configclass
class DiffDriveActionCfg(ActionTermCfg):
    """Of `DiffDriveAction`; the task fills the numbers in from its robot."""

    class_type: type = DiffDriveAction
    asset_name: str = "robot"
    wheel_radius_m: float = SIZES["medium"].wheel_radius_m
    track_m: float = SIZES["medium"].track_m
    max_speed_m_s: float = SIZES["medium"].max_speed_m_s
    max_reverse_m_s: float = SIZES["medium"].max_reverse_m_s
    max_turn_rad_s: float = SIZES["medium"].max_turn_rad_s
