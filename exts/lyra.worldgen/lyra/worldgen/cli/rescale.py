"""`lyra-worldgen rescale`: a finished world at another size."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..session import Rescale
from .flags import SCALE_FLAGS, add_field_flags, add_output_flags, add_until_flag, field_values
from .terminal import Console
from .worlds import run_command

EPILOG = """\
examples:
  lyra-worldgen rescale worlds/kitchen --measure 120,700,480,705=0.9m      two pixels of the photo are 0.9 m apart
  lyra-worldgen rescale worlds/kitchen --known door:412,80,415,610         a door of usual height, its two ends
  lyra-worldgen rescale worlds/kitchen --camera-height 1.2                 the lens was 1.2 m above the floor
  lyra-worldgen rescale worlds/kitchen --tag-size 0.16                     an AprilTag in the photo, 16 cm wide
  lyra-worldgen rescale worlds/kitchen --factor 0.85                       everything is 0.85 times as large
  lyra-worldgen rescale worlds/kitchen --factor 1                          as it was generated

Nothing is painted anew. Each call states all that is known beyond what the world was generated with; the same call
again changes nothing. Pixels count in the upright photo from its upper left corner; lengths take m, cm, mm, ft or in,
and a doubt if there is one: 0.9+-0.02m.
"""
_FLAGS = (
    ("--factor", "rescale.factor", float, "FACTOR"),
    ("--factor-sigma", "rescale.factor_sigma", float, "RELATIVE"),
    ("--camera-height", "rescale.camera_height_m", float, "METRES"),
)
_POSITIVE = ("rescale.factor", "rescale.camera_height_m", "scale.tag_size_m", "scale.ceiling_height_m")
"""Where 0 stands for nothing in a file, but makes no sense as a flag."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "rescale",
        help="give a finished world its true size",
        description="Give a finished world its true size, without generating it anew.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", help="a world folder")
    add_field_flags(parser, (*_FLAGS, *SCALE_FLAGS))
    add_until_flag(parser)
    add_output_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Rescale and report."""
    from ..core.config import RescaleConfig, load_config
    from ..core.errors import ConfigError

    given = field_values(args, (*_FLAGS, *SCALE_FLAGS))
    for key, value in given.items():
        if key in _POSITIVE and value == 0:
            raise ConfigError(f"{key} is {value}; expected more than 0")
    overrides = {f"rescale.{key.rpartition('.')[2]}": value for key, value in given.items()}
    rescale = load_config(None, overrides).rescale
    if not (rescale.factor or rescale.says_something):
        raise ConfigError(
            "nothing says how large the world is; give --factor, --measure, --known, --camera-height or --tag-size"
        )
    if rescale.factor == 1.0 and not rescale.factor_sigma:
        rescale = RescaleConfig()
    return run_command(Path(args.folder), Rescale(rescale=rescale, until=args.until), console)
