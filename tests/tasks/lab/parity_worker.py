"""Drives every episode of a world in Isaac Lab and writes down what every robot was told, did and became.

python parity_worker.py TASK WORLD DRIVER OUT.npz
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import gymnasium as gym
import numpy as np
import torch
from isaaclab.app import launch_simulation
from isaaclab_tasks.utils import resolve_task_config

import lyra_tasks.navigation  # noqa: F401 registers the tasks
from lyra_tasks.navigation import rollout

ENVS = 6


def main(task: str, world: str, driver: str, out_file: str) -> None:
    cfg, _ = resolve_task_config(task, "", overrides=["physics=ovphysx", f"env.worlds={world}"])
    rollout.configure_evaluation(cfg)
    cfg.scene.num_envs, cfg.sim.device = ENVS, "cpu"
    rows: dict[str, list] = {name: [] for name in ("xy", "yaw", "velocity", "drive", "episode", "told", "action")}
    with launch_simulation(cfg, {"device": "cpu", "headless": True}):
        env = gym.make(task, cfg=cfg).unwrapped
        act = rollout.ScriptedDriver(env) if driver == "baseline" else rollout.RandomDriver(env, seed=3)

        def recorded(observations: dict[str, torch.Tensor]) -> torch.Tensor:
            action = act(observations)
            data = env.scene["robot"].data
            rows["xy"].append(env.drive.xy_w - env.book.env_offset_w[:, :2])
            rows["yaw"].append(env.drive.yaw)
            rows["velocity"].append(torch.stack([data.root_lin_vel_b.torch[:, 0], data.root_ang_vel_b.torch[:, 2]], -1))
            rows["drive"].append(env.book.drives)
            rows["episode"].append(env.book.goal_id[:, 0])
            rows["told"].append(observations["policy"])
            rows["action"].append(action)
            for values in rows.values():
                values[-1] = values[-1].clone()
            return action

        driven = rollout.drive_episodes(env, recorded)
        env.close()
    arrays = {name: torch.stack(values).numpy() for name, values in rows.items()}
    outcomes = json.dumps([asdict(o) for o in driven.outcomes])
    ends = np.array([t.path_xy_m[-1] for t in driven.trajectories[0]])
    np.savez(out_file, outcomes=outcomes, ends=ends, **arrays)


if __name__ == "__main__":
    arguments = sys.argv[1:5]
    sys.argv = sys.argv[:1]  # Isaac Lab reads the rest of the command line itself
    main(*arguments)
