"""`lyra-worldgen batch`: a list of worlds."""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import ConfigError, InputError
from .flags import add_output_flags, parse_setting
from .terminal import Console, duration, table

if TYPE_CHECKING:
    from ..batch.plan import BatchPlan
    from ..batch.run import Snapshot

EPILOG = """\
batch file (YAML):
  title: kitchens
  photos: [photos/*.jpg]           files, folders or patterns, relative to this file
  photo_licence: CC0-1.0           of all photos, or {file name: licence}
  config: fast.yaml                settings of all worlds, relative to this file
  set: {reconstruction.texture_px: 1024}
  seeds: [0-3, 10]
  paths: [auto, explore]
  painters: [patch]
  variations:
    plain: {}
    small_robot: {simulation.robot_radius_m: 0.18}
  vary: {count: 8, seed: 0, config: strong.yaml, certify: true}     variants of every world, see lyra-worldgen vary
  attempts: 3                      how often a world is tried before it is set aside

Only photos is needed. One world is made for each combination.

examples:
  lyra-worldgen batch kitchens.yaml
  lyra-worldgen batch kitchens.yaml --workers 4 --out data/kitchens
  lyra-worldgen batch kitchens.yaml --store s3://bucket/kitchens
  lyra-worldgen batch kitchens.yaml --store s3://bucket/kitchens --ray auto --gpus 1
  lyra-worldgen batch kitchens.yaml --dry-run

The same command goes on after a stop, however it was stopped; a longer list keeps what is there. What is left: worlds,
a gallery (index.html), a dataset card with all licences (README.md), a table (worlds.csv), a list of all worlds and
variants (worlds.json). Robot tasks take the folder as it is: env.worlds=batches/kitchens. Exit code 0 if every world is
there and certified, with its variants. More: docs/batch.md
"""
LINE_S = 30.0
"""How often a run whose output is no terminal lists what it is at, and how often reports are written meanwhile [s]."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "batch",
        help="make many worlds from a list",
        description="Make every world that a batch file asks for: photos × seeds × paths × painters × variations,\n"
        "several at a time. A batch that was stopped goes on with the same command.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("config", metavar="CONFIG.yaml", help="the batch file")
    parser.add_argument("--out", metavar="DIR", help="folder of the batch (default: batches/<name of the file>)")
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="worlds at a time (default: by cores and memory; with --ray twice what the cluster's cores hold)",
    )
    parser.add_argument(
        "--store",
        metavar="URL",
        default="",
        help="where finished worlds go, any fsspec URL (default: the folder of the batch)",
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="make them on the Ray cluster at this address (auto: this machine's); needs a --store that nodes reach",
    )
    parser.add_argument("--cpus", type=float, metavar="N", help="with --ray: cores that one world takes (default: 1)")
    parser.add_argument(
        "--gpus",
        type=float,
        metavar="N",
        help="with --ray: GPUs that one world takes, for painters that use one (default: 0)",
    )
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

    path = Path(args.config)
    plan = load_plan(path, dict(parse_setting(text) for text in args.set))
    _expect_known_names(plan)
    out = Path(args.out) if args.out else Path("batches") / path.stem
    if args.dry_run:
        rows = [("world", "photo"), *((item.name, str(item.photo)) for item in plan.items)]
        each = f", each with {plan.order.count} variants" if plan.order is not None else ""
        values = {"out": str(out), "worlds": [i.name for i in plan.items], "variants": [i.name for i in plan.variants]}
        console.result(f"{table(rows)}\n\n{len(plan.items)} world{'s' * (len(plan.items) != 1)}{each}", values)
        return 0
    if args.workers is not None and not 1 <= args.workers <= 1024:
        raise ConfigError(f"--workers is {args.workers}; expected 1 to 1024")
    far = UrlStore(args.store) if args.store else None
    if far is not None:
        far.expect_writable()  # rather than find out after the first world
    if args.ray is None:
        pool = LocalPool(out / WORLDS, slots=args.workers, fetch=None if far is None else far.fetch)
    elif far is None:
        raise ConfigError("--ray needs --store: a URL that every node can write to")
    else:
        pool = RayPool(far, address=args.ray, cpus=args.cpus or 1.0, gpus=args.gpus or 0.0, slots=args.workers)
    watcher = _Watcher(console, plan)
    try:
        report = run_batch(
            plan,
            out,
            pool=pool,
            store=far or FolderStore(out / WORLDS),
            watch=watcher,
            retry_quarantined=args.retry_quarantined,
        )
    except KeyboardInterrupt:
        # Whoever stops a batch wants to see what has come of it.
        watcher.write_reports()
        raise
    write_reports(plan, report)
    made = f"{report.variants_made}, of {len(report.variants)} worlds, {report.variants_certified} certified"
    rows = [
        ("worlds", f"{len(report.finished)} of {len(plan.items)} finished, {report.certified} certified"),
        *([("variants", made)] * bool(plan.variants)),
        *(
            [("aside", f"{len(report.quarantined)} of them; README.md there says why, --retry-quarantined tries again")]
            * bool(report.quarantined)
        ),
        ("look", str(out / "index.html")),
        ("table", str(out / "worlds.csv")),
        *([("train", f"env.worlds={out}")] * bool(report.certified and args.ray is None)),
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


def _expect_known_names(plan: BatchPlan) -> None:
    """Raise `ConfigError` for a path or a painter that does not exist, before any world is begun."""
    from ..generation.painter import PAINTERS
    from ..generation.paths import parse_path

    for name in sorted({item.config.generation.path for item in plan.items}):
        if not name.endswith(".npz"):
            parse_path(name)
    for name in sorted({item.config.generation.painter for item in plan.items} - {"auto"}):
        if name not in PAINTERS.names():
            raise ConfigError(f"unknown painter '{name[:60]}'; expected auto or one of: {', '.join(PAINTERS.names())}")


class _Watcher:
    """One bar for the batch with a line for each job under it, a line for each job that ends, reports now and then."""

    def __init__(self, console: Console, plan: BatchPlan) -> None:
        self._console, self._plan = console, plan
        self._listed = self._written = time.monotonic()
        self._now: Snapshot | None = None
        self._unwritten = False

    def __call__(self, now: Snapshot) -> None:
        self._now = now
        self._unwritten |= bool(now.just_ended)
        for line in now.just_ended:
            self._console.note(f"  {line}")
        busy = sorted(now.running.values(), key=lambda p: -p.fraction)
        counts = f"{now.worlds_finished}/{now.worlds} worlds, {now.certified} certified"
        if now.variants:
            counts += f"; {now.variants_finished}/{now.variants} variants, {now.variants_certified} certified"
        counts += f"; {now.quarantined} aside" if now.quarantined else ""
        rows = [
            (f"    {p.name}", f"{100 * p.fraction:3.0f} %", p.stage, "" if p.eta_s is None else duration(p.eta_s))
            for p in busy
        ]
        rows += [(f"    {name}", "100 %", "on its way to the store", "") for name in now.storing]
        lines = tuple(table(rows).splitlines())
        live = self._console.board((f"  {counts}", *lines))
        self._console.progress.update("batch", round(1000 * now.fraction), 1000, "" if live else counts)
        if not live and lines and time.monotonic() - self._listed >= LINE_S:
            self._listed = time.monotonic()
            self._console.note("\n".join(lines))
        if self._unwritten and time.monotonic() - self._written >= LINE_S:
            self.write_reports()

    def write_reports(self) -> None:
        """Write what is known so far."""
        from ..batch.card import write_reports

        self._written, self._unwritten = time.monotonic(), False
        if self._now is not None:
            # The reports of a moment are no reason to end a batch; the last ones say what is wrong.
            with contextlib.suppress(InputError):
                write_reports(self._plan, self._now.report())
