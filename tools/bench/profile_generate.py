#!/usr/bin/env python3
"""Where the processor time of photo to certified world goes, by function, over all processes.

    .venv/bin/python tools/bench/profile_generate.py PHOTO [--picture FILE.png] [--set KEY=VALUE ...]

Runs `lyra-worldgen generate` into a temporary folder with a sampler in each Python process (`sampler`): processor time,
100 samples a second, compiled code counted to the Python function that called it. Time of libraries counts to the
function of this package that called them; imports and the compilation of kernels are functions of their own.
Figures:

    processes   how many, their processor seconds and the largest one's memory, by the part that they play
    stages      seconds by stage of the build, those of the processes that it starts included
    functions   seconds in a function itself, libraries included, the dearest first
    stacks      seconds by stage and stack of functions; what is small or deep is added to its caller

The picture shows the stacks from the top down; a bar's width is its time. One JSON object goes to stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "/lyra/worldgen/"
STAGES = {
    "understand": "#8c8c88",
    "explore": "#e8a33d",
    "reconstruct": "#5b9bd5",
    "simulate": "#6fb07f",
    "certify": "#c0695f",
    "preview": "#9a7fc0",
}
OTHER, PLAIN = "start and end", "#c9c9c4"
LEAST, LEVELS = 0.004, 6
"""Share of all time below which a stack is added to its caller, and how many functions of a stack are told apart."""


def stack_of(text: str) -> tuple[str, ...]:
    """The stage and the package's functions below it on a sampled stack, `generation.cache.recall`."""
    out: list[str] = [OTHER]
    for entry in text.split("|"):
        file, _, function = entry.rpartition(":")
        if "importlib._bootstrap" in file:
            return (*out, "imports")
        if "/numba/" in file and function == "_compile_for_args":
            return (*out, "compilation")
        if PACKAGE not in file or function.startswith(("<", "__")):
            continue
        module = file.rpartition(PACKAGE)[2].removesuffix(".py").replace("/__init__", "").replace("/", ".")
        if module == "build.stages" and function.lstrip("_") in STAGES:
            out = [function.lstrip("_")]
        elif out != [OTHER] and out[-1] != (name := f"{module}.{function}"):
            out.append(name)
    return tuple(out)


def part_of(arguments: list[str]) -> str:
    """What a process does, by how it was started."""
    words = " ".join(arguments).lower()
    return next((part for part in ("physx", "newton", "generate") if part in words), "other")


def pruned(stacks: Counter[tuple[str, ...]]) -> Counter[tuple[str, ...]]:
    """The same time in fewer stacks: deep and small ones are added to their callers."""
    inclusive: Counter[tuple[str, ...]] = Counter()
    for stack, seconds in stacks.items():
        for depth in range(len(stack) + 1):
            inclusive[stack[:depth]] += seconds
    least, out = LEAST * inclusive[()], Counter()
    for stack, seconds in stacks.items():
        kept = stack[:LEVELS]
        while len(kept) > 1 and inclusive[kept] < least:
            kept = kept[:-1]
        out[kept] += seconds
    return out


def draw(stacks: Counter[tuple[str, ...]], path: Path) -> None:
    """Icicle chart: a caller lies above what it calls, side by side, stages in their order and calls widest first."""
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure

    total = sum(stacks.values())
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(0, total), ylim=(LEVELS, 0), yticks=[], xlabel="CPU seconds of all processes")
    for side in ("left", "top", "right"):
        axes.spines[side].set_visible(False)

    def bars(prefix: tuple[str, ...], left: float) -> None:
        inside: Counter[str] = Counter()
        for stack, seconds in stacks.items():
            if len(stack) > len(prefix) and stack[: len(prefix)] == prefix:
                inside[stack[len(prefix)]] += seconds
        names = (
            inside.most_common() if prefix else [(name, inside[name]) for name in (*STAGES, *inside.keys() - STAGES)]
        )
        level = len(prefix)
        for name, seconds in names:
            stage = prefix[0] if prefix else name
            shade = 0.12 * (level % 2) + 0.08 * level
            colour = tuple(c + (1 - c) * shade for c in to_rgb(STAGES.get(stage, PLAIN)))
            axes.barh(level + 0.5, seconds, 0.95, left, color=colour, edgecolor="white", linewidth=0.8)
            room, function = int(seconds / total * 185), name.rpartition(".")[2].lstrip("_")
            text = next(t for t in (f"{function}  {seconds:.1f} s", function, "") if len(t) <= room)
            axes.text(left + seconds / 2, level + 0.5, text, ha="center", va="center", fontsize=7.5)
            bars((*prefix, name), left)
            left += seconds

    bars((), 0.0)
    figure.savefig(path, dpi=100)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photo", type=Path)
    parser.add_argument("--picture", type=Path, help="PNG file of the chart")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as of generate")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        samples, sampler = Path(folder) / "samples", Path(__file__).parent / "sampler"
        samples.mkdir()
        path = os.pathsep.join(filter(None, (str(sampler), os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "lyra.worldgen", "generate", str(args.photo), "--out", f"{folder}/world"]
        command += ["--seed", str(args.seed), *(part for value in args.set for part in ("--set", value))]
        done = subprocess.run(
            command,
            check=False,
            stdout=sys.stderr,
            env={**os.environ, "PYTHONPATH": path, "LYRA_PROFILE": str(samples)},
        )
        found: list[dict[str, Any]] = [json.loads(file.read_text()) for file in sorted(samples.glob("*.json"))]
    stacks: Counter[tuple[str, ...]] = Counter()
    processes: dict[str, dict[str, Any]] = {}
    for process in found:
        part = part_of(process["arguments"])
        of_part = processes.setdefault(part, {"count": 0, "cpu_s": 0.0, "largest_mib": 0})
        of_part["count"] += 1
        of_part["cpu_s"] = round(of_part["cpu_s"] + process["cpu_s"], 2)
        of_part["largest_mib"] = max(of_part["largest_mib"], round(process["peak_mib"]))
        for text, seconds in process["stacks"].items():
            # Other processes work for the certificate.
            stack = stack_of(text)
            stacks[stack if part == "generate" else ("certify", f"{part} process", *stack[1:])] += seconds
    if not stacks:
        print("error: no process was sampled", file=sys.stderr)
        return 2
    own: Counter[str] = Counter()
    stages: Counter[str] = Counter()
    for stack, seconds in stacks.items():
        own[stack[-1]] += seconds
        stages[stack[0]] += seconds
    small = pruned(stacks)
    if args.picture:
        draw(small, args.picture)
    result = {
        "photo": args.photo.stem,
        "seed": args.seed,
        "exit_code": done.returncode,
        "cpu_s": round(sum(stacks.values()), 2),
        "processes": processes,
        "stages": {name: round(seconds, 2) for name, seconds in stages.most_common()},
        "functions": {name: round(seconds, 2) for name, seconds in own.most_common(25)},
        "stacks": {" ".join(stack): round(seconds, 2) for stack, seconds in sorted(small.items())},
    }
    print(json.dumps(result))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
