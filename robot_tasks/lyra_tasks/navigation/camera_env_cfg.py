"""The same tasks seen by a camera that looks ahead, depth or colours, in place of a lidar that looks all around."""

from __future__ import annotations

from isaaclab.managers import ObservationTermCfg
from isaaclab.utils import configclass
from isaaclab.utils.noise import UniformNoiseCfg

from .. import mdp
from ..rules import (
    CAMERA_HEIGHT_PX,
    CAMERA_HFOV_DEG,
    CAMERA_PITCH_DEG,
    CAMERA_RANGE_M,
    CAMERA_WIDTH_PX,
    RGB_HEIGHT_PX,
    RGB_WIDTH_PX,
)
from ..splat_drawers import AUTO
from .deliver_env_cfg import LidarDeliverEnvCfg
from .explore_env_cfg import LidarExploreEnvCfg
from .navigation_env_cfg import CameraObservationsCfg, NavigationEnvCfg
from .patrol_env_cfg import LidarPatrolEnvCfg
from .point_goal_env_cfg import LidarPointGoalEnvCfg

SPLAT_BUDGET = 30_000
"""Most splats of a world where a CPU draws: about four for each pixel of a picture that shows all of a room's."""


def see_by_depth(cfg: NavigationEnvCfg) -> None:
    """Put a depth camera in the place of a task's lidar."""
    term = ObservationTermCfg(
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
    cfg.observations.camera = CameraObservationsCfg(depth=term)
    _give_lidar_to_critic(cfg)


def see_by_colours(cfg: NavigationEnvCfg) -> None:
    """Put a colour camera in the place of a task's lidar."""
    term = ObservationTermCfg(
        func=mdp.SplatCamera,
        params={
            "width_px": RGB_WIDTH_PX,
            "height_px": RGB_HEIGHT_PX,
            "hfov_deg": CAMERA_HFOV_DEG,
            "pitch_deg": CAMERA_PITCH_DEG,
            "splat_budget": SPLAT_BUDGET,
            "renderer": AUTO,
        },
    )
    cfg.observations.camera = CameraObservationsCfg(rgb=term)
    _give_lidar_to_critic(cfg)


def _give_lidar_to_critic(cfg: NavigationEnvCfg) -> None:
    """A critic judges by it what a camera shows: that takes no convolutions, and it sees behind the robot as well."""
    cfg.observations.teacher.lidar = cfg.observations.policy.lidar
    cfg.observations.policy.lidar = None


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


@configclass
class RgbPointGoalEnvCfg(LidarPointGoalEnvCfg):
    def __post_init__(self) -> None:
        super().__post_init__()
        see_by_colours(self)


@configclass
class RgbPatrolEnvCfg(LidarPatrolEnvCfg):
    def __post_init__(self) -> None:
        super().__post_init__()
        see_by_colours(self)


@configclass
class RgbExploreEnvCfg(LidarExploreEnvCfg):
    def __post_init__(self) -> None:
        super().__post_init__()
        see_by_colours(self)


@configclass
class RgbDeliverEnvCfg(LidarDeliverEnvCfg):
    def __post_init__(self) -> None:
        super().__post_init__()
        see_by_colours(self)
