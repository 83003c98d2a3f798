"""The build resumes, repairs, refuses and cleans up; driven by tiny stages."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from fake_stages import content, fake_stages
from lyra.worldgen.build import build_world, rerun_stage
from lyra.worldgen.build.stages import photo_licence, simulation_facts
from lyra.worldgen.core.config import SimulationConfig, load_config
from lyra.worldgen.core.errors import BackendError, Cancelled, InputError
from lyra.worldgen.core.progress import Progress
from lyra.worldgen.core.world import load_world
from lyra.worldgen.core.world_writer import open_for_writing
from lyra.worldgen.sim.simulate import WorldMeta, write_simulation
from sample_worlds import sample_splats, simple_room

SEED5 = load_config(None, {"seed": 5})


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    """Flushing is for power cuts, which no test makes."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


PHOTO = b"photo of a kitchen"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "kitchen.jpg"
    path.parent.mkdir()
    path.write_bytes(PHOTO)
    return path


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A world that was built without disturbance."""
    folder = tmp_path_factory.mktemp("template")
    (folder / "kitchen.jpg").write_bytes(PHOTO)
    build_world(folder / "kitchen.jpg", folder / "world", SEED5, stages=fake_stages())
    return folder / "world"


@pytest.fixture
def whole(template: Path, tmp_path: Path) -> dict[str, bytes]:
    """Content of the undisturbed world, a copy of which lies in `tmp_path / "whole"`."""
    shutil.copytree(template, tmp_path / "whole")
    return content(template)


class Recorder(Progress):
    """Keeps every update; stops the build at the n-th if asked."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.seen: list[tuple[str, int, int, str]] = []
        self.stop_at = stop_at

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        self.seen.append((stage, done, total, note))

    def keep_going(self) -> bool:
        return self.stop_at is None or len(self.seen) < self.stop_at


def test_a_build_ends_with_a_whole_world(photo, tmp_path):
    """Every planned stage is recorded with its files, facts and licence; nothing else lies in the folder."""
    world = build_world(photo, tmp_path / "a" / "b", SEED5, stages=fake_stages())
    assert world.finished and world.verdict == "passed"
    assert world.check_files().ok
    manifest = load_world(tmp_path / "a" / "b").manifest
    assert manifest.licence == "Apache-2.0"
    assert manifest.scale is not None and manifest.scale.relative_sigma == 0.1
    assert manifest.photo.name == "kitchen.jpg"
    assert set(content(world.folder)) == {*manifest.files(), "world.json"}
    assert str(tmp_path) not in (world.folder / "world.json").read_text()


def test_same_seed_same_bytes_other_seed_other_bytes(photo, tmp_path, whole):
    """Two runs of one job agree in every byte but the seconds; another seed gives another world."""
    build_world(photo, tmp_path / "twin", SEED5, stages=fake_stages())
    assert content(tmp_path / "twin") == whole
    build_world(photo, tmp_path / "other", replace(SEED5, seed=6), stages=fake_stages())
    other = content(tmp_path / "other")
    assert other.keys() == whole.keys() and other["mesh.glb"] != whole["mesh.glb"]


def test_a_finished_job_does_nothing(photo, tmp_path, whole):
    """Running the same command again touches no file."""
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "whole").rglob("*")}
    build_world(photo, tmp_path / "whole", SEED5, stages=fake_stages(fail_in="", error=None))
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "whole").rglob("*")} == before


def test_progress_never_runs_backwards_and_ends_at_one(photo, tmp_path):
    """The bar covers the whole build, in thousandths, and names the stage."""
    progress = Recorder()
    build_world(photo, tmp_path / "w", SEED5, progress=progress, stages=fake_stages())
    done = [d for _, d, _, _ in progress.seen]
    assert done == sorted(done) and done[-1] == 1000
    assert {t for _, _, t, _ in progress.seen} == {1000}
    stages = list(dict.fromkeys(s for s, *_ in progress.seen))
    assert stages == ["understand", "explore", "reconstruct", "simulate", "certify", "preview"]
    assert "explore 2/4" in {note for *_, note in progress.seen}


