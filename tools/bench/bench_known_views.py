"""Measure splats and mesh on scenes of known truth from poses that nobody lifted from. Writes JSON lines.

Usage: python tools/bench/bench_known_views.py [--seeds 0:36] [--poses 20] [--views 48] [--proxy] [--markdown]

Every scene is lifted from exact RGB-D views (`tests/known_scenes.py`); then splats and mesh are rendered from held-out
poses and compared with the scene itself: PSNR and SSIM of the pictures, and depth against exact depth. With `--proxy`
the surface is the scene's own, so what remains is the splats' and the texture's doing alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.config import ReconstructionConfig
from lyra.worldgen.core.raycast import Raycaster
from lyra.worldgen.evaluate.likeness import psnr_db, ssim
from lyra.worldgen.reconstruction.reconstruct import Reconstruction, reconstruct
from lyra.worldgen.sensors import SensorWorld, render_sensors

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from known_scenes import KINDS, KnownScene, known_scene

HELD_OUT_SEED = 77
HELD_OUT = PinholeCamera.from_hfov(320, 240, np.radians(75))
FIGURES = (
    "splat_psnr_db",
    "splat_ssim",
    "mesh_psnr_db",
    "mesh_ssim",
    "splat_median_cm",
    "splat_p95_cm",
    "mesh_median_cm",
    "mesh_p95_cm",
    "holes_percent",
    "off_percent",
)


def measure(scene: KnownScene, lifted: Reconstruction, poses: int) -> dict[str, float]:
    """Medians over held-out poses of one scene, and percentiles of the depth error of all their pixels."""
    world = SensorWorld(mesh=lifted.mesh, collider=lifted.mesh, splats=lifted.splats)
    pictures: dict[str, list[float]] = {}
    errors: dict[str, list[np.ndarray]] = {"splat": [], "mesh": []}
    holes, off, count = 0, 0, 0
    # The renderer looks up depth a quarter of a pixel off its middle; so does the truth.
    exact, fine = Raycaster(scene.truth), HELD_OUT.resized(2 * HELD_OUT.width_px, 2 * HELD_OUT.height_px)
    for T_world_cam in scene.poses(poses, seed=HELD_OUT_SEED):
        truth = scene.render(HELD_OUT, T_world_cam, samples=2)
        frame = render_sensors(world, T_world_cam, HELD_OUT)
        depth_z_m = exact.render(fine, T_world_cam).depth_z_m[1::2, 1::2]
        for name, rgb_u8 in (("splat", frame.rgb_u8), ("mesh", frame.mesh_rgb_u8)):
            pictures.setdefault(f"{name}_psnr_db", []).append(psnr_db(rgb_u8, truth.rgb_u8, truth.valid) or 0.0)
            pictures.setdefault(f"{name}_ssim", []).append(ssim(rgb_u8, truth.rgb_u8, truth.valid) or 0.0)
        for name, depth, valid in (
            ("splat", frame.splat_depth_z_m, frame.splat_valid),
            ("mesh", frame.depth_z_m, frame.valid),
        ):
            errors[name].append(np.abs(depth - depth_z_m)[valid])
        holes += int((~frame.splat_valid).sum())
        wrong = np.abs(frame.splat_depth_z_m - depth_z_m) > np.maximum(0.05, 0.03 * depth_z_m)
        off += int((wrong & frame.splat_valid).sum())
        count += truth.valid.size
    found = {name: float(np.median(values)) for name, values in pictures.items()}
    for name, parts in errors.items():
        all_cm = 100 * np.concatenate(parts)
        found[f"{name}_median_cm"], found[f"{name}_p95_cm"] = (float(np.percentile(all_cm, q)) for q in (50, 95))
    return found | {"holes_percent": 100 * holes / count, "off_percent": 100 * off / count}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", default="0:36", help="first and one past the last seed")
    parser.add_argument("--poses", type=int, default=20)
    parser.add_argument("--views", type=int, default=48)
    parser.add_argument("--splat-budget", type=int, default=ReconstructionConfig().splat_budget)
    parser.add_argument("--texture-px", type=int, default=2048)
    parser.add_argument("--proxy", action="store_true", help="take the scene's own surface instead of fusing depth")
    parser.add_argument("--markdown", action="store_true", help="end with a table for docs/benchmarks.md")
    args = parser.parse_args()
    first, _, last = args.seeds.partition(":")
    cfg = ReconstructionConfig(texture_px=args.texture_px, splat_budget=args.splat_budget)
    rows: list[tuple[str, dict[str, float]]] = []
    for seed in range(int(first), int(last or int(first) + 1)):
        scene = known_scene(seed)
        views = scene.lift_views(args.views)
        if args.proxy:
            views = replace(views, proxy=scene.truth)
        start = time.process_time()
        lifted = reconstruct(views, cfg)
        cpu_s = time.process_time() - start
        found = measure(scene, lifted, args.poses)
        rows.append((scene.kind, found))
        line = {"seed": seed, "kind": scene.kind, "lift_cpu_s": round(cpu_s, 1), "splats": len(lifted.splats)}
        print(json.dumps(line | {name: round(found[name], 3) for name in FIGURES}), flush=True)
    if args.markdown:
        print(table(rows))


def table(rows: list[tuple[str, dict[str, float]]]) -> str:
    """Medians by kind of scene and of all."""
    lines = [
        "| scenes | splats: PSNR, SSIM | mesh: PSNR, SSIM | splat depth: median, p95 [cm] "
        "| mesh depth: median, p95 [cm] | holes [%] |",
        "| --- | --- | --- | --- | --- | --: |",
    ]
    for kind in (*KINDS, "all"):
        mine = [found for k, found in rows if kind in (k, "all")]
        if not mine:
            continue
        m = {name: float(np.median([found[name] for found in mine])) for name in FIGURES}
        lines.append(
            f"| {kind} ({len(mine)}) | {m['splat_psnr_db']:.1f} dB, {m['splat_ssim']:.3f} "
            f"| {m['mesh_psnr_db']:.1f} dB, {m['mesh_ssim']:.3f} "
            f"| {m['splat_median_cm']:.2f}, {m['splat_p95_cm']:.1f} "
            f"| {m['mesh_median_cm']:.2f}, {m['mesh_p95_cm']:.1f} | {m['holes_percent']:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
