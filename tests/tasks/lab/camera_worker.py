"""What the depth cameras of robots in a known room see, where they stand and after they have driven.

python camera_worker.py PHYSICS WORLD OUT.npz
"""

from __future__ import annotations

import sys

import gymnasium as gym
import numpy as np
import torch
from isaaclab.app import launch_simulation
from isaaclab_tasks.utils import resolve_task_config

import lyra_tasks.navigation  # noqa: F401 registers the tasks
from lyra_tasks.rules import CAMERA_HEIGHT_PX, CAMERA_RANGE_M, CAMERA_WIDTH_PX

TASK = "Lyra-PointGoal-DiffDrive-Depth"
ENVS = 16


def main(physics: str, world: str, out_file: str) -> None:
    cfg, _ = resolve_task_config(TASK, "", overrides=[f"physics={physics}", f"env.worlds={world}"])
    cfg.scene.num_envs, cfg.sim.device, cfg.curriculum = ENVS, "cpu", None
    cfg.terminations.arrived = cfg.terminations.touched = cfg.rewards.collision = None
    cfg.observations.camera.enable_corruption = False
    poses, pictures = [], []
    with launch_simulation(cfg, {"device": "cpu", "headless": True}):
        env = gym.make(TASK, cfg=cfg).unwrapped
        env.reset()
        robot = env.scene["robot"]
        for action in ([0.0, 0.0], [0.6, 0.5]):
            for _ in range(25):
                told = env.step(torch.tensor([action]).repeat(ENVS, 1))[0]["camera"]
            x, y, _ = robot.data.root_pos_w.torch.unbind(-1)
            poses.append(torch.stack([x, y, robot.data.heading_w.torch], -1).clone())
            pictures.append(told.clone())
        meshes = len(set(env.caster.meshes.numpy().tolist()))
        env.close()
    shape = (-1, ENVS, CAMERA_HEIGHT_PX, CAMERA_WIDTH_PX)
    depth_m = torch.stack(pictures).reshape(shape).numpy() * CAMERA_RANGE_M
    np.savez(out_file, pose=torch.stack(poses).numpy(), depth_m=depth_m, meshes=meshes)


if __name__ == "__main__":
    arguments = sys.argv[1:4]
    sys.argv = sys.argv[:1]  # Isaac Lab reads the rest of the command line itself
    main(*arguments)
