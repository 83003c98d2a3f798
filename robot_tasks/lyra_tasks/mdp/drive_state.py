"""What every term of a step wants to know about the robots, measured once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..courses import CourseBook

if TYPE_CHECKING:
    from ..navigation.env import NavigationEnv


class DriveState:
    """Poses, clearance and distances of all robots, and what has added up since their drives began. Frame `w`.

    Terms ask `env.drive`, which measures again after every step of physics and after resets.
    """

    def __init__(self, env: NavigationEnv, book: CourseBook, *, env_count: int, device: str) -> None:
        self._env, self._book = env, book
        self._measured_at = -1
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

    def began(self, env_ids: torch.Tensor) -> None:
        """Robots [n] were put to new starts; what is remembered of them ends here."""
        self._fresh[env_ids] = True
        self._measured_at = -1

    def measure(self) -> None:
        """Read poses from the simulation unless that was done since the last step or reset."""
        if self._measured_at == self._env.common_step_counter:
            return
        self._measured_at = self._env.common_step_counter
        pose = self._env.scene["robot"].data.root_pose_w.torch
        xy, qx, qy, qz, qw = pose[:, :2], pose[:, 3], pose[:, 4], pose[:, 5], pose[:, 6]
        step = (xy - self.xy_w).norm(dim=-1)
        self.xy_w = xy.clone()
        self.yaw = torch.atan2(2 * (qw * qz + qx * qy), 1 - 2 * (qy * qy + qz * qz))
        self.clearance_m = self._book.clearance_m(xy)
        self.goal_distance_m = (self._book.goal_xy_w - xy).norm(dim=-1)
        self.geodesic_m = self._book.geodesic_m(xy)
        touching = self.clearance_m < self._touch_m
        fresh = self._fresh
        self.path_m = torch.where(fresh, 0.0, self.path_m + step)
        self.speed_m_s = torch.where(fresh, 0.0, step / self._env.step_dt)
        self.touches = torch.where(fresh, 0, self.touches + (touching & ~self.touching))
        self.touching = touching & ~fresh
        self.start_geodesic_m = torch.where(fresh, self.geodesic_m, self.start_geodesic_m)
        self._fresh = torch.zeros_like(fresh)

    def next_stop(self) -> None:
        """After rewards: robots that have reached a stop head for the following one; remember distances."""
        self.measure()
        going_on = self.at_stop & (self._book.leg < self._book.options.stops - 1)
        if self._book.options.stops > 1:
            self._book.leg += going_on
            self.goal_distance_m = (self._book.goal_xy_w - self.xy_w).norm(dim=-1)
            self.geodesic_m = self._book.geodesic_m(self.xy_w)
        self.last_geodesic_m = self.geodesic_m

    @property
    def at_stop(self) -> torch.Tensor:
        """[N] bool: within the goal radius of the next stop, and slow enough where that is asked for."""
        return (self.goal_distance_m < self._goal_radius_m) & (self.speed_m_s <= self._stop_speed_m_s)
