"""One robot's drives in one world, in plain NumPy: where they begin, how they go, how they end, what the robot is told.

Whoever moves the robot, a simulator or a test, calls `begin`, then `advance` after every step. Frame: the world's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lyra.worldgen.core.errors import InputError

from .. import rules
from ..evaluation import COLLISION, GOAL, TIMEOUT, EpisodeOutcome, summarise
from ..ground import Ground
from ..planar_lidar import PlanarLidar
from ..pursuit import course_length_m
from ..robots.diff_drive import DiffDriveSpec
from ..rules import DriveRules
from ..trajectory_picture import Trajectory


@dataclass(frozen=True, kw_only=True)
class RobotState:
    """What a simulator knows of the robot."""

    xy_m: tuple[float, float]
    yaw_rad: float
    speed_m_s: float = 0.0
    """Forward."""
    turn_rad_s: float = 0.0
    """To the left."""


@dataclass(frozen=True, kw_only=True)
class Driven:
    """One finished drive."""

    outcome: EpisodeOutcome
    trajectory: Trajectory


class NavTask:
    """The certified episodes of a world as drives of one differential-drive robot.

    Args:
        ground: the world, for the robot's radius with its planning margin.
        spec: the robot.
        drive: its limits.

    Raises:
        InputError: the world has no episodes.
    """

    def __init__(self, ground: Ground, spec: DiffDriveSpec, drive: DriveRules = rules.POINT_GOAL) -> None:
        if not ground.world.episodes:
            raise InputError(f"has no episodes; generate a larger world: {ground.world.folder}")
        self.ground, self.spec, self.rules = ground, spec, drive
        self.driven: list[Driven] = []
        """Finished drives, oldest first."""
        self.number = -1
        """Episode that the current drive began as; -1 before the first."""
        self.leg = 0
        """Number of the stop that the robot heads for."""
        self.ending: str | None = None
        """One of `evaluation.ENDINGS` once the drive is over."""
        self.steps = 0
        self.step_limit = 0
        """Steps after which the time of the current drive is up."""
        self.path_m = 0.0
        self.touches = 0
        """How often the robot came to touch something."""
        self.touching = False
        self.state = RobotState(xy_m=(0.0, 0.0), yaw_rad=0.0)
        self.action = np.zeros(2, np.float32)
        """The last one."""
        self._speed_m_s = 0.0
        self._start_geodesic_m = 0.0
        self._path: list[tuple[float, float]] = []
        self._lidar = PlanarLidar(ground.colliders, ground.world.floor_z_m + spec.lidar_height_m)

    @property
    def episode_count(self) -> int:
        return len(self.ground.world.episodes)

    @property
    def step_s(self) -> float:
        """Between two calls of `advance`."""
        return rules.PHYSICS_STEP_S * rules.DECIMATION

    @property
    def stops(self) -> tuple[int, ...]:
        """Episodes whose goals the drive's stops are."""
        drive = self.rules
        return tuple(
            int(rules.episode_goal(self.number, leg, revisits=drive.revisits, count=self.episode_count))
            for leg in range(drive.stops)
        )

    @property
    def goal_xy_m(self) -> np.ndarray:
        """[2] the next stop."""
        return np.array(self.ground.world.episodes[self.stops[self.leg]].goal_xy_m)

    @property
    def goal_distance_m(self) -> float:
        """Straight to the next stop."""
        return float(np.linalg.norm(self.goal_xy_m - self.state.xy_m))

    @property
    def geodesic_m(self) -> float:
        """Along the floor to the next stop."""
        return float(self._fields.at(self.stops[self.leg], np.array(self.state.xy_m)))

    @property
    def gained_m(self) -> float:
        """Metres along the floor that the robot has come nearer to its next stop since this leg began."""
        return self._start_geodesic_m - self.geodesic_m

    @property
    def clearance_m(self) -> float:
        """From the robot's middle to the nearest obstacle."""
        return float(self.ground.clearance_at(np.array(self.state.xy_m)))

    @cached_property
    def _fields(self):
        return self.ground.fields_to(self.ground.world.goals_xy_m())

    def begin(self, number: int) -> RobotState:
        """Start a drive; returns where the robot has to be put, at rest.

        Args:
            number: of the episode, in the order of the world's list.

        Raises:
            InputError: there is no such episode.
        """
        if not 0 <= number < self.episode_count:
            raise InputError(f"episode {number} is unknown; the world has {self.episode_count}: 0 and up")
        self.number, self.leg, self.ending = number, 0, None
        self.steps, self.touches, self.path_m, self._speed_m_s = 0, 0, 0.0, 0.0
        self.touching = False
        self.action = np.zeros(2, np.float32)
        episode = self.ground.world.episodes[number]
        self.state = RobotState(xy_m=episode.start_xy_m, yaw_rad=episode.start_yaw_rad)
        self._path = [episode.start_xy_m]
        self._start_geodesic_m = self.geodesic_m
        self.step_limit = self._step_limit()
        return self.state

    def command(self, action: np.ndarray) -> np.ndarray:
        """[2] speeds of the left and right wheel [rad/s] for an action [2] in [-1, 1]; remembered for the observation.

        Raises:
            InputError: the action is not two finite numbers.
        """
        action = np.asarray(action, np.float32).reshape(-1)
        if action.size != 2 or not np.isfinite(action).all():
            raise InputError(f"action is {action.tolist()}; expected speed and turn rate, finite")
        self.action = action
        return rules.wheel_speeds(action[None].astype(float), self.spec)[0]

    def advance(self, state: RobotState) -> str | None:
        """Take note of where the robot is after one step; returns how the drive ended, None while it goes on.

        What comes first counts: a stop that is reached, then a touch, then the time.
        """
        assert self.number >= 0 and self.ending is None, "begin a drive first"
        step = float(np.hypot(state.xy_m[0] - self.state.xy_m[0], state.xy_m[1] - self.state.xy_m[1]))
        self.state = state
        self.steps += 1
        self.path_m += step
        self._speed_m_s = step / self.step_s
        self._path.append(state.xy_m)
        touching = self.clearance_m < self.spec.footprint_radius_m + self.rules.touch_margin_m
        self.touches += touching and not self.touching
        self.touching = touching
        reached = rules.at_stop(
            self.goal_distance_m,
            self._speed_m_s,
            goal_radius_m=self.rules.goal_radius_m,
            stop_speed_m_s=self.rules.stop_speed_m_s,
        )
        if reached and self.leg == self.rules.stops - 1:
            self._end(GOAL)
        elif touching:
            self._end(COLLISION)
        elif self.steps >= self.step_limit:
            self._end(TIMEOUT)
        elif reached:
            self.leg += 1
            self._start_geodesic_m = self.geodesic_m
        return self.ending

    def observe(self) -> np.ndarray:
        """[O] float32 what a policy of the lidar tasks is told, in the order in which Isaac Lab joins it.

        Goal 3, velocity 2, last action 2, lidar, where it was 4, and with several stops the share that is done.
        """
        state = self.state
        way = (self.goal_xy_m - state.xy_m)[None]
        goal = rules.goal_told(way, np.array([self.goal_distance_m]), np.array([state.yaw_rad]), self.rules.far_m)
        velocity = rules.velocity_told(np.array([state.speed_m_s]), np.array([state.turn_rad_s]), self.spec)
        ranges = self._lidar.ranges_m(
            np.array(state.xy_m),
            state.yaw_rad,
            rays=rules.LIDAR_RAYS * rules.LIDAR_BEAMS,
            max_range_m=rules.LIDAR_RANGE_M,
        )
        ranges = rules.nearest_beams(ranges[None], rules.LIDAR_BEAMS)[0]
        steps = len(self._path) - 1
        past = np.array([self._path[max(steps - back, 0)] for back in rules.TRAIL_STEPS]) - state.xy_m
        trail = rules.trail_told(past[None], np.array([state.yaw_rad]))
        parts = [goal[0], velocity[0], self.action.clip(-1, 1), ranges / rules.LIDAR_RANGE_M, trail[0]]
        if self.rules.stops > 1:
            parts.append(np.array([self.leg / self.rules.stops]))
        return np.concatenate(parts).astype(np.float32)

    def metrics(self) -> dict[str, Any]:
        """Success, SPL, collisions per metre and time over all finished drives, see `evaluation.summarise`."""
        return summarise(d.outcome for d in self.driven)

    def _step_limit(self) -> int:
        """For the way along the floor over all stops."""
        here, way_m = self.state.xy_m, 0.0
        for stop in self.stops:
            way_m += float(self._fields.at(stop, np.array(here)))
            here = self.ground.world.episodes[stop].goal_xy_m
        limits = {"time_limit_s": self.rules.time_limit_s, "pace_m_s": self.rules.pace_m_s}
        return int(rules.step_limit(np.array([way_m]), **limits)[0])

    def _end(self, ending: str) -> None:
        self.ending = ending
        episode = self.ground.world.episodes[self.number]
        outcome = EpisodeOutcome.of_drive(
            episode,
            world=self.ground.world.folder.name,
            ending=ending,
            collisions=int(self.touches),
            shortest_m=course_length_m(
                self.ground,
                self.stops,
                footprint_radius_m=self.spec.footprint_radius_m,
                goal_radius_m=self.rules.goal_radius_m,
            ),
            path_m=self.path_m,
            time_s=self.steps * self.step_s,
            goal_distance_m=self.goal_distance_m,
        )
        path = Trajectory(path_xy_m=np.array(self._path), goal_xy_m=episode.goal_xy_m, ending=ending)
        self.driven.append(Driven(outcome=outcome, trajectory=path))
