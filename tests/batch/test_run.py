"""A batch over real worker processes with tiny stages: kills, stops, failing stores, equal bytes, each world once."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import threading
from collections import Counter
from pathlib import Path

import psutil
import pytest

from batch.flaky_store import FlakyFileSystem
from fake_stages import content
from lyra.worldgen.batch import load_plan, run_batch
from lyra.worldgen.batch.card import write_reports
from lyra.worldgen.batch.ledger import NAME, Ledger
from lyra.worldgen.batch.plan import BatchPlan
from lyra.worldgen.batch.pool import LocalPool
from lyra.worldgen.batch.run import WORLDS, BatchReport, Snapshot
from lyra.worldgen.batch.store import FolderStore, UrlStore
from lyra.worldgen.core.errors import BackendError, InputError

PROGRAM = Path(__file__).parent.parent / "session" / "fake_program.py"
pytestmark = pytest.mark.slow


@pytest.fixture
def plan(tmp_path: Path) -> BatchPlan:
    """Six worlds of two photos."""
    for name in ("kitchen", "hall"):
        (tmp_path / f"{name}.jpg").write_bytes(b"photo of a " + name.encode())
    file = tmp_path / "six.yaml"
    file.write_text("photos: ['*.jpg']\nseeds: [0-2]\nphoto_licence: CC0-1.0\nattempts: 4\n")
    return load_plan(file)


def pool(folder: Path, pause_s: float = 0.0, slots: int = 3) -> LocalPool:
    return LocalPool(folder / WORLDS, slots=slots, launcher=[sys.executable, str(PROGRAM), str(pause_s)])


def run(plan: BatchPlan, folder: Path, **options) -> BatchReport:
    options = {"pool": pool(folder), "store": FolderStore(folder / WORLDS), **options}
    return run_batch(plan, folder, **options)


def events(folder: Path) -> Counter[tuple[str, str]]:
    """How often each event of each world stands in the manifest."""
    lines = [json.loads(line) for line in (folder / NAME).read_text().splitlines() if line]
    return Counter((line["event"], line["item"]) for line in lines)


def no_children() -> bool:
    """Whether every worker that this process began, directly or not, has ended."""
    left = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if str(PROGRAM) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                left.append(process)
    return not left


def test_all_worlds_are_made_once_and_a_second_call_makes_none(plan, tmp_path):
    """Three at a time and one at a time lead to the same bytes; reports name every world."""
    many, one = tmp_path / "many", tmp_path / "one"
    seen: list[Snapshot] = []
    report = run(plan, many, watch=seen.append)
    assert report.certified == len(plan.items) == 6 and not report.left
    assert max(len(s.running) for s in seen) == 3 and seen[-1].fraction == 1.0
    run(plan, one, pool=pool(one, slots=1))
    assert content(many / WORLDS) == content(one / WORLDS)
    again = run(plan, many)
    assert again.finished == report.finished
    assert {count for (event, _), count in events(many).items() if event in {"started", "finished"}} == {1}
    assert no_children()
    write_reports(plan, report)
    card, page = (many / "README.md").read_text(), (many / "index.html").read_text()
    assert "6 worlds, 6 of them certified" in card and "photos: CC0-1.0 (6 worlds)" in card
    assert "weights that took part: Apache-2.0 (6 worlds)" in card
    assert page.count("<article") == 6 and all(f"{WORLDS}/{i.name}/preview.png" in page for i in plan.items)
    assert len((many / "worlds.csv").read_text().splitlines()) == 7


def test_killed_workers_lose_nothing(plan, tmp_path):
    """Workers that are killed at random are tried again and end with the bytes of an undisturbed run."""
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    run(plan, calm)
    workers, dice, kills = pool(rough, 0.02), random.Random(5), []

    def kill(now: Snapshot) -> None:
        if len(kills) < 6 and workers.pids and dice.random() < 0.2:
            name = dice.choice(sorted(workers.pids))
            if kills.count(name) < 3:
                os.kill(workers.pids[name], signal.SIGKILL)
                kills.append(name)

    report = run(plan, rough, pool=workers, watch=kill)
    assert report.certified == 6 and len(kills) >= 3
    assert {count for (event, _), count in events(rough).items() if event == "finished"} == {1}
    assert sum(count for (event, _), count in events(rough).items() if event == "failed") == len(kills)
    assert content(calm / WORLDS) == content(rough / WORLDS)
    assert no_children()


@pytest.mark.parametrize("seed", range(2))
def test_a_stopped_batch_with_a_cut_manifest_goes_on(plan, tmp_path, seed):
    """Stopped in the middle, then the manifest is cut at a random byte: every world is there once, with equal bytes."""
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    run(plan, calm)
    dice, stop = random.Random(seed), threading.Event()

    def watch(now: Snapshot) -> None:
        if now.finished >= 1 + seed:
            stop.set()

    report = run(plan, rough, watch=watch, stop=stop, pool=pool(rough, slots=1))
    assert report.left and no_children()
    manifest = rough / NAME
    manifest.write_bytes(manifest.read_bytes()[: dice.randrange(manifest.stat().st_size)])
    report = run(plan, rough)
    assert report.certified == 6
    assert {name for name, s in Ledger(manifest).replay().items.items() if s.finished is not None} == set(
        report.finished
    )
    assert content(calm / WORLDS) == content(rough / WORLDS)


def test_a_world_that_went_missing_is_made_again(plan, tmp_path):
    """The manifest says finished, the folder says otherwise: the folder is right."""
    run(plan, tmp_path / "b")
    lost = tmp_path / "b" / WORLDS / plan.items[3].name / "mesh.glb"
    before = content(tmp_path / "b" / WORLDS)
    lost.unlink()
    assert run(plan, tmp_path / "b").certified == 6
    assert content(tmp_path / "b" / WORLDS) == before
    assert events(tmp_path / "b")["lost", plan.items[3].name] == 1


def test_a_wrong_photo_is_set_aside_at_once(plan, tmp_path):
    """It is tried once, named with its cause, and the others are made; asked to, it is tried again."""
    (tmp_path / "text.jpg").write_bytes(b"no picture")
    plan = load_plan(tmp_path / "six.yaml")
    report = run(plan, tmp_path / "b")
    assert report.certified == 6 and len(report.quarantined) == 3
    assert all("no picture" in cause for cause in report.quarantined.values())
    bad = next(iter(report.quarantined))
    assert events(tmp_path / "b")["started", bad] == 1
    run(plan, tmp_path / "b")
    assert events(tmp_path / "b")["started", bad] == 1
    (tmp_path / "text.jpg").write_bytes(b"photo after all")
    fixed = load_plan(tmp_path / "six.yaml")
    assert run(fixed, tmp_path / "b").certified == 9


def test_what_keeps_failing_is_set_aside_after_its_attempts(plan, tmp_path):
    """Killed every time: as often as the plan allows, then no more, and released when asked."""
    workers = pool(tmp_path / "b", 0.05)
    victim = plan.items[0].name

    def kill(now: Snapshot) -> None:
        if victim in workers.pids:
            os.kill(workers.pids[victim], signal.SIGKILL)

    report = run(plan, tmp_path / "b", pool=workers, watch=kill)
    assert report.certified == 5 and list(report.quarantined) == [victim]
    assert events(tmp_path / "b")["started", victim] == plan.attempts
    assert run(plan, tmp_path / "b").certified == 5
    assert run(plan, tmp_path / "b", retry_quarantined=True).certified == 6


def test_two_batches_do_not_share_a_folder(plan, tmp_path):
    """The second one is refused while the first one works."""
    refused = []

    def second(now: Snapshot) -> None:
        if not refused:
            with pytest.raises(InputError, match="another process"):
                run(plan, tmp_path / "b")
            refused.append(1)

    assert run(plan, tmp_path / "b", watch=second).certified == 6 and refused


def test_a_store_that_fails_one_write_in_ten_loses_nothing(plan, tmp_path):
    """Every file arrives as it is; a world without its list of files does not count as there."""
    import fsspec

    fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
    FlakyFileSystem.dice.seed(3)
    store = UrlStore(f"flaky://{tmp_path}/far", pause_s=0.001)
    report = run(plan, tmp_path / "b", store=store)
    assert report.certified == 6 and FlakyFileSystem.failed > 3
    assert content(tmp_path / "far" / plan.items[0].name) == content(tmp_path / "b" / WORLDS / plan.items[0].name)
    assert all(store.holds(item.name) for item in plan.items)
    (tmp_path / "far" / plan.items[0].name / "mesh.glb").write_bytes(b"cut")
    (tmp_path / "far" / "complete" / f"{plan.items[1].name}.json").unlink()
    assert [store.holds(item.name) for item in plan.items] == [False, False, True, True, True, True]
    assert run(plan, tmp_path / "b", store=store).certified == 6
    assert all(store.holds(item.name) for item in plan.items)
    assert {values["place"] for values in report.finished.values()} == {store.where(i.name) for i in plan.items}


def test_a_dead_store_is_an_error_of_the_world_not_of_the_batch(tmp_path):
    """After its tries a write gives up with the store's name."""

    class Dead(FlakyFileSystem):
        protocol = "dead"

        def open(self, path, mode="rb", **options):
            raise ConnectionRefusedError("nobody there")

    import fsspec

    fsspec.register_implementation("dead", Dead, clobber=True)
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "a").write_bytes(b"a")
    with pytest.raises(BackendError, match="nobody there"):
        UrlStore(f"dead://{tmp_path}/far", pause_s=0.0).put(tmp_path / "w", "w")
    with pytest.raises(InputError, match="cannot be used"):
        UrlStore("nosuchthing://x")
