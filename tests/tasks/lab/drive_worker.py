"""One simulation of eight worlds and 64 robots, driven by script; what happened goes into a file.

python drive_worker.py PHYSICS WORLDS ROBOT SIZE OUT.npz
"""

from __future__ import annotations

import sys

import gymnasium as gym
import numpy as np
import torch
from isaaclab.app import launch_simulation
from isaaclab.managers import ObservationTermCfg
from isaaclab_tasks.utils import resolve_task_config

import lyra_tasks.navigation  # noqa: F401 registers the tasks
from lab_cases import ROBOT_CASES
from lyra_tasks import mdp

TASK = "Lyra-PointGoal-DiffDrive-Lidar"
ENVS, RAYS, RANGE_M = 64, 720, 8.0


def record(env) -> torch.Tensor:
    """[N, 7] x, y, z, heading, forward speed, turn rate, speed to the left."""
    data = env.scene["robot"].data
    heading = data.heading_w.torch[:, None]
    linear, turn = data.root_lin_vel_b.torch, data.root_ang_vel_b.torch[:, 2:3]
    return torch.cat([data.root_pos_w.torch, heading, linear[:, :1], turn, linear[:, 1:2]], dim=-1).clone()


def main(physics: str, worlds: str, robot_name: str, size: str, out_file: str) -> None:
    overrides = [f"physics={physics}", f"env.worlds={worlds}", f"env.robot={robot_name}", f"env.robot_size={size}"]
    cfg, _ = resolve_task_config(TASK, "", overrides=overrides)
    cfg.scene.num_envs, cfg.sim.device = ENVS, "cpu"
    cfg.terminations.arrived = cfg.terminations.touched = cfg.rewards.collision = cfg.curriculum = None
    cfg.episode_length_s = 1000.0
    out: dict[str, np.ndarray] = {}
    with launch_simulation(cfg, {"device": "cpu", "headless": True}):
        env = gym.make(TASK, cfg=cfg).unwrapped
        width = env.action_manager.total_action_dim
        starts = []
        for _ in range(3):
            env.reset()
            starts.append(torch.cat([env.drive.xy_w, env.drive.yaw[:, None], env.book.goal_xy_w], -1).clone())
        out["starts"] = torch.stack(starts).numpy()
        for _ in range(5):
            env.step(torch.zeros(ENVS, width))
        lidar = mdp.WarpLidar(ObservationTermCfg(func=mdp.WarpLidar, params={}), env)
        out["lidar_m"] = lidar(env, rays=RAYS, max_range_m=RANGE_M).numpy() * RANGE_M
        out["clearance_m"] = env.drive.clearance_m.numpy()
        out["world"] = env.book.world.numpy()
        out["offset_m"] = env.book.env_offset_w.numpy()

        robot = env.scene["robot"]
        pose = robot.data.root_pose_w.torch.clone()
        action = torch.zeros(ENVS, width)
        for i, (place, command) in enumerate(ROBOT_CASES[robot_name].values()):
            x, y, yaw = place
            pose[8 * i, :2] = torch.tensor([x, y])
            pose[8 * i, 3:] = torch.tensor([0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])
            action[8 * i] = torch.tensor(command)
        robot.write_root_pose_to_sim_index(root_pose=pose)
        robot.write_root_velocity_to_sim_index(root_velocity=torch.zeros(ENVS, 6))
        tracks = [record(env)]
        for _ in range(75):
            env.step(action)
            tracks.append(record(env))
        out["track"] = torch.stack(tracks).numpy()
        ahead = torch.eye(width)[:1].repeat(ENVS, 1)
        tracks = []
        for _ in range(50):
            env.step(ahead)
            tracks.append(torch.cat([record(env), env.drive.clearance_m[:, None]], -1))
        out["ahead"] = torch.stack(tracks).numpy()
        env.close()
    np.savez(out_file, **out)


if __name__ == "__main__":
    arguments = sys.argv[1:6]
    sys.argv = sys.argv[:1]  # Isaac Lab reads the rest of the command line itself
    main(*arguments)
