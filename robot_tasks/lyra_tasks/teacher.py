"""What a driver would do that knows the whole floor: an action for any pose, all robots at once, for students to copy.

It heads for the place within reach, straight ahead in some direction, from which the rest of the way is best. Ways are
not the shortest ones: metres close to obstacles count for more, so that there is room for a student's mistakes.
"""

from __future__ import annotations

import math

import numpy as np
import torch  # noqa: TID253 this module is about tensors

from .courses import CourseBook
from .packed_grids import PackedGrids
from .pursuit import SLACK_M, TURN_FIRST_RAD
from .robots.catalogue import RobotSpec
from .rules import strafes, towards

COMFORT_M = 0.25
"""With a gap of less than this between footprint and obstacles, metres count for more."""
STRAIN = 2.0
"""By how much, at no gap."""
BEARINGS_DEG = (0, 5, 10, 15, 22, 30, 45, 60, 80, 105, 135, 165)
"""Directions in which places are looked at, to both sides: densely where the robot need not stop to turn."""
DISTANCES_M = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8)
"""Of these places."""
FAR_BONUS = 0.02
"""Of places that are equally good the farthest is headed for, which makes for smooth drives."""
SLOW_GAP_M, SLOWEST = 0.2, 0.35
"""With a smaller gap the robot is slower, down to this share of its speed at none."""
BRAKING_M = 0.5
"""From where a stop that has to be slow is approached slowly."""


class Teacher:
    """Actions for the drives of a course book.

    Args:
        book: the drives.
        robot: all robots.
        stop_speed_m_s: at which a stop counts.
    """

    def __init__(self, book: CourseBook, robot: RobotSpec, *, stop_speed_m_s: float) -> None:
        self._book, self._robot, self._radius_m = book, robot, robot.footprint_radius_m
        self._stop_share = min(0.8 * stop_speed_m_s / robot.max_speed_m_s, 1.0)
        ways = [
            ground.fields_to(goals, strain=strain(ground.clearance_m, self._radius_m))
            for ground, goals in zip(book.atlas.grounds, book.goals_xy_m, strict=True)
        ]
        self._ways = PackedGrids(
            [w.distance_m for w in ways],
            [w.cell_m for w in ways],
            np.array([w.origin_xy_m for w in ways]),
            device=book.device,
        )
        left = [math.radians(b) for b in BEARINGS_DEG]
        self._bearing = torch.tensor([*left, *(-b for b in left[1:])], device=book.device)
        self._distance_m = torch.tensor(DISTANCES_M, device=book.device)
        self._stride_m = self._distance_m.diff(prepend=self._distance_m.new_zeros(1))

    def actions(self, xy_w: torch.Tensor, yaw: torch.Tensor) -> torch.Tensor:
        """[N, A] in [-1, 1], shares of the largest speeds and turn rate, for poses [N, 2] and [N] [rad].

        Robots that strafe drive to their place at once and turn on the way, all others turn first.
        """
        bearing, distance_m = self._place(xy_w, yaw)
        gap = self._book.clearance_m(xy_w) - self._radius_m
        speed = (distance_m / 0.5).clamp(0.3, 1.0)
        if not strafes(self._robot):
            speed = speed * (1 - bearing.abs() / TURN_FIRST_RAD).clamp(0.0, 1.0)
        speed = speed * (SLOWEST + (1 - SLOWEST) * gap / SLOW_GAP_M).clamp(SLOWEST, 1.0)
        near_stop = (self._book.goal_xy_w - xy_w).norm(dim=-1) < BRAKING_M
        speed = torch.where(near_stop, speed.clamp(max=self._stop_share), speed)
        turn = (1.5 * bearing).clamp(-1.0, 1.0)
        if strafes(self._robot):
            return towards(speed, bearing, turn, self._robot)
        return torch.stack([speed, turn], -1)

    def _place(self, xy_w: torch.Tensor, yaw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Bearing [N] [rad] and distance [N] of the place to head for."""
        book, n, shape = self._book, len(xy_w), (len(xy_w), len(self._bearing), len(self._distance_m))
        angle = yaw.unsqueeze(1) + self._bearing
        ray = torch.stack([angle.cos(), angle.sin()], -1)
        xy = (xy_w - book.env_offset_w[:, :2])[:, None, None] + ray.unsqueeze(2) * self._distance_m[:, None]
        flat = xy.reshape(-1, 2)
        each = shape[1] * shape[2]
        world = book.world.repeat_interleave(each)
        goal = book.goal_id.gather(1, book.leg.unsqueeze(1)).squeeze(1).repeat_interleave(each)
        clearance = book.clearances.at(world, flat).view(shape)
        if book.clutter is not None:
            places_w = (xy + book.env_offset_w[:, None, None, :2]).permute(1, 2, 0, 3)
            clearance = torch.minimum(clearance, book.clutter.distance_m(places_w).permute(2, 0, 1))
        rest = self._ways.at(world, flat, goal).view(shape)
        # Whoever has come closer must get away again: only coming closer still is unsafe.
        least = (book.clearance_m(xy_w) - 1e-3).clamp(max=self._radius_m + SLACK_M)
        safe = (clearance >= least[:, None, None]).cummin(-1).values
        there = (self._stride_m * (1 + strain(clearance, self._radius_m))).cumsum(-1)
        cost = torch.where(safe, rest + there - FAR_BONUS * self._distance_m, torch.inf)
        best = cost.view(n, -1).argmin(1)
        blocked = ~safe.any(-1).any(-1)
        direction = self._bearing[best // shape[2]]
        distance = torch.where(blocked, 0.0, self._distance_m[best % shape[2]])
        goal_way = book.goal_xy_w - xy_w
        goal_distance = goal_way.norm(dim=-1)
        goal_bearing = torch.atan2(goal_way[:, 1], goal_way[:, 0]) - yaw
        goal_bearing = torch.atan2(goal_bearing.sin(), goal_bearing.cos())
        # Close to its stop a robot heads for the stop itself: places in steps would make it dance around it.
        close = goal_distance < DISTANCES_M[1]
        return torch.where(close, goal_bearing, direction), torch.where(close, goal_distance, distance)


def strain(clearance_m, footprint_radius_m: float):
    """By how much a metre counts for more at a clearance: `STRAIN` at no gap, nothing from `COMFORT_M`; of arrays and
    tensors."""
    return STRAIN * (1 - (clearance_m - footprint_radius_m) / COMFORT_M).clip(0.0, 1.0)
