"""What terms may ask of the environment that they are part of, and what is measured in it."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

from isaaclab.envs import ManagerBasedRLEnv

from ..atlas import Atlas
from ..courses import CourseBook
from ..coverage import CoverageBook
from ..drive_state import DriveState, TouchAndStop
from ..mdp.warp_caster import WarpCaster
from ..robots.catalogue import RobotSpec
from .randomisation_cfg import RandomisationCfg


class DrivenCfg(TouchAndStop, Protocol):
    """What terms read of the task's configuration; `NavigationEnvCfg` says what it means."""

    episode_length_s: float
    pace_m_s: float
    cover_near_m: float
    sweep_share: float
    randomisation: RandomisationCfg


class DrivenEnv(ManagerBasedRLEnv):
    """`isaaclab.envs.ManagerBasedRLEnv` with worlds, courses and what has been driven.

    Terms know this class; `env.NavigationEnv` is completed with the terms.
    """

    cfg: DrivenCfg
    robot_spec: RobotSpec
    """The robot in numbers."""
    atlas: Atlas
    book: CourseBook
    coverage: CoverageBook | None
    """What of the floor is covered, in exploration tasks."""
    drive: DriveState
    arrival_rate: float
    """Running share of drives that arrived, kept by the curriculum."""

    @cached_property
    def caster(self) -> WarpCaster:
        """Level rays in each robot's own world."""
        return WarpCaster(self.book, str(self.device))
