"""A world that can be put on a stage, made once."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def room_world(tmp_path_factory) -> Path:
    """A small room with mesh, splats, colliders, a map and episodes; without a photo."""
    for package in ("pxr", "scipy", "trimesh", "numba"):
        pytest.importorskip(package)
    from lyra.worldgen.core.config import SimulationConfig
    from lyra.worldgen.core.manifest import Manifest, PhotoRecord
    from lyra.worldgen.core.store import save_mesh
    from lyra.worldgen.core.world_writer import open_for_writing
    from lyra.worldgen.sim.simulate import WorldMeta, write_simulation
    from sample_worlds import room_with_alcove, sample_splats

    mesh = room_with_alcove()
    photo = PhotoRecord(name="room.png", sha256="0" * 64, size_px=(64, 48))
    with open_for_writing(tmp_path_factory.mktemp("kit") / "alcove") as writer:
        plan = ("reconstruct", "simulate", "certify")
        writer.start(Manifest(generator="test", photo=photo, config={"seed": 4}, plan=plan))
        with writer.stage("reconstruct", inputs="0" * 64) as notes:
            (notes.folder / "memory").mkdir()
            save_mesh(notes.folder / "memory" / "mesh.npz", mesh)
        with writer.stage("simulate", inputs="0" * 64) as notes:
            cfg = SimulationConfig(episode_count=24)
            meta = WorldMeta(name="alcove")
            write_simulation(notes.folder, mesh, sample_splats(mesh), cfg=cfg, meta=meta, seed=4)
        with writer.stage("certify", inputs="1" * 64) as notes:
            notes.facts = {"verdict": "passed"}
        return writer.folder
