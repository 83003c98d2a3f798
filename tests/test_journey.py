"""Worlds that go on, back, or two ways: undone chunks leave no trace, and stopping anywhere loses nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from fake_stages import CHUNKS, content, fake_stages
from lyra.worldgen.build import branch_world, build_world, extend_world, finish_world, undo_world
from lyra.worldgen.core.chunks import chunk_stages
from lyra.worldgen.core.config import load_config
from lyra.worldgen.core.errors import Cancelled, ConfigError, InputError
from lyra.worldgen.core.progress import Progress
from lyra.worldgen.core.world import World, load_world

SEED5 = load_config(None, {"seed": 5})


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    """Flushing is for power cuts, which no test makes."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A finished world."""
    folder = tmp_path_factory.mktemp("template")
    (folder / "kitchen.jpg").write_bytes(b"photo of a kitchen")
    build_world(folder / "kitchen.jpg", folder / "world", SEED5, stages=fake_stages())
    return folder / "world"


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(template, tmp_path / "w"))


def extend(folder: Path, path: str = "", **options) -> World:
    return extend_world(folder, path=path, stages=fake_stages(), **options)


def undo(folder: Path, chunks: int = 1) -> World:
    return undo_world(folder, chunks=chunks, stages=fake_stages())


def trajectory(path: Path, frames: int = 200) -> Path:
    w2c = np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1))
    K = np.tile(np.array([[80, 0, 40], [0, 80, 24], [0, 0, 1]], np.float32), (frames, 1, 1))
    np.savez(path, w2c=w2c, intrinsics=K, image_height=48, image_width=80)
    return path


def test_extending_keeps_what_was_there(folder, template):
    """Old views stay byte for byte; the world has a new id, its old one as parent, and more chunks."""
    before = load_world(folder).manifest
    world = extend(folder, "spin")
    assert world.finished and world.check_files().ok
    assert len(chunk_stages(world.manifest.stages)) == 2 * CHUNKS
    assert world.manifest.id != before.id and world.manifest.parents == (before.id,)
    old, new = content(template), content(folder)
    assert all(new[name] == data for name, data in old.items() if name.startswith(("memory/views", "memory/chunks")))
    assert new["mesh.glb"] != old["mesh.glb"]


@pytest.mark.parametrize("chunks", range(1, CHUNKS + 3))
def test_undoing_an_extension_leaves_no_trace(folder, template, chunks):
    """However it was taken back, the world is to the byte what a shorter exploration would have made it."""
    extend(folder, "spin")
    for _ in range(chunks):
        undo(folder)
    if chunks == CHUNKS:
        assert content(folder) == content(template)
        return
    once = folder.with_name("once")
    shutil.copytree(template, once)
    extend(once, "spin")
    undo(once, chunks)
    assert content(folder) == content(once)
    assert len(chunk_stages(load_world(folder).manifest.stages)) == 2 * CHUNKS - chunks


def test_going_on_after_undo_gives_the_same_world(folder, template):
    """What was undone comes back as it was, all at once or piece by piece."""
    undo(folder, 3)
    extend(folder, chunks=1)
    extend(folder)
    assert content(folder) == content(template)


def test_repainting_differs_and_forgets_the_undone(folder, template):
    """Another seed paints the undone chunk anew; nothing of the old one is left anywhere."""
    undone = content(folder)
    undo(folder, 3)
    world = extend(folder, chunks=1, seed=9)
    assert len(chunk_stages(world.manifest.stages)) == CHUNKS - 2
    now = content(folder)
    assert now["memory/views/view_00001.npz"] != undone["memory/views/view_00001.npz"]
    assert now["memory/views/view_00000.npz"] == undone["memory/views/view_00000.npz"]
    gone = {data for name, data in undone.items() if name.startswith("memory/views") and not name.endswith("0.npz")}
    assert not gone & set(now.values())
    assert set(now) == {*world.manifest.files(), "world.json"}
    extend(folder)
    assert len(chunk_stages(load_world(folder).manifest.stages)) == CHUNKS
    undo(folder, 3)
    extend(folder)
    assert content(folder) == content(template)


def test_a_branch_shares_the_beginning_and_leaves_the_first_alone(folder, template, tmp_path):
    """The branch equals the first world undone to the same chunk, and goes its own way from there."""
    branch = branch_world(folder, tmp_path / "b", chunks=2, stages=fake_stages())
    assert branch.finished and content(folder) == content(template)
    undo(folder, CHUNKS - 2)
    assert content(tmp_path / "b") == content(folder)
    extend(tmp_path / "b", "loop")
    assert len(chunk_stages(load_world(tmp_path / "b").manifest.stages)) == 2 + CHUNKS


