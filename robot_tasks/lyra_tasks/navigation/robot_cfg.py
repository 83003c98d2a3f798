"""The embedded robot as an Isaac Lab articulation."""

from __future__ import annotations

import isaaclab.sim as sim_utils
from isaaclab.actuators import ImplicitActuatorCfg
from isaaclab.assets import ArticulationCfg

from ..robots.diff_drive import WHEEL_JOINTS, DiffDriveSpec, usd_path

PHYSX_ITERATIONS = 12
"""Of PhysX's solver for a robot. Its own 32 cost a quarter of a step and change nothing; with 8 a robot that pushes
against a wall turns along it more slowly."""


def diff_drive_cfg(spec: DiffDriveSpec) -> ArticulationCfg:
    """The robot of these numbers; its USD is written on first use."""
    return ArticulationCfg(
        prim_path="{ENV_REGEX_NS}/Robot",
        spawn=sim_utils.UsdFileCfg(
            usd_path=str(usd_path(spec)),
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
                armature=0.01,
            )
        },
    )
