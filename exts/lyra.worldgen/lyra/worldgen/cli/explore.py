"""`lyra-worldgen explore`: worlds in the browser."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..explore.options import ExplorerOptions
from .flags import add_output_flags
from .terminal import Console

EPILOG = """\
examples:
  lyra-worldgen explore worlds/kitchen            look, drive, extend, undo, finish, certify
  lyra-worldgen explore worlds                    a folder of worlds; choose one, or upload a photo for another
  lyra-worldgen explore worlds/new                nothing there yet: upload a photo
  lyra-worldgen explore worlds --splats 100000    for a slow graphics card; merging takes its time
  ssh -L 8770:localhost:8770 gpu-machine lyra-worldgen explore worlds    worlds of another machine

The page comes from this machine and asks no other for anything. There is no password: whoever reaches the address may
do what you may do, so it listens on this machine only. docs/explorer.md shows what can be done.
"""
PORT = 8770


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "explore",
        help="work on worlds in the browser",
        description="Serve a page on which worlds are looked at, driven through, extended, measured and certified.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", help="a world, a folder of worlds, or where the first one will be")
    parser.add_argument("--host", metavar="ADDRESS", default="127.0.0.1", help="address (default: %(default)s)")
    parser.add_argument("--port", metavar="N", type=int, default=PORT, help="port, 0 for any (default: %(default)s)")
    parser.add_argument(
        "--trust-network", action="store_true", help="allow a --host that other machines reach, without a password"
    )
    for name in ("splats", "points"):
        most = getattr(ExplorerOptions, name)
        parser.add_argument(
            f"--{name}", metavar="N", type=int, default=most, help=f"most {name} shown (default: {most})"
        )
    parser.add_argument("--config", metavar="FILE", help="YAML file with settings of new worlds")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="any setting of new worlds; may be given again"
    )
    add_output_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Serve until Ctrl-C."""
    from ..core.config import load_config
    from ..core.errors import ConfigError
    from ..explore.app import Explorer
    from ..explore.shelf import open_shelf
    from ..service.server import is_loopback
    from .flags import parse_setting

    for name in ("splats", "points"):
        if not 1000 <= (count := getattr(args, name)) <= 10_000_000:
            raise ConfigError(f"--{name} is {count}; expected 1000 to 10000000")
    if not (args.trust_network or is_loopback(args.host)):
        raise ConfigError(
            f"--host {args.host} can be reached from other machines, and the explorer has no password; use "
            "ssh -L from there, or give --trust-network where everybody may do everything"
        )
    config = load_config(Path(args.config) if args.config else None, dict(parse_setting(text) for text in args.set))
    shelf = open_shelf(Path(args.folder))
    options = ExplorerOptions(config=config, points=args.points, splats=args.splats)
    with Explorer(shelf, options, host=args.host, port=args.port) as explorer:
        values = {"address": explorer.url, "folder": str(shelf.folder.resolve()), "worlds": len(shelf.worlds())}
        console.result(f"open {explorer.url} in a browser; Ctrl-C ends", values)
        try:
            explorer.wait()
        except KeyboardInterrupt:
            console.note("stopped; what is finished of the worlds stays")
    return 0
