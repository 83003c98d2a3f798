"""One simulation with everything random, or nothing: what differs between robots goes into a file.

python randomised_worker.py PHYSICS WORLD on|off OUT.npz
"""

from __future__ import annotations

import sys

import gymnasium as gym
import numpy as np
import torch
from isaaclab.app import launch_simulation
from isaaclab_tasks.utils import resolve_task_config

import lyra_tasks.navigation  # noqa: F401 registers the tasks
from lyra_tasks.rules import LIDAR_BEAMS, LIDAR_RAYS, nearest_beams

TASK = "Lyra-PointGoal-DiffDrive-Lidar"
ENVS = 32


def main(physics: str, world: str, enabled: str, out_file: str) -> None:
    overrides = [f"physics={physics}", f"env.worlds={world}", f"env.randomisation.enabled={enabled == 'on'}"]
    overrides += ["env.randomisation.push_every_s=[0.4,0.8]", "env.randomisation.push_m_s=0.5"]
    cfg, _ = resolve_task_config(TASK, "", overrides=overrides)
    cfg.scene.num_envs, cfg.sim.device, cfg.curriculum = ENVS, "cpu", None
    cfg.terminations.arrived = cfg.terminations.touched = cfg.rewards.collision = None
    cfg.observations.policy.lidar.noise = None
    out: dict[str, np.ndarray] = {}
    with launch_simulation(cfg, {"device": "cpu", "headless": True}):
        env = gym.make(TASK, cfg=cfg).unwrapped
        env.reset()
        robot = env.scene["robot"]
        base = robot.find_bodies("base")[0]
        out["mass_kg"] = robot.data.body_mass.torch[:, base].numpy().copy()
        out["inertia"] = robot.data.body_inertia.torch[:, base].numpy().copy()
        out["damping"] = robot.data.joint_damping.torch.numpy().copy()
        lidar, told, speed = [], [], []
        for _ in range(60):
            observations = env.step(torch.zeros(ENVS, 2))[0]
            told.append(observations["policy"][:, 7:43].clone())
            rays, height_m = LIDAR_RAYS * LIDAR_BEAMS, env.robot_spec.lidar_height_m
            beams = env.caster.shares(env.drive.xy_w, env.drive.yaw, height_m=height_m, rays=rays, max_range_m=6.0)
            lidar.append(nearest_beams(beams, LIDAR_BEAMS))
            speed.append(robot.data.root_lin_vel_b.torch[:, :2].norm(dim=-1))
        out["lidar"], out["told"], out["speed"] = (torch.stack(v).numpy() for v in (lidar, told, speed))
        # As hard as the wheels can: tyres with little grip spin and leave the robot behind.
        start = env.drive.xy_w.clone()
        for _ in range(6):
            env.step(torch.tensor([[1.0, 0.0]]).repeat(ENVS, 1))
        out["ahead_m"] = (env.drive.xy_w - start).norm(dim=-1).numpy()
        env.close()
    np.savez(out_file, **out)


if __name__ == "__main__":
    arguments = sys.argv[1:5]
    sys.argv = sys.argv[:1]  # Isaac Lab reads the rest of the command line itself
    main(*arguments)