def test_cancelling_anywhere_keeps_finished_stages_and_the_next_run_completes(photo, tmp_path, whole):
    """Wherever the user stops, no half stage is left, and the same command finishes the same world."""
    progress = Recorder()
    build_world(photo, tmp_path / "count", SEED5, progress=progress, stages=fake_stages())
    for stop_at in range(0, len(progress.seen) - 1, 2):  # the last update comes when everything is done
        out = tmp_path / f"w{stop_at}"
        with pytest.raises(Cancelled):
            build_world(photo, out, SEED5, progress=Recorder(stop_at), stages=fake_stages())
        if out.exists():
            world = load_world(out)
            assert not world.finished and world.check_files().ok
            assert set(content(out)) == {*world.manifest.files(), "world.json"}
        build_world(photo, out, SEED5, stages=fake_stages())
        assert content(out) == whole


def test_a_run_goes_on_after_the_last_finished_chunk(photo, tmp_path, whole):
    """Chunks that were finished before the stop are loaded, not made again."""
    progress = Recorder()
    build_world(photo, tmp_path / "count", SEED5, progress=progress, stages=fake_stages())
    stop_at = [note for *_, note in progress.seen].index("explore 3/4")
    with pytest.raises(Cancelled):
        build_world(photo, tmp_path / "w", SEED5, progress=Recorder(stop_at), stages=fake_stages())
    stages = load_world(tmp_path / "w").manifest.stages
    assert [name for name in stages if "/" in name] == ["explore/000", "explore/001", "explore/002"]
    build_world(photo, tmp_path / "w", SEED5, stages=fake_stages())
    assert content(tmp_path / "w") == whole


@pytest.mark.parametrize("name", ["memory/geometry.npz", "splats.ply", "payloads/visual.usdc", "certificate.html"])
@pytest.mark.parametrize("damage", ["change", "remove"])
def test_damaged_files_are_made_again(photo, tmp_path, whole, name, damage):
    """A changed or missing file of a finished world is repaired by the same command."""
    path = tmp_path / "whole" / name
    path.write_bytes(b"x") if damage == "change" else path.unlink()
    assert not load_world(tmp_path / "whole").check_files().ok
    build_world(photo, tmp_path / "whole", SEED5, stages=fake_stages())
    assert content(tmp_path / "whole") == whole


def test_other_inputs_are_refused_and_overwrite_replaces(photo, tmp_path, whole):
    """Another photo or setting needs another folder or --overwrite; the user's own files stay either way."""
    out = tmp_path / "whole"
    (out / "my notes.txt").write_text("mine")
    before = content(out)
    with pytest.raises(InputError, match=r"other settings \(seed was 5, now 6, and 1 more\)"):
        build_world(photo, out, load_config(None, {"seed": 6, "generation.path": "turn"}), stages=fake_stages())
    other = photo.with_name("other.jpg")
    other.write_bytes(b"photo of another room")
    with pytest.raises(InputError, match=r"a finished world of another photo \(kitchen\.jpg\)"):
        build_world(other, out, SEED5, stages=fake_stages())
    assert content(out) == before
    build_world(other, out, SEED5, overwrite=True, stages=fake_stages())
    assert load_world(out).manifest.photo.name == "other.jpg"
    assert (out / "my notes.txt").read_text() == "mine"


def test_overwrite_with_the_photo_inside_the_world(photo, tmp_path, whole):
    """The world's own copy of the photo can be the input of its replacement."""
    build_world(tmp_path / "whole" / "photo.jpg", tmp_path / "whole", SEED5, overwrite=True, stages=fake_stages())
    assert content(tmp_path / "whole")["mesh.glb"] == whole["mesh.glb"]


