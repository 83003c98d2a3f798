"""A batch on a real Ray cluster of two nodes: workers and a node are killed, and the store fails one write in ten.

With variants, too: bytes are those of this machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import fsspec
import psutil
import pytest

from batch import flaky_store
from fake_stages import content
from lyra.worldgen.batch import load_plan, run_batch
from lyra.worldgen.batch.card import write_reports
from lyra.worldgen.batch.ledger import NAME
from lyra.worldgen.batch.pool import LocalPool
from lyra.worldgen.batch.ray_pool import RayPool
from lyra.worldgen.batch.run import SHOWN, WORLDS, Snapshot
from lyra.worldgen.batch.store import FolderStore, UrlStore
from lyra.worldgen.core.errors import InputError
from sample_worlds import write_certified_room

PROGRAM = Path(__file__).parent.parent / "session" / "fake_program.py"
ROOM_PROGRAM = Path(__file__).parent / "room_program.py"
WORLD_COUNT = int(os.environ.get("LYRA_BATCH_WORLDS", "12"))
"""40 for the record, fewer in the default run; a quarter of them get variants."""
PAUSE_S = "0.0123"
"""Of the tiny stages, and how this test's own workers are told from those of others."""
pytestmark = [
    pytest.mark.slow,
    # Ray's own: a tip about its future versions, files that it leaves to the collector when a node is removed.
    pytest.mark.filterwarnings("ignore:Tip. In future versions of Ray:FutureWarning"),
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
]


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """Two nodes with a core each, which know the store that fails one write in ten."""
    pytest.importorskip("ray", reason="Ray is not installed")
    import ray
    from ray.cluster_utils import Cluster

    packages = Path(__file__).resolve().parents[2] / "exts" / "lyra.worldgen"
    flaky_store.announce(tmp_path / "site")
    places = [str(packages), str(Path(__file__).parent), str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))
    fsspec.register_implementation("flaky", flaky_store.FlakyFileSystem, clobber=True)
    # A busy machine takes its time to start a node.
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "300")
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        # Connected before the second node is there, so that the driver never hangs on the node that is taken away.
        ray.init(address=nodes.address, logging_level="ERROR", log_to_driver=False)
        yield nodes, nodes.add_node(num_cpus=1)
    finally:
        ray.shutdown()
        nodes.shutdown()


def makers(program: Path = PROGRAM) -> list[psutil.Process]:
    """Processes that make a world of this test now, or its variants."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = process.info["cmdline"] or []
        if str(program) in line and PAUSE_S in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def test_workers_and_a_node_may_die(cluster, tmp_path):
    """Every world ends exactly once, with the bytes of a serial run on this machine, and no process stays."""
    nodes, second = cluster
    (tmp_path / "kitchen.jpg").write_bytes(b"photo of a kitchen")
    file = tmp_path / "b.yaml"
    file.write_text(f"photos: [kitchen.jpg]\nseeds: [0-{WORLD_COUNT - 1}]\nattempts: 8\n")
    plan, far = load_plan(file), tmp_path / "far"
    store = UrlStore(f"flaky://{far}")
    launcher = [sys.executable, str(PROGRAM), PAUSE_S]
    dice, deaths = random.Random(1), Counter()

    def disturb(now: Snapshot) -> None:
        if deaths["worker"] < 4 and now.finished >= 2 * (deaths["worker"] + 1) and (busy := makers()):
            try:
                os.kill(dice.choice(busy).pid, signal.SIGKILL)
                deaths["worker"] += 1
            except ProcessLookupError:
                pass
        if not deaths["node"] and now.finished >= WORLD_COUNT // 3:
            nodes.remove_node(second, allow_graceful=False)
            deaths["node"] += 1

    report = run_batch(
        plan, tmp_path / "b", pool=RayPool(store, launcher=launcher, slots=6), store=store, watch=disturb
    )
    assert deaths == {"worker": 4, "node": 1}
    assert len(report.finished) == report.certified == WORLD_COUNT and not report.quarantined
    lines = [json.loads(line) for line in (tmp_path / "b" / NAME).read_text().splitlines()]
    ends = Counter(line["item"] for line in lines if line["event"] == "finished")
    assert set(ends.values()) == {1} and len(ends) == WORLD_COUNT
    assert sum(line["event"] == "failed" for line in lines) >= 4
    serial = tmp_path / "serial"
    run_batch(
        plan,
        serial,
        pool=LocalPool(serial / WORLDS, slots=1, launcher=[sys.executable, str(PROGRAM), "0"]),
        store=FolderStore(serial / WORLDS),
    )
    assert all(content(far / item.name) == content(serial / WORLDS / item.name) for item in plan.items)
    until = time.monotonic() + 30
    while makers() and time.monotonic() < until:
        time.sleep(0.1)
    assert not makers()


def test_variants_made_on_nodes_have_the_bytes_of_this_machine(cluster, tmp_path):
    """Nodes fetch each world from the store and put its variants there, though workers are killed."""
    for package in ("pxr", "scipy", "trimesh", "numba"):
        pytest.importorskip(package)
    room = write_certified_room(tmp_path / "room")
    (tmp_path / "kitchen.jpg").write_bytes(b"photo of a kitchen")
    file = tmp_path / "b.yaml"
    count = max(2, WORLD_COUNT // 4)
    vary = "{count: 2, set: {clutter.count: [1, 2], layout.mirrored: 0.5}, certify: false}"
    file.write_text(f"photos: [kitchen.jpg]\nseeds: [0-{count - 1}]\nattempts: 8\nvary: {vary}\n")
    plan, far, killed = load_plan(file), tmp_path / "far", []
    store = UrlStore(f"flaky://{far}")

    def disturb(now: Snapshot) -> None:
        varying = [p for p in makers(ROOM_PROGRAM) if now.worlds_finished == count and len(killed) < 2]
        if varying and now.variants_finished >= 2 * len(killed):
            with contextlib.suppress(ProcessLookupError):
                os.kill(varying[0].pid, signal.SIGKILL)
                killed.append(varying[0].pid)

    launcher = [sys.executable, str(ROOM_PROGRAM), PAUSE_S, str(room)]
    report = run_batch(plan, tmp_path / "b", pool=RayPool(store, launcher=launcher), store=store, watch=disturb)
    assert len(report.finished) == len(report.variants) == count and not report.quarantined, report
    assert report.variants_made == 2 * count and len(killed) == 2
    here = tmp_path / "here"
    pool = LocalPool(here / WORLDS, slots=2, launcher=[sys.executable, str(ROOM_PROGRAM), "0", str(room)])
    run_batch(plan, here, pool=pool, store=FolderStore(here / WORLDS))
    for item in (*plan.items, *plan.variants):
        assert content(far / item.name) == content(here / WORLDS / item.name), item.name
    write_reports(plan, report)
    page = (tmp_path / "b" / "index.html").read_text()
    shown = [tmp_path / "b" / SHOWN / i.name / "variants.png" for i in plan.variants]
    assert all(path.is_file() and f"{SHOWN}/{path.parent.name}/variants.png" in page for path in shown)


def test_files_that_nodes_cannot_read_are_refused(cluster, tmp_path):
    """A trajectory file lies on this machine only."""
    (tmp_path / "kitchen.jpg").write_bytes(b"photo of a kitchen")
    file = tmp_path / "b.yaml"
    file.write_text("photos: [kitchen.jpg]\npaths: [walk.npz]\n")
    store = UrlStore(f"file://{tmp_path}/far")
    with pytest.raises(InputError, match="give the name of a path"):
        run_batch(load_plan(file), tmp_path / "b", pool=RayPool(store), store=store)
