"""What a drive is: its limits, what the robot is told, what counts as reached, and how actions become wheel speeds.

Written once for NumPy arrays and torch tensors, so that Isaac Lab's terms and `isaac_sim.NavTask` cannot differ.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any, Protocol

PHYSICS_STEP_S = 1 / 100
DECIMATION = 4
"""Steps of physics in one step of the task."""
LIDAR_RAYS, LIDAR_RANGE_M = 36, 6.0
LIDAR_BEAMS = 3
"""A ray is told as the shortest of so many beams around it, so that no thin post stands between two rays."""
STILL_M_S = 0.005
"""Wheels that are to roll more slowly than this are not steered."""
CAMERA_WIDTH_PX, CAMERA_HEIGHT_PX, CAMERA_HFOV_DEG, CAMERA_PITCH_DEG = 32, 24, 90.0, 0.0
"""Of the robots' depth cameras."""
CAMERA_RANGE_M = 6.0
RGB_WIDTH_PX, RGB_HEIGHT_PX = 84, 84
"""Of the robots' colour cameras, which look where the depth cameras look."""
TRAIL_STEPS = (50, 200)
"""A robot is told where it was so many steps of the task ago: what it needs to leave a dead end for good."""
TRAIL_REACH_M = (2.0, 8.0)
"""These distances are told as 1, and so are larger ones."""


@dataclass(frozen=True, kw_only=True)
class DriveRules:
    """How a drive goes and how it ends."""

    stops: int = 1
    """Positions to reach, one after the other."""
    revisits: bool = False
    """Every third stop is the one before the last one again."""
    goal_radius_m: float = 0.3
    """A stop is reached within this distance."""
    stop_speed_m_s: float = 1e9
    """And at no more than this speed."""
    time_limit_s: float = 30.0
    """Every drive has at least this much time."""
    pace_m_s: float = 0.5
    """And one whose way is long as much as it takes at this speed along the floor."""
    sweep_share: float = math.inf
    """An exploration has as much time as its floor takes at this share of the robot's speed times the width of floor
    that it covers driving straight on."""
    touch_margin_m: float = 0.01
    """A gap between footprint and obstacles below this counts as touching."""
    planning_margin_m: float = 0.05
    """Kept between footprint and obstacles by starts, goals and shortest paths."""
    far_m: float = 8.0
    """Stops farther away than this look as if they were this far away."""


POINT_GOAL = DriveRules()
PATROL = DriveRules(stops=5, revisits=True, time_limit_s=90.0)
DELIVER = DriveRules(stops=2, goal_radius_m=0.4, stop_speed_m_s=0.3, time_limit_s=60.0)
EXPLORE = DriveRules(time_limit_s=90.0, pace_m_s=math.inf, sweep_share=0.4)
"""Without stops to reach: a drive ends when enough of the floor is covered, see `coverage`."""
COVER_NEAR_M = 2.0
"""Floor is covered from at most this far away."""


class Limits(Protocol):
    """How fast a robot drives; `robots.catalogue.RobotSpec` is one."""

    @property
    def max_speed_m_s(self) -> float: ...
    @property
    def max_reverse_m_s(self) -> float: ...
    @property
    def max_sideways_m_s(self) -> float: ...
    @property
    def max_turn_rad_s(self) -> float: ...


class Wheels(Protocol):
    """What turns a command into wheel speeds; `robots.diff_drive.DiffDriveSpec` is one."""

    @property
    def wheel_radius_m(self) -> float: ...
    @property
    def track_m(self) -> float: ...
    @property
    def max_speed_m_s(self) -> float: ...
    @property
    def max_reverse_m_s(self) -> float: ...
    @property
    def max_turn_rad_s(self) -> float: ...


class SteeredWheels(Wheels, Limits, Protocol):
    """Wheels that turn to any side as well; `robots.omni.OmniSpec` is one."""


def strafes(robot: Limits) -> bool:
    """Whether actions and velocities have a part to the left between speed and turn rate."""
    return robot.max_sideways_m_s > 0


