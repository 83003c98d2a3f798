"""World folders of known truth for robot tasks: rooms with furniture, simulated and stamped as certified."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from known_scenes import KnownScene, known_scene
from lyra.worldgen.core.config import SimulationConfig
from lyra.worldgen.core.manifest import Manifest, PhotoRecord
from lyra.worldgen.core.mesh import TriMesh
from lyra.worldgen.core.splats import GaussianCloud
from lyra.worldgen.core.world_writer import open_for_writing
from lyra.worldgen.sim.simulate import WorldMeta, write_simulation

SEEDS = (1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007)
"""Of eight worlds that the robot fits into."""
NO_SPLATS = GaussianCloud(
    means=np.zeros((0, 3), np.float32),
    scales_m=np.zeros((0, 3), np.float32),
    quats_wxyz=np.zeros((0, 4), np.float32),
    opacities=np.zeros(0, np.float32),
    sh=np.zeros((0, 1, 3), np.float32),
)


def write_world(
    folder: Path,
    mesh: TriMesh,
    *,
    episode_count: int = 24,
    seed: int = 4,
    verdict: str = "passed",
    splats: GaussianCloud = NO_SPLATS,
) -> Path:
    """A finished world folder around a mesh, without a photo."""
    photo = PhotoRecord(name="room.png", sha256="0" * 64, size_px=(64, 48))
    with open_for_writing(folder) as writer:
        plan = ("simulate", "certify")
        writer.start(Manifest(generator="test", photo=photo, config={"seed": seed}, plan=plan))
        with writer.stage("simulate", inputs="0" * 64) as notes:
            write_simulation(
                notes.folder,
                mesh,
                splats,
                cfg=SimulationConfig(episode_count=episode_count),
                meta=WorldMeta(name=folder.name),
                seed=seed,
            )
        with writer.stage("certify", inputs="1" * 64) as notes:
            notes.facts = {"verdict": verdict}
    return folder


def write_known_worlds(folder: Path, seeds: tuple[int, ...] = SEEDS, kind: str = "room") -> list[KnownScene]:
    """One world folder a seed, `world_1000` and so on; the scenes that they show."""
    scenes = [known_scene(seed, kind=kind) for seed in seeds]
    for scene in scenes:
        write_world(folder / f"world_{scene.seed}", scene.truth, seed=scene.seed)
    return scenes
