"""The scripted baseline: the shortest path, followed by pure pursuit of the farthest point that is safe to head for."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lyra.worldgen.sim.episodes import densified

from .ground import Ground

STEP_M = 0.05
"""Spacing of path points."""
REACH_M = 0.8
"""How far ahead the robot looks at most."""
SLACK_M = 0.03
"""Kept between footprint and obstacles on the way to the point that is headed for."""
TURN_FIRST_RAD = 0.4
"""With a larger heading error the robot turns in place."""
_ALONG = np.linspace(0.0, 1.0, 13)[:, None]
"""Where a straight way is checked."""


@dataclass(frozen=True, kw_only=True)
class GuidedPath:
    """A path through the ground it was planned on."""

    ground: Ground
    points_xy_m: np.ndarray
    """[P, 2] every few centimetres, world frame."""
    clearance_m: float
    """What straight ways to later points keep from obstacles."""


def plan(
    ground: Ground, start_xy_m: np.ndarray, goal_xy_m: np.ndarray, *, footprint_radius_m: float
) -> GuidedPath | None:
    """The shortest path between two positions; None if there is none."""
    planner = ground.planner
    source, node = planner.nearest(goal_xy_m), planner.nearest(start_xy_m)
    distance, previous = planner.field(source)
    if not np.isfinite(distance[node]):
        return None
    corners = np.concatenate([[start_xy_m], planner.path_xy_m(previous, node)[::-1], [goal_xy_m]])
    return guided(ground, corners, footprint_radius_m=footprint_radius_m)


def guided(ground: Ground, corners_xy_m: np.ndarray, *, footprint_radius_m: float) -> GuidedPath:
    """The path along corners [C, 2] that a robot of that radius can drive."""
    points = densified(corners_xy_m, STEP_M)
    return GuidedPath(ground=ground, points_xy_m=points, clearance_m=footprint_radius_m + SLACK_M)


def course_length_m(
    ground: Ground, numbers: Sequence[int], *, footprint_radius_m: float, goal_radius_m: float
) -> float:
    """Length of the shortest path over the stops of a drive: an episode's own, then from each goal to the next.

    Args:
        ground: the world.
        numbers: episodes whose goals are the stops; the drive begins where the first of them does.
        footprint_radius_m: of the robot.
        goal_radius_m: taken off once a stop, see `evaluation.EpisodeOutcome.shortest_m`.
    """
    goals = ground.world.goals_xy_m()
    length = ground.world.episodes[numbers[0]].geodesic_m
    for a, b in itertools.pairwise(numbers):
        path = plan(ground, goals[a], goals[b], footprint_radius_m=footprint_radius_m)
        assert path is not None, "goals of one world's episodes are connected"
        length += float(np.linalg.norm(np.diff(path.points_xy_m, axis=0), axis=1).sum())
    # A stop is reached at its rim: to its middle no path that ends there would ever be too long.
    return max(length - goal_radius_m * len(numbers), 0.0)


class PurePursuit:
    """Drives several robots along their paths; the same poses give the same actions."""

    def __init__(self, count: int) -> None:
        self._paths: list[GuidedPath | None] = [None] * count
        self._at = np.zeros(count, int)

    def follow(self, robot: int, path: GuidedPath | None) -> None:
        """Give a robot a new path; without one it stands still."""
        self._paths[robot] = path
        self._at[robot] = 0

    def act(self, xy_m: np.ndarray, yaw_rad: np.ndarray) -> np.ndarray:
        """Actions [N, 2] float32 in [-1, 1], speed and turn rate as shares of their largest, from poses [N, 2], [N]."""
        target = np.array(xy_m, float)
        for i, path in enumerate(self._paths):
            if path is None:
                continue
            # Progress never goes back, so that a path that crosses itself is driven once.
            window = path.points_xy_m[self._at[i] : self._at[i] + 20]
            self._at[i] += int(np.linalg.norm(window - xy_m[i], axis=1).argmin())
            target[i] = _farthest_safe(path, self._at[i], xy_m[i])
        way = target - xy_m
        error = np.arctan2(way[:, 1], way[:, 0]) - yaw_rad
        error = np.arctan2(np.sin(error), np.cos(error))
        distance = np.linalg.norm(way, axis=1)
        speed = np.clip(1 - np.abs(error) / TURN_FIRST_RAD, 0.0, 1.0)
        # Near its target a robot slows down, so that it stays on the path in tight places.
        speed *= np.clip(distance / 0.5, 0.3, 1.0)
        moving = distance > 1e-6
        return np.stack([speed * moving, np.clip(1.5 * error, -1, 1) * moving], -1).astype(np.float32)


def _farthest_safe(path: GuidedPath, at: int, xy_m: np.ndarray) -> np.ndarray:
    """[2] the farthest point within reach that a straight way keeps its clearance to; the next one if none does."""
    first = min(at + 2, len(path.points_xy_m) - 1)
    ahead = path.points_xy_m[first : at + round(REACH_M / STEP_M) + 1]
    clearance = path.ground.clearance_at(xy_m + (ahead[:, None] - xy_m) * _ALONG)
    # Whoever has come closer must get away again: only coming closer still is unsafe.
    safe = (clearance >= min(path.clearance_m, clearance[0, 0] - 1e-3)).all(1)
    return ahead[max(0, int(np.argmin(np.r_[safe, False])) - 1)]
