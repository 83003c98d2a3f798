"""The few names of Isaac Sim that our drivers use, over an ideal robot instead of physics.

It answers in the shapes and orders that the real ones document (batches of one, quaternions `wxyz`, arrays of Warp),
and holds its wheels in another order than we name them. Whether the names are the real ones is not tested here.
"""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np

from ideal_robot import IdealRobot
from lyra_tasks import rules
from lyra_tasks.isaac_sim.nav_task import RobotState
from lyra_tasks.robots.diff_drive import DiffDriveSpec

DOFS = ["wheel_right_joint", "wheel_left_joint"]


class Simulated:
    """The simulation behind one fake: what stands on the stage, and a robot whose base link has a height."""

    def __init__(self, spec: DiffDriveSpec) -> None:
        self.robot, self.spec = IdealRobot(spec), spec
        self.z_m = 0.0
        self.references: dict[str, str] = {}
        self.calls: list[str] = []
        self.targets = np.zeros(2)
        self.steps = 0
        self.gains = np.full(2, np.nan)

    def put(self, position: np.ndarray, quat_wxyz: np.ndarray) -> None:
        w, x, y, z = np.asarray(quat_wxyz, float).reshape(4)
        assert x == y == 0 and abs(w * w + z * z - 1) < 1e-6, "upright and of unit length"
        x_m, y_m, self.z_m = np.reshape(position, 3).tolist()
        self.robot.place(RobotState(xy_m=(x_m, y_m), yaw_rad=float(2 * np.arctan2(z, w))))

    def pose(self) -> tuple[np.ndarray, np.ndarray]:
        state = self.robot.state()
        half = state.yaw_rad / 2
        return np.array([*state.xy_m, self.z_m]), np.array([np.cos(half), 0.0, 0.0, np.sin(half)])

    def velocities(self) -> tuple[np.ndarray, np.ndarray]:
        state = self.robot.state()
        ahead = np.array([np.cos(state.yaw_rad), np.sin(state.yaw_rad), 0.0])
        return state.speed_m_s * ahead, np.array([0.0, 0.0, state.turn_rad_s])

    def step(self, count: int) -> None:
        assert abs(self.z_m - self.spec.hull_z_m) < 0.01, "the root link is in the floor or in the air"
        for _ in range(count):
            self.robot.drive(self.targets[::-1])
            self.robot.step(rules.PHYSICS_STEP_S)
            self.steps += 1


class Warp:
    """An array that has to be asked for its numbers."""

    def __init__(self, values: Any) -> None:
        self._values = np.asarray(values)

    def numpy(self) -> np.ndarray:
        return self._values


def modules_of_6(sim: Simulated) -> dict[str, types.ModuleType]:
    """`isaacsim.core.experimental` and its simulation manager."""

    class Articulation:
        def __init__(self, path: str) -> None:
            assert path in sim.references

        def get_dof_indices(self, names):
            return Warp([DOFS.index(name) for name in names])

        def set_dof_gains(self, *, stiffnesses, dampings, dof_indices):
            assert np.shape(stiffnesses) == np.shape(dampings) == (1, 2)
            sim.gains[dof_indices] = dampings[0]

        def set_dof_max_efforts(self, efforts, *, dof_indices):
            sim.calls.append("efforts")

        def set_world_poses(self, *, positions, orientations):
            sim.put(positions, orientations)

        def set_velocities(self, *, linear_velocities, angular_velocities):
            sim.calls.append("stopped")

        def set_dof_velocities(self, values, *, dof_indices):
            sim.targets[dof_indices] = values[0]

        def set_dof_velocity_targets(self, values, *, dof_indices):
            sim.targets[dof_indices] = values[0]

        def get_world_poses(self):
            return tuple(Warp(v[None]) for v in sim.pose())

        def get_velocities(self):
            return tuple(Warp(v[None]) for v in sim.velocities())

    class SimulationManager:
        @staticmethod
        def setup_simulation(dt, device):
            assert dt == rules.PHYSICS_STEP_S

        @staticmethod
        def initialize_physics():
            sim.calls.append("initialized")

        @staticmethod
        def step(*, steps, update_fabric):
            sim.step(steps)

    stage = {
        "create_new_stage": lambda: sim.calls.append("new stage"),
        "set_stage_up_axis": sim.calls.append,
        "set_stage_units": lambda *, meters_per_unit: sim.calls.append(str(meters_per_unit)),
        "add_reference_to_stage": lambda usd, path: sim.references.update({path: usd}),
    }
    return stand_in_modules(
        {
            "isaacsim.core.experimental.utils.app": {"update_app": lambda steps=1: None},
            "isaacsim.core.experimental.utils.stage": stage,
            "isaacsim.core.experimental.prims": {"Articulation": Articulation},
            "isaacsim.core.simulation_manager": {"SimulationManager": SimulationManager},
        }
    )


