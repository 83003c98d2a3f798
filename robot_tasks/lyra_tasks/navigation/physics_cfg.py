"""Physics engines that a task can be run with: `physics=newton_mjwarp` or `physics=ovphysx` on the command line."""

from __future__ import annotations

from isaaclab.utils import configclass
from isaaclab_newton.physics import MJWarpSolverCfg, NewtonCfg, NewtonCollisionPipelineCfg, NewtonShapeCfg
from isaaclab_ov.physics import OvPhysxCfg
from isaaclab_tasks.utils import PresetCfg

CONTACTS_OF_ALL, CONTACTS_OF_ONE = 16, 24
"""Room for contacts in MuJoCo: for each robot, and in the whole pool for those that need more. Robots that all push
against furniture without end have 12 on average, one of them had 31; kernels run over the room, used or not."""


def share_contacts(physics: NewtonCfg, env_count: int) -> None:
    """Size MuJoCo's pool of contacts for so many robots; Isaac Lab multiplies what stands here by their number."""
    physics.solver_cfg.nconmax = CONTACTS_OF_ALL + -(-CONTACTS_OF_ONE // env_count)


@configclass
class NavigationPhysicsCfg(PresetCfg):
    """Static worlds of boxes and triangles, robots that roll on them."""

    newton_mjwarp: NewtonCfg = NewtonCfg(
        solver_cfg=MJWarpSolverCfg(
            class_type="lyra_tasks.navigation.newton_replay:NewtonReplayManager",
            # Rows are computed for every robot, used or not; robots that pushed against furniture had 68 at most.
            njmax=76,
            # One pool for all robots; `share_contacts` sizes it when their number is known.
            nconmax=40,
            cone="pyramidal",
            impratio=1.0,
            integrator="implicitfast",
            # All robots wait for the one that needs most; what is left after five is carried into the next step.
            iterations=5,
            ls_iterations=30,
            # MuJoCo's own contacts turn a triangle mesh into its convex hull: robots are thrown out of the room.
            use_mujoco_contacts=False,
        ),
        collision_cfg=NewtonCollisionPipelineCfg(max_triangle_pairs=200_000),
        default_shape_cfg=NewtonShapeCfg(margin=0.002, gap=0.01, ke=2.0e4, kd=400.0),
        num_substeps=1,
    )
    ovphysx: OvPhysxCfg = OvPhysxCfg(class_type="lyra_tasks.navigation.ovphysx_steps:OvPhysxWholeStepManager")
    default: NewtonCfg = newton_mjwarp


def make_room_for_legs(physics: NewtonCfg | OvPhysxCfg) -> None:
    """Ask the task before every step of physics, since actions change in between; more rows, a better solution."""
    if isinstance(physics, OvPhysxCfg):
        physics.class_type = OvPhysxCfg().class_type
    else:
        physics.solver_cfg.njmax, physics.solver_cfg.iterations = 160, 30