def test_a_bad_photo_never_costs_an_existing_world(photo, tmp_path, whole):
    """With --overwrite the photo is decoded before the old world goes."""
    bad = photo.with_name("bad.jpg")
    bad.write_bytes(b"text")
    with pytest.raises(InputError, match="no picture"):
        build_world(bad, tmp_path / "whole", SEED5, overwrite=True, stages=fake_stages())
    assert content(tmp_path / "whole") == whole


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.jpg", "the photo does not exist"),
        (".", "the photo is a folder"),
        ("empty.jpg", "the photo is an empty file"),
        ("text.jpg", "no picture"),
        ("a\0b", "cannot be read"),
        ("fifo", "no regular file"),
    ],
)
def test_bad_photos_leave_nothing_behind(tmp_path, name, message):
    """What is no photo is refused before a folder is made."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "empty.jpg").touch()
    (tmp_path / "in" / "text.jpg").write_text("hello")
    os.mkfifo(tmp_path / "in" / "fifo")
    with pytest.raises(InputError, match=message):
        build_world(tmp_path / "in" / name, tmp_path / "out" / "w", SEED5, stages=fake_stages())
    assert not (tmp_path / "out").exists()


def test_foreign_folders_are_left_alone(photo, tmp_path):
    """A folder with other things in it, a file and a dangling link are refused and not changed."""
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match=r"holds other things \(thesis\.txt\)"):
        build_world(photo, foreign, SEED5, overwrite=True, stages=fake_stages())
    assert content(foreign) == {"thesis.txt": b"precious"}
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="the output is a file"):
        build_world(photo, tmp_path / "file", SEED5, stages=fake_stages())
    with pytest.raises(InputError, match="part of the path is a file"):
        build_world(photo, tmp_path / "file" / "below", SEED5, stages=fake_stages())
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="link to nothing"):
        build_world(photo, tmp_path / "link", SEED5, stages=fake_stages())


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": 2}', '{"format": 1}', "\xff", pytest.param("[" * 100_000, id="deep")]
)
def test_a_corrupted_manifest_is_refused_and_not_touched(photo, tmp_path, whole, text):
    """Nobody can know what a folder with a broken manifest holds, so not even --overwrite removes it."""
    out = tmp_path / "whole"
    (out / "world.json").write_text(text, encoding="latin-1")
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"world\.json is damaged") as caught:
            build_world(photo, out, SEED5, overwrite=overwrite, stages=fake_stages())
        assert "\n" not in str(caught.value)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_failing_in_the_first_stage_leaves_no_folder(photo, tmp_path):
    """If nothing was finished, nothing is left, parents included; a folder that was there before stays."""
    failing = fake_stages(fail_in="memory/geometry", error=BackendError("no model"))
    with pytest.raises(BackendError):
        build_world(photo, tmp_path / "deep" / "er" / "w", SEED5, stages=failing)
    assert not (tmp_path / "deep").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(BackendError):
        build_world(photo, tmp_path / "mine", SEED5, stages=failing)
    assert content(tmp_path) == {"in/kitchen.jpg": b"photo of a kitchen", "mine": b"an empty folder"}


@pytest.mark.parametrize("where", ["memory/geometry", "memory/explored", "points", "payloads", "certificate.html"])
def test_a_full_disk_is_named_and_the_run_goes_on_later(photo, tmp_path, whole, where):
    """Out of room in any stage: one line that says so, no half stage, and the next run completes the world."""
    wrapped = RuntimeError("writer failed")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    words = RuntimeError("Error in 'Write' at line 78: 'Error occurred writing file: No space left on device'")
    for error in (OSError(errno.ENOSPC, "No space left on device"), wrapped, words):
        with pytest.raises(InputError, match="the disk is full; free some space"):
            build_world(photo, tmp_path / "w", SEED5, stages=fake_stages(fail_in=where, error=error))
        if (tmp_path / "w").exists():
            world = load_world(tmp_path / "w")
            assert set(content(world.folder)) == {*world.manifest.files(), "world.json"}
    build_world(photo, tmp_path / "w", SEED5, stages=fake_stages())
    assert content(tmp_path / "w") == whole


def test_too_little_room_is_refused_before_anything_is_made(photo, tmp_path):
    """The needed room is compared with the free room first."""
    stages = fake_stages()
    stages = replace(stages, items=(replace(stages.items[0], disk_mib=1e12), *stages.items[1:]))
    with pytest.raises(InputError, match="MiB are free on the disk, the world needs up to"):
        build_world(photo, tmp_path / "w", SEED5, stages=stages)
    assert not (tmp_path / "w").exists()


def test_larger_views_need_more_room(photo, tmp_path, monkeypatch):
    """What is enough for views of 512 px is not for views of 1024 px; nothing else grows with them."""
    stages = fake_stages()
    need_mib = sum(stage.disk_mib for stage in stages.items)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=1e12, free=(need_mib + 1) * 2**20))
    with pytest.raises(InputError, match="MiB are free on the disk"):
        config = load_config(None, {"seed": 5, "generation.view_long_side_px": 1024})
        build_world(photo, tmp_path / "w", config, stages=stages)
    assert build_world(photo, tmp_path / "w", SEED5, stages=stages).finished


def test_out_of_memory_is_a_backend_error(photo, tmp_path):
    """A MemoryError says which setting to lower."""
    with pytest.raises(BackendError, match="stage reconstruct ran out of memory"):
        build_world(photo, tmp_path / "w", SEED5, stages=fake_stages(fail_in="mesh", error=MemoryError()))


def test_a_stage_without_its_output_has_failed(photo, tmp_path):
    """A writer that fails in silence is caught by the list of files."""
    stages = fake_stages()
    broken = replace(stages.items[0], outputs=("memory/none.npz",))
    with pytest.raises(BackendError, match=r"stage understand did not write memory/none\.npz"):
        build_world(photo, tmp_path / "w", SEED5, stages=replace(stages, items=(broken, *stages.items[1:])))
    assert not (tmp_path / "w").exists()


def test_only_one_writer(photo, tmp_path, whole):
    """A second process is told who is writing; the lock leaves nothing behind."""
    with open_for_writing(tmp_path / "whole"):
        with pytest.raises(InputError, match=rf"another process \({os.getpid()} on .*\) is writing this world"):
            build_world(photo, tmp_path / "whole", SEED5, overwrite=True, stages=fake_stages())
        assert load_world(tmp_path / "whole").finished  # reading is free
    assert content(tmp_path / "whole") == whole


def test_rerun_of_a_late_stage(photo, tmp_path, whole):
    """`certify` and `preview` run again on an existing world; an unfinished or damaged one is refused."""
    out = tmp_path / "whole"
    assert rerun_stage(out, "certify", stages=fake_stages()).finished
    assert content(out) == whole
    (out / "mesh.glb").write_bytes(b"x")
    with pytest.raises(InputError, match=r"file mesh\.glb of stage reconstruct is changed"):
        rerun_stage(out, "certify", stages=fake_stages())
    with pytest.raises(InputError, match="no world folder"):
        rerun_stage(tmp_path / "in", "certify", stages=fake_stages())
    assert os.listdir(tmp_path / "in") == ["kitchen.jpg"]


def test_a_revised_stage_runs_again(photo, tmp_path, whole):
    """When the code of a stage changes its result, it and everything after it are made again."""
    stages = fake_stages()
    revised = replace(stages.items[3], revision=2)
    stages = replace(stages, items=(*stages.items[:3], revised, *stages.items[4:]))
    before = load_world(tmp_path / "whole").manifest.stages
    after = build_world(photo, tmp_path / "whole", SEED5, stages=stages).manifest.stages
    changed = [name for name in after if after[name].inputs != before[name].inputs]
    assert changed == ["simulate", "certify", "preview"]


@pytest.mark.slow
def test_killed_at_ten_moments_the_same_command_finishes_the_same_world(photo, tmp_path, whole):
    """kill -9 at moments spread over a run, again and again on one folder: the result equals the undisturbed one."""
    program = [sys.executable, str(Path(__file__).with_name("fake_stages.py")), str(photo)]
    kills = 0
    for round_ in range(2):
        out = tmp_path / f"killed{round_}"
        for lines in (2 + round_, 3, 5, 4, 2, 6):
            process = subprocess.Popen([*program, str(out), "0.02"], stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            for _ in range(lines):
                if not process.stdout.readline():
                    break
            time.sleep(0.005 * (lines % 4))
            kills += process.poll() is None
            process.kill()
            process.communicate()
        subprocess.run([*program, str(out), "0"], check=True, capture_output=True)
        assert content(out) == whole
    assert kills >= 10


@contextmanager
def small_disk(folder: Path, options: str):
    """A file system of its own in memory; skips the test where this process may not mount one."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False, text=True
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small file system failed: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("size_kib", range(8, 80, 8))
def test_a_small_disk_that_runs_full(photo, tmp_path, whole, size_kib):
    """Wherever a real file system runs full: one line, only whole stages, and the next run completes the world."""
    with small_disk(tmp_path / "disk", f"size={size_kib}k") as disk:
        stages = fake_stages()
        stages = replace(stages, items=tuple(replace(stage, disk_mib=0) for stage in stages.items))
        with pytest.raises(InputError, match="the disk is full; free some space") as caught:
            build_world(photo, disk / "w", SEED5, stages=stages)
        assert "\n" not in str(caught.value)
        if (disk / "w").exists():
            world = load_world(disk / "w")
            assert set(content(world.folder)) == {*world.manifest.files(), "world.json"}
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        build_world(photo, disk / "w", SEED5, stages=stages)
        assert content(disk / "w") == whole


