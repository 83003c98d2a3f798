"""`lyra-worldgen evaluate`: measure what a world's promises, or a robot's policy, are worth."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError
from .flags import add_output_flags
from .tasks_environment import evaluate_policy
from .terminal import Console, table

if TYPE_CHECKING:
    from ..evaluate.run import Report

POLICY_FLAGS = {
    "task": ("NAME", "of the task (default: point-goal with a lidar)"),
    "physics": ("NAME", "newton_mjwarp or ovphysx (default: newton_mjwarp)"),
    "num-envs": ("N", "robots at once (default: eight a world, at most 256)"),
    "episodes": ("N", "of every world, the first ones (default: all)"),
    "device": ("NAME", "of simulation and policy (default: cpu)"),
    "export": ("FOLDER", "write the checkpoint there as ONNX, and compare"),
}
"""Passed on to `lyra_tasks.evaluate`."""

EPILOG = """\
examples:
  lyra-worldgen evaluate worlds/kitchen --persistence
  lyra-worldgen evaluate photos/*.jpg --persistence --out reports/memory --size 320
  lyra-worldgen evaluate worlds/kitchen worlds/hall --video --networks weights
  lyra-worldgen evaluate batches/kitchens --video
  lyra-worldgen evaluate DL3DV/1K/0a1b* --dataset dl3dv --frames 161
  lyra-worldgen evaluate TanksAndTemples/Barn --dataset tanks-and-temples --config config/generation/fast.yaml
  lyra-worldgen evaluate baseline --worlds batches/kitchens --out reports/baseline
  lyra-worldgen evaluate model_499.pt --worlds worlds/kitchen --out reports/kitchen --export exported

--persistence walks out and back and turns on the spot, with the spatial memory and without, and compares what is seen
again. It takes minutes a photo, most of them for painting again what the walk without memory has forgotten.
The report is persistence.json, persistence.png and persistence.html; the worlds themselves are only read.

--video looks at the frames that a world remembers of its walk: camera control (poses recovered from the pictures
against those asked for), reprojection error, style consistency, revisits. LPIPS, FID and Gram matrices need weights,
which are looked for in --networks or in torch's hub folder and never downloaded; without them the report says which
file is missing. The report is video.json, video.md, video.png and video.html; docs/evaluation.md defines every figure.
Of a batch, or another folder of worlds, every finished world is measured.

--dataset makes a world of a real film's first picture along the film's real path and compares its frames with the real
ones: PSNR, SSIM, LPIPS, FID, KID, and the figures of --video. The unit of the poses is measured by matching pictures
unless --pose-scale says it. The report is dataset.json, dataset.md, dataset.png and dataset.html.

--worlds drives the certified episodes of worlds in Isaac Lab with a policy: 'baseline', 'random', a checkpoint or an
exported ONNX file. It runs in the environment of the robot tasks (.venv-lab, or the Python that LYRA_TASKS_PYTHON
names). The report is evaluation.json, evaluation.md and pictures of the paths.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "evaluate",
        help="measure a world's memory and films, or a robot's policy, and write a report",
        description="Measure photos, worlds or a policy and write a report. Exit code 1 if a limit does not hold.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "sources",
        metavar="DIR|PHOTO|POLICY",
        nargs="+",
        type=Path,
        help="worlds, scenes, picture files, or one policy",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--persistence", action="store_true", help="what the memory of photos or worlds is worth, and how colours drift"
    )
    what.add_argument(
        "--video", action="store_true", help="camera control, reprojection, style and revisits of the walks of worlds"
    )
    what.add_argument("--dataset", metavar="NAME", help="likeness to real films: dl3dv or tanks-and-temples scenes")
    what.add_argument(
        "--worlds", metavar="WORLDS", help="drive in these: a world, a batch, a folder of worlds, a pattern, a list"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("evaluation"), help="folder of the report (default: evaluation)"
    )
    walks = parser.add_argument_group("with --persistence")
    walks.add_argument("--loops", metavar="N", type=int, help="turns after which colours are compared (default: 10)")
    walks.add_argument("--size", metavar="PX", type=int, help="long side of the frames (default: 320)")
    walks.add_argument("--distance", metavar="METRES", type=float, help="way out and back (default: 4)")
    painted = parser.add_argument_group("with --persistence and --dataset")
    painted.add_argument("--seed", metavar="N", type=int, help="of everything that is painted (default: 0)")
    films = parser.add_argument_group("with --video and --dataset")
    films.add_argument(
        "--networks",
        metavar="DIR",
        type=Path,
        help="folder with weights of AlexNet, VGG-16, Inception (default: torch's hub folder)",
    )
    film = parser.add_argument_group("with --dataset")
    film.add_argument("--frames", metavar="N", type=int, help="pictures of each film that are used (default: 161)")
    film.add_argument(
        "--pose-scale", metavar="METRES", type=float, help="length of a unit of the poses (default: measured)"
    )
    film.add_argument("--config", metavar="FILE", type=Path, help="YAML file with painter, geometry and frame size")
    policy = parser.add_argument_group("with --worlds")
    for name, (metavar, text) in POLICY_FLAGS.items():
        policy.add_argument(f"--{name}", metavar=metavar, help=text)
    add_output_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Measure; the exit code says whether every limit holds."""
    given = [f"--{name}={getattr(args, name.replace('-', '_'))}" for name in POLICY_FLAGS]
    given = [flag for flag in given if not flag.endswith("=None")]
    if args.worlds is not None:
        return _policy(args, console, given)
    if given:
        raise InputError(f"{given[0].partition('=')[0]} means something with --worlds only")
    if args.dataset is not None:
        return _dataset(args, console)
    refuse_flags(args, ("frames", "pose_scale", "config"), "--dataset")
    return _video(args, console) if args.video else _persistence(args, console)


def _video(args: argparse.Namespace, console: Console) -> int:
    from ..evaluate import evaluate_video

    refuse_flags(args, ("loops", "size", "distance", "seed"), "--persistence")
    report = evaluate_video(args.sources, args.out, networks=args.networks, progress=console.progress)
    console.result(films_said(report), report.values)
    return 0


def _dataset(args: argparse.Namespace, console: Console) -> int:
    from ..core.config import load_config
    from ..evaluate import evaluate_dataset
    from ..evaluate.dataset_run import DatasetConfig

    refuse_flags(args, ("loops", "size", "distance"), "--persistence")
    given = {"frames": args.frames, "seed": args.seed, "pose_scale": args.pose_scale}
    report = evaluate_dataset(
        args.sources,
        args.dataset,
        args.out,
        DatasetConfig(**{name: value for name, value in given.items() if value is not None}),
        config=load_config(args.config),
        networks=args.networks,
        progress=console.progress,
    )
    console.result(films_said(report), report.values)
    return 0


def films_said(report: Report) -> str:
    """Table, reasons and files of a report on films."""
    reasons = [f"not measured: {reason}" for reason in report.notes]
    return "\n\n".join(filter(None, (table(list(report.table)), "\n".join(reasons), "\n".join(map(str, report.files)))))


def refuse_flags(args: argparse.Namespace, names: Iterable[str], belongs_to: str) -> None:
    """Raise `InputError` for a flag that means something with another measurement only."""
    for name in names:
        if getattr(args, name) is not None:
            raise InputError(f"--{name.replace('_', '-')} means something with {belongs_to} only")


def _policy(args: argparse.Namespace, console: Console, flags: list[str]) -> int:
    """Drive in Isaac Lab, in its own environment."""
    if len(args.sources) != 1:
        raise InputError(f"{len(args.sources)} policies are named; expected one: {', '.join(map(str, args.sources))}")
    summary = evaluate_policy([str(args.sources[0]), "--worlds", args.worlds, "--out", str(args.out), *flags])
    figures = {"episodes": "count", "success": "success", "SPL": "spl", "collisions/m": "collisions_per_m"}
    values = {title: summary.get(name) for title, name in {**figures, "time [s]": "time_s"}.items()}
    rows = [tuple(values), tuple("-" if value is None else f"{value:g}" for value in values.values())]
    files = "\n".join(str(args.out / name) for name in ("evaluation.json", "evaluation.md", "trajectories"))
    console.result(f"{table(rows)}\n\n{files}", summary)
    return 0


def _persistence(args: argparse.Namespace, console: Console) -> int:
    refuse_flags(args, ("networks",), "--video")
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
