"""`lyra-worldgen extend`, `undo`, `branch`, `finish` and `paths`: a world goes on, back, or two ways."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..session import Branch, Extend, Finish, Undo
from .flags import add_output_flags, add_until_flag
from .terminal import Console, table
from .worlds import run_command

EXTEND_EPILOG = """\
examples:
  lyra-worldgen extend worlds/kitchen --path forward
  lyra-worldgen extend worlds/kitchen --path walk.npz --captions captions.json
  lyra-worldgen undo worlds/kitchen --chunks 3                 the last three chunks go
  lyra-worldgen extend worlds/kitchen --chunks 1 --seed 9      the first of them is painted anew, differently
  lyra-worldgen branch worlds/kitchen worlds/kitchen-b --chunks 2

A path begins where the last one ended, the first one of a world that was only seeded (`generate --until understand`) at
the photo. Without --path the one that `undo` cut short goes on; with the same seed and text it comes out as it was.
"""
FINISH_EPILOG = """\
examples:
  lyra-worldgen generate kitchen.jpg --until explore      pictures and memory only
  lyra-worldgen finish worlds/kitchen                     splats, mesh, USD, certificate and preview as well

A finished world whose files are as they were left is not touched; stages whose files are damaged run again, and so do
those that rest on them.
"""
PATHS_EPILOG = """\
examples:
  lyra-worldgen generate kitchen.jpg --path loop
  lyra-worldgen generate kitchen.jpg --path horizontal_zoom:direction=left,strength=1.5,frames=241
  lyra-worldgen extend worlds/kitchen --path walk.npz      a trajectory file; docs/exploring.md says what is in it
"""


def add_parsers(commands: Any) -> None:
    """Add the commands to the parser."""
    extend = _parser(commands, "extend", run_extend, "explore a world further", EXTEND_EPILOG)
    extend.add_argument(
        "--path",
        metavar="NAME|FILE.npz",
        default="",
        help="preset, see `lyra-worldgen paths`, or trajectory file (default: the one that `undo` cut short)",
    )
    extend.add_argument("--prompt", metavar="TEXT", help="text for painters that read text (default: the world's)")
    extend.add_argument(
        "--captions",
        metavar="FILE.json",
        type=Path,
        help="JSON file of texts by frame number, for a walk along a trajectory file",
    )
    extend.add_argument(
        "--pose-scale",
        metavar="FACTOR",
        type=float,
        help="factor on the translations of a trajectory file (default: the world's)",
    )
    extend.add_argument("--chunks", metavar="N", type=int, help="at most so many chunks of the path (default: all)")
    extend.add_argument("--seed", metavar="N", type=int, help="paint with another seed than the world's")
    add_until_flag(extend)

    undo = _parser(commands, "undo", run_undo, "take back the last chunks of a world", EXTEND_EPILOG)
    undo.add_argument("--chunks", metavar="N", type=int, default=1, help="how many (default: 1)")
    add_until_flag(undo)

    branch = _parser(commands, "branch", run_branch, "begin a second world from a world's first chunks", EXTEND_EPILOG)
    branch.add_argument("out", metavar="OUT", help="folder of the second world")
    branch.add_argument("--chunks", metavar="N", type=int, help="how many chunks they share (default: all)")
    add_until_flag(branch)

    finish = _parser(commands, "finish", run_finish, "run what a world lacks, and repair damaged files", FINISH_EPILOG)
    add_until_flag(finish)

    text = "list the camera paths that --path knows"
    paths = commands.add_parser(
        "paths",
        help=text,
        description=f"{text.capitalize()}, with the options of each and their defaults.",
        epilog=PATHS_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_output_flags(paths)
    paths.set_defaults(run=run_paths)


def _parser(commands: Any, name: str, run: Any, text: str, epilog: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=f"{text.capitalize()}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", help="a world folder")
    add_output_flags(parser)
    parser.set_defaults(run=run)
    return parser


def run_extend(args: argparse.Namespace, console: Console) -> int:
    """Explore further."""
    command = Extend(
        path=args.path,
        prompt=args.prompt,
        captions=args.captions,
        pose_scale=args.pose_scale,
        chunks=args.chunks,
        seed=args.seed,
        until=args.until,
    )
    return run_command(Path(args.folder), command, console)


def run_undo(args: argparse.Namespace, console: Console) -> int:
    """Take back."""
    return run_command(Path(args.folder), Undo(chunks=args.chunks, until=args.until), console)


def run_branch(args: argparse.Namespace, console: Console) -> int:
    """Begin a second world."""
    command = Branch(out=Path(args.out), chunks=args.chunks, until=args.until)
    return run_command(Path(args.folder), command, console)


def run_finish(args: argparse.Namespace, console: Console) -> int:
    """Run what is missing."""
    return run_command(Path(args.folder), Finish(until=args.until), console)


def run_paths(args: argparse.Namespace, console: Console) -> int:
    """List the paths."""
    from ..generation.paths import path_names, path_options

    listed = {name: {"help": text, "options": path_options(name)} for name, text in sorted(path_names().items())}
    rows = [
        (
            name,
            str(entry["help"]),
            ",".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in path_options(name).items()),
        )
        for name, entry in listed.items()
    ]
    console.result(table([("path", "", "options"), *rows]) + "\n\nor a trajectory file: FILE.npz", {"paths": listed})
    return 0
