"""What the colour cameras of robots see in two rooms, where they stand and after they have driven.

python rgb_worker.py PHYSICS WORLDS on|off OUT.npz
"""

from __future__ import annotations

import sys

import gymnasium as gym
import numpy as np
import torch
from isaaclab.app import launch_simulation
from isaaclab_tasks.utils import resolve_task_config

import lyra_tasks.navigation  # noqa: F401 registers the tasks
from lyra_tasks.navigation.env import NavigationEnv
from lyra_tasks.solids import BOX, Solids

TASK = "Lyra-PointGoal-DiffDrive-Rgb"
ENVS, SIZE_PX = 6, 32
BOX_AHEAD_M = 1.0


def box_ahead(env: NavigationEnv) -> Solids:
    """A red box one metre before every robot's middle, as wide as high, turned with it."""
    xy, yaw = env.drive.xy_w - env.book.env_offset_w[:, :2], env.drive.yaw
    T = torch.eye(4).repeat(len(yaw), 1, 1)
    T[:, 0, 0] = T[:, 1, 1] = yaw.cos()
    T[:, 1, 0], T[:, 0, 1] = yaw.sin(), -yaw.sin()
    T[:, :2, 3] = xy + BOX_AHEAD_M * torch.stack([yaw.cos(), yaw.sin()], -1)
    T[:, 2, 3] = env.robot_spec.lidar_height_m
    return Solids(
        Ts_world_body=T[:, None],
        shape=torch.tensor([BOX]),
        half_m=torch.tensor([[0.1, 0.15, 0.15]]),
        rgb=torch.tensor([[1.0, 0.0, 0.0]]),
    )


def main(physics: str, worlds: str, randomised: str, out_file: str) -> None:
    overrides = [f"physics={physics}", f"env.worlds={worlds}", f"env.randomisation.enabled={randomised == 'on'}"]
    overrides += [f"env.observations.camera.rgb.params.{side}_px={SIZE_PX}" for side in ("width", "height")]
    cfg, _ = resolve_task_config(TASK, "", overrides=overrides)
    cfg.scene.num_envs, cfg.sim.device, cfg.curriculum = ENVS, "cpu", None
    cfg.terminations.arrived = cfg.terminations.touched = cfg.rewards.collision = None
    cfg.randomisation.push_m_s = 0.0
    out: dict[str, list[torch.Tensor]] = {"pose": [], "told": [], "true": [], "depth": [], "boxed": []}
    with launch_simulation(cfg, {"device": "cpu", "headless": True}):
        env = gym.make(TASK, cfg=cfg).unwrapped
        env.reset()
        robot = env.scene["robot"]
        term = env.observation_manager._group_obs_term_cfgs["camera"][0].func
        for action in ([0.0, 0.0], [0.6, 0.5]):
            for _ in range(25):
                told = env.step(torch.tensor([action]).repeat(ENVS, 1))[0]["camera"]
            x, y, _ = robot.data.root_pos_w.torch.unbind(-1)
            out["pose"].append(torch.stack([x, y, robot.data.heading_w.torch], -1).clone())
            out["told"].append(told.clone())
            seen = term.pictures(env)
            out["true"].append(seen.rgb)
            out["depth"].append(torch.where(seen.valid, seen.depth_z_m, torch.inf))
            out["boxed"].append(term.pictures(env, box_ahead).rgb)
        kept = len(term.cameras.renderer.clouds)
        np.savez(
            out_file,
            **{name: torch.stack(values).numpy() for name, values in out.items()},
            offset=env.book.env_offset_w.numpy(),
            world=env.book.world.numpy(),
            kept=kept,
        )
        env.close()


if __name__ == "__main__":
    arguments = sys.argv[1:5]
    sys.argv = sys.argv[:1]  # Isaac Lab reads the rest of the command line itself
    main(*arguments)
