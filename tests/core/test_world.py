"""`world.json` is trusted only as far as it makes sense; the writer's protocol in its parts."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.world import (
    FileRecord,
    Manifest,
    PhotoRecord,
    StageRecord,
    load_world,
    manifest_from_json,
    manifest_to_json,
    safe_name,
    strictest_licence,
)
from lyra.worldgen.core.world_writer import open_for_writing

HASH = "0" * 64


def manifest(**changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "generator": "lyra.worldgen 0",
        "photo": PhotoRecord(name="a.jpg", sha256=HASH, size_px=(4, 3)),
        "config": {"seed": 7},
        "plan": ("understand", "explore", "certify"),
    }
    return Manifest(**(values | changes))


def full_json() -> dict[str, Any]:
    record = StageRecord(inputs="x", files={"a/b.npz": FileRecord(size=3, sha256=HASH)}, facts={"verdict": "passed"})
    return manifest_to_json(manifest().with_stage("certify", record).with_stage("explore/000", StageRecord(inputs="y")))


def test_manifest_reads_back():
    """JSON and back is the same manifest, stages in the order of the plan."""
    plain = full_json()
    again = manifest_from_json(json.loads(json.dumps(plain)))
    assert manifest_to_json(again) == plain
    assert list(again.stages) == ["explore/000", "certify"]
    assert again.verdict == "passed" and again.seed == 7 and not again.finished
    assert plain["id"] == again.id and len(again.id) == 16


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/passwd", "a/../../x", "a\\b", "C:/x", "", ".", "..", "a//b", "./a", "a/", "~/x", "world.json",
     "WORLD.JSON", ".lock", ".pending.json", ".explore.partial/x", "a\0b", "x" * 500],
)  # fmt: skip
def test_names_that_lead_out_of_the_folder_are_refused(name):
    """A manifest from somebody else cannot name files elsewhere, nor the manifest itself."""
    with pytest.raises(InputError, match="expected a relative path inside"):
        safe_name(name)
    plain = full_json()
    plain["stages"]["certify"]["files"] = {str(name): {"size": 1, "sha256": HASH}}
    with pytest.raises(InputError):
        manifest_from_json(plain)


@pytest.mark.parametrize("name", ["a", "payloads/textures/a.jpg", ".thumbs/256x256/world.usda.png", "größe.png"])
def test_ordinary_names_pass(name):
    """Names that stages use."""
    assert safe_name(name) == name


def paths(value: Any, prefix: tuple = ()) -> list[tuple]:
    found = [prefix] if prefix else []
    if isinstance(value, dict):
        for key in value:
            found += paths(value[key], (*prefix, key))
    return found


@given(st.data())
def test_any_replaced_value_is_refused_or_harmless(data):
    """Wherever a value is replaced by another type, reading gives a manifest or an `InputError`, nothing else."""
    plain = copy.deepcopy(full_json())
    path = data.draw(st.sampled_from(paths(plain)))
    value = data.draw(st.sampled_from([None, True, -1, 1e308, "x", [], {}, [1], {"a": {}}, "../x"]))
    place = plain
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    try:
        read = manifest_from_json(plain)
    except InputError:
        return
    manifest_to_json(read)
    assert read.verdict in ("", "passed") and read.licence and isinstance(read.seed, int) and isinstance(read.mode, str)
    assert read.scale is None or read.scale.relative_sigma >= 0


def test_huge_manifests_are_not_read(tmp_path):
    """A manifest beyond any sense is refused by its size."""
    with open(tmp_path / "world.json", "wb") as file:
        file.truncate(17 * 2**20)
    with pytest.raises(InputError, match="is larger than"):
        load_world(tmp_path)


def test_licences_combine_to_the_strictest():
    """Unknown licences outrank known ones; nothing at all means that no weights took part."""
    assert strictest_licence([]) == "none"
    assert strictest_licence(["", "none: the photo is the training set"]) == "none"
    assert strictest_licence(["MIT", "Apache-2.0", "CC0-1.0"]) == "Apache-2.0"
    assert strictest_licence(["Apache-2.0", "CC-BY-SA-4.0", "MIT"]) == "CC-BY-SA-4.0"
    assert strictest_licence(["Apache-2.0", "Research only", "NVIDIA"]) == "NVIDIA AND Research only"


def test_listed_files_only(tmp_path):
    """A world hands out files that its manifest lists, and no link that leads away."""
    with open_for_writing(tmp_path / "w") as writer:
        writer.start(manifest())
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
        writer.start(manifest())
        with writer.stage("understand", inputs="i") as notes:
            (notes.folder / "a").symlink_to("/etc/passwd")
    assert not (tmp_path / "w").exists()


def test_two_stages_never_own_one_file(tmp_path):
    """The second stage that writes a name is a bug that shows at once."""
    with pytest.raises(AssertionError, match="both write a"), open_for_writing(tmp_path / "w") as writer:
        writer.start(manifest())
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
        writer.start(manifest())
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
        writer.start(manifest())
        with writer.stage("understand", inputs="i") as notes:
            (notes.folder / "a.txt").write_text("a")
    (tmp_path / "victim").write_text("v")
    for text in ('{"files": ["../victim"]}', "[]", "{", '{"files": 3}'):
        (tmp_path / "w" / ".pending.json").write_text(text)
        with pytest.raises(InputError, match=r"\.pending\.json"), open_for_writing(tmp_path / "w"):
            pass
    assert (tmp_path / "victim").exists()
