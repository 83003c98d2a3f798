"""A folder that stands in for the asset server: small robots whose joints have the names of the real ones."""

from __future__ import annotations

from pathlib import Path

import torch

from lyra_tasks.robots.served import GO2, JETBOT
from lyra_tasks.robots.usd_parts import RobotStage

GO2_POLICY = "Isaac-Velocity-Flat-UnitreeGo2_newtonmjwarp_none_rsl_rl.pt"
LEGS = {"FL": (0.19, 0.11), "FR": (0.19, -0.11), "RL": (-0.19, 0.11), "RR": (-0.19, -0.11)}
"""Where legs begin."""


def write_server(root: Path) -> None:
    """`Isaac/...` with a robot for Jetbot, one for Go2, and a policy that answers with what it is told first."""
    write_wheeled(root / "Isaac" / JETBOT.usd)
    write_legged(root / "Isaac/IsaacLab/Robots/Unitree/Go2/go2.usd")
    policy = root / "Isaac/IsaacLab/PretrainedCheckpoints/rsl_rl" / GO2_POLICY
    policy.parent.mkdir(parents=True)
    weight = torch.zeros(12, 48)
    weight[:, :12] = torch.eye(12)
    torch.save({"actor_state_dict": {"mlp.0.weight": weight, "mlp.0.bias": torch.zeros(12)}}, policy)


def write_wheeled(path: Path) -> None:
    """A box on the wheels of a Jetbot."""
    robot, spec, z = RobotStage(), JETBOT, 0.05
    robot.box_body("chassis", 1.0, (0.12, 0.06, 0.04), (0.0, 0.0, z))
    robot.box("chassis/hull", (0.12, 0.06, 0.04), robot.slick, (0.2, 0.2, 0.2))
    for x in (-0.05, 0.05):
        robot.sphere(f"chassis/caster_{'front' if x > 0 else 'rear'}", 0.01, robot.slick, (0, 0, 0), (x, 0, 0.011 - z))
    for joint, y in zip(spec.wheel_joints, (spec.track_m / 2, -spec.track_m / 2), strict=True):
        wheel = joint.removesuffix("_joint")
        robot.wheel_body(wheel, 0.1, spec.wheel_radius_m, (0, y, spec.wheel_radius_m))
        robot.joint(joint, "Y", "chassis", wheel, (0, y, spec.wheel_radius_m - z), effort_nm=0.2)
    robot.save(path)


def write_legged(path: Path) -> None:
    """A box on twelve joints."""
    robot, z = RobotStage(), GO2.hull_z_m
    robot.box_body(GO2.base_body, 7.0, (0.38, 0.1, 0.1), (0.0, 0.0, z))
    robot.box("base/hull", (0.38, 0.1, 0.1), robot.rubber, (0.2, 0.2, 0.2))
    for leg, (x, y) in LEGS.items():
        parent = GO2.base_body
        at = (x, y, 0.0)
        for part, axis, down in (("hip", "X", 0.0), ("thigh", "Y", 0.0), ("calf", "Y", 0.2)):
            place = (x, y, z - down)
            robot.body(f"{leg}_{part}", 0.3, (0.002, 0.002, 0.002), place)
            robot.joint(f"{leg}_{part}_joint", axis, parent, f"{leg}_{part}", at, effort_nm=20.0)
            parent, at = f"{leg}_{part}", (0.0, 0.0, -0.2 if part == "thigh" else 0.0)
        robot.sphere(f"{leg}_calf/sole", 0.02, robot.rubber, (0, 0, 0), (0.0, 0.0, -0.18))
    robot.save(path)
