"""The same tasks seen by a depth camera that looks ahead, in place of the lidar that looks all around."""

from __future__ import annotations

from isaaclab.managers import ObservationTermCfg
from isaaclab.utils import configclass
from isaaclab.utils.noise import UniformNoiseCfg

from .. import mdp
from ..rules import CAMERA_HEIGHT_PX, CAMERA_HFOV_DEG, CAMERA_PITCH_DEG, CAMERA_RANGE_M, CAMERA_WIDTH_PX
from .deliver_env_cfg import LidarDeliverEnvCfg
from .explore_env_cfg import LidarExploreEnvCfg
from .navigation_env_cfg import NavigationEnvCfg
from .patrol_env_cfg import LidarPatrolEnvCfg
from .point_goal_env_cfg import LidarPointGoalEnvCfg


def see_by_depth(cfg: NavigationEnvCfg) -> None:
    """Put a depth camera in the place of a task's lidar."""
    cfg.observations.policy.lidar = None
    cfg.observations.policy.depth = ObservationTermCfg(
        func=mdp.WarpDepthCamera,
        params={
            "width_px": CAMERA_WIDTH_PX,
            "height_px": CAMERA_HEIGHT_PX,
            "hfov_deg": CAMERA_HFOV_DEG,
            "pitch_deg": CAMERA_PITCH_DEG,
            "max_depth_m": CAMERA_RANGE_M,
        },
        noise=UniformNoiseCfg(n_min=-0.005, n_max=0.005),
        clip=(0.0, 1.0),
    )


@configclass
class DepthPointGoalEnvCfg(LidarPointGoalEnvCfg):
    def __post_init__(self) -> None:
        super().__post_init__()
        see_by_depth(self)


@configclass
class DepthPatrolEnvCfg(LidarPatrolEnvCfg):
    def __post_init__(self) -> None:
        super().__post_init__()
        see_by_depth(self)


@configclass
class DepthExploreEnvCfg(LidarExploreEnvCfg):
    def __post_init__(self) -> None:
        super().__post_init__()
        see_by_depth(self)


@configclass
class DepthDeliverEnvCfg(LidarDeliverEnvCfg):
    def __post_init__(self) -> None:
        super().__post_init__()
        see_by_depth(self)
