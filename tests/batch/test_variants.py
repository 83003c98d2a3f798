"""Variants of the worlds of a batch, made by real workers: order, resume, kills, equal bytes, licences, far stores."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from fake_stages import content
from lyra.worldgen.batch import load_plan, run_batch
from lyra.worldgen.batch.card import world_list, write_reports
from lyra.worldgen.batch.gallery import gallery
from lyra.worldgen.batch.ledger import NAME, Ledger
from lyra.worldgen.batch.plan import BatchPlan
from lyra.worldgen.batch.pool import LocalPool
from lyra.worldgen.batch.ray_pool import make_on_node
from lyra.worldgen.batch.run import WORLDS, BatchReport, Snapshot
from lyra.worldgen.batch.store import FolderStore, UrlStore
from lyra.worldgen.core.errors import BackendError
from lyra.worldgen.core.world import load_world
from lyra.worldgen.session.commands import Vary, command_to_json
from sample_worlds import write_certified_room

PROGRAM = Path(__file__).parent.parent / "session" / "fake_program.py"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    """A furnished room as a finished world; nobody may change it."""
    for package in ("pxr", "scipy", "trimesh", "numba"):
        pytest.importorskip(package)
    return write_certified_room(tmp_path_factory.mktemp("batch") / "room")


def plan_of(folder: Path, count: int = 2, extra: str = "") -> BatchPlan:
    """Two worlds with variants."""
    (folder / "kitchen.jpg").write_bytes(b"photo of a kitchen")
    (folder / "ranges.yaml").write_text("light: {dome: [0.5, 2.0]}\nclutter: {count: [1, 2]}\n")
    vary = f"{{count: {count}, seed: 3, config: ranges.yaml, set: {{layout.mirrored: 0.5}}, certify: false}}"
    file = folder / "b.yaml"
    file.write_text(f"photos: ['*.jpg']\nseeds: [0-1]\nphoto_licence: CC0-1.0\nattempts: 4\nvary: {vary}\n{extra}")
    return load_plan(file)


def with_worlds(plan: BatchPlan, folder: Path, room: Path) -> Path:
    """A batch folder whose worlds are made."""
    folder.mkdir()
    ledger = Ledger(folder / NAME)
    for item in plan.items:
        shutil.copytree(room, folder / WORLDS / item.name)
        values = {"passed": True, "licence": "Apache-2.0", "photo_licence": "CC0-1.0"}
        ledger.append("finished", item.name, values={**values, "place": str(folder / WORLDS / item.name)})
    return folder


def run(plan: BatchPlan, folder: Path, slots: int = 2, **options) -> BatchReport:
    options = {"pool": LocalPool(folder / WORLDS, slots=slots), "store": FolderStore(folder / WORLDS), **options}
    return run_batch(plan, folder, **options)


def events(folder: Path) -> Counter[tuple[str, str]]:
    """How often each event of each item stands in the manifest."""
    lines = [json.loads(line) for line in (folder / NAME).read_text().splitlines() if line]
    return Counter((line["event"], line["item"]) for line in lines)


def variants_of(plan: BatchPlan, worlds: Path) -> dict[str, dict[str, bytes]]:
    """Every byte of all variants, by the name of their folder."""
    return {item.name: content(worlds / item.name) for item in plan.variants}


def test_every_world_gets_its_variants_once(room, tmp_path):
    """Two at a time and one at a time lead to equal bytes, a second call makes none, a larger count adds to them."""
    plan = plan_of(tmp_path)
    many, one = (with_worlds(plan, tmp_path / name, room) for name in ("many", "one"))
    report = run(plan, many)
    assert report.certified == 2 and not report.left and report.complete
    assert {values["variants"] for values in report.variants.values()} == {2}
    run(plan, one, slots=1)
    made = variants_of(plan, many / WORLDS)
    assert made == variants_of(plan, one / WORLDS)
    assert run(plan, many).variants == report.variants
    assert {count for (event, _), count in events(many).items() if event == "started"} == {1}
    for item in plan.variants:
        variant = load_world(many / WORLDS / item.name / "variant_001")
        assert variant.base is not None and variant.base.folder == (many / WORLDS / item.base).resolve()
    longer = plan_of(tmp_path, count=3)
    assert {v["variants"] for v in run(longer, many).variants.values()} == {3}
    after = variants_of(longer, many / WORLDS)
    for name, files in made.items():
        kept = {file: data for file, data in files.items() if file.startswith("variant_")}
        assert kept.items() <= after[name].items()


def test_reports_name_variants_with_their_licences(room, tmp_path):
    """Card, table and gallery count them; they stand under the licences of their worlds."""
    plan = plan_of(tmp_path)
    folder = with_worlds(plan, tmp_path / "b", room)
    write_reports(plan, run(plan, folder))
    card, page = (folder / "README.md").read_text(), (folder / "index.html").read_text()
    assert "| variants | 4, made of 2 worlds, not measured |" in card
    assert "photos: CC0-1.0 (6 worlds)" in card and "weights that took part: Apache-2.0 (6 worlds)" in card
    assert page.count("<article") == 4 and page.count("variants.png") == 4
    assert page.count('class="chip not-measured"') == 4 and "4 of 4 variants, 0 certified" in page
    listed = json.loads((folder / "worlds.json").read_text())["worlds"]
    assert len(listed) == 6 and all((folder / row["folder"] / "world.json").is_file() for row in listed)
    assert [row["verdict"] for row in listed].count("not measured") == 4
    rows = (folder / "worlds.csv").read_text().splitlines()
    assert len(rows) == 5 and sum(",2,0," in row for row in rows) == 2


def test_the_gallery_tells_variants_by_their_verdicts(tmp_path):
    """One that failed stands out, and each leads to its own certificate where a browser can read it."""
    plan = plan_of(tmp_path)
    verdicts = {"variant_000": "passed", "variant_001": "failed"}
    told = {"variants": 2, "certified": 1, "verdicts": verdicts, "passed": False, "base": plan.items[0].name}
    name = plan.variants[0].name
    report = BatchReport(
        folder=tmp_path,
        finished={plan.items[0].name: {"passed": False, "summary": "not certified: leaks"}},
        quarantined={plan.items[1].name: "the file is no <picture>"},
        left=(plan.variants[1].name,),
        variants={name: {**told, "place": f"s3://far/{name}"}},
    )
    page = gallery(plan, report)
    assert ">not certified: leaks</a>" in page and "no &lt;picture&gt;" in page and "not done yet: 1" in page
    assert 'class="chip certified" title' in page and 'class="chip not-certified" title' in page
    assert "1 of 2 certified" in page and 'class="not-certified variants"' in page
    place = tmp_path / WORLDS / name
    place.mkdir(parents=True)
    (place / "variants.json").write_text("{}")
    assert f'href="{WORLDS}/{name}/variant_001/certificate.html"' in gallery(plan, report)
    assert [row["verdict"] for row in world_list(report)] == ["certified", "not certified"]


def test_killed_workers_and_missing_files_are_made_good(room, tmp_path):
    """A worker that is killed is tried again; variants that are damaged are made again; bytes stay the same."""
    plan = plan_of(tmp_path)
    calm, rough = (with_worlds(plan, tmp_path / name, room) for name in ("calm", "rough"))
    run(plan, calm)
    workers, killed = LocalPool(rough / WORLDS, slots=1), []

    def kill(now: Snapshot) -> None:
        if not killed and workers.pids:
            killed.extend(workers.pids)
            os.kill(workers.pids[killed[0]], signal.SIGKILL)

    report = run(plan, rough, pool=workers, watch=kill)
    assert len(report.variants) == 2 and events(rough)["failed", killed[0]] == 1
    assert variants_of(plan, calm / WORLDS) == variants_of(plan, rough / WORLDS)
    lost = rough / WORLDS / plan.variants[1].name / "variant_000" / "world_scene.usda"
    lost.unlink()
    assert len(run(plan, rough).variants) == 2 and events(rough)["lost", plan.variants[1].name] == 1
    assert variants_of(plan, calm / WORLDS) == variants_of(plan, rough / WORLDS)


def test_variants_come_after_their_world_and_are_set_aside_alone(tmp_path):
    """Worlds of tiny stages are no worlds to vary: each is made first, then its variants fail once and say why."""
    plan = plan_of(tmp_path)
    launcher = [sys.executable, str(PROGRAM), "0"]
    report = run(plan, tmp_path / "b", pool=LocalPool(tmp_path / "b" / WORLDS, slots=2, launcher=launcher))
    assert report.certified == 2 and not report.complete
    assert set(report.quarantined) == {item.name for item in plan.variants}
    assert all("finish it with" in cause for cause in report.quarantined.values())
    lines = [json.loads(line) for line in (tmp_path / "b" / NAME).read_text().splitlines()]
    for item in plan.variants:
        order = [line["event"] for line in lines if line["item"] in (item.base, item.name)]
        assert order == ["started", "finished", "started", "failed", "quarantined"]


def test_a_node_fetches_the_world_and_keeps_equal_variants(room, tmp_path):
    """What a node makes of a world in a store are the bytes of this machine; a cut world is refused."""
    plan = plan_of(tmp_path)
    here = with_worlds(plan, tmp_path / "here", room)
    run(plan, here)
    store, item = UrlStore(f"file://{tmp_path}/far", pause_s=0.0), plan.variants[0]
    store.put(here / WORLDS / item.base, item.base)
    order = item.order
    assert order is not None
    command = Vary(
        out=Path(item.name),
        ranges=dict(order.ranges),
        count=order.count,
        seed=order.seed,
        certify=order.certify,
    )
    ended = make_on_node(item.name, b"", command_to_json(command), store.url, None, item.base)
    assert ended.stored and ended.values is not None and ended.values["variants"] == 2, ended.cause
    assert content(tmp_path / "far" / item.name) == content(here / WORLDS / item.name)
    assert store.holds(item.name)
    (tmp_path / "far" / item.base / "world.usda").write_bytes(b"cut")
    with pytest.raises(BackendError, match="not as its list says"):
        make_on_node(item.name, b"", command_to_json(command), store.url, None, item.base)
