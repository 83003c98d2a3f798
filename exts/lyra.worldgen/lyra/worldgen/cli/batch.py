"""`lyra-worldgen batch`: a list of worlds."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .flags import add_output_flags, parse_setting
from .terminal import Console, duration, table

if TYPE_CHECKING:
    from ..batch.run import BatchReport, Snapshot

EPILOG = """\
batch file (YAML):
  title: kitchens
  photos: [photos/*.jpg]           files, folders or patterns, relative to this file
  photo_licence: CC0-1.0           of all photos, or one for each file name
  set: {reconstruction.texture_px: 1024}
  seeds: [0-3]
  paths: [auto, explore]
  painters: [patch]
  variations:
    plain: {}
    small_robot: {simulation.robot_radius_m: 0.18}
  vary: {count: 8, seed: 0, config: strong.yaml}     variants of every world, see lyra-worldgen vary
  attempts: 3

examples:
  lyra-worldgen batch kitchens.yaml
  lyra-worldgen batch kitchens.yaml --workers 4 --out data/kitchens
  lyra-worldgen batch kitchens.yaml --store s3://bucket/kitchens
  lyra-worldgen batch kitchens.yaml --store s3://bucket/kitchens --ray auto --gpus 1
  lyra-worldgen batch kitchens.yaml --dry-run

The same command goes on after a stop, however it was stopped; a longer list keeps what is there.
"""
LINE_S = 30.0
"""How often a run whose output is no terminal lists what it is at [s]."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "batch",
        help="make many worlds from a list",
        description="Make every world that a batch file asks for: photos × seeds × paths × painters × variations.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("config", metavar="CONFIG.yaml", help="the batch file")
    parser.add_argument("--out", metavar="DIR", help="folder of the batch (default: batches/<name of the file>)")
    parser.add_argument("--workers", type=int, metavar="N", help="worlds at a time (default: by cores and memory)")
    parser.add_argument("--store", metavar="URL", default="", help="where finished worlds go, any fsspec URL")
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="make them on the Ray cluster at this address (auto: this machine's); needs a --store that nodes reach",
    )
    for flag, what in (("--cpus", "cores"), ("--gpus", "GPUs, for painters that use one,")):
        parser.add_argument(flag, type=float, metavar="N", help=f"{what} that one world takes on the cluster")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="a setting of all worlds; may be given again"
    )
    parser.add_argument(
        "--retry-quarantined", action="store_true", help="try worlds that were set aside after failures again"
    )
    parser.add_argument("--dry-run", action="store_true", help="list the worlds and do nothing")
    add_output_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Make them; exit code 0 if every world is there and certified, with its variants."""
    from ..batch import load_plan, run_batch
    from ..batch.card import write_reports
    from ..batch.pool import LocalPool
    from ..batch.ray_pool import RayPool
    from ..batch.run import WORLDS
    from ..batch.store import FolderStore, UrlStore
    from ..core.errors import ConfigError

    path = Path(args.config)
    plan = load_plan(path, dict(parse_setting(text) for text in args.set))
    out = Path(args.out) if args.out else Path("batches") / path.stem
    if args.dry_run:
        rows = [("world", "photo"), *((item.name, str(item.photo)) for item in plan.items)]
        each = f", each with {plan.order.count} variants" if plan.order is not None else ""
        values = {"out": str(out), "worlds": [i.name for i in plan.items], "variants": [i.name for i in plan.variants]}
        console.result(f"{table(rows)}\n\n{len(plan.items)} worlds{each}", values)
        return 0
    if args.workers is not None and not 1 <= args.workers <= 1024:
        raise ConfigError(f"--workers is {args.workers}; expected 1 to 1024")
    far = UrlStore(args.store) if args.store else None
    if args.ray is None:
        pool = LocalPool(out / WORLDS, slots=args.workers, fetch=None if far is None else far.fetch)
    elif far is None:
        raise ConfigError("--ray needs --store: a URL that every node can write to")
    else:
        pool = RayPool(far, address=args.ray, cpus=args.cpus or 1.0, gpus=args.gpus or 0.0, slots=args.workers)
    report = run_batch(
        plan,
        out,
        pool=pool,
        store=far or FolderStore(out / WORLDS),
        watch=_Watcher(console),
        retry_quarantined=args.retry_quarantined,
    )
    write_reports(plan, report)
    rows = [
        ("worlds", f"{len(report.finished)} of {len(plan.items)} finished, {report.certified} certified"),
        *([("variants", f"of {len(report.variants)} worlds, {_certified(report)} certified")] * bool(plan.variants)),
        *([("aside", f"{len(report.quarantined)} kept failing; see README.md there")] * bool(report.quarantined)),
        ("look", str(out / "index.html")),
        ("table", str(out / "worlds.csv")),
    ]
    values = {
        "folder": str(out.resolve()),
        "asked": len(plan.items),
        "finished": len(report.finished),
        "certified": report.certified,
        "variants": {name: values["variants"] for name, values in report.variants.items()},
        "quarantined": dict(report.quarantined),
    }
    console.result(f"{plan.title}\n{table([(f'  {key}', text) for key, text in rows])}", values)
    return 0 if report.complete and report.certified == len(plan.items) else 1


def _certified(report: BatchReport) -> int:
    """Variants whose certificates passed."""
    return sum(int(values["certified"]) for values in report.variants.values())


class _Watcher:
    """One bar for the batch, a line for each world that ends, and where the others stand."""

    def __init__(self, console: Console) -> None:
        self._console, self._last = console, time.monotonic()

    def __call__(self, now: Snapshot) -> None:
        for line in now.just_ended:
            self._console.note(f"  {line}")
        busy = sorted(now.running.values(), key=lambda p: -p.fraction)
        note = f"{now.finished}/{now.total} worlds, {now.certified} certified"
        note += f", {now.quarantined} aside" if now.quarantined else ""
        note += f"; {busy[0].name} {busy[0].stage} {100 * busy[0].fraction:.0f} %" if busy else ""
        self._console.progress.update("batch", round(1000 * now.fraction), 1000, note)
        if len(busy) > 1 and time.monotonic() - self._last >= LINE_S:
            self._last = time.monotonic()
            rows = [
                (f"    {p.name}", f"{100 * p.fraction:3.0f} %", p.stage, "" if p.eta_s is None else duration(p.eta_s))
                for p in busy
            ]
            self._console.note(table(rows))
