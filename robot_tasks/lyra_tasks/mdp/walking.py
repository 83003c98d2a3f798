"""Legged robots: an action is a velocity, and a walking policy moves the joints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from isaaclab.utils import configclass
from isaaclab.utils.assets import read_file
from isaaclab_tasks.contrib.navigation.mdp.pre_trained_policy_action import PreTrainedPolicyAction
from isaaclab_tasks.contrib.navigation.mdp.pre_trained_policy_action_cfg import PreTrainedPolicyActionCfg

from lyra.worldgen.core.errors import InputError

from ..rules import planar_command
from .policy_files import scripted

if TYPE_CHECKING:
    from ..navigation.driven_env import DrivenEnv


class WalkingAction(PreTrainedPolicyAction):
    """(forward, left, turn rate) as shares of their largest, clipped to [-1, 1], to commands of a walking policy.

    Raises:
        InputError: the file is no policy, or one that is told something else.
    """

    cfg: WalkingActionCfg
    _env: DrivenEnv

    def __init__(self, cfg: WalkingActionCfg, env: DrivenEnv) -> None:
        path = cfg.policy_path
        # The base class reads TorchScript only; servers have checkpoints, too.
        cfg.policy_path = scripted(path, read_file(path).getvalue())
        super().__init__(cfg, env)
        cfg.policy_path = path
        for parameter in self.policy.parameters():
            parameter.requires_grad_(False)
        self._shares = torch.zeros_like(self._raw_actions)
        told = self._low_level_obs_manager.compute_group("ll_policy")
        assert isinstance(told, torch.Tensor), "its terms are joined"
        try:
            moved = self.policy(told)
        except RuntimeError as error:
            raise InputError(
                f"walking policy does not take the {told.shape[1]} numbers of this robot: {path}"
            ) from error
        if moved.shape != self.low_level_actions.shape:
            raise InputError(
                f"walking policy moves {moved.shape[-1]} joints, this robot has {self.low_level_actions.shape[1]}: "
                f"{path}"
            )

    @property
    def raw_actions(self) -> torch.Tensor:
        """[N, 3] shares."""
        return self._shares

    @property
    def processed_actions(self) -> torch.Tensor:
        """[N, 3] what the policy is told [m/s, m/s, rad/s]."""
        return self._raw_actions

    def process_actions(self, actions: torch.Tensor) -> None:
        self._shares[:] = actions
        self._raw_actions[:] = planar_command(actions, self._env.robot_spec)

    def reset(self, env_ids=None) -> None:
        rows = slice(None) if env_ids is None else env_ids
        self._shares[rows] = 0.0
        self._raw_actions[rows] = 0.0
        self.low_level_actions[rows] = 0.0


@configclass
class WalkingActionCfg(PreTrainedPolicyActionCfg):
    """Of `WalkingAction`."""

    class_type: type | str = WalkingAction
