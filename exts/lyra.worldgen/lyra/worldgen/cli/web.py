"""`lyra-worldgen export-web`: a world as a folder for a web server."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from .flags import add_output_flags
from .terminal import Console

EPILOG = """\
examples:
  lyra-worldgen export-web worlds/kitchen --out sites/kitchen
  lyra-worldgen export-web worlds/kitchen --out sites/kitchen --max-mb 15      for phones on the road
  lyra-worldgen export-web worlds/kitchen --out sites/kitchen --photo-licence "CC0 1.0, by M. Example"
  python3 -m http.server -d sites/kitchen                                      then open http://localhost:8000

The folder is all that is needed: copy it to any web server. The page asks no other server for anything, needs no
build and no Node.js. Visitors start where the certificate's robot stood, walk with W A S D and the mouse, with two
thumbs, or in a headset (over https or on localhost), and bump into what a robot bumps into. They switch between splats
and mesh, and lay the collider over both.

Splats are merged and the texture is halved until all files together take at most --max-mb. The panel of the page says
what was merged, what the certificate says, and whose licences bind the world.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "export-web",
        help="write a static site: walk through the world in a browser or a headset",
        description="Write a world as one static folder that opens from any web server and is walked in first person.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", help="a finished world folder")
    parser.add_argument(
        "--out", metavar="SITE", required=True, type=Path, help="folder of the site; an older site there is replaced"
    )
    parser.add_argument(
        "--max-mb", metavar="MB", type=float, default=40.0, help="most that all files take together (default: 40)"
    )
    parser.add_argument("--name", metavar="TEXT", default="", help="title of the page (default: the photo's name)")
    parser.add_argument(
        "--photo-licence",
        metavar="TEXT",
        default="",
        help="licence and author of the photo, shown on the page (default: as stated when the world was made)",
    )
    add_output_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Write the site and say how to look at it."""
    from ..web import export_site

    site = export_site(
        Path(args.folder),
        args.out,
        max_mb=args.max_mb,
        name=args.name,
        photo_licence=args.photo_licence,
        progress=console.progress,
    )
    shown = site.splats[-1] if site.splats else 0
    parts = []
    if shown:
        merged = f" merged from {site.splats_in_world:,}" if shown < site.splats_in_world else ""
        parts.append(f"{shown:,} splats{merged}")
    if site.mesh:
        parts.append("mesh")
    where = shlex.quote(str(site.folder))
    text = (
        f"{site.folder}: {site.bytes / 1e6:.1f} MB, {' and '.join(parts)}\n  look    python3 -m http.server -d {where}"
    )
    values = {
        "folder": str(site.folder.resolve()),
        "bytes": site.bytes,
        "splats": list(site.splats),
        "splats_in_world": site.splats_in_world,
        "mesh": site.mesh,
    }
    console.result(text, values)
    return 0
