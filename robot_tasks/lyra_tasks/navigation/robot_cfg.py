"""Robots as Isaac Lab articulations, and how they are driven."""

from __future__ import annotations

from dataclasses import dataclass

import isaaclab.sim as sim_utils
from isaaclab.actuators import ImplicitActuatorCfg
from isaaclab.assets import ArticulationCfg
from isaaclab.managers import ActionTermCfg

from .. import mdp
from ..robots import diff_drive, omni
from ..robots.catalogue import RobotSpec
from ..robots.diff_drive import WHEEL_JOINTS, DiffDriveSpec
from ..robots.omni import STEER_JOINTS, OmniSpec
from ..robots.served import LeggedSpec, ServedSpec, WheeledSpec
from ..rules import PHYSICS_STEP_S

PHYSX_ITERATIONS = 12
"""Of PhysX's solver for a robot. Its own 32 cost a quarter of a step and change nothing; with 8 a robot that pushes
against a wall turns along it more slowly."""
STEER_HZ = 6.0
"""How fast steering joints settle, without overshooting."""
ARMATURE_KG_M2 = 0.01
"""Of every driven joint: what motors and gears weigh."""


@dataclass(frozen=True, kw_only=True)
class RobotParts:
    """What a task is completed with."""

    articulation: ArticulationCfg
    drive: ActionTermCfg
    """The action term."""
    physics_step_s: float = PHYSICS_STEP_S
    """Of the simulation; a step of the task takes as long with every robot."""
    legs: bool = False
    """A policy moves joints between two steps of the task."""


def check_robot(spec: RobotSpec, walking_policy: str = "") -> None:
    """Make sure that all of a robot's files can be read; raises `DependencyError` that says what to do."""
    if isinstance(spec, ServedSpec):
        from .served_cfg import check_files

        check_files(spec, walking_policy)


def robot_parts(spec: RobotSpec, walking_policy: str = "") -> RobotParts:
    """Articulation and actions of a robot; USD of embedded ones is written on first use.

    Args:
        spec: the robot.
        walking_policy: moves the legs of a legged one, instead of the asset server's policy.
    """
    if isinstance(spec, ServedSpec):
        from . import served_cfg  # brings in Isaac Lab's own robots and tasks, which nobody else needs

        if isinstance(spec, WheeledSpec):
            drive = mdp.DiffDriveActionCfg(wheel_joints=spec.wheel_joints)
            return RobotParts(articulation=served_cfg.wheeled_cfg(spec), drive=drive)
        assert isinstance(spec, LeggedSpec), spec
        return RobotParts(
            articulation=served_cfg.legged_cfg(spec),
            drive=served_cfg.walking_cfg(spec, walking_policy),
            physics_step_s=served_cfg.WALKING_STEP_S,
            legs=True,
        )
    if isinstance(spec, OmniSpec):
        steering = {"steering": _steering(spec)}
        return RobotParts(
            articulation=_on_wheels(spec, str(omni.usd_path(spec)), steering),
            drive=mdp.OmniActionCfg(),
        )
    assert isinstance(spec, DiffDriveSpec), spec
    return RobotParts(articulation=_on_wheels(spec, str(diff_drive.usd_path(spec))), drive=mdp.DiffDriveActionCfg())


def _on_wheels(spec: DiffDriveSpec, usd_path: str, more: dict[str, ImplicitActuatorCfg] | None = None):
    """An embedded robot on two driven wheels."""
    return ArticulationCfg(
        prim_path="{ENV_REGEX_NS}/Robot",
        spawn=sim_utils.UsdFileCfg(
            usd_path=usd_path,
            articulation_props=sim_utils.ArticulationRootPropertiesCfg(
                solver_position_iteration_count=PHYSX_ITERATIONS, solver_velocity_iteration_count=0
            ),
        ),
        # The root pose is that of the link `base`: at the floor's height the robot would be shot out of the floor.
        init_state=ArticulationCfg.InitialStateCfg(pos=(0.0, 0.0, spec.hull_z_m + 0.002)),
        actuators={
            "wheels": ImplicitActuatorCfg(
                joint_names_expr=list(WHEEL_JOINTS),
                stiffness=0.0,
                damping=0.5 * spec.wheel_effort_nm,
                joint_effort_limit=spec.wheel_effort_nm,
                joint_velocity_limit=40.0,
                armature=ARMATURE_KG_M2,
            ),
            **(more or {}),
        },
    )


def _steering(spec: OmniSpec) -> ImplicitActuatorCfg:
    """Position drives that settle like a critically damped spring."""
    wheel_kg_m2 = 0.5 * spec.wheel_mass_kg * spec.wheel_radius_m**2
    inertia_kg_m2 = ARMATURE_KG_M2 + wheel_kg_m2
    rate = 2 * 3.1416 * STEER_HZ
    return ImplicitActuatorCfg(
        joint_names_expr=list(STEER_JOINTS),
        stiffness=inertia_kg_m2 * rate**2,
        damping=2 * inertia_kg_m2 * rate,
        joint_effort_limit=spec.steer_effort_nm,
        joint_velocity_limit=40.0,
        armature=ARMATURE_KG_M2,
    )
