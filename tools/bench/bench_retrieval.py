#!/usr/bin/env python3
"""Retrieval from a long walk: the exhaustive rule against the index, and how the index grows.

    .venv/bin/python tools/bench/bench_retrieval.py [--views 1000] [--targets 200] [--growth 5000] [--seed 0]

The walk leads through a building of rooms with doors, eight 480x832 pixel views a room; targets look around on the same
walk. Both methods answer in the same run, targets in turn, after the index has compiled. Figures:

    same_picks              targets whose picks and their order are equal, of all
    exhaustive_ms, index_ms median per target
    ratio                   of the two sums
    growth                  views remembered: median milliseconds of the index
    exponent                of time over views, least squares in logarithms

One JSON object goes to stdout.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time

import numpy as np

from lyra.worldgen.core.frames import camera_pose, invert_rigid
from lyra.worldgen.core.machine import core_count
from lyra.worldgen.core.mesh import TriMesh
from lyra.worldgen.core.raycast import Raycaster
from lyra.worldgen.generation.retrieval import DOWNSAMPLE, CachedPoints, cache_points, retrieve
from lyra.worldgen.generation.retrieval_index import RetrievalIndex

SIZE_HW = (480, 832)
K = np.array([[500.0, 0, 415.5], [0, 500.0, 239.5], [0, 0, 1]])
ROOM_M, WALL_M, DOOR_M, HEIGHT_M = 6.0, 0.2, 1.2, 3.0
PICKS = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--views", type=int, default=1000)
    parser.add_argument("--targets", type=int, default=200)
    parser.add_argument("--growth", type=int, default=5000, help="most views of the growth curve; 0 leaves it out")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    most = max(args.views, args.growth)
    side = int(np.ceil(np.sqrt(most / 8)))
    caster = Raycaster(building(side, rng))
    poses = walk(most + args.targets, side, rng)
    views = [remember(i, caster, T) for i, T in enumerate(poses[:most])]
    result: dict[str, object] = {
        "machine": {"cores": core_count(), "platform": platform.platform(), "python": platform.python_version()},
        "seed": args.seed,
        "views": args.views,
        "points": sum(len(v.points_world) for v in views[: args.views]),
        **compare(views[: args.views], targets_on(poses[: args.views], args.targets, rng)),
    }
    if args.growth:
        counts = [n for n in (100, 200, 500, 1000, 2000, 5000, 10_000) if n <= args.growth]
        curve = {n: median_ms(views[:n], targets_on(poses[:n], 60, rng)) for n in counts}
        result["growth"] = curve
        result["exponent"] = round(float(np.polyfit(np.log(counts), np.log(list(curve.values())), 1)[0]), 3)
    print(json.dumps(result, indent=2))
    return 0 if result["same_picks"] == args.targets else 1


def building(side: int, rng: np.random.Generator) -> TriMesh:
    """side x side rooms with a door in every inner wall and some furniture."""
    boxes = []
    length = side * ROOM_M
    boxes.append(([0, 0, -0.1], [length, length, 0]))
    boxes.append(([0, 0, HEIGHT_M], [length, length, HEIGHT_M + 0.1]))
    for line in range(side + 1):
        at = line * ROOM_M
        for room in range(side):
            door = rng.uniform(0.5, ROOM_M - DOOR_M - 0.5)
            spans = [(0.0, door), (door + DOOR_M, ROOM_M)] if 0 < line < side else [(0.0, ROOM_M)]
            for a, b in spans:
                low, high = room * ROOM_M + a, room * ROOM_M + b
                boxes.append(([at - WALL_M / 2, low, 0], [at + WALL_M / 2, high, HEIGHT_M]))
                boxes.append(([low, at - WALL_M / 2, 0], [high, at + WALL_M / 2, HEIGHT_M]))
    for _ in range(3 * side * side):
        centre, size = rng.uniform(1, length - 1, 2), rng.uniform([0.3, 0.3, 0.3], [0.9, 0.9, 2.0])
        boxes.append(([*(centre - size[:2] / 2), 0], [*(centre + size[:2] / 2), size[2]]))
    corner = np.array([[i & 1, i >> 1 & 1, i >> 2] for i in range(8)])
    quads = np.array([[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]])
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    ends = np.array(boxes, float)
    vertices = np.take_along_axis(ends, corner[None].repeat(len(ends), 0), 1).reshape(-1, 3)
    faces = (triangles[None] + 8 * np.arange(len(ends))[:, None, None]).reshape(-1, 3)
    return TriMesh(vertices=vertices, faces=faces.astype(np.int32))


def walk(count: int, side: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Poses from room to room in a snake, looking around as one goes."""
    poses = []
    per_room = max(1, -(-count // (side * side)))
    for index in range(side * side):
        row, column = divmod(index, side)
        column = column if row % 2 == 0 else side - 1 - column
        for _ in range(per_room):
            at = (np.array([column, row]) + rng.uniform(0.2, 0.8, 2)) * ROOM_M
            poses.append(camera_pose(np.array([*at, 1.5]), heading_rad=rng.uniform(-np.pi, np.pi)))
    return poses[:count]


def remember(view_id: int, caster: Raycaster, T_world_cam: np.ndarray) -> CachedPoints:
    """Points of one view, cast only where retrieval reads them."""
    v, u = np.meshgrid(np.arange(0, SIZE_HW[0], DOWNSAMPLE), np.arange(0, SIZE_HW[1], DOWNSAMPLE), indexing="ij")
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(u.shape)], -1).reshape(-1, 3)
    t, _, _ = caster.cast(T_world_cam[:3, 3], rays @ T_world_cam[:3, :3].T)
    depth = np.where(np.isfinite(t), t, 0).reshape(u.shape).astype(np.float32)
    full = np.repeat(np.repeat(depth, DOWNSAMPLE, 0), DOWNSAMPLE, 1)
    return cache_points(view_id, full, invert_rigid(T_world_cam), K)


