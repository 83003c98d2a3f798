"""A task that a robot drives on the open stage while the timeline plays: what happens when. Needs no Kit.

The task and the pilot are those of `lyra_tasks`; this only keeps their time by the simulation's clock.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, Protocol

from ..core.errors import DependencyError, WorldgenError


class Driver(Protocol):
    """What this needs of `lyra_tasks.isaac_sim.drive_loop.EpisodeDriver`."""

    task: Any

    @property
    def done(self) -> bool: ...
    def tick(self) -> None: ...


class TimedDrive:
    """Calls a driver once a step of its task, however the simulation's clock runs."""

    def __init__(self, driver: Driver, step_s: float) -> None:
        self._driver, self._step_s = driver, step_s
        self._next_s: float | None = None
        self._failed = False
        self.message = ""
        """How it stands, for the user."""

    @property
    def over(self) -> bool:
        """Whether all is driven, or nothing more can be."""
        return self._failed or self._driver.done

    def update(self, time_s: float) -> None:
        """Look and steer if it is time; call it as often as you like.

        Args:
            time_s: of the simulation; a clock that was set back begins anew.
        """
        if self.over:
            return
        if self._next_s is not None and self._next_s - 2 * self._step_s < time_s < self._next_s - 1e-6:
            return
        self._next_s = time_s + self._step_s
        try:
            self._driver.tick()
            self.message = _standing(self._driver)
        except WorldgenError as error:
            self._failed, self.message = True, str(error)


def _standing(driver: Driver) -> str:
    driven = len(driver.task.driven)
    if not driver.done:
        return f"{driven} of {driver.task.episode_count} episodes driven"
    metrics = driver.task.metrics()
    numbers = [f"{name} {metrics[name]:.2f}" for name in ("success", "spl") if isinstance(metrics.get(name), float)]
    return f"all {driven} episodes driven: {', '.join(numbers)}" if numbers else f"all {driven} episodes driven"


def find_tasks(extension: Path | None) -> Any:
    """The package `lyra_tasks`: installed, packed with the extension, or beside it in a checkout.

    Raises:
        DependencyError: it is nowhere.
    """
    places = () if extension is None else (extension / "robot_tasks", extension.resolve().parents[1] / "robot_tasks")
    for place in (None, *places):
        if place is not None:
            if not (place / "lyra_tasks" / "__init__.py").is_file():
                continue
            sys.path.append(str(place))
        try:
            return importlib.import_module("lyra_tasks")
        except ImportError:
            continue
    raise DependencyError("the package lyra_tasks is missing; unpack the extension whole, or install robot_tasks")
