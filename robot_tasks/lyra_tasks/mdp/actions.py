"""Actions to wheel speeds, and to how wheels are steered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from isaaclab.managers import ActionTerm, ActionTermCfg
from isaaclab.utils import configclass

from ..robots.diff_drive import WHEEL_JOINTS
from ..robots.omni import STEER_JOINTS
from ..rules import steered_wheels, wheel_speeds

if TYPE_CHECKING:
    from ..navigation.driven_env import DrivenEnv


class WheelAction(ActionTerm):
    """An action is turned into targets of wheels once a step of the task; the engine keeps to them in between."""

    cfg: WheelActionCfg
    _env: DrivenEnv

    def __init__(self, cfg: WheelActionCfg, env: DrivenEnv) -> None:
        super().__init__(cfg, env)
        self._wheels = [self._asset.find_joints(name)[0][0] for name in cfg.wheel_joints]
        self._raw = torch.zeros(self.num_envs, self.action_dim, device=self.device)
        self._wheels_rad_s = torch.zeros(self.num_envs, len(self._wheels), device=self.device)
        self._told = False
        """The simulation knows this step's targets; it is asked before every step of physics."""

    @property
    def raw_actions(self) -> torch.Tensor:
        return self._raw

    @property
    def processed_actions(self) -> torch.Tensor:
        """[N, 2] left and right wheel [rad/s]."""
        return self._wheels_rad_s

    def apply_actions(self) -> None:
        if not self._told:
            self._tell()
        self._told = True

    def _tell(self) -> None:
        self._asset.set_joint_velocity_target_index(target=self._wheels_rad_s, joint_ids=self._wheels)

    def reset(self, env_ids: Sequence[int] | slice | None = None) -> None:
        self._raw[slice(None) if env_ids is None else env_ids] = 0.0


class DiffDriveAction(WheelAction):
    """(speed, turn rate) as shares of their largest, clipped to [-1, 1], to velocity targets of both wheels."""

    @property
    def action_dim(self) -> int:
        return 2

    def process_actions(self, actions: torch.Tensor) -> None:
        self._raw[:] = actions
        self._wheels_rad_s[:] = wheel_speeds(actions, self._env.robot_spec)
        self._told = False


class OmniAction(WheelAction):
    """(forward, left, turn rate) as shares of their largest, clipped to [-1, 1], to targets of two steered wheels."""

    def __init__(self, cfg: OmniActionCfg, env: DrivenEnv) -> None:
        super().__init__(cfg, env)
        self._steers = [self._asset.find_joints(name)[0][0] for name in STEER_JOINTS]
        self._steer_rad = torch.zeros_like(self._wheels_rad_s)

    @property
    def action_dim(self) -> int:
        return 3

    def process_actions(self, actions: torch.Tensor) -> None:
        self._raw[:] = actions
        steered = self._asset.data.joint_pos.torch[:, self._steers]
        self._wheels_rad_s[:], self._steer_rad[:] = steered_wheels(actions, steered, self._env.robot_spec)
        self._told = False

    def _tell(self) -> None:
        super()._tell()
        self._asset.set_joint_position_target_index(target=self._steer_rad, joint_ids=self._steers)


@configclass
class WheelActionCfg(ActionTermCfg):
    """Of all robots on wheels; their numbers are the task's `robot_spec`."""

    asset_name: str = "robot"
    wheel_joints: tuple[str, str] = WHEEL_JOINTS
    """Left and right."""


@configclass
class DiffDriveActionCfg(WheelActionCfg):
    """Of `DiffDriveAction`."""

    class_type: type = DiffDriveAction


@configclass
class OmniActionCfg(WheelActionCfg):
    """Of `OmniAction`."""

    class_type: type = OmniAction
