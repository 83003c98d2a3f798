"""Depth cameras on robots see the room before them, to 2 cm in 99 of 100 pixels, wherever the robots have driven."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from lab_process import run_lab
from lyra_tasks.robots.diff_drive import SIZES
from lyra_tasks.rules import CAMERA_HEIGHT_PX, CAMERA_HFOV_DEG, CAMERA_PITCH_DEG, CAMERA_RANGE_M, CAMERA_WIDTH_PX
from sample_worlds import simple_room
from task_worlds import write_world

WORKER = Path(__file__).resolve().parent / "camera_worker.py"
SPEC = SIZES["medium"]
ROOM = ((-4.0, 6.0), (-3.5, 4.5), (0.0, 2.8))
BOXES = (
    ((3.0, 4.2), (-1.0, 0.4), (0.0, 0.9)),
    ((-1.3, -0.9), (1.8, 2.2), (0.0, 2.5)),
    ((1.0, 1.6), (-2.6, -2.0), (0.0, 0.35)),
)
"""`sample_worlds.simple_room` in numbers."""


def seen_m(x: float, y: float, heading: float) -> np.ndarray:
    """[H, W] depth along the optical axis by slabs: out of the room's box, into those of the things in it."""
    assert CAMERA_PITCH_DEG == 0
    focal = CAMERA_WIDTH_PX / 2 / math.tan(math.radians(CAMERA_HFOV_DEG) / 2)
    left = (CAMERA_WIDTH_PX / 2 - np.arange(CAMERA_WIDTH_PX) - 0.5) / focal
    up = (CAMERA_HEIGHT_PX / 2 - np.arange(CAMERA_HEIGHT_PX) - 0.5) / focal
    up, left = np.meshgrid(up, left, indexing="ij")
    cos, sin = math.cos(heading), math.sin(heading)
    ray = np.stack([cos - sin * left, sin + cos * left, up], -1)
    ahead = SPEC.hull_m[0] / 2
    start = np.array([x + cos * ahead, y + sin * ahead, SPEC.lidar_height_m])

    def slabs(box) -> tuple[np.ndarray, np.ndarray]:
        low, high = np.array(box).T
        with np.errstate(divide="ignore"):
            a, b = (low - start) / ray, (high - start) / ray
        return np.minimum(a, b).max(-1), np.maximum(a, b).min(-1)

    depth = slabs(ROOM)[1]
    for box in BOXES:
        enter, leave = slabs(box)
        depth = np.where((enter < leave) & (enter > 0), np.minimum(depth, enter), depth)
    return np.minimum(depth, CAMERA_RANGE_M)


@pytest.mark.parametrize("physics", ["ovphysx", "newton_mjwarp"])
def test_cameras_see_the_room_from_where_robots_are(tmp_path, physics):
    """Sixteen robots, before and after a drive: 2 cm everywhere but in a few pixels on outlines; one mesh for all."""
    world = write_world(tmp_path / "plain", simple_room())
    run_lab(WORKER, physics, world, tmp_path / "out.npz", cwd=tmp_path)
    with np.load(tmp_path / "out.npz") as file:
        pose, depth_m, meshes = file["pose"], file["depth_m"], int(file["meshes"])
    assert meshes == 1
    assert np.linalg.norm(pose[1, :, :2] - pose[0, :, :2], axis=-1).mean() > 0.2, "robots have driven"
    for where, picture in zip(pose.reshape(-1, 3), depth_m.reshape(-1, *depth_m.shape[2:]), strict=True):
        off = np.abs(picture - seen_m(*where))
        assert (off > 0.02).mean() < 0.01 and np.median(off) < 0.005
    assert (depth_m < 0.99 * CAMERA_RANGE_M).mean() > 0.5, "most of what is seen is within range"


@pytest.mark.parametrize("task", ["PointGoal", "Patrol", "Explore", "Deliver"])
def test_every_task_trains_by_depth(tmp_path, task):
    """Two iterations of PPO; the pictures have mirror images."""
    world = write_world(tmp_path / "plain", simple_room())
    output = run_lab(
        *("-m", "isaaclab", "train", "--rl_library", "rsl_rl", "--task", f"Lyra-{task}-DiffDrive-Depth"),
        *("--device", "cpu", "--num_envs", 16, "--max_iterations", 2, "physics=ovphysx", f"env.worlds={world}"),
        cwd=tmp_path,
    )
    assert re.search(r"Learning iteration 1/2", output)
