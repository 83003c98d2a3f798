"""The writer's protocol in its parts: what a world lists, and what a crash leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.manifest import (
    Manifest,
    PhotoRecord,
)
from lyra.worldgen.core.world import load_world
from lyra.worldgen.core.world_writer import open_for_writing

MANIFEST = Manifest(
    generator="lyra.worldgen 0",
    photo=PhotoRecord(name="a.jpg", sha256="0" * 64, size_px=(4, 3)),
    config={"seed": 7},
    plan=("understand", "explore", "certify"),
)


def test_listed_files_only(tmp_path):
    """A world hands out files that its manifest lists, and no link that leads away."""
    with open_for_writing(tmp_path / "w") as writer:
        writer.start(MANIFEST)
        with writer.stage("understand", inputs="i") as notes:
            (notes.folder / "a.txt").write_text("a")
    world = load_world(tmp_path / "w")
    (world.folder / "b.txt").write_text("b")
    assert world.path("a.txt").read_text() == "a"
    with pytest.raises(InputError, match="has no file"):
        world.path("b.txt")
    (tmp_path / "secret").write_text("a")
    (world.folder / "a.txt").unlink()
    (world.folder / "a.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="leads out of the world folder"):
        world.path("a.txt")
    assert [f.code for f in world.check_files()] == ["world.file_missing"]


def test_a_link_in_a_stage_is_no_file(tmp_path):
    """A stage that leaves a link is broken, and the world does not take it in."""
    with pytest.raises(AssertionError, match="link or special file"), open_for_writing(tmp_path / "w") as writer:
        writer.start(MANIFEST)
        with writer.stage("understand", inputs="i") as notes:
            (notes.folder / "a").symlink_to("/etc/passwd")
    assert not (tmp_path / "w").exists()


def test_two_stages_never_own_one_file(tmp_path):
    """The second stage that writes a name is a bug that shows at once."""
    with pytest.raises(AssertionError, match="both write a"), open_for_writing(tmp_path / "w") as writer:
        writer.start(MANIFEST)
        for name in ("understand", "explore"):
            with writer.stage(name, inputs="i") as notes:
                (notes.folder / "a").write_text(name)
    assert (tmp_path / "w" / "a").read_text() == "understand"


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
def test_a_crash_while_files_move_leaves_no_orphans(tmp_path, monkeypatch, moved):
    """Between the first moved file and the manifest a process may die; the next one removes what has no record."""

    class Died(BaseException):
        pass

    folder = tmp_path / "w"
    with open_for_writing(folder) as writer:
        writer.start(MANIFEST)
        with writer.stage("understand", inputs="i") as notes:
            (notes.folder / "keep.txt").write_text("keep")
    replace, count = os.replace, 0

    def dying(source, target):
        nonlocal count
        if Path(target).parent.name in ("w", "sub") and Path(target).suffix == ".txt":
            if count == moved:
                raise Died
            count += 1
        elif Path(target).name == "world.json" and count == 3:
            raise Died
        replace(source, target)

    script = [folder / "a.txt", folder / "sub" / "b.txt", folder / "sub" / "c.txt"]
    writer_context = open_for_writing(folder)
    writer = writer_context.__enter__()
    monkeypatch.setattr(os, "replace", dying)
    monkeypatch.setattr("shutil.rmtree", lambda *a, **k: None)  # a killed process cleans nothing up
    monkeypatch.setattr(writer, "_clear_pending", lambda: None)
    with pytest.raises(Died), writer.stage("explore", inputs="i") as notes:
        for path in script:
            target = notes.folder / path.relative_to(folder)
            target.parent.mkdir(exist_ok=True, parents=True)
            target.write_text("new")
    monkeypatch.undo()
    writer_context.__exit__(None, None, None)
    assert sum(path.exists() for path in script) == moved
    with open_for_writing(folder):
        pass
    assert sorted(os.listdir(folder)) == ["keep.txt", "world.json"]


def test_a_damaged_note_of_pending_files_cannot_remove_anything_else(tmp_path):
    """The note names only files inside the folder; a forged one is refused."""
    with open_for_writing(tmp_path / "w") as writer:
        writer.start(MANIFEST)
        with writer.stage("understand", inputs="i") as notes:
            (notes.folder / "a.txt").write_text("a")
    (tmp_path / "victim").write_text("v")
    for text in ('{"files": ["../victim"]}', "[]", "{", '{"files": 3}'):
        (tmp_path / "w" / ".pending.json").write_text(text)
        with pytest.raises(InputError, match=r"\.pending\.json"), open_for_writing(tmp_path / "w"):
            pass
    assert (tmp_path / "victim").exists()