def targets_on(poses: list[np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
    """[count, 4, 4] w2c near poses of the walk, looking anywhere."""
    out = []
    for k in rng.integers(0, len(poses), count):
        at = poses[k][:3, 3] + [*rng.normal(0, 0.3, 2), 0]
        out.append(invert_rigid(camera_pose(at, heading_rad=rng.uniform(-np.pi, np.pi))))
    return np.stack(out)


def index_of(views: list[CachedPoints]) -> RetrievalIndex:
    index = RetrievalIndex()
    for view in views:
        index.add(view)
    return index


def compare(views: list[CachedPoints], targets: np.ndarray) -> dict[str, float]:
    """Both methods on every target, one after the other."""
    index = index_of(views)
    index.retrieve(targets[:1], K, SIZE_HW, count=PICKS)
    same, exhaustive_s, index_s = 0, [], []
    for target in targets:
        start = time.perf_counter()
        want = retrieve(views, target[None], K, SIZE_HW, count=PICKS)
        middle = time.perf_counter()
        got = index.retrieve(target[None], K, SIZE_HW, count=PICKS)
        exhaustive_s.append(middle - start)
        index_s.append(time.perf_counter() - middle)
        same += got == want
    return {
        "targets": len(targets),
        "same_picks": same,
        "exhaustive_ms": round(1e3 * float(np.median(exhaustive_s)), 1),
        "index_ms": round(1e3 * float(np.median(index_s)), 2),
        "ratio": round(sum(exhaustive_s) / sum(index_s), 1),
    }


def median_ms(views: list[CachedPoints], targets: np.ndarray) -> float:
    index = index_of(views)
    times = []
    for target in targets:
        start = time.perf_counter()
        index.retrieve(target[None], K, SIZE_HW, count=PICKS)
        times.append(time.perf_counter() - start)
    return round(1e3 * float(np.median(times)), 2)


if __name__ == "__main__":
    sys.exit(main())
