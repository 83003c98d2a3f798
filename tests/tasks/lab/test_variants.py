"""Variants of a world in Isaac Lab: mirror images and things on the floor are as solid there as everything else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lab_cases import BACKENDS
from lab_process import run_lab
from lyra_tasks.robots.diff_drive import SIZES

SPEC = SIZES["medium"]
WORKER = Path(__file__).with_name("drive_worker.py")
VARIANTS = 8


@pytest.fixture(scope="session")
def variants(tmp_path_factory) -> Path:
    """Eight variants of a furnished room, four of them mirrored, in one list."""
    from lyra.worldgen.core.world import load_world
    from lyra.worldgen.core.world_writer import open_for_writing
    from lyra.worldgen.vary import vary_world
    from lyra.worldgen.vary.config import vary_config_from_dict
    from task_worlds import write_known_worlds

    folder = tmp_path_factory.mktemp("lab_variants")
    write_known_worlds(folder, (1000,))
    cfg = vary_config_from_dict(
        {"surface": {"friction": [0.8, 1.2]}, "clutter": {"count": [2, 6]}, "layout": {"mirrored": 0.5}}
    )
    made = vary_world(folder / "world_1000", folder / "variants", count=24, seed=1000, cfg=cfg, certify=False)
    mirrored = {name: load_world(made.folder / name).manifest.base.mirrored for name in made.names}
    chosen = [[name for name in made.names if mirrored[name] == which][:4] for which in (False, True)]
    names = [name for pair in zip(*chosen, strict=True) for name in pair]
    assert len(names) == VARIANTS
    for name in names:
        with open_for_writing(made.folder / name) as writer, writer.stage("certify", inputs="1" * 64) as notes:
            notes.facts = {"verdict": "passed"}
    (folder / "variants.json").write_text(json.dumps({"worlds": [f"variants/{name}" for name in names]}))
    return folder / "variants.json"


@pytest.fixture(scope="session", params=BACKENDS)
def driven_variants(request, variants, tmp_path_factory) -> dict[str, np.ndarray]:
    """What `drive_worker.py` measured in them."""
    folder = tmp_path_factory.mktemp(f"variants_{request.param}")
    run_lab(WORKER, request.param, variants, "diff_drive", "medium", folder / "result.npz", cwd=folder)
    with np.load(folder / "result.npz") as data:
        return dict(data)


def test_robots_stand_on_the_floor_of_mirror_images(driven_variants):
    """Nobody falls through a floor whose colliders are mirrored, or is pushed out of it."""
    still = np.arange(64) % VARIANTS != 0
    track = driven_variants["track"][:, still]
    assert np.linalg.norm(track[-1, :, :2] - track[0, :, :2], axis=1).max() < 0.01
    assert np.abs(track[..., 2] - SPEC.hull_z_m).max() < 0.01


def test_robots_meet_walls_and_things(driven_variants):
    """All drive ahead; their middles stay the hull's half width away from everything, things included."""
    free = np.arange(64) % VARIANTS != 0  # the robots of the first world were put where another world has room
    ahead = driven_variants["ahead"][:, free]
    assert ahead[..., -1].min() > SPEC.hull_m[1] / 2
    assert np.abs(ahead[..., 2] - SPEC.hull_z_m).max() < 0.05
    assert (np.linalg.norm(ahead[-1, :, :2] - ahead[0, :, :2], axis=1) > 0.3).mean() > 0.5


def test_lidar_sees_things(driven_variants):
    """The shortest range is the clearance, or a little more before a thing that is wider above or below the lidar."""
    beyond = driven_variants["lidar_m"].min(1) - driven_variants["clearance_m"]
    assert beyond.min() > -0.02 and beyond.max() < 0.2
    assert np.mean(beyond < 0.02) > 0.9
