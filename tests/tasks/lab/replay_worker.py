"""Where robots are after some steps with Newton, started kernel by kernel or played back from a recording.

python replay_worker.py eager|replayed WORLD OUT.npz
"""

from __future__ import annotations

import sys

import gymnasium as gym
import numpy as np
import torch
from isaaclab.app import launch_simulation
from isaaclab_newton.physics import MJWarpSolverCfg
from isaaclab_tasks.utils import resolve_task_config

import lyra_tasks.navigation  # noqa: F401 registers the tasks
from lyra_tasks.navigation.newton_replay import NewtonReplayManager

TASK = "Lyra-PointGoal-DiffDrive-Lidar"
ENVS, STEPS = 8, 40


def main(how: str, world: str, out_file: str) -> None:
    cfg, _ = resolve_task_config(TASK, "", overrides=["physics=newton_mjwarp", f"env.worlds={world}"])
    cfg.scene.num_envs, cfg.sim.device, cfg.curriculum = ENVS, "cpu", None
    if how == "eager":
        cfg.sim.physics.class_type = MJWarpSolverCfg().class_type
    states = []
    with launch_simulation(cfg, {"device": "cpu", "headless": True}):
        env = gym.make(TASK, cfg=cfg).unwrapped
        env.reset()
        robot = env.scene["robot"]
        dice = torch.Generator().manual_seed(3)
        for _ in range(STEPS):
            env.step(2 * torch.rand(ENVS, 2, generator=dice) - 1)
            data = robot.data
            parts = (data.root_pos_w.torch, data.root_quat_w.torch, data.root_lin_vel_w.torch, data.joint_vel.torch)
            states.append(torch.cat(parts, -1).clone())
        recorded = NewtonReplayManager._recording is not None
        env.close()
    np.savez(out_file, states=torch.stack(states).numpy(), recorded=recorded)


if __name__ == "__main__":
    arguments = sys.argv[1:4]
    sys.argv = sys.argv[:1]  # Isaac Lab reads the rest of the command line itself
    main(*arguments)
