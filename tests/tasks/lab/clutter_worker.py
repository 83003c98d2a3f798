"""What robots see of clutter, and what happens when they drive at it.

python clutter_worker.py PHYSICS WORLD OUT.npz
"""

from __future__ import annotations

import math
import sys

import gymnasium as gym
import numpy as np
import torch
import warp as wp
from isaaclab.app import launch_simulation
from isaaclab_tasks.utils import resolve_task_config

import lyra_tasks.navigation  # noqa: F401 registers the tasks
from lyra.worldgen.core.camera import PinholeCamera
from lyra_tasks.mdp.warp_camera import depth_shares, rays_base

TASK = "Lyra-PointGoal-DiffDrive-Lidar"
ENVS, RAYS, RANGE_M, AWAY_M = 24, 360, 6.0, 0.7
WIDTH_PX, HEIGHT_PX = 32, 24


def main(physics: str, world: str, out_file: str) -> None:
    cfg, _ = resolve_task_config(TASK, "", overrides=[f"physics={physics}", f"env.worlds={world}", "env.clutter=3"])
    cfg.scene.num_envs, cfg.sim.device, cfg.curriculum = ENVS, "cpu", None
    cfg.terminations.arrived = None
    out: dict[str, np.ndarray] = {}
    with launch_simulation(cfg, {"device": "cpu", "headless": True}):
        env = gym.make(TASK, cfg=cfg).unwrapped
        env.reset()
        things = env.book.clutter
        robot, drive = env.scene["robot"], env.drive
        # Every robot before its first thing, facing it; those who would stand in something else wait where they are.
        to = drive.xy_w - things.xy_w[:, 0]
        yaw = torch.atan2(-to[:, 1], -to[:, 0])
        near = things.half_m[:, 0].norm(dim=-1) + things.radius_m[:, 0] + AWAY_M
        place = things.xy_w[:, 0] + to / to.norm(dim=-1, keepdim=True) * near.unsqueeze(1)
        free = things.there[:, 0] & (env.book.clearance_m(place) > env.robot_spec.footprint_radius_m + 0.1)
        pose = robot.data.root_pose_w.torch.clone()
        pose[free, :2] = place[free]
        pose[free, 3:] = torch.stack([0 * yaw, 0 * yaw, (yaw / 2).sin(), (yaw / 2).cos()], -1)[free]
        robot.write_root_pose_to_sim_index(root_pose=pose)
        robot.write_root_velocity_to_sim_index(root_velocity=torch.zeros(ENVS, 6))
        env.step(torch.zeros(ENVS, 2))
        for name in ("xy_w", "yaw", "half_m", "radius_m", "height_m", "there"):
            out[f"thing_{name}"] = getattr(things, name).numpy().copy()
        height_m, ahead_m = env.robot_spec.lidar_height_m, env.robot_spec.hull_m[0] / 2
        out["free"], out["xy"], out["yaw"] = free.numpy(), drive.xy_w.numpy().copy(), drive.yaw.numpy().copy()
        seen = env.caster.shares(drive.xy_w, drive.yaw, height_m=height_m, rays=RAYS, max_range_m=RANGE_M)
        out["lidar_m"] = seen.numpy() * RANGE_M
        camera = PinholeCamera.from_hfov(WIDTH_PX, HEIGHT_PX, math.radians(90.0))
        rays = wp.array(rays_base(camera, 0.0).astype(np.float32), dtype=wp.vec3, device="cpu")
        options = {"ahead_m": ahead_m, "height_m": height_m, "max_depth_m": RANGE_M}
        out["depth_m"] = depth_shares(env.caster, rays, drive.xy_w, drive.yaw, **options).numpy() * RANGE_M
        out["rays"], out["camera"] = rays.numpy(), np.array([ahead_m, height_m])
        hidden, env.caster.clutter = env.caster.clutter, None
        plain = env.caster.shares(drive.xy_w, drive.yaw, height_m=height_m, rays=RAYS, max_range_m=RANGE_M)
        out["plain_m"] = plain.numpy() * RANGE_M
        out["plain_depth_m"] = depth_shares(env.caster, rays, drive.xy_w, drive.yaw, **options).numpy() * RANGE_M
        env.caster.clutter = hidden

        ended, gap = torch.zeros(ENVS, dtype=torch.bool), torch.full((ENVS,), torch.inf)
        drives = env.book.drives.clone()
        for _ in range(60):
            before = things.distance_m(drive.xy_w)
            env.step(torch.tensor([[0.5, 0.0]]).repeat(ENVS, 1))
            over = env.termination_manager.get_term("touched") & ~ended & (env.book.drives == drives + 1)
            gap[over], ended = before[over], ended | over
        out["ended"], out["gap_m"] = ended.numpy(), gap.numpy()
        env.close()
    np.savez(out_file, **out)


if __name__ == "__main__":
    arguments = sys.argv[1:4]
    sys.argv = sys.argv[:1]  # Isaac Lab reads the rest of the command line itself
    main(*arguments)
