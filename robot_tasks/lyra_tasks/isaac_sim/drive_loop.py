"""Driving episodes one after the other: what happens between a task, a robot and whoever steers. Needs no simulator."""

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


class EpisodeDriver:
    """Drives episodes in a world that moves on by itself: whoever owns the clock calls `tick` once a step of the task.

    What came of them is added to `task.driven`.

    Args:
        task: the world and its rules.
        robot: driven.
        pilot: steers.
        numbers: of episodes, all of them unless named.
        progress: told before every drive; may cancel.
    """

    def __init__(
        self,
        task: NavTask,
        robot: Robot,
        pilot: Pilot,
        numbers: Iterable[int] | None = None,
        *,
        progress: SupportsProgress = SILENT,
    ) -> None:
        self.task, self._robot, self._pilot, self._progress = task, robot, pilot, progress
        self._numbers = tuple(range(task.episode_count) if numbers is None else numbers)
        self.restart()

    def restart(self) -> None:
        """Begin with the first episode again; finished drives stay in the books."""
        self._begun = 0
        self._settling = 0
        self._driving = False

    @property
    def done(self) -> bool:
        """Whether the last drive is over."""
        return not self._driving and self._begun == len(self._numbers)

    def tick(self) -> None:
        """Look at the robot and tell it what to do until the next call; does nothing once all is done.

        Raises:
            InputError: an episode does not exist, or the pilot gave no action.
            Cancelled: by the progress.
        """
        if self._settling:
            self._settling -= 1
        elif self._driving:
            self._driving = self.task.advance(self._robot.state()) is None
        if self._driving and not self._settling:
            self._robot.drive(self.task.command(self._pilot(self.task)))
        elif not self._driving:
            self._robot.drive(np.zeros(2))
            if self._begun < len(self._numbers):
                self._begin(self._numbers[self._begun])

    def _begin(self, number: int) -> None:
        self._progress.step("drive", self._begun, len(self._numbers), f"episode {number}")
        self._robot.place(self.task.begin(number))
        self._begun += 1
        self._settling, self._driving = SETTLE_STEPS, True


def drive_episodes(driver: EpisodeDriver, step: Callable[[], None]) -> None:
    """Drive to the end.

    Args:
        driver: of the episodes.
        step: lets one step of the task go by.

    Raises:
        InputError: an episode does not exist, or the pilot gave no action.
        Cancelled: by the driver's progress.
    """
    driver.tick()
    while not driver.done:
        step()
        driver.tick()
