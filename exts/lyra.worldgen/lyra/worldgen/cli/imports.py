"""`lyra-worldgen import`: a file of another program becomes a world."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..session import Import
from .flags import add_making_flags, field_values, parse_setting
from .terminal import Console
from .worlds import run_command

DESCRIPTION = """\
Make a world of what another program made: Gaussian splats (.ply, .spz), a mesh (.glb, .gltf, .obj, .ply), a coloured
point cloud (.ply), a panorama, or posed pictures. What a file is is found by its content. The world gets a collider, a
map, USD and a certificate like any other.
"""
EPILOG = """\
examples:
  lyra-worldgen import scan.ply --out worlds/scan                    splats of any trainer; size and axes are estimated
  lyra-worldgen import scan.ply --up y-down --units cm --licence CC-BY-4.0
  lyra-worldgen import hall.glb                                      glTF is in metres and has +Y up by definition
  lyra-worldgen import house.obj --units mm --up z-up
  lyra-worldgen import scan.spz --measure3d "0,0,0:1.2,0,0.4=0.9m"   two points of the file are 0.9 m apart
  lyra-worldgen import scan.ply --ceiling-height 2.6                 the room is 2.6 m high
  lyra-worldgen import hall_360.jpg --camera-height 1.7              a panorama, taken 1.7 m above the floor
  lyra-worldgen import scan.ply --until import -v                    only find out what, which way up, how large

Up: a 3DGS file does not say which way is up; without --up it is found from floor, ceiling and furniture.
Size: unless you say it (--units, --metres-per-unit, --measure3d, --ceiling-height), it is estimated from the height of
the room; `info` shows what it rests on and how far it may be off, and `rescale --factor` corrects it afterwards.
A run that was stopped goes on where it was when the same command is given again. A finished world is left as it is.
More: docs/import.md
"""
FLAGS = (
    ("--kind", "source.kind", str, "KIND"),
    ("--up", "source.up", str, "AXIS"),
    ("--units", "source.units", str, "UNIT"),
    ("--metres-per-unit", "source.metres_per_unit", float, "METRES"),
    ("--measure3d", "source.measure3d", list, "X,Y,Z:X,Y,Z=LENGTH"),
    ("--camera-height", "geometry.camera_height_m", float, "METRES"),
    ("--ceiling-height", "source.ceiling_height_m", float, "METRES"),
    ("--keep-floaters", "source.keep_floaters", bool, ""),
    ("--licence", "source.licence", str, "TEXT"),
    ("--seed", "seed", int, "N"),
)
"""Flag, the configuration field that it sets, type, placeholder; see `generate.FLAGS`."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "import",
        help="make a world from splats, a mesh, a panorama or posed pictures",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("source", metavar="FILE", help="the file, or a folder of posed pictures")
    parser.add_argument("--out", metavar="DIR", help="the world folder (default: worlds/<name of the file>)")
    stages = "import, reconstruct, simulate, certify"
    add_making_flags(parser, FLAGS, stages, "say what the file is and print the resolved settings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Make the world; the exit code says whether it is certified."""
    from ..core.config import load_config
    from ..core.schema import resolved_dict, resolved_yaml
    from ..importing.kinds import find_source

    overrides: dict[str, Any] = dict(parse_setting(text) for text in args.set)
    overrides |= field_values(args, FLAGS)
    config = load_config(Path(args.config) if args.config else None, overrides)
    source = Path(args.source)
    out = Path(args.out) if args.out else Path("worlds") / (source.resolve().stem or "world")
    if args.dry_run:
        found = find_source(source, config.source.kind)
        text = f"{source}: {found.kind} ({found.layout})\n\n{resolved_yaml(config).rstrip()}"
        values = {"source": str(source), "kind": found.kind, "layout": found.layout, "out": str(out)}
        console.result(text, {**values, **resolved_dict(config)})
        return 0
    command = Import(source=source, config=config, overwrite=args.overwrite, until=args.until)
    return run_command(out, command, console)
