"""The scripted explorer: to the place from which the most uncovered floor is near, for the time that it takes to get
there."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lyra.worldgen.core.optional import require

from .ground import Ground
from .pursuit import GuidedPath, guided

PLACES_M = 0.4
"""Spacing of the places that are compared."""
ARRIVED_M = 0.15
WORTH_GOING_ON = 0.3
"""A robot looks for another place once so little of what it went for is left."""
TURN_M_PER_RAD = 0.5
"""Way that could be driven while a robot turns by a radian."""
START_M = 1.0
"""Added to every way, so that a step aside for one piece is not worth it."""


@dataclass
class _Going:
    """Where one robot is going, and where it has been without seeing all that is near."""

    place_xy_m: np.ndarray | None = None
    gain: int = 0
    """Pieces of floor that it went for."""
    been: list[np.ndarray] = field(default_factory=list)


class Explorer:
    """Plans for several robots; the same coverage gives the same ways.

    Args:
        count: of robots.
        near_m: from how far floor is covered.
        footprint_radius_m: of the robots.
    """

    def __init__(self, count: int, *, near_m: float, footprint_radius_m: float) -> None:
        self._near_m, self._radius_m = near_m, footprint_radius_m
        self._going = [_Going() for _ in range(count)]
        self._places: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def forget(self, robot: int) -> None:
        """A new drive begins."""
        self._going[robot] = _Going()

    def wants_new_way(self, robot: int, xy_m: np.ndarray, left_xy_m: np.ndarray) -> bool:
        """Whether the robot is where it wanted to be, or most of what it went for is covered, or it goes nowhere.

        Args:
            robot: which.
            xy_m: [2] where it is.
            left_xy_m: [L, 2] floor that is still to be covered.
        """
        going = self._going[robot]
        if going.place_xy_m is None:
            return True
        if np.linalg.norm(going.place_xy_m - xy_m) < ARRIVED_M:
            going.been.append(going.place_xy_m)
            return True
        near = np.linalg.norm(left_xy_m - going.place_xy_m, axis=1) < self._near_m
        return near.sum() < WORTH_GOING_ON * going.gain

    def way(
        self, robot: int, ground: Ground, xy_m: np.ndarray, yaw_rad: float, left_xy_m: np.ndarray
    ) -> GuidedPath | None:
        """The path to the best place; None when no floor is left that could be seen from anywhere new."""
        going = self._going[robot]
        going.place_xy_m, going.gain = None, 0
        places, nodes = self._places_of(ground)
        if not len(left_xy_m):
            return None
        spatial = require("scipy.spatial", extra="tasks")
        gain = spatial.cKDTree(left_xy_m).query_ball_point(places, self._near_m, return_length=True).astype(float)
        for been in going.been:
            gain[np.linalg.norm(places - been, axis=1) < PLACES_M / 2] = 0.0
        planner = ground.planner
        # One search serves all places and the path to the one that is chosen: it is what a plan costs.
        distance, previous = planner.field(planner.nearest(xy_m))
        way = places - xy_m
        turn = np.arctan2(way[:, 1], way[:, 0]) - yaw_rad
        turn = np.abs(np.arctan2(np.sin(turn), np.cos(turn)))
        cost = distance[nodes] + TURN_M_PER_RAD * turn + START_M
        worth = gain / cost
        best = int(worth.argmax())
        if worth[best] <= 0:
            return None
        going.place_xy_m, going.gain = places[best], int(gain[best])
        corners = np.concatenate([[xy_m], planner.path_xy_m(previous, int(nodes[best]))])
        return guided(ground, corners, footprint_radius_m=self._radius_m)

    def _places_of(self, ground: Ground) -> tuple[np.ndarray, np.ndarray]:
        """[P, 2] every so many navigable cells, and their nodes [P]."""
        if id(ground) not in self._places:
            step = max(1, round(PLACES_M / ground.grid.cell_m))
            mask = np.zeros_like(ground.navigable)
            mask[step // 2 :: step, step // 2 :: step] = True
            places = ground.grid.centre_xy_m(np.argwhere(mask & ground.navigable))
            self._places[id(ground)] = places, ground.planner.nodes_at(places)
        return self._places[id(ground)]
