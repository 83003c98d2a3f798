"""The benchmark of all camera paths: what the real place shows from a frame's pose, and medians."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lyra.worldgen.core.frames import rigid, rotation_y
from lyra.worldgen.core.views import RgbdView
from lyra.worldgen.evaluate.film import resized
from lyra.worldgen.evaluate.likeness import psnr_db


@pytest.fixture()
def bench(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "tools" / "bench"))
    import bench_evaluate

    return bench_evaluate


def view_of(source, T_world_cam: np.ndarray) -> RgbdView:
    """The photo as a small frame, wherever its camera is said to be."""
    photo, geometry = source.photo, source.geometry
    view = RgbdView(
        view_id=0,
        camera=geometry.camera,
        T_world_cam=T_world_cam,
        rgb_u8=photo.rgb_u8,
        depth_z_m=geometry.depth_z_m,
        valid=np.ones(geometry.depth_z_m.shape, bool),
        source=np.ones(geometry.depth_z_m.shape, np.uint8),
        labels=geometry.labels,
    )
    return resized(view, 160, 120)


@pytest.mark.slow
@pytest.mark.parametrize("make", ["photo", "scene"])
def test_the_real_place_from_the_photos_pose_is_the_photo(bench, photos, make):
    """And from another pose it is something else; a panorama knows one place only."""
    source = bench.Source.of_photo(photos / "hall.png", 160) if make == "photo" else bench.Source.of_scene(1000, 160)
    home = source.geometry.T_world_cam
    frame = view_of(source, home)
    rgb, known = source.real(frame)
    assert psnr_db(rgb, frame.rgb_u8, known) > 32
    turned = view_of(source, home @ rigid(rotation_y(np.radians(20.0)), np.zeros(3)))
    assert psnr_db(source.real(turned)[0], frame.rgb_u8, known) < 25
    moved = source.real(dataclasses.replace(frame, T_world_cam=home @ rigid(np.eye(3), np.array([0.3, 0.0, 0.0]))))
    assert (moved is None) is (make == "photo")


def test_medians_leave_out_what_was_not_measured(bench):
    """A figure of one photo only is that photo's."""
    rows = [{"a": 1.0, "b": None}, {"a": 3.0, "b": 0.123456}, {"a": 8.0, "c": None}]
    assert bench.median(rows) == {"a": 3.0, "b": 0.1235}
