"""What every term of a step wants to know about the robots, measured once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch  # noqa: TID253 this module is about tensors

from .courses import CourseBook
from .coverage import RAYS, CoverageBook
from .robots.catalogue import RobotSpec
from .rules import TRAIL_STEPS, at_stop, yaw_of

if TYPE_CHECKING:
    from .mdp.warp_caster import WarpCaster


class TouchAndStop(Protocol):
    """What a configuration says about touching obstacles and reaching stops."""

    touch_margin_m: float
    goal_radius_m: float
    stop_speed_m_s: float


class Task(Protocol):
    """A task, as far as it is asked while its robots are measured."""

    @property
    def cfg(self) -> TouchAndStop: ...

    @property
    def robot_spec(self) -> RobotSpec: ...

    @property
    def coverage(self) -> CoverageBook | None: ...

    @property
    def caster(self) -> WarpCaster: ...

    @property
    def scene(self) -> Any: ...

    @property
    def step_dt(self) -> float: ...

    @property
    def common_step_counter(self) -> int: ...


class DriveState:
    """Poses, clearance and distances of all robots, and what has added up since their drives began. Frame `w`.

    Terms ask `env.drive`, which measures again after every step of physics and after resets.
    """

    def __init__(self, env: Task, book: CourseBook, *, env_count: int, device: str) -> None:
        self._env, self._book = env, book
        self._measured_at = self._moved_at = -1
        self._touch_m = env.robot_spec.footprint_radius_m + env.cfg.touch_margin_m
        self._goal_radius_m = env.cfg.goal_radius_m
        self._stop_speed_m_s = env.cfg.stop_speed_m_s
        zeros = torch.zeros(env_count, device=device)
        self.xy_w = torch.zeros(env_count, 2, device=device)
        """[N, 2] [m]."""
        self.speed_m_s = zeros.clone()
        """[N] over the last step."""
        self.yaw = zeros.clone()
        """[N] [rad]."""
        self.clearance_m = zeros.clone()
        """[N] from the robot's middle to the nearest obstacle."""
        self.goal_distance_m = zeros.clone()
        """[N] straight to the next stop."""
        self.geodesic_m = zeros.clone()
        """[N] along the floor to the next stop."""
        self.last_geodesic_m = zeros.clone()
        """[N] the same one step ago."""
        self.start_geodesic_m = zeros.clone()
        """[N] the same when the drive began."""
        self.path_m = zeros.clone()
        """[N] driven since the drive began."""
        self.touching = torch.zeros(env_count, dtype=torch.bool, device=device)
        """[N] the footprint reaches an obstacle."""
        self.touches = torch.zeros(env_count, dtype=torch.long, device=device)
        """[N] how often it came to touch since the drive began."""
        self._fresh = torch.ones(env_count, dtype=torch.bool, device=device)
        self._places = torch.zeros(max(TRAIL_STEPS) + 1, env_count, 2, device=device)
        """Where robots were in the last steps, a ring: step s is in row s modulo its length."""

    def began(self, env_ids: torch.Tensor) -> None:
        """Robots [n] were put to new starts; what is remembered of them ends here."""
        self._fresh[env_ids] = True
        self._measured_at = -1
        if self._env.coverage is not None:
            self._env.coverage.reset(env_ids)

    def measure(self) -> None:
        """Read poses from the simulation unless that was done since the last step or reset."""
        now = self._env.common_step_counter
        if self._measured_at == now:
            return
        # After resets a step is measured once more; robots that were not reset have not stopped because of that.
        moved = self._moved_at != now
        self._measured_at = self._moved_at = now
        pose = self._env.scene["robot"].data.root_pose_w.torch
        xy, qx, qy, qz, qw = pose[:, :2], pose[:, 3], pose[:, 4], pose[:, 5], pose[:, 6]
        step = (xy - self.xy_w).norm(dim=-1)
        self.xy_w = xy.clone()
        self.yaw = yaw_of(qx, qy, qz, qw)
        self.clearance_m = self._book.clearance_m(xy)
        self.goal_distance_m = (self._book.goal_xy_w - xy).norm(dim=-1)
        self.geodesic_m = self._book.geodesic_m(xy)
        touching = self.clearance_m < self._touch_m
        fresh = self._fresh
        self.path_m = torch.where(fresh, 0.0, self.path_m + step)
        self.speed_m_s = torch.where(fresh, 0.0, step / self._env.step_dt if moved else self.speed_m_s)
        self.touches = torch.where(fresh, 0, self.touches + (touching & ~self.touching))
        self.touching = touching & ~fresh
        self.start_geodesic_m = torch.where(fresh, self.geodesic_m, self.start_geodesic_m)
        self._places[now % len(self._places)] = self.xy_w
        self._places[:, fresh] = self.xy_w[fresh]
        self._fresh = torch.zeros_like(fresh)
        if self._env.coverage is not None:
            sight_m = self._env.coverage.options.sight_m
            shares = self._env.caster.shares(
                xy, self.yaw, height_m=self._env.robot_spec.lidar_height_m, rays=RAYS, max_range_m=sight_m
            )
            self._env.coverage.look(xy, self.yaw, shares * sight_m)

    def next_stop(self) -> None:
        """After rewards: robots that have reached a stop head for the following one; remember distances."""
        self.measure()
        if self._book.options.stops > 1:
            going_on = self.at_stop & (self._book.leg < self._book.options.stops - 1)
            self._book.go_on(going_on)
            self.goal_distance_m = (self._book.goal_xy_w - self.xy_w).norm(dim=-1)
            self.geodesic_m = self._book.geodesic_m(self.xy_w)
        self.last_geodesic_m = self.geodesic_m

    @property
    def trail_w(self) -> torch.Tensor:
        """[N, T, 2] where robots were `TRAIL_STEPS` ago; where their drives began, if that was later."""
        rows = [(self._measured_at - steps) % len(self._places) for steps in TRAIL_STEPS]
        return self._places[rows].transpose(0, 1)

    @property
    def at_stop(self) -> torch.Tensor:
        """[N] bool: within the goal radius of the next stop, and slow enough where that is asked for."""
        return at_stop(
            self.goal_distance_m,
            self.speed_m_s,
            goal_radius_m=self._goal_radius_m,
            stop_speed_m_s=self._stop_speed_m_s,
        )
