#!/usr/bin/env python3
"""Worlds against scenes of known truth: rooms, corridors and halls whose every surface is known exactly.

    .venv/bin/python tools/bench/bench_known_truth.py --seeds 0-35 [--part lift|photo] [--json FILE]

Part `lift`: 48 exact RGB-D views of 320x240, no proxy, through `extract_surface`, `build_colliders` and
`build_occupancy`. Figures (all of one scene; the table holds median and worst of all scenes):

    surface  distance from points of true surfaces that a view shows to the collider, median and 95th percentile
    phantom  distance from the collider, where it lies in space seen free or on what was seen, to the true surfaces
    range    |felt - true| of a robot's range rays that end on surfaces that were seen
    floor    |collider's height - true height| where the floor was seen, 95th percentile, or of the plan if worse
    free     share of truly free, seen cells (5 cm) that the map calls free for a robot of 0.25 m radius
    blocked  share of truly occupied, seen cells that the map keeps the robot out of

Part `photo`: one rendered photo of 1024x768 through the embedded geometry, the proxy world, colliders and map, without
paint; only what the photo sees counts. Cells and ranges (along the true camera's rays) are judged at the true camera
height, and at the claimed one as well; limits hold for means and medians over all scenes.

Cells whose true clearance is within half a cell's diagonal of the radius are left out of the last two (`known_truth`).
Seeds 0 to 35 are for reports; development uses seeds from 1000. The last line is JSON.
Exit code 1 if a scene misses a limit.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.config import SimulationConfig
from lyra.worldgen.core.raycast import Raycaster
from lyra.worldgen.core.views import SOURCE_PAINTED, RgbdView, WorldViews
from lyra.worldgen.reconstruction.mesh_extract import extract_surface
from lyra.worldgen.sim.collision import build_colliders
from lyra.worldgen.sim.occupancy import build_occupancy

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
import known_photo

from known_collider import score_collider
from known_scenes import KnownScene, known_scene
from known_truth import grid_clearance, score_cells

VIEWS = 48


@dataclass(frozen=True, kw_only=True)
class Part:
    """One way from a scene to a world."""

    measure: Callable[[KnownScene, argparse.Namespace], dict[str, float]]
    """Figures of one scene."""
    most: dict[str, float]
    """Worst acceptable value of figures that should be small."""
    least: dict[str, float]
    """Worst acceptable value of figures that should be large."""

    def misses(self, row: dict[str, float]) -> list[str]:
        """Names of the figures that miss their limit; not-a-number does."""
        found = [name for name, limit in self.most.items() if not row[name] <= limit]
        return found + [name for name, limit in self.least.items() if not row[name] >= limit]


def true_views(scene: KnownScene) -> WorldViews:
    """`scene.lift_views` without its colours, which nothing here looks at."""
    camera = PinholeCamera.from_hfov(320, 240, np.radians(80))
    caster = Raycaster(scene.truth)
    views = []
    for i, T in enumerate([scene.T_world_cam, *scene.poses(VIEWS - 1, seed=1)]):
        image = caster.render(camera, T)
        views.append(
            RgbdView(
                view_id=i,
                camera=camera,
                T_world_cam=T,
                rgb_u8=np.zeros((*image.face.shape, 3), np.uint8),
                depth_z_m=np.where(image.hit, image.depth_z_m, 1.0).astype(np.float32),
                valid=image.hit,
                source=np.full(image.face.shape, SOURCE_PAINTED, np.uint8),
                labels=image.labels(scene.truth),
            )
        )
    return WorldViews(views=views, ceiling_m=scene.ceiling_m)


def measure_lift(scene: KnownScene, args: argparse.Namespace) -> dict[str, float]:
    """True RGB-D views to collider and map; CPU seconds of every step."""
    clock = Clock()
    views = true_views(scene)
    if args.no_labels:
        views = replace(views, views=[replace(v, labels=np.zeros_like(v.labels)) for v in views.views])
    clock.lap("views")
    surface = extract_surface(views)
    clock.lap("fuse")
    cfg = SimulationConfig()
    plan = build_colliders(surface, cfg)
    clock.lap("collide")
    space = build_occupancy(surface, plan, cfg)
    clock.lap("map")
    score = score_collider(scene, views.views, plan.as_mesh())
    cells = score_cells(scene, views.views, grid_clearance(space.grid))
    clock.lap("score")
    return {
        **asdict(score),
        "floor_m": max(abs(plan.floor_z_m), score.floor_m),
        "free_found": cells.free_found,
        "blocked_found": cells.blocked_found,
        "free_found_strict": cells.free_found_strict,
        "blocked_found_strict": cells.blocked_found_strict,
        "free_seen": cells.free_seen,
        "blocked_seen": cells.blocked_seen,
        "faces": surface.face_count,
        "rest_faces": plan.rest.face_count,
        "boxes": len(plan.boxes),
        "boxed_share": plan.boxed_share,
        **clock.cpu_s,
    }


PARTS = {
    "lift": Part(
        measure=measure_lift,
        most={
            "surface_median_m": 0.02,
            "surface_p95_m": 0.08,
            "phantom_median_m": 0.02,
            "phantom_p95_m": 0.08,
            "range_median_m": 0.02,
            "range_p95_m": 0.08,
            "floor_m": 0.01,
        },
        least={"free_found": 0.97, "blocked_found": 0.99},
    ),
}


class Clock:
    """CPU seconds between laps."""

    def __init__(self) -> None:
        self.cpu_s: dict[str, float] = {}
        self._since = time.process_time()

    def lap(self, name: str) -> None:
        """The time since the last lap was spent on `name`."""
        now = time.process_time()
        self.cpu_s[f"{name}_cpu_s"] = now - self._since
        self._since = now


def seeds(text: str) -> list[int]:
    """`0-35`, `3,7` or a mixture of both."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def table(part: Part, rows: dict[int, dict[str, float]]) -> str:
    """Markdown: median and worst of every figure over all scenes, with its limit."""
    lines = [
        "| figure | median | worst | of seed | limit | scenes that miss it |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    names = list(next(iter(rows.values())))
    for name in names:
        values = np.array([row[name] for row in rows.values()], float)
        worst = int(np.nanargmin(values) if name in part.least or name in LARGE else np.nanargmax(values))
        if name in part.most:
            limit, missed = f"{part.most[name]:g}", str(int((~(values <= part.most[name])).sum()))
        elif name in part.least:
            limit, missed = f"at least {part.least[name]:g}", str(int((~(values >= part.least[name])).sum()))
        else:
            limit, missed = "", ""
        seed = list(rows)[worst]
        lines.append(f"| {name} | {np.nanmedian(values):.4g} | {values[worst]:.4g} | {seed} | {limit} | {missed} |")
    return "\n".join(lines)


LARGE = ("free_found_strict", "blocked_found_strict", "boxed_share", "free_seen", "blocked_seen")
"""Figures without a limit whose worst value is the smallest."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds, default=seeds("1000-1005"))
    parser.add_argument("--part", choices=[*sorted(PARTS), "photo"], default="lift")
    parser.add_argument("--no-labels", action="store_true", help="hide the labels of the pixels")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.part == "photo":
        return known_photo.report(args.seeds, args.json)
    part, rows = PARTS[args.part], {}
    for seed in args.seeds:
        scene = known_scene(seed)
        row = rows[seed] = part.measure(scene, args)
        misses = ", ".join(f"{name} {row[name]:.4g}" for name in part.misses(row))
        print(f"seed {seed} ({scene.kind}): {'misses ' + misses if misses else 'good'}", file=sys.stderr, flush=True)
    good = sum(not part.misses(row) for row in rows.values())
    print(table(part, rows))
    print(f"\n{good} of {len(rows)} scenes within every limit")
    result = {
        "part": args.part,
        "labels": not args.no_labels,
        "good": good,
        "limits": {"most": part.most, "least": part.least},
        "machine": platform.machine(),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "scenes": rows,
    }
    print(f"\n{json.dumps(result)}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if good == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
