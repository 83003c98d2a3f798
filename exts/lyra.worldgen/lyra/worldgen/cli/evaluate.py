"""`lyra-worldgen evaluate`: measure what a world's promises are worth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .generate import add_output_flags
from .terminal import Console, table

EPILOG = """\
examples:
  lyra-worldgen evaluate worlds/kitchen --persistence
  lyra-worldgen evaluate photos/*.jpg --persistence --out reports/memory --size 320

--persistence walks out and back and turns on the spot, with the spatial memory and without, and compares what is seen
again. It takes minutes a photo, most of them for painting again what the walk without memory has forgotten.
The report is persistence.json, persistence.png and persistence.html; the worlds themselves are only read.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "evaluate",
        help="measure what the memory is worth, and write a report",
        description="Measure photos or finished worlds and write a report. Exit code 1 if a limit does not hold.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("sources", metavar="DIR|PHOTO", nargs="+", type=Path, help="world folders or picture files")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--persistence", action="store_true", help="memory ablation and drift")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("evaluation"), help="folder of the report")
    parser.add_argument("--loops", metavar="N", type=int, help="turns after which colours are compared (default: 10)")
    parser.add_argument("--size", metavar="PX", type=int, help="long side of the frames (default: 320)")
    parser.add_argument("--distance", metavar="METRES", type=float, help="way out and back (default: 4)")
    parser.add_argument("--seed", metavar="N", type=int, help="of everything that is painted (default: 0)")
    add_output_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Measure; the exit code says whether every limit holds."""
    from ..evaluate import evaluate_persistence
    from ..evaluate.persistence import PersistenceConfig

    given = {"size_px": args.size, "loops": args.loops, "distance_m": args.distance, "seed": args.seed}
    cfg = PersistenceConfig(**{name: value for name, value in given.items() if value is not None})
    report = evaluate_persistence(args.sources, args.out, cfg, progress=console.progress)
    limits = [("", "measured", "limit")]
    for line in report.lines:
        measured = "not measured" if line.measured is None else f"{line.measured:.4g} {line.unit}"
        limits.append((f"{line.status}: {line.title}", measured, f"{line.comparison} {line.limit:g}"))
    files = "\n".join(str(path) for path in report.files)
    console.result(f"{table(list(report.table))}\n\n{table(limits)}\n\n{files}", report.values)
    return 0 if report.passed else 1
