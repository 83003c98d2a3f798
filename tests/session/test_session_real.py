"""The real pipeline on a real photo, tiny: whichever face drives a session, one seed gives the same bytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fake_stages import content
from lyra.worldgen.core.config import WorldConfig, load_config
from lyra.worldgen.core.world import load_world
from lyra.worldgen.session import Event, Extend, Finish, FrameEvent, Generate, Outcome, Session, Undo

pytestmark = pytest.mark.slow
PATIENCE_S = 600.0
TINY = {
    "seed": 1007,
    "geometry.working_long_side_px": 192,
    "generation.view_long_side_px": 64,
    "reconstruction.texture_px": 128,
    "reconstruction.splat_budget": 5000,
}


def tiny(**more: object) -> WorldConfig:
    return load_config(None, {**TINY, **more})


def trajectory(path: Path, frames: int = 81) -> Path:
    """A camera path as the explorer writes one: world to camera, pixels of its own size."""
    w2c = np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1))
    w2c[:, 2, 3] = -np.linspace(0, 0.3, frames)
    K = np.tile(np.array([[80, 0, 40], [0, 80, 24], [0, 0, 1]], np.float32), (frames, 1, 1))
    np.savez(path, w2c=w2c, intrinsics=K, image_height=48, image_width=80)
    return path


def test_equal_bytes_for_one_seed(photos, tmp_path):
    """Command line, session in this process and session with workers: a world up to its mesh, to the byte."""
    photo = photos / "hall.png"
    here, there, typed = tmp_path / "here", tmp_path / "there", tmp_path / "typed"
    steps = [
        Generate(photo=photo, config=tiny(), until="understand"),
        Extend(path="forward", until="explore"),
        Undo(until="explore"),
        Finish(until="reconstruct"),
    ]
    for step in steps:
        Session(here).run(step)
    frames: list[Event] = []
    with Session(there) as working:
        working.subscribe(lambda event: frames.append(event) if isinstance(event, FrameEvent) else None)
        for step in steps:
            working.start(step)
            done = working.wait(PATIENCE_S)
            assert done is not None and done.outcome is Outcome.FINISHED, done
    program = [sys.executable, "-m", "lyra.worldgen"]
    settings = [f"--set={key}={value}" for key, value in TINY.items()]
    for said in (
        ["generate", photo, "--out", typed, "--path", "forward", "--until", "explore", *settings],
        ["undo", typed, "--until", "explore"],
        ["finish", typed, "--until", "reconstruct"],
    ):
        subprocess.run([*program, *map(str, said)], check=True, capture_output=True)
    assert content(here) == content(there)
    assert content(here) == content(typed)
    assert load_world(here).has("mesh.glb") and len(frames) > 10


def test_a_path_chosen_late_is_a_path_chosen_early(photos, tmp_path):
    """A trajectory file after seeding, limited to a chunk: the same world as with the file from the start."""
    path = trajectory(tmp_path / "walk.npz", 161)
    late, early = Session(tmp_path / "late"), Session(tmp_path / "early")
    late.run(Generate(photo=photos / "lobby.png", config=tiny(), until="understand"))
    late.run(Extend(path=str(path), until="explore"))
    config = tiny(**{"generation.path": str(path)})
    early.run(Generate(photo=photos / "lobby.png", config=config, until="explore"))
    assert content(late.folder) == content(early.folder)
    some = Session(tmp_path / "some")
    some.run(Generate(photo=photos / "lobby.png", config=tiny(), until="understand"))
    some.run(Extend(path=str(path), chunks=1, until="explore"))
    late.run(Undo(until="explore"))
    assert content(some.folder) == content(late.folder)