def modules_of_5(sim: Simulated, *, old_names: bool = False) -> dict[str, types.ModuleType]:
    """`isaacsim.core.api`, or with old names `omni.isaac.core`: a world that steps its tasks."""

    class BaseTask:
        def __init__(self, name, offset=None):
            assert "new stage" in sim.calls, "tasks are made when a stage is open"
            self.name = name

        def set_up_scene(self, scene):
            self.scene = scene

        def cleanup(self):
            """Nothing to clean up."""

    class Scene:
        def add(self, thing):
            return thing

    class Action:
        def __init__(self, joint_velocities, joint_indices):
            self.joint_velocities, self.joint_indices = joint_velocities, joint_indices

    class Controller:
        def set_gains(self, kps, kds):
            assert np.shape(kps) == np.shape(kds) == (2,)
            sim.gains[:] = kds

        def apply_action(self, action):
            sim.targets[action.joint_indices] = action.joint_velocities

    class SingleArticulation:
        num_dof = 2

        def __init__(self, prim_path, name, position):
            assert prim_path in sim.references
            sim.put(position, np.array([1.0, 0, 0, 0]))

        def get_dof_index(self, name):
            return DOFS.index(name)

        def get_articulation_controller(self):
            return Controller()

        def set_world_pose(self, position, orientation):
            sim.put(position, orientation)

        def set_linear_velocity(self, velocity):
            sim.calls.append("stopped")

        def set_angular_velocity(self, velocity):
            sim.calls.append("stopped")

        def set_joint_velocities(self, velocities, joint_indices):
            sim.targets[joint_indices] = velocities

        def get_world_pose(self):
            return sim.pose()

        def get_linear_velocity(self):
            return sim.velocities()[0]

        def get_angular_velocity(self):
            return sim.velocities()[1]

    class World:
        def __init__(self, *, physics_dt, rendering_dt, **_):
            self._per_frame = round(rendering_dt / physics_dt)
            self._tasks, self._time_s = {}, 0.0

        def add_task(self, task):
            self._tasks[task.name] = task

        def reset(self):
            for task in self._tasks.values():
                task.set_up_scene(Scene())
                task.cleanup()
                task.post_reset()

        def is_done(self, name):
            return self._tasks[name].is_done()

        def step(self, render):
            for task in self._tasks.values():
                task.pre_step(0, self._time_s)
            steps = self._per_frame if render else 1
            sim.step(steps)
            self._time_s += steps * rules.PHYSICS_STEP_S

    stage = {
        "create_new_stage": lambda: sim.calls.append("new stage"),
        "add_reference_to_stage": lambda usd, path: sim.references.update({path: usd}),
    }
    root = "omni.isaac.core" if old_names else "isaacsim.core"
    names = {
        f"{root}.utils.stage": stage,
        f"{root}.utils.types": {"ArticulationAction": Action},
    }
    if old_names:
        names |= {root: {"World": World}, f"{root}.tasks": {"BaseTask": BaseTask}}
        names[f"{root}.articulations"] = {"Articulation": SingleArticulation}
    else:
        names |= {f"{root}.api": {"World": World}, f"{root}.api.tasks": {"BaseTask": BaseTask}}
        names[f"{root}.prims"] = {"SingleArticulation": SingleArticulation}
    return stand_in_modules(names)


def stand_in_modules(content: dict[str, dict[str, Any]]) -> dict[str, types.ModuleType]:
    """Modules with this content, and the packages that they lie in."""
    found: dict[str, types.ModuleType] = {}
    for name in sorted({".".join(n.split(".")[:i]) for n in content for i in range(1, n.count(".") + 2)}):
        module = types.ModuleType(name)
        module.__path__ = []
        vars(module).update(content.get(name, {}))
        found[name] = module
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(found[parent], last, module)
    # `omni` alone is also the package of validators that have nothing to do with the simulator.
    assert not (set(found) - {"omni"}) & set(sys.modules), "a real simulator is here"
    return found
