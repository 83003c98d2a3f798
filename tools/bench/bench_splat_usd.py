#!/usr/bin/env python3
"""Splats to USD: time and memory of ours, beside NVIDIA's usd-convert-gsplat where it is installed.

    python tools/bench/bench_splat_usd.py [--count 100000 ...] [--converter PATH] [--degree 3]

Every conversion is a process of its own: from the same generated .ply to .usdc, start of Python included. With
`--converter`, the executable of usd-convert-gsplat (in any environment), the attributes of both files are compared one
by one. The stage is opened, and all its arrays read, in a further process. One JSON object a line goes to stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from lyra.worldgen.core.machine import core_count
from lyra.worldgen.core.splats import GaussianCloud
from lyra.worldgen.reconstruction.splat_io import read_splats, write_splats

OPEN = """
import sys, time
from pxr import Usd, UsdVol
start = time.perf_counter()
stage = Usd.Stage.Open(sys.argv[1])
opened = time.perf_counter()
size = sum(len(a.Get()) for p in stage.Traverse() for a in p.GetAttributes() if a.GetTypeName().isArray and a.Get())
print(opened - start, time.perf_counter() - opened, size)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, nargs="+", default=[100_000])
    parser.add_argument("--degree", type=int, default=3, choices=range(4))
    parser.add_argument("--converter", help="executable of usd-convert-gsplat")
    parser.add_argument("--prepare", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--compare", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.prepare:
        folder, count, degree = args.prepare
        print(json.dumps(prepare(Path(folder), int(count), int(degree))))
        return 0
    if args.compare:
        print(json.dumps(compare(*map(Path, args.compare))))
        return 0
    if not args.converter:
        print("no --converter given: only ours is measured", file=sys.stderr)
    for count in args.count:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(Path(folder), count, args.degree, args.converter)), flush=True)
    return 0


def measure(folder: Path, count: int, degree: int, converter: str | None) -> dict[str, Any]:
    """One line of results. This process stays small: a child starts with the peak memory of its parent."""
    source, ours, theirs = folder / "splats.ply", folder / "ours.usdc", folder / "theirs.usdc"
    result: dict[str, Any] = {"splats": count, "degree": degree}
    result |= json.loads(said_by([sys.executable, __file__, "--prepare", str(folder), str(count), str(degree)]))
    result["ours"] = run([sys.executable, "-m", "lyra.worldgen", "splats", str(source), str(ours)])
    result["machine"] = {"cores": core_count(), "platform": platform.platform(), "load": os.getloadavg()[0]}
    opened, read, _ = said_by([sys.executable, "-c", OPEN, str(ours)]).split()
    result |= {"stage_open_s": round(float(opened), 3), "stage_read_s": round(float(read), 3)}
    result["usdc_mib"] = round(ours.stat().st_size / 2**20, 1)
    if converter:
        command = [shutil.which(converter) or converter, "-i", str(source), "-o", str(theirs), "--up-axis", "Z"]
        result["theirs"] = run(command)
        result["times_faster"] = round(result["theirs"]["wall_s"] / result["ours"]["wall_s"], 1)
        result["times_less_cpu"] = round(result["theirs"]["cpu_s"] / result["ours"]["cpu_s"], 1)
        result["times_less_memory"] = round(result["theirs"]["peak_mib"] / result["ours"]["peak_mib"], 1)
        result["differences"] = json.loads(said_by([sys.executable, __file__, "--compare", str(ours), str(theirs)]))
    return result


def prepare(folder: Path, count: int, degree: int) -> dict[str, Any]:
    """The files that everybody reads, and how long we take to write and read them."""
    cloud, result = generated(count, degree), {}
    for suffix in ("ply", "spz"):
        path = folder / f"splats.{suffix}"
        result[f"write_{suffix}_s"] = round(timed(lambda path=path: write_splats(path, cloud)), 2)
        result[f"{suffix}_mib"] = round(path.stat().st_size / 2**20, 1)
    for suffix in ("ply", "spz"):
        result[f"load_{suffix}_s"] = round(timed(lambda suffix=suffix: read_splats(folder / f"splats.{suffix}")), 2)
    return result


def said_by(command: list[str]) -> str:
    """What a process prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"a measuring process failed:\n{done.stderr[-2000:]}")
    return done.stdout


def generated(count: int, degree: int) -> GaussianCloud:
    """Splats as training leaves them: many sizes, any orientation, most nearly opaque."""
    rng = np.random.default_rng(0)
    quats = rng.normal(size=(count, 4)).astype(np.float32)
    return GaussianCloud(
        means=rng.normal(0, 10, (count, 3)).astype(np.float32),
        scales_m=np.exp(rng.normal(-4, 1, (count, 3))).astype(np.float32),
        quats_wxyz=quats / np.linalg.norm(quats, axis=1, keepdims=True),
        opacities=np.clip(rng.beta(2, 0.8, count), 1e-3, 1 - 1e-4).astype(np.float32),
        sh=rng.normal(0, 0.3, (count, (degree + 1) ** 2, 3)).astype(np.float32),
    )


def run(command: list[str]) -> dict[str, float]:
    """Wall and CPU seconds and peak memory of one process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    # Of this child alone: the figure for all children would keep the largest of them.
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start
    said = process.stderr.read().decode(errors="replace") if process.stderr else ""
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{command[0]} failed:\n{said[-2000:]}")
    return {
        "wall_s": round(wall_s, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mib": round(usage.ru_maxrss / 1024, 1),
    }


def timed(action: Any) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def compare(ours: Path, theirs: Path) -> dict[str, float | str]:
    """Largest difference of every attribute that the other file has; relative where numbers exceed 1."""
    from pxr import Usd

    stages = [Usd.Stage.Open(str(path)) for path in (ours, theirs)]
    kind = "ParticleField3DGaussianSplat"
    prims = [next(p for p in stage.Traverse() if p.GetTypeName() == kind) for stage in stages]
    found: dict[str, float | str] = {}
    for attribute in prims[1].GetAuthoredAttributes():
        name, wanted, got = attribute.GetName(), attribute.Get(), prims[0].GetAttribute(attribute.GetName()).Get()
        if got is None:
            found[name] = "missing in ours"
        elif name == "extent":
            inside = all(got[0][i] <= wanted[0][i] and wanted[1][i] <= got[1][i] for i in range(3))
            found[name] = "ours contains theirs, by the reach of the splats" if inside else "ours is smaller"
        elif not isinstance(wanted, str):
            a, b = np.array(got, np.float64), np.array(wanted, np.float64)
            found[name] = float((np.abs(a - b) / np.maximum(np.abs(b), 1)).max()) if a.shape == b.shape else "shape"
        if attribute.HasMetadata("elementSize"):
            same = prims[0].GetAttribute(name).GetMetadata("elementSize") == attribute.GetMetadata("elementSize")
            found[f"{name} elementSize"] = "same" if same else "different"
    return found


if __name__ == "__main__":
    sys.exit(main())