def test_a_moved_world_goes_on_without_its_photo(template, tmp_path):
    """Nothing outside the folder is needed: it can be extended on another machine."""
    moved = Path(shutil.copytree(template, tmp_path / "elsewhere" / "w"))
    here = Path(shutil.copytree(template, tmp_path / "here"))
    extend(moved, str(trajectory(tmp_path / "walk.npz")))
    extend(here, str(trajectory(tmp_path / "walk.npz")))
    (tmp_path / "walk.npz").unlink()
    assert content(moved) == content(here)
    undo(moved, 2)
    extend(moved)
    assert content(moved) == content(here)
    undo(moved, CHUNKS)
    assert content(moved) == content(template)  # and the trajectory file has gone with the path


def test_a_begun_world_keeps_the_file_that_its_path_names(tmp_path):
    """Seeded with a trajectory that then goes: finishing walks it, also when the seed is damaged, to the same bytes."""
    photo = tmp_path / "kitchen.jpg"
    photo.write_bytes(b"photo of a kitchen")
    config = load_config(None, {"seed": 5, "generation.path": str(trajectory(tmp_path / "walk.npz"))})
    build_world(photo, tmp_path / "once", config, stages=fake_stages())
    build_world(photo, tmp_path / "begun", config, stages=fake_stages(), until="understand")
    (tmp_path / "walk.npz").unlink()
    (kept,) = (name for name in content(tmp_path / "once") if name.startswith("memory/path-"))
    assert content(tmp_path / "begun")[kept] == content(tmp_path / "once")[kept]
    finish_world(tmp_path / "begun", stages=fake_stages())
    assert content(tmp_path / "begun") == content(tmp_path / "once")
    (tmp_path / "begun" / "memory" / "geometry.npz").write_bytes(b"damaged")
    finish_world(tmp_path / "begun", stages=fake_stages())
    assert content(tmp_path / "begun") == content(tmp_path / "once")


class StopAt(Progress):
    """Cancels at the n-th update."""

    def __init__(self, limit: int) -> None:
        self.limit, self.count = limit, 0

    def update(self, stage, done, total, note=""):
        self.count += 1

    def keep_going(self) -> bool:
        return self.count < self.limit


@pytest.mark.parametrize("limit", [1, 3, 5, 7, 9, 12, 16])
def test_stopped_anywhere_an_extension_goes_on(folder, limit):
    """Whatever was interrupted, `finish` completes the very world that was asked for."""
    whole = folder.with_name("whole")
    shutil.copytree(folder, whole)
    extend(whole, "spin")
    with pytest.raises(Cancelled):
        extend(folder, "spin", progress=StopAt(limit))
    assert load_world(folder).check_files().ok
    world = finish_world(folder, stages=fake_stages())
    assert world.finished and content(folder) == content(whole)


def test_exploring_first_and_the_rest_later(folder):
    """`until` leaves later stages for `finish`."""
    world = extend(folder, "spin", until="explore")
    assert not world.finished and "explore" in world.manifest.stages and "reconstruct" not in world.manifest.stages
    assert finish_world(folder, stages=fake_stages()).finished


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (extend, InputError, "no path was cut short"),
        (lambda f: extend(f, "spinn"), ConfigError, "did you mean 'spin'"),
        (lambda f: extend(f, "spin:turns=x"), ConfigError, "expected a number"),
        (lambda f: extend(f, "spin:speed=1"), ConfigError, "has no option 'speed=1'; expected turns=1"),
        (lambda f: extend(f, "spin", chunks=0), InputError, "expected at least 1"),
        (lambda f: extend(f, str(f / "none.npz")), InputError, "cannot be read"),
        (lambda f: undo(f, 4), InputError, "expected 1 to 3 to undo, not 4"),
        (lambda f: undo(f, 0), InputError, "expected 1 to 3 to undo, not 0"),
        (lambda f: branch_world(f, f, stages=fake_stages()), InputError, "holds a world already"),
        (lambda f: branch_world(f, f.with_name("n"), chunks=9, stages=fake_stages()), InputError, "expected 1 to 4"),
        (lambda f: undo_world(f.with_name("none")), InputError, "no world folder"),
    ],
)
def test_what_cannot_be_done_changes_nothing(folder, template, action, error, message):
    """One clear line, and the world is as it was."""
    with pytest.raises(error, match=message):
        action(folder)
    assert content(folder) == content(template)
