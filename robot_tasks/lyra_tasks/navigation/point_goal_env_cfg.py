"""Point-goal navigation: drive to one position, touch nothing."""

from __future__ import annotations

from isaaclab.utils import configclass

from .navigation_env_cfg import NavigationEnvCfg, ObservationsCfg, TeacherObservationsCfg


@configclass
class LidarPointGoalEnvCfg(NavigationEnvCfg):
    """The robot sees by a planar lidar."""


@configclass
class TeacherPointGoalEnvCfg(LidarPointGoalEnvCfg):
    """The policy is told the way along the floor: what can be reached with perfect knowledge, and a teacher."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.observations = ObservationsCfg()
        self.observations.policy.way = TeacherObservationsCfg().way
