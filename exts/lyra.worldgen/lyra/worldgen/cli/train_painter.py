"""`lyra-worldgen train-painter`: make training films, and train the painter's network on them."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from .flags import add_output_flags, parse_setting
from .terminal import Console, table

EPILOG = """\
examples:
  lyra-worldgen train-painter --make-data procedural --videos 60 --out films
  lyra-worldgen train-painter --make-data worlds/kitchen --size 832x480 --form released --out films
  lyra-worldgen train-painter films --out runs/tiny --config config/training/tiny.yaml
  lyra-worldgen train-painter films --out runs/full --config config/training/released.yaml --weights weights/lyra2

Films lie in the layout of the released training (videos, poses, intrinsics, depth, captions); docs/training.md has it.
Without --weights a small network of the configured size starts from random weights.

A run that was stopped goes on from its newest checkpoint when the same command is given again. More than one GPU:
  accelerate launch --num_processes 8 --use_fsdp -m lyra.worldgen train-painter films --out runs/full ...
The log is log.jsonl in the folder of the run, and for TensorBoard where that is installed.
"""
MAX_VIDEOS = 100_000
DEFAULTS = {"videos": 60, "frames": 97, "size": "48x32", "form": "exact", "seed": 0}
"""What --make-data does when it is not told."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "train-painter",
        help="train the painter's network, or make films to train it on",
        description="Train the network of the painter lyra2 on films with poses and depth, with self-augmentation.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("films", metavar="DIR", nargs="?", type=Path, help="folder of training films")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the run, or of the new films")
    parser.add_argument("--config", metavar="FILE", type=Path, help="YAML file with settings (config/training)")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="any setting by its key path, for example optim.lr=0.001; may be given again",
    )
    parser.add_argument("--weights", metavar="DIR", type=Path, help="converted Lyra 2.0 to start from")
    parser.add_argument("--start", metavar="RUN", type=Path, help="finished run of a small network to start from")
    parser.add_argument("--cpu", action="store_true", help="stay on the processor")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved settings and do nothing")
    films = parser.add_argument_group("making films")
    films.add_argument(
        "--make-data", metavar="procedural|WORLD", help="make films of random rooms, or of a finished world folder"
    )
    films.add_argument("--videos", metavar="N", type=int, help="how many rooms (default: 60)")
    films.add_argument("--frames", metavar="N", type=int, help="frames of a film (default: 97)")
    films.add_argument("--size", metavar="WxH", help="size of the films [px] (default: 48x32)")
    films.add_argument(
        "--form", choices=("exact", "released"), help="lossless arrays, or MPEG-4 and EXR (default: exact)"
    )
    films.add_argument("--seed", metavar="N", type=int, help="number of the first room (default: 0)")
    add_output_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Make films or train."""
    from ..core.errors import ConfigError

    if args.make_data is None:
        given = [f"--{name}" for name in DEFAULTS if getattr(args, name) is not None]
        if given:
            raise ConfigError(f"{', '.join(given)} belongs to --make-data; settings of a run are given with --set")
        return _train(args, console)
    if (
        args.films is not None
        or args.weights is not None
        or args.start is not None
        or args.config is not None
        or args.set
    ):
        raise ConfigError("--make-data makes films and trains nothing; give neither films, weights nor settings")
    return _make_films(args, console)


def _make_films(args: argparse.Namespace, console: Console) -> int:
    from ..core.errors import ConfigError
    from ..core.world import load_world
    from ..training.procedural import FilmSpec
    from ..training.writer import procedural_films, world_films, write_films

    values = {
        name: default if getattr(args, name) is None else getattr(args, name) for name, default in DEFAULTS.items()
    }
    size = re.fullmatch(r"(\d{1,5})x(\d{1,5})", values["size"])
    if size is None:
        raise ConfigError(f"--size is '{values['size'][:40]}'; expected WIDTHxHEIGHT, for example 48x32")
    if not 1 <= values["videos"] <= MAX_VIDEOS or not 0 <= values["seed"] < 2**31:
        raise ConfigError(
            f"--videos is {values['videos']}, --seed {values['seed']}; expected 1 to {MAX_VIDEOS}, 0 or more"
        )
    spec = FilmSpec(frames=values["frames"], width_px=int(size[1]), height_px=int(size[2]))
    count = 0
    if args.make_data == "procedural":
        count = values["videos"]
        clips = procedural_films(count, spec, seed=values["seed"])
    else:
        clips = world_films(load_world(Path(args.make_data)), spec)
    ids = write_films(args.out, clips, form=values["form"], count=count, progress=console.progress)
    console.result(
        f"{args.out}: {len(ids)} films of {spec.frames} frames at {values['size']} px",
        {"folder": str(args.out.resolve()), "films": ids},
    )
    return 0


def _train(args: argparse.Namespace, console: Console) -> int:
    from ..core.errors import ConfigError
    from ..core.schema import load_schema, resolved_dict, resolved_yaml
    from ..training.config import TrainingConfig

    config = load_schema(TrainingConfig, args.config, dict(parse_setting(text) for text in args.set))
    if args.dry_run:
        console.result(resolved_yaml(config).rstrip(), resolved_dict(config))
        return 0
    if args.films is None:
        raise ConfigError("no folder of films was given; make some with: lyra-worldgen train-painter --make-data")
    from ..training.run import train

    outcome = train(
        config, args.films, args.out, weights=args.weights, start=args.start, cpu=args.cpu, progress=console.progress
    )
    if not outcome.main:
        return 0
    loss = "nothing was left to do" if outcome.loss is None else f"{outcome.loss:.4f}"
    console.result(
        table([("network", str(outcome.folder)), ("steps", str(outcome.steps)), ("loss", loss)]),
        {"network": str(outcome.folder.resolve()), "steps": outcome.steps, "loss": outcome.loss},
    )
    return 0
