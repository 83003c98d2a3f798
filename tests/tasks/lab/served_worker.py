"""What robots of the folder that `served_robots` writes do, for tests that judge it.

python served_worker.py PHYSICS WORLD ROBOT OUT.npz
"""

from __future__ import annotations

import sys

import gymnasium as gym
import numpy as np
import torch
from isaaclab.app import launch_simulation
from isaaclab_tasks.utils import resolve_task_config

import lyra_tasks.navigation  # noqa: F401 registers the tasks

TASK = "Lyra-PointGoal-DiffDrive-Lidar"
ENVS = 4


def main(physics: str, world: str, robot_name: str, out_file: str) -> None:
    overrides = [f"physics={physics}", f"env.worlds={world}", f"env.robot={robot_name}"]
    cfg, _ = resolve_task_config(TASK, "", overrides=overrides)
    cfg.scene.num_envs, cfg.sim.device, cfg.curriculum = ENVS, "cpu", None
    cfg.terminations.arrived = cfg.terminations.touched = cfg.rewards.collision = None
    with launch_simulation(cfg, {"device": "cpu", "headless": True}):
        env = gym.make(TASK, cfg=cfg).unwrapped
        env.reset()
        out = walk(env) if robot_name == "go2" else drive(env)
        env.close()
    np.savez(out_file, **out)


def drive(env) -> dict[str, np.ndarray]:
    """Forward speed, then turn rate of robots that are told to drive on, then to turn."""
    data, found = env.scene["robot"].data, {}
    for name, action in (("ahead", [1.0, 0.0]), ("turn", [0.0, 0.5])):
        for _ in range(40):
            env.step(torch.tensor([action]).repeat(ENVS, 1))
        velocity = [data.root_lin_vel_b.torch[:, :1], data.root_ang_vel_b.torch[:, 2:]]
        found[name] = torch.cat(velocity, -1).numpy().copy()
    return found


def walk(env) -> dict[str, np.ndarray]:
    """What a walking policy was told last, what came of it, and how often it was asked."""
    term, robot = env.action_manager.get_term("drive"), env.scene["robot"]
    asked, policy = [], term.policy

    def watched(told: torch.Tensor) -> torch.Tensor:
        asked.append(told.clone())
        return policy(told)

    term.policy = watched
    action = torch.tensor([[0.5, -1.0, 0.25]]).repeat(ENVS, 1)
    calls = []
    for _ in range(3):
        before = len(asked)
        env.step(action)
        calls.append(len(asked) - before)
    return {
        "calls": np.array(calls),
        "told": asked[-1].numpy(),
        "told_before": asked[-2].numpy(),
        "moved": term.low_level_actions.numpy().copy(),
        "target": robot.data.joint_pos_target.torch.numpy().copy(),
        "default": robot.data.default_joint_pos.torch.numpy().copy(),
        "step_s": np.array([env.physics_dt, env.step_dt]),
        "joints": np.array(robot.joint_names),
    }


if __name__ == "__main__":
    arguments = sys.argv[1:5]
    sys.argv = sys.argv[:1]  # Isaac Lab reads the rest of the command line itself
    main(*arguments)
