"""Terms of navigation tasks; everything general comes from `isaaclab.envs.mdp`."""

from isaaclab.envs.mdp import generated_commands, last_action

from ..courses import EPISODES, RANDOM
from .actions import DiffDriveAction, DiffDriveActionCfg, OmniAction, OmniActionCfg
from .commands import GoalCommand, GoalCommandCfg
from .curricula import widen_geodesic_limit
from .events import CarryPayload, reset_to_course
from .exploring import covered_share, explored, left_anywhere, left_in_sight, newly_covered
from .observations import goal_geodesic, planar_velocity, stops_done, trail
from .rewards import action_change, ended_by, proximity, reached_stop, time_used, towards_goal
from .splat_camera import SplatCamera
from .terminations import arrived, out_of_time, touched
from .warp_camera import WarpDepthCamera
from .warp_caster import WarpCaster
from .warp_lidar import WarpLidar

__all__ = [
    "EPISODES",
    "RANDOM",
    "CarryPayload",
    "DiffDriveAction",
    "DiffDriveActionCfg",
    "GoalCommand",
    "GoalCommandCfg",
    "OmniAction",
    "OmniActionCfg",
    "SplatCamera",
    "WarpCaster",
    "WarpDepthCamera",
    "WarpLidar",
    "action_change",
    "arrived",
    "covered_share",
    "ended_by",
    "explored",
    "generated_commands",
    "goal_geodesic",
    "last_action",
    "left_anywhere",
    "left_in_sight",
    "newly_covered",
    "out_of_time",
    "planar_velocity",
    "proximity",
    "reached_stop",
    "reset_to_course",
    "stops_done",
    "time_used",
    "touched",
    "towards_goal",
    "trail",
    "widen_geodesic_limit",
]
