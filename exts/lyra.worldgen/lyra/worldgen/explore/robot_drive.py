"""A robot that is driven by hand through the map: it turns on the spot, goes straight, and stops at walls."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..certify.space import FreeSpace
from ..core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class RobotState:
    """Where the robot is."""

    xy_m: tuple[float, float]
    heading_rad: float
    clearance_m: float
    """From its hull to the nearest thing; 0 where it touches."""
    blocked: bool = False
    """Whether something stopped the last move."""


class RobotDrive:
    """Moves a disc in the free space of a map."""

    def __init__(self, space: FreeSpace) -> None:
        self._space = space
        self._state: RobotState | None = None

    @property
    def radius_m(self) -> float:
        return self._space.robot_radius_m

    @property
    def state(self) -> RobotState | None:
        """None until it is placed."""
        return self._state

    def place(self, xy_m: tuple[float, float], heading_rad: float = 0.0) -> RobotState:
        """Put it somewhere; raises `InputError` where it does not fit."""
        clear = self._clearance(np.array(xy_m, float))
        if clear < self.radius_m:
            raise InputError(
                f"the robot of {self.radius_m:.2f} m radius does not fit at ({xy_m[0]:.2f}, {xy_m[1]:.2f}), where "
                f"{clear:.2f} m are clear; choose a place that the free-space layer shows in green or blue"
            )
        return self._stand(np.array(xy_m, float), heading_rad)

    def place_anywhere(self, near_xy_m: tuple[float, float] = (0.0, 0.0)) -> RobotState:
        """Put it into the largest connected part of the map, near a place; raises `InputError` if it fits nowhere."""
        cells = np.argwhere(self._space.component)
        if not len(cells):
            raise InputError(f"no robot of {self.radius_m:.2f} m radius fits anywhere in this world")
        centres = self._space.grid.centre_xy_m(cells)
        nearest = centres[np.argmin(np.linalg.norm(centres - np.asarray(near_xy_m), axis=1))]
        return self._stand(nearest, 0.0)

    def turn(self, angle_rad: float) -> RobotState:
        """Turn on the spot, positive to the left."""
        state = self._expect()
        return self._stand(np.array(state.xy_m), state.heading_rad + angle_rad)

    def go(self, distance_m: float) -> RobotState:
        """Go straight, backwards if negative, up to where it would touch something."""
        state = self._expect()
        ahead = np.array([math.cos(state.heading_rad), math.sin(state.heading_rad)])
        # Shorter than a cell, so that no step passes over a thin wall.
        step_m = 0.25 * self._space.grid.cell_m
        count = max(1, math.ceil(abs(distance_m) / step_m))
        xy, blocked = np.array(state.xy_m), False
        for _ in range(count):
            to = xy + distance_m / count * ahead
            if self._clearance(to) < self.radius_m:
                blocked = True
                break
            xy = to
        return self._stand(xy, state.heading_rad, blocked=blocked)

    def _stand(self, xy_m: np.ndarray, heading_rad: float, *, blocked: bool = False) -> RobotState:
        self._state = RobotState(
            xy_m=(float(xy_m[0]), float(xy_m[1])),
            heading_rad=math.remainder(heading_rad, 2 * math.pi),
            clearance_m=max(0.0, self._clearance(xy_m) - self.radius_m),
            blocked=blocked,
        )
        return self._state

    def _clearance(self, xy_m: np.ndarray) -> float:
        """Distance from a place to the nearest cell that is not free [m]; 0 outside the map."""
        cell = self._space.grid.rowcol(xy_m)
        return float(self._space.clearance_m[tuple(cell)]) if self._space.grid.inside(cell) else 0.0

    def _expect(self) -> RobotState:
        if self._state is None:
            raise InputError("the robot is nowhere yet; place it first")
        return self._state