def planar_command(action: Any, robot: Limits) -> Any:
    """[N, 3] forward and left [m/s], turn rate [rad/s].

    Args:
        action: [N, 3] the same as shares of their largest, clipped to [-1, 1].
        robot: whose limits.
    """
    xp = _library(action)
    share = xp.clip(action, -1.0, 1.0)
    speed = xp.clip(share[:, 0] * robot.max_speed_m_s, -robot.max_reverse_m_s, robot.max_speed_m_s)
    return xp.stack([speed, share[:, 1] * robot.max_sideways_m_s, share[:, 2] * robot.max_turn_rad_s], -1)


def steered_wheels(action: Any, steer_rad: Any, robot: SteeredWheels) -> tuple[Any, Any]:
    """Speeds of the left and right wheel [N, 2] [rad/s] and where they have to be steered to [N, 2] [rad].

    Wheels turn by a quarter at most and roll backwards instead of turning farther; until they point the right way they
    roll as fast as that helps. A wheel that is to stand still stays as it is steered.

    Args:
        action: [N, 3] forward, left, turn as shares of their largest, clipped to [-1, 1].
        steer_rad: [N, 2] how both wheels are steered now, counter-clockwise from straight ahead.
        robot: whose wheels.
    """
    xp = _library(action)
    forward, left, turn = planar_command(action, robot).T
    half_turn = turn * (0.5 * robot.track_m)
    x = xp.stack([forward - half_turn, forward + half_turn], -1)
    y = xp.stack([left, left], -1)
    speed = (x * x + y * y) ** 0.5
    error = xp.arctan2(y, x) - steer_rad
    error = xp.arctan2(xp.sin(error), xp.cos(error))
    rolling = xp.cos(error) * speed / robot.wheel_radius_m
    quarter = xp.arctan2(xp.sin(2 * error), xp.cos(2 * error)) / 2
    return rolling, steer_rad + xp.where(speed > STILL_M_S, quarter, 0.0 * quarter)


def for_robot(action: Any, robot: Limits) -> Any:
    """[N, A] actions of a driver [N, 2] who knows speed and turn only, for any robot: nobody strafes."""
    if not strafes(robot):
        return action
    return _library(action).stack([action[:, 0], 0.0 * action[:, 0], action[:, 1]], -1)


def towards(speed: Any, bearing_rad: Any, turn: Any, robot: Limits) -> Any:
    """[N, 3] actions that drive along a bearing while the robot turns, as fast to any side as to the slowest.

    Args:
        speed: [N] share of that speed.
        bearing_rad: [N] of the way to drive, left positive.
        turn: [N] share of the largest turn rate.
        robot: whose limits.
    """
    xp = _library(speed)
    along, across = speed * xp.cos(bearing_rad), speed * xp.sin(bearing_rad)
    most = min(robot.max_speed_m_s, robot.max_reverse_m_s, robot.max_sideways_m_s)
    return xp.stack([along * (most / robot.max_speed_m_s), across * (most / robot.max_sideways_m_s), turn], -1)


def wheel_speeds(action: Any, robot: Wheels) -> Any:
    """[N, 2] left and right wheel [rad/s].

    Args:
        action: [N, 2] speed and turn rate as shares of their largest, clipped to [-1, 1].
        robot: whose wheels.
    """
    xp = _library(action)
    share = xp.clip(action, -1.0, 1.0)
    speed = xp.clip(share[:, 0] * robot.max_speed_m_s, -robot.max_reverse_m_s, robot.max_speed_m_s)
    half_turn = share[:, 1] * (0.5 * robot.track_m * robot.max_turn_rad_s)
    return xp.stack([speed - half_turn, speed + half_turn], -1) / robot.wheel_radius_m


def goal_told(way_xy_m: Any, distance_m: Any, yaw_rad: Any, far_m: float) -> Any:
    """[N, 3] the next stop as the robot is told it.

    Args:
        way_xy_m: [N, 2] from the robot to the stop, in the frame that the heading is measured in.
        distance_m: [N] its length.
        yaw_rad: [N] heading.
        far_m: where distances saturate.

    Returns:
        Distance as a share of `far_m`, at most 1; cosine and sine of the bearing, left positive.
    """
    xp = _library(way_xy_m)
    bearing = xp.arctan2(way_xy_m[:, 1], way_xy_m[:, 0]) - yaw_rad
    return xp.stack([xp.clip(distance_m / far_m, 0.0, 1.0), xp.cos(bearing), xp.sin(bearing)], -1)


