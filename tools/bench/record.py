#!/usr/bin/env python3
"""Runs a benchmark and keeps what it printed as a record of the benchmark page.

    .venv/bin/python tools/bench/record.py worlds -- .venv/bin/python tools/bench/bench_worlds.py PHOTOS --out DIR

The command's last line, or all of its output, must be JSON. The record `docs/benchmarks/NAME.json` gets it as `result`,
with the command, the machine, the versions of the packages and the seed; title and blocks stay as they are, and
`check_figures.py` says which cells no longer show the result. A new record gets one block, for its author to replace.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lyra.worldgen.core.files import write_json
from lyra.worldgen.core.machine import core_count
from records import FOLDER, ROOT

PACKAGES = ("numpy", "torch", "scipy", "numba", "opencv-python-headless", "usd-core", "ovphysx", "newton", "warp-lang")


def measured_on() -> dict[str, Any]:
    """The machine and what is installed."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], check=False, capture_output=True, text=True
    ).stdout.strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = {"cores": core_count(), "memory_gib": round(memory, 1), "architecture": platform.machine()}
    return {"machine": machine, "versions": versions, "commit": commit, "day": time.strftime("%Y-%m-%d")}


def printed_json(text: str) -> Any:
    """All of the output, its last line, or its lines; raises ValueError when none is JSON."""
    lines = [line for line in text.splitlines() if line.strip()]
    for candidate in (text, lines[-1] if lines else ""):
        try:
            return json.loads(candidate)
        except ValueError:
            continue
    raise ValueError("the command printed no JSON, neither as a whole nor in its last line")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the record")
    parser.add_argument("--seed", type=int, help="that the command was given, if any")
    given = sys.argv[1:]
    cut = given.index("--") if "--" in given else len(given)
    args, command = parser.parse_args(given[:cut]), given[cut + 1 :]
    if not command:
        parser.error("no command; give it after --")
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        result = printed_json(done.stdout)
    except ValueError as error:
        print(f"error: {error} (exit code {done.returncode})", file=sys.stderr)
        return 2
    path = FOLDER / f"{args.name}.json"
    empty = {"order": 1000, "title": args.name, "blocks": ["Write what was measured here."]}
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else empty
    kept.pop("transcribed", None)
    kept |= {"command": shlex.join(command), "measured": measured_on() | {"seed": args.seed}, "result": result}
    write_json(path, kept)
    print(path)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
