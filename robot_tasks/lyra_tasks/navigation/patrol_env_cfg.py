"""Patrol: several stops in order, some of them twice. A world has to look the same when a robot comes back."""

from __future__ import annotations

from isaaclab.managers import ObservationTermCfg
from isaaclab.utils import configclass

from .. import mdp
from ..rules import PATROL
from .navigation_env_cfg import NavigationEnvCfg, ObservationsCfg, PolicyObservationsCfg


@configclass
class StopObservationsCfg(PolicyObservationsCfg):
    """What a robot can know on a drive of several stops."""

    stops = ObservationTermCfg(func=mdp.stops_done)


@configclass
class SeveralStopsObservationsCfg(ObservationsCfg):
    policy = StopObservationsCfg()


@configclass
class LidarPatrolEnvCfg(NavigationEnvCfg):
    """Five stops, the third being the first again."""

    observations = SeveralStopsObservationsCfg()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.follow(PATROL)
