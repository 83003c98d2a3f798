#!/usr/bin/env python3
"""How long photos take to become certified worlds, and how good those are.

    .venv/bin/python tools/bench/bench_worlds.py --out DIR PHOTO_OR_FOLDER ... [--config FILE] [--markdown]

Runs `lyra-worldgen generate` once per photo in a process of its own, one after the other. Figures:

    wall_s, cpu_s, peak_mib    of the whole command, children (PhysX) included
    stages_s                   wall time by stage
    verdict, failed            of the certificate, with the lines that failed
    free_m2                    connected free floor
    mesh_psnr_db, splat_psnr_db   from the photo's own pose, known pixels

One JSON object goes to stdout, or a Markdown table with `--markdown`. A world that is there already would be reused and
measured as such, so DIR must not hold one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lyra.worldgen.core.machine import core_count
from lyra.worldgen.core.world import load_world

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO_OR_FOLDER")
    parser.add_argument("--out", type=Path, required=True, help="folder for the worlds")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--markdown", action="store_true", help="print a table instead of JSON")
    args = parser.parse_args()
    photos = [p for given in args.photos for p in (sorted(given.iterdir()) if given.is_dir() else [given])]
    photos = [p for p in photos if p.suffix.lower() in SUFFIXES]
    rows = {}
    for photo in photos:
        folder = args.out / photo.stem
        if folder.exists():
            parser.error(f"{folder} exists; give another --out")
        rows[photo.stem] = measure(photo, folder, args.config)
        print(f"{photo.stem}: {rows[photo.stem]['wall_s']} s, {rows[photo.stem]['verdict']}", file=sys.stderr)
    good = [r for r in rows.values() if "mesh_psnr_db" in r]
    result = {
        "machine": {"cores": core_count(), "platform": platform.platform(), "python": platform.python_version()},
        "photos": rows,
        "median": {
            key: round(statistics.median(r[key] for r in good), 1) if good else None
            for key in ("wall_s", "cpu_s", "peak_mib", "free_m2", "mesh_psnr_db", "splat_psnr_db")
        },
        "certified": sum(r["verdict"] == "passed" for r in rows.values()),
    }
    print(table(result) if args.markdown else json.dumps(result, indent=2))
    return 0 if len(good) == len(rows) else 1


def measure(photo: Path, folder: Path, config: Path | None) -> dict[str, Any]:
    """One run of the command and what its world says about itself."""
    command = [sys.executable, "-m", "lyra.worldgen", "generate", str(photo), "--out", str(folder), "--json"]
    if config:
        command += ["--config", str(config)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    row: dict[str, Any] = {
        "wall_s": round(time.perf_counter() - start, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": round(peak_kib(usage) / 1024),
        "exit_code": process.returncode,
    }
    if process.returncode > 1:
        return {**row, "verdict": "none", "failed": [], "error": error.strip().splitlines()[-1:]}
    world = load_world(folder)
    stages = world.manifest.stages
    facts = world.facts("reconstruct")
    return {
        **row,
        "verdict": world.verdict,
        "failed": world.facts("certify")["failed"],
        "stages_s": {name: round(record.seconds, 1) for name, record in stages.items() if "/" not in name},
        "free_m2": round(world.facts("simulate")["free_space"]["free_area_m2"]),
        "mesh_psnr_db": round(facts["mesh_psnr_db"], 1),
        "splat_psnr_db": round(facts["splat_psnr_db"], 1),
    }


def peak_kib(usage: resource.struct_rusage) -> float:
    """Largest resident set in KiB; macOS counts in bytes."""
    return usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)


def table(result: dict[str, Any]) -> str:
    """The figures as a Markdown table, medians last."""
    head = ["photo", "wall [s]", "CPU [s]", "peak [MiB]", "free floor [m²]", "mesh [dB]", "splats [dB]", "verdict"]
    keys = ("wall_s", "cpu_s", "peak_mib", "free_m2", "mesh_psnr_db", "splat_psnr_db")
    lines = [head, ["---", *["--:"] * 6, "---"]]
    for name, row in result["photos"].items():
        verdict = " ".join([row["verdict"], *row["failed"]])
        lines.append([name, *(str(row.get(key, "")) for key in keys), verdict])
    lines.append(["**median**", *(str(result["median"][key]) for key in keys), f"{result['certified']} passed"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
