"""Depth of posed pictures by stereo: right where there is texture, silent where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.config import config_from_dict
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.importing.kinds import READERS, find_source
from lyra.worldgen.importing.stereo import StereoPicture, measure_depth
from lyra.worldgen.importing.stereo_numba import smooth_volume
from posed_scans import any_similarity, write_colmap
from rooms import AnalyticRoom


def textured(points: np.ndarray) -> np.ndarray:
    """[N, 3] uint8: waves of several lengths, the same from everywhere."""
    rng = np.random.default_rng(5)
    value = np.zeros(len(points))
    for length in (0.5, 0.23, 0.11, 0.07):
        for _ in range(4):
            wave = rng.normal(size=3)
            value += np.sin(points @ (wave / np.linalg.norm(wave)) * 2 * np.pi / length + rng.uniform(0, 6))
    return np.clip(128 + 12 * value[:, None] * [1.0, 0.9, 0.8], 0, 255).astype(np.uint8)


def burst(count: int = 5, *, plain: bool = False) -> list:
    """Exact views of a corner of a room from places a hand's breadth apart."""
    room = AnalyticRoom(
        lo_m=(-2.0, -2.0, 0.0),
        hi_m=(3.0, 2.5, 2.6),
        boxes_m=(((1.2, -0.9, 0.0), (1.8, -0.3, 0.7)),),
        camera=PinholeCamera.from_hfov(96, 72, np.radians(75)),
        T_world_cam=camera_pose(np.array([0.0, 0.0, 1.4])),
    )
    views = []
    for k in range(count):
        eye = np.array([0.03 * (k % 2), 0.14 * (k - count // 2), 1.35 + 0.04 * (k % 3)])
        T = camera_pose(eye, heading_rad=0.05 * k, pitch_rad=-0.3)
        view = room.render(None, T, view_id=k)
        points = view.camera.unproject(view.depth_z_m).reshape(-1, 3) @ T[:3, :3].T + T[:3, 3]
        rgb = np.full_like(view.rgb_u8, 140) if plain else textured(points).reshape(view.rgb_u8.shape)
        views.append((view, rgb))
    return views


def pictures(views: list) -> list[StereoPicture]:
    return [
        StereoPicture(camera=v.camera, T_world_cam=v.T_world_cam, rgb_u8=rgb, inside=np.ones(v.valid.shape, bool))
        for v, rgb in views
    ]


@pytest.mark.slow
def test_depth_of_textured_surfaces_is_right():
    """Most of the picture is measured, to a percent of its distance; few pixels are wrong."""
    views = burst()
    stereo = measure_depth(pictures(views), np.zeros((0, 3)))
    assert stereo.coverage > 0.5
    off = np.concatenate([np.abs(d / v.depth_z_m - 1)[d > 0] for d, (v, _) in zip(stereo.depth_z, views, strict=True)])
    assert np.median(off) < 0.012
    assert np.mean(off > 0.06) < 0.05


@pytest.mark.slow
def test_plain_surfaces_are_not_guessed(tmp_path):
    """Without texture nothing is measured, and the import refuses with how much it found."""
    views = burst(plain=True)
    assert measure_depth(pictures(views), np.zeros((0, 3))).coverage < 0.02
    from dataclasses import replace

    plain = [replace(v, rgb_u8=rgb) for v, rgb in views]
    folder = write_colmap(tmp_path / "scan", plain, any_similarity(8), points=100)
    with pytest.raises(InputError, match=r"stereo finds depth for 0% of the pixels of 5 pictures"):
        READERS.load("views")(find_source(folder), config_from_dict({}))


@pytest.mark.slow
def test_smoothing_prefers_planes_of_neighbours(rng):
    """A lone cheap plane loses against what all neighbours agree on."""
    cost = np.full((9, 11, 6), 1.0, np.float32)
    cost[..., 2] = 0.2
    cost[4, 5] = [1, 1, 0.3, 1, 1, 0.1]
    total = np.zeros_like(cost)
    smooth_volume(cost, np.zeros((9, 11), np.float32), np.float32(0.1), np.float32(1.0), np.float32(0.15), total)
    assert (total.argmin(-1) == 2).all()
