"""Geometry of rendered scenes whose camera, labels and depth are known exactly."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from lyra.worldgen.core.config import GeometryConfig
from lyra.worldgen.core.frames import up_in_cam
from lyra.worldgen.core.mesh import Label
from lyra.worldgen.core.views import Photo
from lyra.worldgen.generation.geometry import estimate_geometry

FIRST_SEED = 990_000
"""The trainer's pictures begin at seven millions, its held-out ones elsewhere, too."""
SIZE_PX = (480, 288)


@pytest.mark.slow
def test_sixteen_scenes(repository, monkeypatch):
    """On average most of the depth is right up to one scale, the floor is found, and up is up."""
    monkeypatch.syspath_prepend(str(repository / "tools" / "label_net"))
    for name in ("scenes", "raycast"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import scenes

    depth_share, floor_iou, gravity_deg = [], [], []
    for seed in range(FIRST_SEED, FIRST_SEED + 16):
        truth = scenes.sample(seed, *SIZE_PX, samples=2)
        photo = Photo(rgb_u8=truth.rgb_u8, name="scene", sha256="0" * 64, original_size_px=SIZE_PX)
        found = estimate_geometry(photo, GeometryConfig())
        up = found.T_world_cam[2, :3]
        cosine = float(up @ up_in_cam(truth.pitch_rad, truth.roll_rad))
        gravity_deg.append(np.degrees(np.arccos(min(cosine, 1.0))))
        floor, true_floor = found.labels == Label.FLOOR, truth.labels == 0
        if true_floor.mean() > 0.03:
            floor_iou.append((floor & true_floor).sum() / (floor | true_floor).sum())
        near = (truth.depth_z_m > 0) & (truth.depth_z_m < 15) & (found.depth_z_m > 0)
        off = np.log(found.depth_z_m[near] / truth.depth_z_m[near])
        depth_share.append((np.abs(off - np.median(off)) < np.log(1.25)).mean())
    assert np.mean(depth_share) >= 0.55, depth_share
    assert np.mean(floor_iou) >= 0.6, floor_iou
    assert np.median(gravity_deg) <= 5.0, gravity_deg
