#!/usr/bin/env python3
"""How many worlds an hour a batch makes: one after the other, two at a time, and on a Ray cluster of two nodes here.

    .venv/bin/python tools/bench/bench_batch.py PHOTO --out DIR [--worlds 8]

The same worlds, one photo with as many seeds, are made by `lyra-worldgen batch`'s own code in each of these ways:

    one core    one at a time, the whole process held to one core: what a batch without any pool gets of a core
    serial      one at a time, free to use every core of the machine
    pool        one worker for each core
    ray         a cluster that this command starts: one node of one core for each core, worlds put into a store by URL

A world that compiles kernels first warms the caches of all. Worlds go through the embedded painter with
`config/generation/fast.yaml`. One JSON object goes to stdout: wall seconds, worlds an hour, ratios, and whether all
ways made the same bytes. The exit code is 0 if the cluster makes 1.8 times as many as one core and all bytes are equal.
DIR must not hold results of an earlier call.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from lyra.worldgen.batch import load_plan, run_batch
from lyra.worldgen.batch.pool import LocalPool, Pool
from lyra.worldgen.batch.ray_pool import RayPool
from lyra.worldgen.batch.run import WORLDS
from lyra.worldgen.batch.store import FolderStore, Store, UrlStore
from lyra.worldgen.core.machine import core_count

REPOSITORY = Path(__file__).resolve().parents[2]
LEAST_RATIO = 1.8
TIMED = {"seconds", "timings", "certificate.json"}
"""Keys of `world.json` and `certificate.json` that tell how long something took; the last one, a file's hash."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@contextmanager
def one_core() -> Iterator[None]:
    """This process and what it starts, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def cluster(nodes: int) -> Iterator[str]:
    """Nodes of one core each, gone afterwards; the address."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            made.add_node(num_cpus=1)
        ray.init(address=made.address, logging_level="ERROR", log_to_driver=False)
        yield made.address
    finally:
        ray.shutdown()
        made.shutdown()


def write_plan(file: Path, photo: Path, seeds: str) -> Path:
    """A batch file."""
    config = REPOSITORY / "config" / "generation" / "fast.yaml"
    file.write_text(
        json.dumps({"photos": [str(photo)], "config": os.path.relpath(config, file.parent), "seeds": [seeds]})
    )
    return file


def timed(file: Path, out: Path, pool: Pool, store: Store) -> dict[str, Any]:
    """Make all worlds of a batch file; what it took."""
    plan = load_plan(file)
    start = time.perf_counter()
    report = run_batch(plan, out, pool=pool, store=store)
    wall = time.perf_counter() - start
    if len(report.finished) != len(plan.items):
        raise SystemExit(f"{len(report.finished)} of {len(plan.items)} worlds were finished; see {out / 'README.md'}")
    return {
        "wall_s": round(wall, 1),
        "worlds_per_h": round(3600 * len(plan.items) / wall, 1),
        "certified": report.certified,
    }


def content(folder: Path) -> dict[str, Any]:
    """Every file of a world: its bytes, or what it says but for how long things took and what follows from that."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            found[path.relative_to(folder).as_posix()] = _untimed(json.loads(data)) if path.suffix == ".json" else data
    return found


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _untimed(part) for key, part in value.items() if key not in TIMED}
    return [_untimed(part) for part in value] if isinstance(value, list) else value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--worlds", type=int, default=8)
    args = parser.parse_args()
    out, photo, cores = args.out.resolve(), args.photo.resolve(), core_count()
    out.mkdir(parents=True)
    # Workers are processes of their own; so many threads each, whatever way they are started.
    os.environ.update(dict.fromkeys(THREADS, "1"))
    timed(
        write_plan(out / "warm.yaml", photo, "1000"),
        out / "warm",
        LocalPool(out / "warm" / WORLDS),
        _here(out / "warm"),
    )
    file = write_plan(out / "batch.yaml", photo, f"0-{args.worlds - 1}")
    rows: dict[str, dict[str, Any]] = {}
    for name, slots in (("one core", 1), ("serial", 1), ("pool", cores)):
        folder = out / name.replace(" ", "-")
        with ExitStack() as held:
            if name == "one core":
                held.enter_context(one_core())
            rows[name] = timed(file, folder, LocalPool(folder / WORLDS, slots=slots), _here(folder))
        sys.stderr.write(f"{name}: {rows[name]}\n")
    far = out / "ray" / "store"
    with cluster(cores) as address:
        store = UrlStore(f"file://{far}")
        rows["ray"] = timed(file, out / "ray", RayPool(store, address=address), store)
    sys.stderr.write(f"ray: {rows['ray']}\n")
    names = [item.name for item in load_plan(file).items]
    one = out / "one-core" / WORLDS
    others = [out / "serial" / WORLDS, out / "pool" / WORLDS, far]
    equal = all(content(one / name) == content(other / name) for name in names for other in others)
    ratios = {
        f"{name} to {base}": round(rows[base]["wall_s"] / rows[name]["wall_s"], 2)
        for name in ("pool", "ray")
        for base in ("one core", "serial")
    }
    result = {
        "machine": {"cores": cores, "platform": platform.platform(), "python": platform.python_version()},
        "photo": photo.name,
        "worlds": args.worlds,
        "seed": 0,
        "ways": rows,
        "ratios": ratios,
        "equal bytes": equal,
    }
    sys.stdout.write(json.dumps(result) + "\n")
    return 0 if equal and ratios["ray to one core"] >= LEAST_RATIO else 1


def _here(folder: Path) -> FolderStore:
    return FolderStore(folder / WORLDS)


if __name__ == "__main__":
    sys.exit(main())
