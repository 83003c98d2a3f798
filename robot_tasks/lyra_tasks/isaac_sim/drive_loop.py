"""Driving episodes one after the other: the loop between a task, a robot and whoever steers. Needs no simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np

from lyra.worldgen.core.progress import SILENT, SupportsProgress

from .nav_task import NavTask, RobotState

Pilot = Callable[[NavTask], np.ndarray]
"""The task as it stands to the next action [2]: shares of the largest speed and turn rate."""
SETTLE_STEPS = 5
"""Steps that a robot stands still after it was put down."""


class Robot(Protocol):
    """A robot that somebody else moves: a simulator, or a test."""

    def place(self, state: RobotState) -> None:
        """Put it there, at rest."""

    def state(self) -> RobotState:
        """Where it is."""
        ...

    def drive(self, wheels_rad_s: np.ndarray) -> None:
        """Turn its wheels [left, right] at these speeds until told otherwise."""

    def step(self) -> None:
        """Let one step of the task go by."""


def drive_episodes(
    task: NavTask,
    robot: Robot,
    pilot: Pilot,
    numbers: Iterable[int] | None = None,
    *,
    progress: SupportsProgress = SILENT,
) -> None:
    """Drive episodes; what came of them is added to `task.driven`.

    Args:
        task: the world and its rules.
        robot: driven.
        pilot: steers.
        numbers: of episodes, all of them unless named.
        progress: told after every drive; may cancel.

    Raises:
        InputError: an episode does not exist, or the pilot gave no action.
        Cancelled: by the progress.
    """
    wanted = list(range(task.episode_count) if numbers is None else numbers)
    for done, number in enumerate(wanted):
        progress.step("drive", done, len(wanted), f"episode {number}")
        robot.place(task.begin(number))
        robot.drive(np.zeros(2))
        for _ in range(SETTLE_STEPS):
            robot.step()
        while task.ending is None:
            robot.drive(task.command(pilot(task)))
            robot.step()
            task.advance(robot.state())
    progress.step("drive", len(wanted), len(wanted), "done")
