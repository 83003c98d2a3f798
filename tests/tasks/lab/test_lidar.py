"""Level rays on the device against the same rays in NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lab_process import run_lab
from lyra_tasks.atlas import load_atlas
from lyra_tasks.planar_lidar import PlanarLidar

WORKER = Path(__file__).with_name("lidar_worker.py")
HEIGHT_M, RANGE_M = 0.23, 6.0


def test_rays_are_the_sections(worlds, tmp_path):
    """Robots anywhere, also outside of their world, in eight worlds and copies of them, along the axes too."""
    run_lab(WORKER, worlds, tmp_path / "rays.npz", cwd=tmp_path)
    with np.load(tmp_path / "rays.npz") as data:
        places, xy, yaw, ranges = (data[name] for name in ("places", "xy", "yaw", "ranges_m"))
    grounds = load_atlas(str(worlds), robot_radius_m=0.3, certified_only=False).grounds
    assert places > len(grounds) == 8
    lidars = [PlanarLidar(g.colliders, g.world.floor_z_m + HEIGHT_M) for g in grounds]
    truth = np.stack(
        [
            lidars[i % 8].ranges_m(xy[i].astype(float), yaw[i], rays=ranges.shape[1], max_range_m=RANGE_M)
            for i in range(len(xy))
        ]
    )
    assert 0.2 < (truth < RANGE_M).mean() < 1.0
    # Rays along the very edge of a thing may be on either side of it.
    assert (np.abs(ranges - truth) > 1e-3).mean() < 1e-3
