"""One simulation with everything random, or nothing: what differs between robots goes into a file.

All robots stand in one place of one world, where their engine keeps them apart, and do the same: they slide sideways,
drive off as hard as they can, and creep; then they are pushed.

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
PLACE = (0.0, 1.5)
"""Of all robots in the plain room, two metres and more from everything."""
PUSHES_AFTER_S = 2.4
SLIDE_M_S, CREEP = 1.0, 0.1


def main(physics: str, world: str, enabled: str, out_file: str) -> None:
    overrides = [f"physics={physics}", f"env.worlds={world}", f"env.randomisation.enabled={enabled == 'on'}"]
    overrides += [f"env.randomisation.push_every_s=[{PUSHES_AFTER_S},3.2]", "env.randomisation.push_m_s=0.5"]
    cfg, _ = resolve_task_config(TASK, "", overrides=overrides)
    cfg.scene.num_envs, cfg.sim.device, cfg.curriculum = ENVS, "cpu", None
    cfg.terminations.arrived = cfg.terminations.touched = cfg.rewards.collision = None
    cfg.observations.policy.lidar.noise = None
    out: dict[str, np.ndarray] = {}
    with launch_simulation(cfg, {"device": "cpu", "headless": True}):
        env = gym.make(TASK, cfg=cfg).unwrapped
        env.reset()
        robot = env.scene["robot"]
        data = robot.data
        base = robot.find_bodies("base")[0]
        out["mass_kg"] = data.body_mass.torch[:, base].numpy().copy()
        out["inertia"] = data.body_inertia.torch[:, base].numpy().copy()
        out["damping"] = data.joint_damping.torch.numpy().copy()
        pose = data.root_pose_w.torch.clone()
        pose[:] = torch.tensor([*PLACE, float(data.default_root_pose.torch[0, 2]), 0.0, 0.0, 0.0, 1.0])
        robot.write_root_pose_to_sim_index(root_pose=pose)
        robot.write_root_velocity_to_sim_index(root_velocity=torch.zeros(ENVS, 6))
        states = []

        def drive(share: float, steps: int) -> torch.Tensor:
            """[N] way that robots make on the floor."""
            start = data.root_pos_w.torch[:, :2].clone()
            for _ in range(steps):
                env.step(torch.tensor([[share, 0.0]]).repeat(ENVS, 1))
                states.append(torch.cat([data.root_pos_w.torch, data.root_quat_w.torch, data.root_vel_w.torch], -1))
            return (data.root_pos_w.torch[:, :2] - start).norm(dim=-1)

        drive(0.0, 8)
        velocity = torch.zeros(ENVS, 6)
        velocity[:, 1] = SLIDE_M_S
        robot.write_root_velocity_to_sim_index(root_velocity=velocity)
        out["slid_m"] = drive(0.0, 10).numpy()
        out["ahead_m"] = drive(1.0, 4).numpy()
        drive(0.0, 16)
        out["crept_m"] = drive(CREEP, 2).numpy()
        out["states"] = torch.stack(states).numpy()
        lidar, told, speed = [], [], []
        for _ in range(50):
            observations = env.step(torch.zeros(ENVS, 2))[0]
            told.append(observations["policy"][:, 7:43].clone())
            rays, height_m = LIDAR_RAYS * LIDAR_BEAMS, env.robot_spec.lidar_height_m
            beams = env.caster.shares(env.drive.xy_w, env.drive.yaw, height_m=height_m, rays=rays, max_range_m=6.0)
            lidar.append(nearest_beams(beams, LIDAR_BEAMS))
            speed.append(data.root_lin_vel_b.torch[:, :2].norm(dim=-1))
        out["lidar"], out["told"], out["speed"] = (torch.stack(v).numpy() for v in (lidar, told, speed))
        env.close()
    np.savez(out_file, **out)


if __name__ == "__main__":
    arguments = sys.argv[1:5]
    sys.argv = sys.argv[:1]  # Isaac Lab reads the rest of the command line itself
    main(*arguments)