def test_a_read_only_disk(photo, tmp_path):
    """Output that cannot be written: one line that says so, for a new folder and for an unfinished world."""
    with small_disk(tmp_path / "disk", "size=16m") as disk:
        with pytest.raises(Cancelled):
            build_world(photo, disk / "begun", SEED5, progress=Recorder(12), stages=fake_stages())
        before = content(disk)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for name in ("new", "begun"):
            with pytest.raises(InputError, match="the file system is read-only; choose another folder"):
                build_world(photo, disk / name, SEED5, stages=fake_stages())
        assert content(disk) == before


def test_manifest_is_plain_json(photo, tmp_path, whole):
    """`world.json` is strict JSON in reading order, with the id first."""
    plain = json.loads((tmp_path / "whole" / "world.json").read_text())
    assert list(plain)[:5] == ["format", "generator", "id", "finished", "verdict"]
    assert [name for name in plain["stages"] if "/" not in name] == plain["plan"]


@pytest.mark.parametrize(
    ("said", "text"), [({}, "the photo's own licence applies"), ({"source.licence": "CC0-1.0"}, "photo: CC0-1.0")]
)
def test_the_licence_of_a_photo_is_told_where_it_is_known(said, text):
    """What its owner stated goes into the files of the world; without it they say that there is one."""
    assert photo_licence(load_config(None, said)) == text


