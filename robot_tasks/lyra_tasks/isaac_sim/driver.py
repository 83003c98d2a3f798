"""Episodes in Isaac Sim 6: `isaacsim.core.experimental`. Not verified inside Isaac Sim.

Import only after the application has started. Physics is stepped by hand, so that a step of the task is always the same
number of steps of physics, whatever is drawn in between.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import isaacsim.core.experimental.utils.app as app_utils
import isaacsim.core.experimental.utils.stage as stage_utils
import numpy as np
from isaacsim.core.experimental.prims import Articulation
from isaacsim.core.simulation_manager import SimulationManager

from .. import rules
from ..robots.diff_drive import DiffDriveSpec, usd_path
from .drive_loop import EpisodeDriver, drive_episodes
from .embedded_robot import JOINTS, ROBOT_PATH, WORLD_PATH, base_pose, robot_state, wheel_damping
from .nav_task import NavTask, RobotState


class ArticulatedRobot:
    """The embedded robot as an articulation that exists; implements `drive_loop.Robot`."""

    def __init__(self, articulation: Articulation, spec: DiffDriveSpec, floor_z_m: float) -> None:
        self._robot, self._spec, self._floor_z_m = articulation, spec, floor_z_m
        self._wheels = _numpy(articulation.get_dof_indices(JOINTS)).reshape(-1)
        articulation.set_dof_gains(
            stiffnesses=[[0.0, 0.0]], dampings=[[wheel_damping(spec)] * 2], dof_indices=self._wheels
        )
        articulation.set_dof_max_efforts([[spec.wheel_effort_nm] * 2], dof_indices=self._wheels)

    def place(self, state: RobotState) -> None:
        position, quat_wxyz = base_pose(state, self._spec, self._floor_z_m)
        self._robot.set_world_poses(positions=position[None], orientations=quat_wxyz[None])
        self._robot.set_velocities(linear_velocities=np.zeros((1, 3)), angular_velocities=np.zeros((1, 3)))
        self._robot.set_dof_velocities(np.zeros((1, 2)), dof_indices=self._wheels)

    def state(self) -> RobotState:
        position, quat_wxyz = (_numpy(a)[0] for a in self._robot.get_world_poses())
        linear, angular = (_numpy(a)[0] for a in self._robot.get_velocities())
        return robot_state(position, quat_wxyz, linear, angular)

    def drive(self, wheels_rad_s: np.ndarray) -> None:
        self._robot.set_dof_velocity_targets(np.asarray(wheels_rad_s)[None], dof_indices=self._wheels)


def build_stage(world_usd: Path, spec: DiffDriveSpec) -> Articulation:
    """A new stage with the world and the robot, physics initialised; the stage that was open is gone."""
    stage_utils.create_new_stage()
    stage_utils.set_stage_up_axis("Z")
    stage_utils.set_stage_units(meters_per_unit=1.0)
    stage_utils.add_reference_to_stage(world_usd.resolve().as_posix(), WORLD_PATH)
    stage_utils.add_reference_to_stage(usd_path(spec).as_posix(), ROBOT_PATH)
    SimulationManager.setup_simulation(dt=rules.PHYSICS_STEP_S, device="cpu")
    app_utils.update_app(steps=2)
    robot = Articulation(ROBOT_PATH)
    SimulationManager.initialize_physics()
    return robot


def drive_in_isaac_sim(task: NavTask, make_driver: Callable[[Any], EpisodeDriver], *, gui: bool) -> None:
    """Drive to the end; what came of it is in `task.driven`.

    Args:
        task: a world and its rules.
        make_driver: of the episodes, given the robot.
        gui: draw the stage after every step.

    Raises:
        InputError: an episode does not exist, or the pilot gave no action.
        Cancelled: by the driver's progress.
    """
    articulation = build_stage(task.ground.world.usd_path, task.spec)
    robot = ArticulatedRobot(articulation, task.spec, task.ground.world.floor_z_m)

    def step() -> None:
        SimulationManager.step(steps=rules.DECIMATION, update_fabric=gui)
        if gui:
            app_utils.update_app()

    drive_episodes(make_driver(robot), step)


def _numpy(array: Any) -> np.ndarray:
    """Isaac Sim answers in arrays of Warp."""
    return array.numpy() if hasattr(array, "numpy") else np.asarray(array)
