"""The zoom driver against its recording, and the ground that it may follow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden_data import load_golden
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.generation.trajectory_drive import (
    ground_normal,
    ground_points,
    most_agreed_normal,
    quartile_depth,
    zoom_path,
)


def degrees_between(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))))


def plane_depth(normal_cam: np.ndarray, height: float, K: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """[H, W] depth of the plane `height` below the camera; 100 where a pixel does not meet it."""
    v, u = np.mgrid[: size_hw[0], : size_hw[1]].astype(float)
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(K).T
    down = -(rays @ normal_cam)
    return np.where(down > height / 100, height / np.maximum(down, 1e-9), 100.0)


def test_quartile_equals_the_recording():
    """The lower quartile of what is valid."""
    g, meta = load_golden("trajectories")
    assert quartile_depth(g["drive_depth"]) == pytest.approx(meta["cases"]["quartile_depth"], rel=1e-6)
    depth = np.array([[1.0, 2.0, 3.0, np.nan], [4.0, 5.0, 0.0, np.inf]])
    assert quartile_depth(depth) == 2.0
    assert quartile_depth(depth, np.array([[0, 0, 0, 1], [1, 1, 0, 0]], bool)) == 4.25
    with pytest.raises(InputError, match="no valid pixel"):
        quartile_depth(np.zeros((2, 2)))


@pytest.mark.parametrize("case", ["drive_zoom_in_81", "drive_zoom_out_241", "drive_zoom_out_ground_81"])
def test_driver_equals_the_recording(case):
    """At the lower quartile of the seed depth; going backwards the camera rises, and it follows a given ground."""
    g, meta = load_golden("trajectories")
    ask = meta["cases"][case]
    normal = ask.get("ground_normal_cam")
    got = zoom_path(
        ask["frames"],
        quartile_depth(g["drive_depth"]),
        strength=ask["strength"],
        inwards=ask["direction"] == "right",
        rise=ask.get("zoom_out_upward_ratio", 0.0),
        ground_normal_cam=None if normal is None else np.array(normal),
        ground_rise=ask.get("upward_shift", 0.0),
    )
    np.testing.assert_allclose(got, g[f"{case}_w2c"], atol=1e-5)


def test_upstreams_plane_equals_the_recording():
    """The recorded draws, scored as upstream scores them, give the recorded normal."""
    torch = pytest.importorskip("torch")
    g, _ = load_golden("trajectories")
    points = ground_points(g["drive_depth"], g["drive_K"])
    generator = torch.Generator().manual_seed(0)
    triples = torch.randint(0, len(points), (200, 3), generator=generator).numpy()
    normal = most_agreed_normal(points, triples)
    assert normal is not None
    np.testing.assert_allclose(normal, g["ground_normal_ransac_seed0"], atol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_ground_of_the_recorded_depth(seed):
    """The recorded depth is a room with a level floor, side walls and a box: any seed finds the floor.

    Upstream's recorded normal of the same depth is 6.4 degrees off.
    """
    g, _ = load_golden("trajectories")
    normal = ground_normal(g["drive_depth"], g["drive_K"], seed=seed)
    assert normal is not None and degrees_between(normal, np.array([0.0, -1.0, 0.0])) < 0.1
    assert degrees_between(g["ground_normal_ransac_seed0"], np.array([0.0, -1.0, 0.0])) > 6


@settings(max_examples=15)
@given(pitch=st.floats(-0.35, 0.1), roll=st.floats(-0.2, 0.2), height=st.floats(0.5, 5.0), seed=st.integers(0, 99))
def test_a_noisy_ground_is_found(pitch, roll, height, seed):
    """Depth noise of 1 %, a third of the picture covered by an upright wall: within a degree."""
    g, _ = load_golden("trajectories")
    K, size = g["drive_K"], g["drive_depth"].shape
    want = np.array([np.sin(roll) * np.cos(pitch), -np.cos(roll) * np.cos(pitch), np.sin(pitch)])
    depth = plane_depth(want, height, K, size)
    depth[:, : size[1] // 3] = np.minimum(depth[:, : size[1] // 3], 2 * height)
    depth *= 1 + 0.01 * np.random.default_rng(seed).standard_normal(size)
    normal = ground_normal(depth.astype(np.float32), K, seed=seed)
    assert normal is not None and degrees_between(normal, want) < 1.0


def test_no_ground():
    """A wall is none, nor is what is not known."""
    g, _ = load_golden("trajectories")
    wall = np.full(g["drive_depth"].shape, 3.0, np.float32)
    assert ground_normal(wall, g["drive_K"]) is None
    assert ground_normal(wall, g["drive_K"], valid=np.zeros(wall.shape, bool)) is None
    assert ground_normal(np.full_like(wall, np.nan), g["drive_K"]) is None
    assert most_agreed_normal(np.zeros((3, 3), np.float32), np.array([[0, 1, 2]])) is None


@given(
    tilt=st.floats(-0.5, 0.5),
    frames=st.integers(1, 60),
    strength=st.floats(0.0, 2.0),
    inwards=st.booleans(),
)
def test_a_way_along_the_ground(tilt, frames, strength, inwards):
    """It keeps its height above the ground, its length, and the rotation of the photo."""
    n = np.array([0.1, -np.cos(tilt), np.sin(tilt)]) / np.linalg.norm([0.1, np.cos(tilt), np.sin(tilt)])
    ask = {"strength": strength, "inwards": inwards, "rise": 0.15}
    path = zoom_path(frames, 2.0, **ask, ground_normal_cam=n, ground_rise=0.0)
    free = zoom_path(frames, 2.0, **ask)
    np.testing.assert_allclose(path[:, :3, 3] @ n, 0, atol=1e-5)
    np.testing.assert_allclose(
        np.linalg.norm(path[:, :3, 3], axis=1), np.linalg.norm(free[:, :3, 3], axis=1), atol=1e-5
    )
    np.testing.assert_array_equal(path[:, :3, :3], np.tile(np.eye(3), (frames, 1, 1)))
