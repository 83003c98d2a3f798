"""A walk along a trajectory file with the real stages, small: resumed, undone and repainted to the same bytes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fake_stages import content
from lyra.worldgen.build import build_world, extend_world, finish_world, undo_world
from lyra.worldgen.core.chunks import chunk_stages
from lyra.worldgen.core.config import WorldConfig, load_config
from lyra.worldgen.core.errors import Cancelled
from lyra.worldgen.core.progress import Progress
from lyra.worldgen.core.world import World, load_world

pytestmark = pytest.mark.slow
CHUNKS = 3


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    """Flushing is for power cuts, which no test makes."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> WorldConfig:
    """A walk of three chunks that turns and goes ahead, with captions."""
    folder = tmp_path_factory.mktemp("walk")
    count = 1 + 80 * CHUNKS + 7  # what is no whole chunk is left out
    angle = np.linspace(0, 0.6, count)
    T = np.tile(np.eye(4), (count, 1, 1))
    T[:, 0, 0] = T[:, 2, 2] = np.cos(angle)
    T[:, 0, 2], T[:, 2, 0] = np.sin(angle), -np.sin(angle)
    T[:, 2, 3] = np.linspace(0, 1.2, count)
    K = np.tile(np.array([[70.0, 0, 48], [0, 70, 32], [0, 0, 1]]), (count, 1, 1))
    np.savez(folder / "walk.npz", w2c=np.linalg.inv(T), intrinsics=K, image_height=64, image_width=96)
    (folder / "captions.json").write_text('{"0": "a room", "81": "the same room", "900": "never"}')
    return load_config(
        None,
        {
            "seed": 4,
            "geometry.working_long_side_px": 128,
            "generation.view_long_side_px": 64,
            "generation.path": str(folder / "walk.npz"),
            "generation.captions": str(folder / "captions.json"),
        },
    )


def explored(photo: Path, out: Path, config: WorldConfig, progress: Progress | None = None) -> World:
    return build_world(photo, out, config, until="explore", progress=progress or Progress())


@pytest.fixture(scope="module")
def whole(photos, config, tmp_path_factory) -> Iterator[Path]:
    """The walk in one go."""
    folder = tmp_path_factory.mktemp("whole") / "w"
    explored(photos / "apartment.png", folder, config)
    yield folder


class StopInChunk(Progress):
    """Cancels when a chunk begins."""

    def __init__(self, chunk: int) -> None:
        self.text, self.go = f"chunk {chunk + 1}, frame 1 ", True

    def update(self, stage, done, total, note=""):
        self.go = not note.startswith(self.text)

    def keep_going(self) -> bool:
        return self.go


def test_a_walk_is_what_its_file_says(whole, config) -> None:
    """Three chunks of eighty frames with their captions and films; the file itself lies in the world."""
    world = load_world(whole)
    names = [name for _, name in chunk_stages(world.manifest.stages)]
    facts = [world.manifest.stages[name].facts for name in names]
    assert [f["frames"] for f in facts] == [80] * CHUNKS
    assert [f["prompt"] for f in facts] == ["a room", "the same room", "the same room"]
    assert all(10 <= len(f["views"]) < 40 for f in facts)
    assert facts[-1]["last"] and not facts[0]["last"]
    films = [name for name in world.manifest.files() if name.endswith(".mp4")]
    assert films == [f"memory/chunks/{i:03d}.mp4" for i in range(CHUNKS)]
    assert Path(config.generation.path).name in world.manifest.config["generation"]["path"]
    assert str(Path(config.generation.path).parent) not in (whole / "world.json").read_text()


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_stopped_between_chunks_it_resumes_to_the_same_bytes(photos, whole, config, tmp_path, chunk) -> None:
    """What was finished is read, the rest painted; nothing differs from the walk in one go."""
    with pytest.raises(Cancelled):
        explored(photos / "apartment.png", tmp_path / "w", config, StopInChunk(chunk))
    assert len(chunk_stages(load_world(tmp_path / "w").manifest.stages)) == chunk
    finish_world(tmp_path / "w", until="explore") if chunk else explored(
        photos / "apartment.png", tmp_path / "w", config
    )
    assert content(tmp_path / "w") == content(whole)


def test_undone_chunks_leave_no_trace_and_come_back(whole, tmp_path) -> None:
    """Two chunks undone and one repainted differently; undone again and gone on, the walk is the first one."""
    folder = Path(shutil.copytree(whole, tmp_path / "w"))
    undo_world(folder, chunks=2, until="explore")
    world = extend_world(folder, chunks=1, seed=99, until="explore")
    assert len(chunk_stages(world.manifest.stages)) == 2
    old, now = content(whole), content(folder)
    assert now["memory/chunks/001.npz"] == old["memory/chunks/001.npz"]  # the same way
    assert set(now) == {*world.manifest.files(), "world.json"}
    undo_world(folder, chunks=1, until="explore")
    extend_world(folder, until="explore")
    assert content(folder) == old
