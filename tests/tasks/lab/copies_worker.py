"""Where robots drive and what they see with PhysX, each in its place of an atlas.

python copies_worker.py FLOOR_PER_ROBOT_M2 WORLD OUT.npz
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
ENVS, STEPS = 6, 40


def main(floor_per_robot_m2: str, world: str, out_file: str) -> None:
    settings = ["physics=ovphysx", f"env.worlds={world}", f"env.floor_per_robot_m2={floor_per_robot_m2}"]
    cfg, _ = resolve_task_config(TASK, "", overrides=settings)
    cfg.scene.num_envs, cfg.sim.device, cfg.curriculum = ENVS, "cpu", None
    cfg.observations.policy.enable_corruption = False
    places, seen, ended = [], [], torch.zeros(ENVS, dtype=torch.bool)
    with launch_simulation(cfg, {"device": "cpu", "headless": True}):
        env = gym.make(TASK, cfg=cfg).unwrapped
        env.reset()
        dice = torch.Generator().manual_seed(3)
        for _ in range(STEPS):
            observed, _, done, out_of_time, _ = env.step(2 * torch.rand(ENVS, 2, generator=dice) - 1)
            ended |= done | out_of_time
            places.append(env.drive.xy_w - env.book.env_offset_w[:, :2])
            seen.append(observed["policy"].clone())
        offsets = env.book.env_offset_w.clone()
        env.close()
    kept = {"offsets": offsets, "places": torch.stack(places), "seen": torch.stack(seen), "ended": ended}
    np.savez(out_file, **{name: value.numpy() for name, value in kept.items()})


if __name__ == "__main__":
    arguments = sys.argv[1:4]
    sys.argv = sys.argv[:1]  # Isaac Lab reads the rest of the command line itself
    main(*arguments)
