"""The next stop as the robot is told it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from isaaclab.managers import CommandTerm, CommandTermCfg
from isaaclab.utils import configclass

from ..rules import POINT_GOAL, goal_told

if TYPE_CHECKING:
    from ..navigation.driven_env import DrivenEnv


class GoalCommand(CommandTerm):
    """Distance and bearing of the next stop in the robot's frame. Stops come from the course book, never from here."""

    cfg: GoalCommandCfg
    _env: DrivenEnv

    def __init__(self, cfg: GoalCommandCfg, env: DrivenEnv) -> None:
        super().__init__(cfg, env)
        self._command = torch.zeros(self.num_envs, 3, device=self.device)
        self.metrics["goal_distance_m"] = torch.zeros(self.num_envs, device=self.device)

    @property
    def command(self) -> torch.Tensor:
        """[N, 3] see `rules.goal_told`."""
        return self._command

    def _resample_command(self, env_ids: Sequence[int] | slice) -> None:
        """The reset event has drawn the stops already."""

    def _update_metrics(self) -> None:
        self.metrics["goal_distance_m"] = self._env.drive.goal_distance_m.clone()

    def _update_command(self) -> None:
        drive = self._env.drive
        drive.next_stop()
        way = self._env.book.goal_xy_w - drive.xy_w
        self._command = goal_told(way, drive.goal_distance_m, drive.yaw, self.cfg.far_m)


@configclass
class GoalCommandCfg(CommandTermCfg):
    """Of `GoalCommand`."""

    class_type: type = GoalCommand
    resampling_time_range: tuple[float, float] = (1e9, 1e9)
    far_m: float = POINT_GOAL.far_m
    """Stops farther away than this look as if they were this far away [m]."""
