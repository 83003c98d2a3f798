"""Measure reconstruction on explored worlds: seconds of CPU, memory, PSNR at the photo's pose. Writes JSON lines.

Usage: python tools/bench/bench_reconstruction.py [WORLD_FOLDER ...] [--texture-px N] [--splat-budget N]
Without a folder it builds the analytic world of the tests.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.config import ReconstructionConfig
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.core.progress import Progress
from lyra.worldgen.core.store import load_views
from lyra.worldgen.core.views import WorldViews
from lyra.worldgen.reconstruction.reconstruct import reconstruct
from lyra.worldgen.reconstruction.splat_render import render_splats


class Stopwatch(Progress):
    """CPU seconds between the first reports of the stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage, self._since = "", time.process_time()

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        now = time.process_time()
        if self._stage:
            self.seconds[self._stage] = round(self.seconds.get(self._stage, 0.0) + now - self._since, 2)
        self._stage, self._since = stage, now


def analytic_views(**size: float) -> WorldViews:
    """The world of tests/reconstruction."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
    from reconstruction.analytic_world import make_world

    return make_world(**size)


def measure(name: str, views: WorldViews, cfg: ReconstructionConfig) -> dict[str, object]:
    """One line of results."""
    watch, start = Stopwatch(), time.process_time()
    result = reconstruct(views, cfg, progress=watch)
    total_s = time.process_time() - start
    camera = PinholeCamera.from_hfov(640, 480, np.radians(80))
    start = time.process_time()
    render_splats(result.splats, camera, camera_pose(np.array([0.0, 0.0, 1.5])))
    return {
        "world": name,
        "views": len(views.views),
        "cpu_s": round(total_s, 2),
        "stages_cpu_s": watch.seconds,
        "render_640x480_cpu_s": round(time.process_time() - start, 2),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "metrics": {k: round(float(v), 3) for k, v in result.metrics.items()},
        "findings": [f.code for f in result.report],
        "device": f"{platform.machine()} {platform.processor()}".strip(),
        "versions": {p: version(p) for p in ("numpy", "numba", "xatlas", "embreex")},
    }


def main() -> None:
    defaults = ReconstructionConfig()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("worlds", nargs="*", type=Path)
    parser.add_argument("--texture-px", type=int, default=defaults.texture_px)
    parser.add_argument("--splat-budget", type=int, default=defaults.splat_budget)
    args = parser.parse_args()
    cfg = ReconstructionConfig(texture_px=args.texture_px, splat_budget=args.splat_budget)
    # Compiles every loop, so that the figures below hold for the second run on a machine.
    small = analytic_views(width_px=64, height_px=48, turns=2, bins=24)
    reconstruct(small, ReconstructionConfig(texture_px=256, splat_budget=2000))
    if not args.worlds:
        full = analytic_views(width_px=640, height_px=480, turns=8, bins=120, step_m=0.5)
        print(json.dumps(measure("analytic", full, cfg)))
    for world in args.worlds:
        memory = world / "memory" if (world / "memory").is_dir() else world
        print(json.dumps(measure(world.name, load_views(memory), cfg)), flush=True)


if __name__ == "__main__":
    main()
