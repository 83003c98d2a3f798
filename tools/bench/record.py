#!/usr/bin/env python3
"""Runs a benchmark and keeps what it printed as a record of the benchmark page.

    .venv/bin/python tools/bench/record.py worlds -- .venv/bin/python tools/bench/bench_worlds.py PHOTOS --out DIR

The command's output, each of its lines, or its last line must be JSON. The record `docs/benchmarks/NAME.json` gets it
as `result`, with the command, the machine, the versions of the packages, the seed, and what it took: time, CPU time,
memory of its largest process, and the machine's load, which other work may have caused. Title and blocks stay, and
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
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lyra.worldgen.core.files import write_json
from lyra.worldgen.core.machine import core_count
from records import FOLDER, ROOT

PACKAGES = (
    "numpy", "torch", "scipy", "numba", "opencv-python-headless", "usd-core", "ovphysx", "newton", "warp-lang",
    "isaaclab",
)  # fmt: skip
SAY_VERSIONS = """
import json, platform, sys
from importlib.metadata import PackageNotFoundError, version
said = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        said[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(said))
"""


def measured_on(python: str = sys.executable) -> dict[str, Any]:
    """The machine and what is installed for an interpreter."""
    versions = json.loads(
        subprocess.run([python, "-c", SAY_VERSIONS, *PACKAGES], check=True, capture_output=True).stdout
    )
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], check=False, capture_output=True, text=True
    ).stdout.strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = {"cores": core_count(), "memory_gib": round(memory, 1), "architecture": platform.machine()}
    return {"machine": machine, "versions": versions, "commit": commit, "day": time.strftime("%Y-%m-%d")}


def run(command: list[str]) -> tuple[int, str, dict[str, float]]:
    """Exit code and output of a command, and what it took; the load is that of the whole machine while it ran."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    with process.stdout:
        text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = {
        "wall_s": round(time.monotonic() - began, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": round(usage.ru_maxrss / 1024),
        "load": round(os.getloadavg()[1 if time.monotonic() - began > 120 else 0], 1),
    }
    return process.returncode, text, took


def portable(command: list[str]) -> str:
    """A command as anyone types it in the checkout: paths of this machine become those of the project, or names."""
    words = []
    for word in command:
        flag, _, value = word.rpartition("=")
        path = Path(value)
        if path.is_absolute():
            parts = path.parts
            venv = next((i for i, part in enumerate(parts) if part.startswith(".venv")), None)
            if venv is not None:
                path = Path(*parts[venv:])
            elif path.is_relative_to(ROOT):
                path = path.relative_to(ROOT)
            else:
                path = Path(path.name)
        words.append(f"{flag}={path}" if flag else str(path) if value else word)
    return shlex.join(words)


def printed_json(text: str) -> Any:
    """All of the output, its lines, or its last line; raises ValueError when none is JSON."""
    lines = [line for line in text.splitlines() if line.strip()]
    readings = (lambda: json.loads(text), lambda: [json.loads(line) for line in lines], lambda: json.loads(lines[-1]))
    for reading in readings if lines else ():
        try:
            return reading()
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
    python = command[0] if Path(command[0]).name.startswith("python") else sys.executable
    measured = measured_on(python) | {"seed": args.seed}
    code, text, took = run(command)
    try:
        result = printed_json(text.replace(str(Path.home()), "~").replace(f"{ROOT}/", ""))
    except ValueError as error:
        print(f"error: {error} (exit code {code})", file=sys.stderr)
        return 2
    path = FOLDER / f"{args.name}.json"
    empty = {"order": 1000, "title": args.name, "blocks": ["Write what was measured here."]}
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else empty
    kept.pop("transcribed", None)
    kept |= {"command": portable(command), "measured": measured | took, "result": result}
    write_json(path, kept)
    print(path)
    return code


if __name__ == "__main__":
    sys.exit(main())
