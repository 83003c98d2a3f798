"""A robot that drives a world's episodes on the open stage. Main thread only. Not verified inside Isaac Sim."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import omni.timeline

from ..core.errors import DependencyError, InputError
from .driving import TimedDrive, find_tasks
from .spawn import spawn_of
from .stage import open_stage, world_path_of
from .stage_content import add_robot, world_transform

ROBOT_PATH = "/World/LyraRobot"
ROBOT_SIZE, TASK = "medium", "point-goal"
SETTLING_UPDATES = 3
"""Updates until physics knows of what was put on the stage."""


def put_robot(folder: str, extension: Path | None, episode: int = 0) -> str:
    """Put the embedded robot where an episode begins; its prim path.

    Raises:
        InputError: the world is not on the stage, or has no navigation data.
        DependencyError: `lyra_tasks` is missing.
    """
    find_tasks(extension)
    from lyra_tasks.robots.diff_drive import spec_of, usd_path

    usd = usd_path(spec_of(ROBOT_SIZE))
    return add_robot(open_stage(), usd, ROBOT_PATH, world_path_of(folder), spawn_of(Path(folder), episode))


class TaskRun:
    """Drives the certified episodes with the scripted baseline, as fast as the timeline plays."""

    def __init__(self, folder: str, extension: Path | None) -> None:
        """Put the robot down and begin to play.

        Raises:
            InputError: the world is not on the stage, was moved there, or has no episodes.
            DependencyError: `lyra_tasks` is missing.
        """
        self._robot_path = put_robot(folder, extension)
        if not np.allclose(world_transform(open_stage(), world_path_of(folder)), np.eye(4), atol=1e-6):
            raise InputError("the world was moved on the stage; episodes are driven where it stands at the origin")
        from lyra_tasks.isaac_sim.run import make_task

        self._task = make_task(Path(folder), task=TASK, robot_size=ROBOT_SIZE)
        self._drive: TimedDrive | None = None
        self._updates = 0
        self._timeline = omni.timeline.get_timeline_interface()
        self._timeline.play()

    @property
    def message(self) -> str:
        """How it stands, for the user."""
        return "waiting for physics" if self._drive is None else self._drive.message

    @property
    def over(self) -> bool:
        """Whether all is driven, nothing more can be, or the user has stopped the timeline."""
        return self._timeline.is_stopped() or (self._drive is not None and self._drive.over)

    def update(self) -> None:
        """Call once per update of the app."""
        if not self._timeline.is_playing():
            return
        self._updates += 1
        if self._updates < SETTLING_UPDATES:
            return
        if self._drive is None:
            from lyra_tasks.isaac_sim.drive_loop import EpisodeDriver
            from lyra_tasks.isaac_sim.pilots import load_pilot

            robot = _wrapped(self._robot_path, self._task)
            self._drive = TimedDrive(EpisodeDriver(self._task, robot, load_pilot("baseline")), self._task.step_s)
        self._drive.update(self._timeline.get_current_time())

    def stop(self) -> None:
        """End the drive and the timeline; safe to call twice."""
        if not self._timeline.is_stopped():
            self._timeline.stop()


def _wrapped(path: str, task: Any) -> Any:
    """The robot by the newest interface that this application has."""
    floor_z_m = task.ground.world.floor_z_m
    try:
        from isaacsim.core.experimental.prims import Articulation

        from lyra_tasks.isaac_sim.driver import ArticulatedRobot
    except ImportError:
        pass
    else:
        return ArticulatedRobot(Articulation(path), task.spec, floor_z_m)
    try:
        from isaacsim.core.prims import SingleArticulation

        from lyra_tasks.isaac_sim.base_task import WrappedRobot
    except ImportError as error:
        raise DependencyError(f"this application cannot drive robots ({error}); it needs Isaac Sim 5 or 6") from error
    robot = SingleArticulation(prim_path=path, name="lyra_robot")
    robot.initialize()
    return WrappedRobot(robot, task.spec, floor_z_m)
