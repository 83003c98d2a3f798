"""`lyra-worldgen generate`: a photo becomes a world."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..session.commands import GIVEN_HEIGHT_SIGMA, Generate
from .flags import MADE_BY, SCALE_FLAGS, add_making_flags, field_values, parse_setting
from .terminal import Console
from .worlds import run_command

EPILOG = """\
examples:
  lyra-worldgen generate kitchen.jpg
  lyra-worldgen generate kitchen.jpg --path loop --seed 7 --out worlds/kitchen-7
  lyra-worldgen generate kitchen.jpg --path walk.npz --captions captions.json
  lyra-worldgen generate kitchen.jpg --path horizontal_zoom:direction=left,strength=1.5,frames=241
  lyra-worldgen generate kitchen.jpg --camera-height 1.2 --set simulation.robot_radius_m=0.4
  lyra-worldgen generate kitchen.jpg --known door:412,80,415,610 --measure 120,700,480,705=0.9m
  lyra-worldgen generate kitchen.jpg --tag-size 0.16
  lyra-worldgen generate kitchen.jpg --painter inpaint --painter-model weights/sd-inpainting --prompt "a kitchen"
  lyra-worldgen generate kitchen.jpg --painter lyra2 --painter-model weights/lyra2 --prompt "a quiet kitchen"
  lyra-worldgen generate kitchen.jpg --config config/generation/fast.yaml --dry-run

Size: pixels count in the upright photo from its upper left corner; `docs/scale.md` says which evidence is worth what.
Paths: `lyra-worldgen paths` lists them with their options.
A run that was stopped goes on where it was when the same command is given again. A finished world is left as it is.
"""
FLAGS = (
    ("--path", "generation.path", str, "NAME|FILE.npz"),
    ("--pose-scale", "generation.pose_scale", float, "FACTOR"),
    ("--prompt", "generation.prompt", str, "TEXT"),
    ("--captions", "generation.captions", str, "FILE.json"),
    ("--painter", "generation.painter", str, "NAME"),
    ("--painter-model", "models.painter", str, "DIR|ID"),
    ("--download", "models.download", bool, ""),
    ("--geometry", "geometry.backend", str, "NAME"),
    ("--depth-model", "models.depth", str, "FOLDER|ID"),
    ("--seed", "seed", int, "N"),
    ("--camera-height", "geometry.camera_height_m", float, "METRES"),
    ("--licence", "source.licence", str, "TEXT"),
    *SCALE_FLAGS,
)
"""Flag, the configuration field that it sets (whose docstring is its help), type, placeholder; bool takes no value."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "generate",
        help="make a world from a photo",
        description="Make a world from a photo and certify it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("photo", metavar="PHOTO", help="a picture file: JPEG, PNG, WebP, TIFF, ...")
    parser.add_argument("--out", metavar="DIR", help="the world folder (default: worlds/<name of the photo>)")
    add_making_flags(parser, FLAGS, MADE_BY, "print the resolved settings and do nothing")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Make the world; the exit code says whether it is certified."""
    from ..core.config import load_config
    from ..core.schema import resolved_dict, resolved_yaml

    overrides: dict[str, Any] = dict(parse_setting(text) for text in args.set)
    given = field_values(args, FLAGS)
    if "geometry.camera_height_m" in given:
        overrides.setdefault("scale.camera_height_sigma", GIVEN_HEIGHT_SIGMA)
    overrides |= given
    config = load_config(Path(args.config) if args.config else None, overrides)
    photo = Path(args.photo)
    out = Path(args.out) if args.out else Path("worlds") / (photo.stem or "world")
    if args.dry_run:
        console.result(resolved_yaml(config).rstrip(), {"photo": str(photo), "out": str(out), **resolved_dict(config)})
        return 0

    command = Generate(photo=photo, config=config, overwrite=args.overwrite, until=args.until)
    return run_command(out, command, console)
