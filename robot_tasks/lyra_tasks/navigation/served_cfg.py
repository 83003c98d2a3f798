"""Robots from an asset server as Isaac Lab articulations, with what drives them. Not verified with the real assets."""

from __future__ import annotations

from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import isaaclab.sim as sim_utils
from isaaclab.actuators import ImplicitActuatorCfg
from isaaclab.assets import ArticulationCfg
from isaaclab.utils import replace
from isaaclab.utils.assets import ISAAC_NUCLEUS_DIR, ISAACLAB_NUCLEUS_DIR, check_file_path
from isaaclab_assets.robots.anymal import ANYMAL_C_CFG
from isaaclab_assets.robots.unitree import UNITREE_GO2_CFG
from isaaclab_rl.utils.pretrained_checkpoint import get_published_pretrained_checkpoint_path
from isaaclab_tasks.contrib.velocity.config.anymal_c.flat_env_cfg import AnymalCFlatEnvCfg
from isaaclab_tasks.core.velocity.config.go2.flat_env_cfg import UnitreeGo2FlatEnvCfg

from lyra.worldgen.core.errors import DependencyError

from ..mdp.walking import WalkingActionCfg
from ..robots.catalogue import EMBEDDED
from ..robots.served import ANYMAL, GO2, LeggedSpec, ServedSpec, WheeledSpec

ROOT_VARIABLE = "ISAACSIM_ASSET_ROOT"
"""Environment variable of Isaac Sim and Isaac Lab: a folder or another server that holds the assets."""
ANSWER_WITHIN_S = 10.0
"""Isaac Lab itself waits for a server for more than a minute."""
WALKING_STEP_S = 0.005
"""Actuator models and policies of legs were made for this step of physics."""
WALKING_DECIMATION = 4
"""Such steps in one of a walking policy."""
POLICIES = {
    ANYMAL.name: f"{ISAACLAB_NUCLEUS_DIR}/Policies/ANYmal-C/Blind/policy.pt",
    GO2.name: get_published_pretrained_checkpoint_path(
        "rsl_rl", "Isaac-Velocity-Flat-UnitreeGo2", "newtonmjwarp", "none"
    ),
}
LEGS = {ANYMAL.name: (ANYMAL_C_CFG, AnymalCFlatEnvCfg), GO2.name: (UNITREE_GO2_CFG, UnitreeGo2FlatEnvCfg)}
"""Articulation, and the task that the policy was trained in."""


def files_of(spec: ServedSpec, policy: str = "") -> list[str]:
    """Addresses or paths of what a robot needs: its USD, and what moves its legs.

    Args:
        spec: the robot.
        policy: a walking policy instead of the server's.
    """
    if isinstance(spec, WheeledSpec):
        return [f"{ISAAC_NUCLEUS_DIR}/{spec.usd}"]
    articulation = LEGS[spec.name][0]
    networks = [getattr(actuator, "network_file", None) for actuator in articulation.actuators.values()]
    return [articulation.spawn.usd_path, *filter(None, networks), policy or POLICIES[spec.name]]


def check_files(spec: ServedSpec, policy: str = "") -> None:
    """Make sure that a robot's files are there before anything starts.

    Raises:
        DependencyError: one is not; names the robot, the path and what to do.
    """
    for path in files_of(spec, policy):
        if not _answers(path):
            raise DependencyError(
                f"robot '{spec.name}' comes from an asset server, and this cannot be reached: {path}\n"
                f"use an embedded robot (env.robot={' or env.robot='.join(EMBEDDED)}), or set {ROOT_VARIABLE} to a "
                f"folder that holds a copy of the server's assets, 'Isaac/...' and all"
            )


def _answers(path: str) -> bool:
    if urlparse(path).scheme not in ("http", "https"):
        return bool(check_file_path(path))
    try:
        with urlopen(Request(path, method="HEAD"), timeout=ANSWER_WITHIN_S):
            return True
    except (HTTPError, URLError, OSError, ValueError):
        return False


def wheeled_cfg(spec: WheeledSpec) -> ArticulationCfg:
    """The robot of a server, its wheels driven like those of the embedded robots."""
    (usd_path,) = files_of(spec)
    return ArticulationCfg(
        prim_path="{ENV_REGEX_NS}/Robot",
        spawn=sim_utils.UsdFileCfg(usd_path=usd_path),
        init_state=ArticulationCfg.InitialStateCfg(pos=(0.0, 0.0, spec.hull_z_m)),
        actuators={
            "wheels": ImplicitActuatorCfg(
                joint_names_expr=list(spec.wheel_joints),
                stiffness=0.0,
                damping=0.5 * spec.wheel_effort_nm,
                joint_effort_limit=spec.wheel_effort_nm,
                armature=spec.armature_kg_m2,
            )
        },
    )


def legged_cfg(spec: LeggedSpec) -> ArticulationCfg:
    """Isaac Lab's own articulation of the robot."""
    return replace(LEGS[spec.name][0], prim_path="{ENV_REGEX_NS}/Robot")


def walking_cfg(spec: LeggedSpec, policy: str = "") -> WalkingActionCfg:
    """Actions that a walking policy carries out, told what it was told in the task that it comes from."""
    trained = LEGS[spec.name][1]()
    told = trained.observations.policy
    told.enable_corruption = False
    return WalkingActionCfg(
        asset_name="robot",
        policy_path=policy or POLICIES[spec.name],
        low_level_decimation=WALKING_DECIMATION,
        low_level_actions=trained.actions.joint_pos,
        low_level_observations=told,
        debug_vis=False,
    )