def velocity_told(speed_m_s: Any, turn_rad_s: Any, robot: Limits, left_m_s: Any = None) -> Any:
    """[N, 2] forward speed [N] and turn rate [N] as shares of their largest; [N, 3] with that to the left [N] between
    them for robots that strafe."""
    told = [speed_m_s / robot.max_speed_m_s, turn_rad_s / robot.max_turn_rad_s]
    if strafes(robot):
        told.insert(1, left_m_s / robot.max_sideways_m_s)
    return _library(speed_m_s).stack(told, -1)


def nearest_beams(ranges: Any, beams: int) -> Any:
    """[N, R] shortest of the beams around each ray, for ranges [N, R * beams] all around that begin with the first ray.

    Args:
        ranges: every beam's, evenly spaced.
        beams: a ray, an odd number.
    """
    xp = _library(ranges)
    around = xp.roll(ranges, beams // 2, -1)
    return xp.amin(around.reshape(len(ranges), -1, beams), -1)


def trail_told(way_xy_m: Any, yaw_rad: Any) -> Any:
    """[N, 2 T] where the robot was `TRAIL_STEPS` ago, ahead and to the left, as shares of `TRAIL_REACH_M`.

    Args:
        way_xy_m: [N, T, 2] from the robot to where it was then, or to where it began if that was later.
        yaw_rad: [N] heading, in the frame of the ways.
    """
    xp = _library(way_xy_m)
    cos, sin = xp.cos(yaw_rad), xp.sin(yaw_rad)
    parts = []
    for k, reach_m in enumerate(TRAIL_REACH_M):
        x, y = way_xy_m[:, k, 0], way_xy_m[:, k, 1]
        parts += [(cos * x + sin * y) / reach_m, (cos * y - sin * x) / reach_m]
    return xp.clip(xp.stack(parts, -1), -1.0, 1.0)


def at_stop(distance_m: Any, speed_m_s: Any, *, goal_radius_m: float, stop_speed_m_s: float) -> Any:
    """[N] bool: within the goal radius, and slow enough where that is asked for."""
    return (distance_m < goal_radius_m) & (speed_m_s <= stop_speed_m_s)


def step_limit(way_m: Any, *, time_limit_s: float, pace_m_s: float) -> Any:
    """[N] whole steps of the task after which time is up, for ways [N] along the floor over all stops [m]."""
    xp = _library(way_m)
    return xp.round(xp.clip(way_m / pace_m_s, time_limit_s, None) / (PHYSICS_STEP_S * DECIMATION))


def explore_step_limit(floor_m2: Any, robot: Limits, *, near_m: float, time_limit_s: float, sweep_share: float) -> Any:
    """[N] whole steps of the task after which an exploration is over: the least time, or what its floor takes.

    A robot that only ever drove straight on over floor that is not covered yet would cover `2 near_m` times its speed
    every second. Corners, dead ends and ways through floor that is covered cost most of that.

    Args:
        floor_m2: [N] of each world, what can be reached of it.
        robot: the explorer.
        near_m: from how far floor is covered, see `coverage`.
        time_limit_s: least time.
        sweep_share: of that largest rate, what is asked for.
    """
    pace_m2_s = sweep_share * 2 * near_m * robot.max_speed_m_s
    return step_limit(floor_m2, time_limit_s=time_limit_s, pace_m_s=pace_m2_s)


def repeated_leg(leg: int, revisits: bool) -> int:
    """The leg whose stop this one repeats, or itself."""
    return leg - 2 if revisits and leg % 3 == 2 else leg


def episode_goal(number: Any, leg: int, *, revisits: bool, count: Any) -> Any:
    """The episode whose goal is a stop of a drive that begins as episode `number`: its own first."""
    return (number + repeated_leg(leg, revisits)) % count


def yaw_of(qx: Any, qy: Any, qz: Any, qw: Any) -> Any:
    """[N] heading [rad] of quaternions whose parts are [N]."""
    return _library(qw).arctan2(2 * (qw * qz + qx * qy), 1 - 2 * (qy * qy + qz * qz))


def _library(array: Any) -> Any:
    """The module that an array comes from; the functions used here have the same names and arguments in both."""
    return sys.modules[type(array).__module__.partition(".")[0]]