def test_the_manifest_tells_what_the_simulation_decided(tmp_path):
    """Materials of every kind of collider, movable things and convex pieces, as docs/colliders.md promises."""
    pytest.importorskip("pxr", reason="needs OpenUSD")
    mesh = simple_room()
    cfg = SimulationConfig(episode_count=5, movable_objects=True, convex=True)
    result = write_simulation(
        tmp_path / "asked", mesh, sample_splats(mesh, 10), cfg=cfg, meta=WorldMeta(name="x"), seed=0
    )
    facts = json.loads(json.dumps(simulation_facts(result)))
    assert set(facts["materials"]) == set(result.materials) >= {"floor", "wall", "object"}
    assert facts["materials"]["floor"]["material"] == result.materials["floor"].material
    assert [thing["name"] for thing in facts["objects"]] == ["object_000"]
    assert facts["objects"][0]["mass_kg"] > 0
    assert result.convex is not None and facts["convex"]["pieces"] == len(result.convex.pieces)
    assert facts["convex"]["ray_error_p95_m"] < 0.03
    plain = replace(cfg, movable_objects=False, convex=False)
    result = write_simulation(
        tmp_path / "plain", mesh, sample_splats(mesh, 10), cfg=plain, meta=WorldMeta(name="x"), seed=0
    )
    assert not {"objects", "convex"} & set(simulation_facts(result))
