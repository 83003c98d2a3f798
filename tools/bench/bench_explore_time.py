"""How long exploring takes: the scripted explorer on ideal robots in certified worlds, without a simulator.

.venv/bin/python tools/bench/bench_explore_time.py WORLDS [--episodes 4] [--robot-size medium] [--longest-s 600]

A line a world: floor that can be reached, the time that the task gives, seconds until nine tenths were covered, how
many episodes were done in time; then the share of all episodes. The last line is JSON. Robots lag behind their command.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch  # noqa: TID253 this script is about tensors

from lyra_tasks import rules
from lyra_tasks.atlas import Atlas, load_atlas
from lyra_tasks.coverage import RAYS, CoverageBook, CoverageOptions
from lyra_tasks.explorer import Explorer
from lyra_tasks.planar_lidar import PlanarLidar
from lyra_tasks.pursuit import PurePursuit
from lyra_tasks.robots.diff_drive import SIZES, DiffDriveSpec
from lyra_tasks.world_list import find_world_folders

LAG = 0.4
"""Share of the difference between command and motion that a step of the task makes up for."""
STEP_S = rules.PHYSICS_STEP_S * rules.DECIMATION
OPTIONS = CoverageOptions(near_m=rules.COVER_NEAR_M, sight_m=6.0, share=0.9)


def explore(atlas: Atlas, spec: DiffDriveSpec, count: int, longest_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Seconds [count] until enough is covered, infinite where it never was or something was touched; floor [m²]."""
    (ground,) = atlas.grounds
    book = CoverageBook(atlas, OPTIONS, env_count=count, device="cpu")
    lidar = PlanarLidar(ground.colliders, ground.world.floor_z_m + spec.lidar_height_m)
    explorer = Explorer(count, near_m=OPTIONS.near_m, footprint_radius_m=spec.footprint_radius_m)
    pursuit, offset = PurePursuit(count), atlas.offsets_m[0, :2]
    xy, yaw = np.split(ground.world.starts_xy_yaw()[:count], [2], axis=1)
    yaw, motion = yaw[:, 0], np.zeros((count, 2))
    took, going = np.full(count, np.inf), np.ones(count, bool)
    limits = np.array([spec.max_speed_m_s, spec.max_turn_rad_s])
    for step in range(round(longest_s / STEP_S)):
        ranges = [lidar.ranges_m(p, a, rays=RAYS, max_range_m=OPTIONS.sight_m) for p, a in zip(xy, yaw, strict=True)]
        pose = torch.tensor(xy + offset, dtype=torch.float32), torch.tensor(yaw, dtype=torch.float32)
        book.look(*pose, torch.tensor(np.array(ranges), dtype=torch.float32))
        done = going & book.explored.numpy()
        took[done] = step * STEP_S
        going &= ~done & (ground.clearance_at(xy) > spec.footprint_radius_m + rules.EXPLORE.touch_margin_m)
        if not going.any():
            break
        left = (book.real & ~book.covered).numpy()
        for i in np.flatnonzero(going):
            pieces = book.cells_w[i].numpy()[left[i]] - offset
            if explorer.wants_new_way(int(i), xy[i], pieces):
                pursuit.follow(int(i), explorer.way(int(i), ground, xy[i], float(yaw[i]), pieces))
        motion += LAG * (pursuit.act(xy, yaw) - motion)
        yaw = yaw + going * motion[:, 1] * limits[1] * STEP_S
        xy = xy + (going * motion[:, 0] * limits[0] * STEP_S)[:, None] * np.stack([np.cos(yaw), np.sin(yaw)], -1)
    return took, book.floor_m2.numpy()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", help="world folder, folder of worlds, pattern or list")
    parser.add_argument("--episodes", type=int, default=4, help="of every world, the first ones")
    parser.add_argument("--robot-size", default="medium", choices=sorted(SIZES))
    parser.add_argument("--longest-s", type=float, default=600.0)
    parser.add_argument("--uncertified", action="store_true", help="worlds without a certificate, too")
    parser.add_argument("--out", type=Path, help="JSON of all episodes")
    args = parser.parse_args()
    torch.set_num_threads(1)
    spec, rows = SIZES[args.robot_size], []
    print("| world | floor, m² | time limit, s | took, s | in time |\n| --- | --: | --: | --: | --: |")
    for folder in find_world_folders(args.worlds):
        radius = spec.footprint_radius_m + rules.EXPLORE.planning_margin_m
        try:
            atlas = load_atlas(str(folder), robot_radius_m=radius, certified_only=not args.uncertified)
        except ValueError as error:
            print(f"{folder.name} is left out: {error}", file=sys.stderr)
            continue
        count = min(args.episodes, len(atlas.grounds[0].world.episodes))
        took, floor_m2 = explore(atlas, spec, count, args.longest_s)
        times = {"time_limit_s": rules.EXPLORE.time_limit_s, "sweep_share": rules.EXPLORE.sweep_share}
        limit = STEP_S * rules.explore_step_limit(floor_m2, spec, near_m=OPTIONS.near_m, **times)
        rows.append({"world": folder.name, "floor_m2": float(floor_m2[0]), "limit_s": float(limit[0])})
        rows[-1] |= {"took_s": took.round(1).tolist(), "in_time": int((took <= limit).sum())}
        seconds = " ".join(f"{t:.0f}" for t in took)
        good = f"{rows[-1]['in_time']} of {count}"
        print(f"| {folder.name} | {floor_m2[0]:.0f} | {limit[0]:.0f} | {seconds} | {good} |", flush=True)
    total, good = sum(len(r["took_s"]) for r in rows), sum(r["in_time"] for r in rows)
    print(f"\n{len(rows)} worlds, {good} of {total} episodes in time: {good / max(total, 1):.1%}")
    report = json.dumps({"episodes": total, "in_time": good, "worlds": rows})
    print(f"\n{report}")
    if args.out:
        args.out.write_text(report + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
