"""Episodes in Isaac Sim 4.5 to 5.1 (`isaacsim.core.api`) and up to 4.2 (`omni.isaac.core`), as a task of a `World`.

Import only after the application has started. Not verified inside Isaac Sim.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

try:
    from isaacsim.core.api import World
    from isaacsim.core.api.tasks import BaseTask
    from isaacsim.core.prims import SingleArticulation
    from isaacsim.core.utils.stage import add_reference_to_stage, create_new_stage
    from isaacsim.core.utils.types import ArticulationAction
except ImportError:
    from omni.isaac.core import World
    from omni.isaac.core.articulations import Articulation as SingleArticulation
    from omni.isaac.core.tasks import BaseTask
    from omni.isaac.core.utils.stage import add_reference_to_stage, create_new_stage
    from omni.isaac.core.utils.types import ArticulationAction

from .. import rules
from ..robots.diff_drive import DiffDriveSpec, usd_path
from .drive_loop import EpisodeDriver
from .embedded_robot import JOINTS, ROBOT_PATH, SCENE_PATH, WORLD_PATH, base_pose, robot_state, wheel_damping
from .nav_task import NavTask, RobotState

NAME = "lyra_navigation"


class WrappedRobot:
    """The embedded robot as a prim wrapper that is initialised; implements `drive_loop.Robot`."""

    def __init__(self, robot: SingleArticulation, spec: DiffDriveSpec, floor_z_m: float) -> None:
        self._robot, self._spec, self._floor_z_m = robot, spec, floor_z_m
        self._wheels = np.array([robot.get_dof_index(name) for name in JOINTS])
        # Resets bring back the gains of the USD file.
        gains = np.zeros(robot.num_dof)
        damping = gains.copy()
        damping[self._wheels] = wheel_damping(spec)
        robot.get_articulation_controller().set_gains(kps=gains, kds=damping)

    def place(self, state: RobotState) -> None:
        position, quat_wxyz = base_pose(state, self._spec, self._floor_z_m)
        self._robot.set_world_pose(position=position, orientation=quat_wxyz)
        self._robot.set_linear_velocity(np.zeros(3))
        self._robot.set_angular_velocity(np.zeros(3))
        self._robot.set_joint_velocities(np.zeros(len(self._wheels)), joint_indices=self._wheels)

    def state(self) -> RobotState:
        position, quat_wxyz = self._robot.get_world_pose()
        return robot_state(position, quat_wxyz, self._robot.get_linear_velocity(), self._robot.get_angular_velocity())

    def drive(self, wheels_rad_s: np.ndarray) -> None:
        action = ArticulationAction(joint_velocities=np.asarray(wheels_rad_s), joint_indices=self._wheels)
        self._robot.get_articulation_controller().apply_action(action)


class NavigationTask(BaseTask):
    """`NavTask` as a task that is added to a `World`; it drives its episodes while the world is stepped.

    Args:
        task: a world and its rules.
        make_driver: of the episodes, given the robot.
        name: of the task in its world.
    """

    def __init__(self, task: NavTask, make_driver: Callable[[Any], EpisodeDriver], name: str = NAME) -> None:
        super().__init__(name=name, offset=None)
        self._nav, self._make_driver = task, make_driver
        self._robot: SingleArticulation | None = None
        self._driver: EpisodeDriver | None = None
        self._next_tick_s = 0.0

    def set_up_scene(self, scene: Any) -> None:
        """Add the world and the robot to the stage."""
        super().set_up_scene(scene)
        world, spec = self._nav.ground.world, self._nav.spec
        add_reference_to_stage(world.usd_path.resolve().as_posix(), WORLD_PATH)
        add_reference_to_stage(usd_path(spec).as_posix(), ROBOT_PATH)
        # Resets put the root link, not the robot's origin, to the pose that is named here.
        position = np.array([0.0, 0.0, world.floor_z_m + spec.hull_z_m])
        self._robot = scene.add(SingleArticulation(prim_path=ROBOT_PATH, name="lyra_robot", position=position))

    def post_reset(self) -> None:
        """Begin with the first episode."""
        assert self._robot is not None, "World.reset sets the scene up first"
        robot = WrappedRobot(self._robot, self._nav.spec, self._nav.ground.world.floor_z_m)
        self._driver = self._make_driver(robot)
        self._next_tick_s = -np.inf

    def pre_step(self, time_step_index: int, simulation_time: float) -> None:
        """Look and steer, once a step of the task, however many steps of physics that are."""
        if self._driver is None or simulation_time < self._next_tick_s - 1e-6:
            return
        self._driver.tick()
        self._next_tick_s = simulation_time + self._nav.step_s

    def get_observations(self) -> dict[str, Any]:
        """What a policy is told, and where the robot is."""
        state = self._nav.state
        return {
            "lyra_robot": {
                "observation": self._nav.observe(),
                "position_m": np.array(state.xy_m),
                "yaw_rad": state.yaw_rad,
                "goal_m": self._nav.goal_xy_m,
            }
        }

    def calculate_metrics(self) -> dict[str, Any]:
        """Over all finished drives, see `evaluation.summarise`."""
        return self._nav.metrics()

    def is_done(self) -> bool:
        """Whether all episodes are driven."""
        return self._driver is not None and self._driver.done

    def get_params(self) -> dict[str, Any]:
        """What the drive's rules are; none can be changed while the task runs."""
        return {name: {"value": value, "modifiable": False} for name, value in vars(self._nav.rules).items()}


def drive_in_world(task: NavTask, make_driver: Callable[[Any], EpisodeDriver], *, gui: bool) -> None:
    """Drive to the end in a new `World`; what came of it is in `task.driven`. See `driver.drive_in_isaac_sim`."""
    create_new_stage()
    world = World(
        physics_dt=rules.PHYSICS_STEP_S,
        rendering_dt=task.step_s,
        stage_units_in_meters=1.0,
        physics_prim_path=SCENE_PATH,
        backend="numpy",
        device="cpu",
    )
    world.add_task(NavigationTask(task, make_driver))
    world.reset()
    while not world.is_done(NAME):
        world.step(render=gui)
