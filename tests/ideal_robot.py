"""A differential drive that does exactly what its wheels say, for tests of what moves robots."""

from __future__ import annotations

import numpy as np

from lyra_tasks import rules
from lyra_tasks.isaac_sim.nav_task import RobotState
from lyra_tasks.robots.diff_drive import DiffDriveSpec


class IdealRobot:
    """Implements `drive_loop.Robot` without physics: walls do not stop it."""

    def __init__(self, spec: DiffDriveSpec) -> None:
        self._spec = spec
        self._wheels = np.zeros(2)
        self._state = RobotState(xy_m=(0.0, 0.0), yaw_rad=0.0)
        self.placed: list[RobotState] = []

    def place(self, state: RobotState) -> None:
        self.placed.append(state)
        self._state = state

    def state(self) -> RobotState:
        return self._state

    def drive(self, wheels_rad_s: np.ndarray) -> None:
        self._wheels = np.asarray(wheels_rad_s, float)

    def step(self, dt: float = rules.PHYSICS_STEP_S * rules.DECIMATION) -> None:
        """Let so many seconds go by, one step of the task unless told otherwise."""
        left, right = self._wheels * self._spec.wheel_radius_m
        speed, turn = (left + right) / 2, (right - left) / self._spec.track_m
        (x, y), yaw = self._state.xy_m, self._state.yaw_rad + turn * dt
        self._state = RobotState(
            xy_m=(x + speed * dt * float(np.cos(yaw)), y + speed * dt * float(np.sin(yaw))),
            yaw_rad=yaw,
            speed_m_s=float(speed),
            turn_rad_s=float(turn),
        )
