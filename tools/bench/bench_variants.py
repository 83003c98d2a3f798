#!/usr/bin/env python3
"""What variants of a world take: processor time with certificates and without, and room on the disk.

    .venv/bin/python tools/bench/bench_variants.py WORLD --out DIR [--count 8] [--config FILE] [--seed 0]

Runs `lyra-worldgen vary` twice into new folders, first without certificates, then with. Figures of each run:

    wall_s, cpu_s, peak_mib   of the whole command, PhysX's processes included; peak_mib is the largest process
    cpu_s_each                processor time a variant
    mib                       of all variants together, without their common picture
    share                     of as many copies of the world
    certified                 variants whose certificate passed; null without

One JSON object goes to stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lyra.worldgen.core.world import load_world

DEFAULT_RANGES = Path(__file__).resolve().parents[2] / "config" / "randomization" / "strong.yaml"


def size_mib(folder: Path) -> float:
    """Of all files inside, as long as they are."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def measure(world: Path, out: Path, count: int, flags: list[str]) -> dict[str, Any]:
    """One run of `vary`."""
    command = [sys.executable, "-m", "lyra.worldgen", "vary", str(world), "--out", str(out), "--count", str(count)]
    start = time.perf_counter()
    process = subprocess.Popen([*command, *flags], stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu_s = usage.ru_utime + usage.ru_stime
    variants = sorted(out.glob("variant_*"))
    verdicts = [load_world(variant).verdict for variant in variants]
    mib = sum(map(size_mib, variants))
    return {
        "exit_code": process.returncode,
        "variants": len(variants),
        "wall_s": round(time.perf_counter() - start, 1),
        "cpu_s": round(cpu_s, 1),
        "cpu_s_each": round(cpu_s / max(len(variants), 1), 2),
        "peak_mib": round(usage.ru_maxrss / 1024),
        "mib": round(mib, 2),
        "share": round(mib / (max(len(variants), 1) * size_mib(world)), 5),
        "certified": None if "--no-certify" in flags else verdicts.count("passed"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("world", type=Path, help="a finished world folder")
    parser.add_argument("--out", type=Path, required=True, help="folder for the variants; must not exist")
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--config", type=Path, default=DEFAULT_RANGES, help="ranges")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.out.exists():
        parser.error(f"{args.out} exists; give another --out")
    flags = ["--config", str(args.config), "--seed", str(args.seed)]
    result = {
        "world": load_world(args.world).manifest.photo.name,
        "world_mib": round(size_mib(args.world), 1),
        "ranges": args.config.stem,
        "seed": args.seed,
        "without": measure(args.world, args.out / "without", args.count, [*flags, "--no-certify"]),
        "with": measure(args.world, args.out / "with", args.count, flags),
    }
    print(json.dumps(result, indent=1))
    return max(result["without"]["exit_code"], result["with"]["exit_code"])


if __name__ == "__main__":
    sys.exit(main())
