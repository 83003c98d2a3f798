"""The command `lyra-worldgen`: parse, call, print. Exit codes: 0 good, 1 findings of error level, 2 input or
configuration, 3 dependency, 4 backend or conversion, 130 cancelled."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from ..core.version import __version__

if TYPE_CHECKING:
    from .terminal import Console

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)
DESCRIPTION = """\
One photo in, a world that a robot can be trained in out: Gaussian splats, textured mesh, colliders, navigation map and
episodes in one metric USD stage, certified by driving a robot through it in PhysX.
"""
EPILOG = """\
examples:
  lyra-worldgen generate photo.jpg                         world in worlds/photo
  lyra-worldgen generate photo.jpg --camera-height 0.4     taken by a robot, not by a person
  lyra-worldgen generate photo.jpg --config config/generation/fast.yaml --seed 7 --out worlds/small
  lyra-worldgen import scan.ply --units cm                 splats or a mesh of another program
  lyra-worldgen extend worlds/photo --path forward         explore it further; undo takes it back
  lyra-worldgen rescale worlds/photo --camera-height 1.2   its true size: the lens was 1.2 m above the floor
  lyra-worldgen certify worlds/photo                       measure it again
  lyra-worldgen batch kitchens.yaml                        a list of worlds, resumable
  lyra-worldgen vary worlds/photo --count 64               other light, colours, friction, clutter, mirror images
  lyra-worldgen export-web worlds/photo --out sites/photo  walk through it in a browser
  lyra-worldgen explore worlds                             look, drive, extend and undo in the browser
  lyra-worldgen evaluate baseline --worlds worlds          how well a robot drives there, in Isaac Lab
  lyra-worldgen doctor                                     what this machine can run, and what is missing

exit codes: 0 good, 1 the world is not certified, 2 input or configuration, 3 something is not installed,
            4 a model or conversion failed, 130 cancelled

More about a command: lyra-worldgen COMMAND --help
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error is said."""

    def error(self, message: str) -> NoReturn:
        text = f"{message}; see: {self.prog} --help"
        if "--json-lines" in sys.argv:
            sys.stdout.write(json.dumps({"event": "error", "message": text, "exit_code": 2}) + "\n")
        self.exit(2, f"error: {text}\n")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from . import (
        batch,
        doctor,
        evaluate,
        explore,
        generate,
        imports,
        journey,
        rescale,
        serve,
        splats,
        train_painter,
        vary,
        web,
        work,
        worlds,
    )

    parser = _Parser(
        prog="lyra-worldgen",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"lyra-worldgen {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (
        generate.add_parser,
        imports.add_parser,
        journey.add_parsers,
        rescale.add_parser,
        batch.add_parser,
        vary.add_parser,
        worlds.add_parsers,
        splats.add_parser,
        web.add_parser,
        explore.add_parser,
        evaluate.add_parser,
        train_painter.add_parser,
        doctor.add_parser,
        serve.add_parser,
        work.add_parser,
    ):
        add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    # Libraries read these when they load: one thread each keeps results equal and leaves the machine usable.
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, "1")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without our letters shows question marks
    args = build_parser().parse_args(argv)

    from ..core.errors import WorldgenError
    from .terminal import Console

    console = Console(
        json_output=getattr(args, "json", False),
        json_lines=getattr(args, "json_lines", False),
        frames=getattr(args, "frames", False),
        verbosity=args.verbose,
    )
    try:
        with console.logging(), _polite_signals():
            return args.run(args, console)
    except WorldgenError as error:
        return _fail(console, error, str(error), error.exit_code)
    except KeyboardInterrupt as error:
        return _fail(console, error, "cancelled; what is finished stays, the same command goes on from there", 130)
    except BrokenPipeError:
        # The reader of our output has gone; what Python would flush at its end has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 130
    except Exception as error:
        notes = ", ".join(getattr(error, "__notes__", ()))
        text = f"internal error{f' {notes}' if notes else ''}: {type(error).__name__}: {error}"
        return _fail(console, error, f"{text}; run again with -v for details and please report it", 4)


def _fail(console: Console, error: BaseException, message: str, exit_code: int) -> int:
    if console.verbosity and exit_code != 130:
        console.note("".join(traceback.format_exception(error)).rstrip())
    console.error(message, exit_code)
    return exit_code


@contextmanager
def _polite_signals() -> Iterator[None]:
    """Ctrl-C, `kill` and a closed terminal unwind the work, so that no half stage stays; a second one ends at once."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    before: dict[int, Any] = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # A parent that told this process to ignore a signal (nohup) meant it.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
