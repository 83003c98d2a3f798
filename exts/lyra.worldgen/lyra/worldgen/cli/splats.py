"""`lyra-worldgen splats IN OUT`: splat files of any generator, read, turned, thinned out and written."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from .flags import add_output_flags
from .terminal import Console

FRAMES = ("z-up", "z-down", "y-up", "y-down", "x-up", "x-down")
DESCRIPTION = """\
Read splats from a .ply (3DGS, compressed) or .spz file and write them as .ply, .spz or USD (.usdc, .usda: a
ParticleField3DGaussianSplat; .usdz: the legacy NuRec package for Isaac Sim 5, not verified inside Isaac Sim).

  lyra-worldgen splats scan.ply scan.usdc --frame y-down   as most 3DGS tools write; colours turn with the splats
  lyra-worldgen splats scan.ply small.spz --max-count 500000
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "splats",
        help="convert splat files: .ply, .spz, USD",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("source", metavar="IN", help="a .ply or .spz file")
    parser.add_argument("target", metavar="OUT", help="a .ply, .spz, .usdc, .usda or .usdz file, replaced if it exists")
    parser.add_argument(
        "--frame",
        choices=FRAMES,
        help="axes of IN, which are turned to +Z up (default: what the file says, else z-up: nothing is turned)",
    )
    parser.add_argument("--scale", type=float, default=1.0, metavar="M", help="metres per unit of IN (default: 1)")
    parser.add_argument(
        "--max-count",
        type=int,
        metavar="N",
        help="merge neighbours that look alike until N splats are left (default: all)",
    )
    add_output_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Convert one file."""
    from ..core.splats import transform_splats
    from ..reconstruction.splat_budget import compress_splats, shape_importance
    from ..reconstruction.splat_io import read_splat_file

    source, target = Path(args.source), Path(args.target)
    write = _writer(target)
    if not 0 < args.scale < 1e9:
        raise InputError(f"--scale is {args.scale}; expected metres per unit, more than 0")
    if args.max_count is not None and args.max_count < 1:
        raise InputError(f"--max-count is {args.max_count}; expected at least 1")
    file = read_splat_file(source)
    splats, read = file.splats, len(file.splats)
    if args.max_count is not None:
        splats = compress_splats(splats, args.max_count, shape_importance(splats))
    frame = args.frame or f"{file.up_axis or 'z'}-up"
    if frame != "z-up" or args.scale != 1:
        splats = transform_splats(_to_z_up(frame, args.scale), splats)
    write(target, splats)
    left_out = f", {file.left_out} broken ones left out" if file.left_out else ""
    summary = f"{target}: {len(splats):,} of {read:,} splats of degree {splats.sh_degree}{left_out}"
    values = {
        "file": str(target.resolve()),
        "layout": file.layout,
        "frame": frame,
        "read": read,
        "left_out": file.left_out,
        "written": len(splats),
        "sh_degree": splats.sh_degree,
        "bytes": target.stat().st_size,
    }
    console.result(summary, values)
    return 0


def _writer(target: Path) -> Any:
    """What writes a file of this name; found before anything is read."""
    suffix = target.suffix.lower()
    if suffix in (".ply", ".spz"):
        from ..reconstruction.splat_io import write_splats

        return write_splats
    if suffix in (".usdc", ".usda"):
        from ..sim.usd_splats import write_splats as write_splats_usd

        return write_splats_usd
    if suffix == ".usdz":
        from ..sim.usd_nurec import write_nurec

        return write_nurec
    raise InputError(f"splats cannot be written as '{suffix}'; expected .ply, .spz, .usdc, .usda or .usdz: {target}")


def _to_z_up(frame: str, scale: float) -> Any:
    """T_world_file [4, 4] that takes the axis of `frame` that points up to +Z by one turn about a neighbouring axis."""
    import numpy as np

    from ..core.frames import rigid, rotation_x, rotation_y

    quarter = np.pi / 2
    turns = {
        "z-up": np.eye(3),
        "z-down": rotation_x(np.pi),
        "y-up": rotation_x(quarter),
        "y-down": rotation_x(-quarter),
        "x-up": rotation_y(-quarter),
        "x-down": rotation_y(quarter),
    }
    return rigid(scale * np.round(turns[frame]), np.zeros(3))
