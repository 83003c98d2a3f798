"""Level rays of robots in many worlds and copies of them, without a simulation.

python lidar_worker.py WORLDS OUT.npz
"""

from __future__ import annotations

import sys

import numpy as np
import torch

from lyra_tasks.atlas import load_atlas
from lyra_tasks.courses import RANDOM, CourseBook, CourseOptions
from lyra_tasks.mdp.warp_caster import WarpCaster

ENVS, RAYS, RANGE_M, HEIGHT_M = 400, 41, 6.0, 0.23


def main(worlds: str, out_file: str) -> None:
    atlas = load_atlas(worlds, robot_radius_m=0.3, certified_only=False).with_room(10**6, 1e-3)
    options = CourseOptions(source=RANDOM, stops=1, min_geodesic_m=1.0, goals=4, starts=4, seed=0)
    book = CourseBook(atlas, options, env_count=ENVS, device="cpu")
    rng = np.random.default_rng(3)
    # Some look along the axes, some stand outside of their world.
    yaw = np.where(rng.random(ENVS) < 0.2, np.pi / 2 * rng.integers(-2, 3, ENVS), rng.uniform(-4, 4, ENVS))
    xy_w = torch.tensor(rng.uniform(-7, 7, (ENVS, 2)), dtype=torch.float32) + book.env_offset_w[:, :2]
    shares = WarpCaster(book, "cpu").shares(
        xy_w, torch.tensor(yaw, dtype=torch.float32), height_m=HEIGHT_M, rays=RAYS, max_range_m=RANGE_M
    )
    here = xy_w - book.env_offset_w[:, :2]
    np.savez(out_file, places=len(atlas.offsets_m), xy=here.numpy(), yaw=yaw, ranges_m=shares.numpy() * RANGE_M)


if __name__ == "__main__":
    arguments = sys.argv[1:3]
    sys.argv = sys.argv[:1]  # Isaac Lab reads the rest of the command line itself
    main(*arguments)
