"""Explore: see as much of the floor from near by as there is time for. Nothing is to be reached."""

from __future__ import annotations

from isaaclab.managers import ObservationGroupCfg, ObservationTermCfg, RewardTermCfg, TerminationTermCfg
from isaaclab.utils import configclass

from .. import mdp
from ..rules import COVER_NEAR_M, EXPLORE
from .navigation_env_cfg import (
    NavigationEnvCfg,
    ObservationsCfg,
    PolicyObservationsCfg,
    RewardsCfg,
    TerminationsCfg,
)

SECTORS = 12


@configclass
class ExplorePolicyObservationsCfg(PolicyObservationsCfg):
    """What a real robot can know: it remembers what it has covered and sees what it has not."""

    goal = None
    left = ObservationTermCfg(func=mdp.left_in_sight, params={"sectors": SECTORS})
    covered = ObservationTermCfg(func=mdp.covered_share)


@configclass
class ExploreTeacherObservationsCfg(ObservationGroupCfg):
    """What only a simulation knows: floor that nobody has seen yet."""

    left = ObservationTermCfg(func=mdp.left_anywhere, params={"sectors": SECTORS, "scale_m": 3.0})
    lidar: ObservationTermCfg | None = None
    """As in the other tasks."""

    def __post_init__(self) -> None:
        self.enable_corruption = False
        self.concatenate_terms = True


@configclass
class ExploreObservationsCfg(ObservationsCfg):
    policy = ExplorePolicyObservationsCfg()
    teacher = ExploreTeacherObservationsCfg()


@configclass
class ExploreRewardsCfg(RewardsCfg):
    progress = RewardTermCfg(func=mdp.newly_covered, weight=0.5)
    stop = RewardTermCfg(func=mdp.ended_by, weight=5.0, params={"term": "arrived"})


@configclass
class ExploreTerminationsCfg(TerminationsCfg):
    arrived = TerminationTermCfg(func=mdp.explored)


@configclass
class LidarExploreEnvCfg(NavigationEnvCfg):
    """Nine tenths of the floor, each piece from at most two metres."""

    observations = ExploreObservationsCfg()
    rewards = ExploreRewardsCfg()
    terminations = ExploreTerminationsCfg()
    commands = None
    curriculum = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.follow(EXPLORE)
        self.cover_near_m = COVER_NEAR_M
