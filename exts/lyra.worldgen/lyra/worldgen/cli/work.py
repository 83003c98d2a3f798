"""`lyra-worldgen work`: performs one command for another program, which tells it on stdin and reads JSON lines."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..session import command_from_json
from .terminal import Console
from .worlds import run_command

MAX_COMMAND_BYTES = 1 << 20
GRACE_S = 10.0
"""How long the work may take to stop once nobody listens any more [s]."""
DESCRIPTION = """\
Perform one command on a world for another program: the explorer, the service, the Kit extension. The first line on
stdin is the command, stdout says in JSON lines what happens (lyra/worldgen/session/events.py). When stdin ends, the
work is stopped; what is finished stays and the same command goes on from there.
"""
EPILOG = """\
examples:
  (echo '{"command": "extend", "path": "forward"}'; cat) | lyra-worldgen work worlds/kitchen --frames
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "work",
        help="perform a command that another program tells on stdin",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", help="a world folder, or the one that becomes a world")
    parser.add_argument("--frames", action="store_true", help="show each painted frame as an event with a JPEG")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log more; twice for every detail")
    parser.set_defaults(run=run, json_lines=True)


def run(args: argparse.Namespace, console: Console) -> int:
    """Read the command, perform it, report the world."""
    line = sys.stdin.buffer.readline(MAX_COMMAND_BYTES + 1)
    try:
        command = command_from_json(json.loads(line[: MAX_COMMAND_BYTES + 1]))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"the command on stdin is no JSON line of at most {MAX_COMMAND_BYTES} bytes") from error
    threading.Thread(target=_end_with_caller, daemon=True).start()
    return run_command(Path(args.folder), command, console)


def _end_with_caller() -> None:
    """Stop the work when stdin ends: whoever asked for it has gone."""
    # A buffered reader's lock would be held while the interpreter shuts down.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    timer = threading.Timer(GRACE_S, _end)
    timer.daemon = True
    timer.start()
    os.kill(os.getpid(), signal.SIGTERM)


def _end() -> None:
    """End at once, with the physics process that may be running."""
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(130)
