"""Colour cameras of robots: pictures a second and memory a camera, over one set of splats.

    .venv/bin/python tools/bench/bench_cameras.py --world WORLD [--budget 30000] [--device cpu|cuda]
        [--cameras 1,4,16,64] [--sizes 84x84,256x144] [--seconds 4] [--sheet FILE.png]

Cameras stand where the world's episodes begin. CPU seconds are those of the process, so that other jobs on the machine
count little; memory is what is allocated at most while drawing, a run apart (Python's and NumPy's on a CPU, torch's on
CUDA), for so many cameras and for one. `--sheet` writes eight views, colours above and depth below each. The last line
is JSON for `record.py`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import tracemalloc

import numpy as np
import torch  # noqa: TID253 cameras are about tensors

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.machine import core_count
from lyra_tasks.atlas import load_atlas
from lyra_tasks.ground import Ground
from lyra_tasks.robots.diff_drive import SIZES
from lyra_tasks.rules import CAMERA_HFOV_DEG
from lyra_tasks.splat_cameras import SplatCameras, SplatPictures, camera_poses
from lyra_tasks.splat_drawers import renderer_of
from lyra_tasks.world_splats import robot_splats

SPEC = SIZES["medium"]
SHEET_PX = (256, 144)
NEAREST_M = 0.3
"""White in depth."""


def poses(ground: Ground, count: int, device: str) -> torch.Tensor:
    """[count, 4, 4] of cameras where episodes begin, again from the first one if there are too few."""
    starts = ground.world.starts_xy_yaw()
    chosen = torch.tensor(starts[np.arange(count) % len(starts)], device=device)
    return camera_poses(
        chosen[:, :2],
        chosen[:, 2],
        ahead_m=SPEC.hull_m[0] / 2,
        height_m=ground.world.floor_z_m + SPEC.lidar_height_m,
        pitch_rad=0.0,
    )


def peak_bytes(cameras: SplatCameras, Ts_world_cam: torch.Tensor) -> int:
    """Most that is allocated while drawing, beyond what was there."""
    cameras.render(Ts_world_cam)  # whatever is made on first use
    if Ts_world_cam.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        cameras.render(Ts_world_cam)
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    tracemalloc.start()
    cameras.render(Ts_world_cam)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def measured(cameras: SplatCameras, Ts_world_cam: torch.Tensor, seconds: float) -> dict[str, float]:
    """Pictures a second of wall clock, and CPU milliseconds a picture."""
    cameras.render(Ts_world_cam)
    rounds, wall, cpu = 0, time.perf_counter(), time.process_time()
    while not rounds or time.perf_counter() - wall < seconds:
        cameras.render(Ts_world_cam)
        if Ts_world_cam.is_cuda:
            torch.cuda.synchronize()
        rounds += 1
    drawn = rounds * len(Ts_world_cam)
    return {
        "frames_a_s": round(drawn / (time.perf_counter() - wall), 1),
        "cpu_ms": round((time.process_time() - cpu) / drawn * 1e3, 2),
    }


def write_sheet(path: str, seen: SplatPictures) -> None:
    """Views in rows of four, colours above depth."""
    from PIL import Image

    rgb = (seen.rgb.cpu().numpy() * 255 + 0.5).astype(np.uint8)
    z, valid = seen.depth_z_m.cpu().numpy(), seen.valid.cpu().numpy()
    # By the logarithm: near things bright, and rooms of any size with grey left for their far end.
    near = 1 - np.log(np.maximum(z, NEAREST_M) / NEAREST_M) / np.log(max(z.max(), 2 * NEAREST_M) / NEAREST_M)
    depth = (np.where(valid, 0.1 + 0.9 * near, 0.0) * 255).astype(np.uint8)
    depth = np.repeat(depth[..., None], 3, -1)
    rows = [np.concatenate(list(part[k : k + 4]), 1) for k in range(0, len(rgb), 4) for part in (rgb, depth)]
    Image.fromarray(np.concatenate(rows)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", required=True)
    parser.add_argument("--budget", type=int, default=30_000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cameras", default="1,4,16,64")
    parser.add_argument("--sizes", default="84x84,256x144")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--sheet")
    args = parser.parse_args()
    ground = load_atlas(args.world, robot_radius_m=SPEC.footprint_radius_m + 0.05, certified_only=False).grounds[0]
    splats = robot_splats(ground, budget=args.budget, height_m=SPEC.lidar_height_m)
    renderer = renderer_of([splats], name="auto", device=args.device)
    rows = []
    for size in args.sizes.split(","):
        width, height = (int(v) for v in size.split("x"))
        camera = PinholeCamera.from_hfov(width, height, math.radians(CAMERA_HFOV_DEG))
        counts = [int(c) for c in args.cameras.split(",")]

        def cameras_of(count: int, camera: PinholeCamera = camera) -> tuple[SplatCameras, torch.Tensor]:
            world = torch.zeros(count, dtype=torch.long, device=args.device)
            return SplatCameras(renderer, world, camera), poses(ground, count, args.device)

        two = peak_bytes(*cameras_of(2))
        for count in counts:
            row = {"size": size, "cameras": count, **measured(*cameras_of(count), args.seconds)}
            if count > 2:
                row["kib_a_camera"] = round((peak_bytes(*cameras_of(count)) - two) / (count - 2) / 1024)
            rows.append(row)
            print(json.dumps(row))
    if args.sheet:
        camera = PinholeCamera.from_hfov(*SHEET_PX, math.radians(CAMERA_HFOV_DEG))
        eight = SplatCameras(renderer, torch.zeros(8, dtype=torch.long, device=args.device), camera)
        write_sheet(args.sheet, eight.render(poses(ground, 8, args.device)))
    threads = torch.cuda.get_device_name() if args.device.startswith("cuda") else f"{core_count()} cores"
    print(
        json.dumps(
            {
                "device": args.device,
                "on": threads,
                "splats": len(splats),
                "splats_mib": round(renderer.bytes_held / 2**20, 1),
            }
            | {"rows": rows}
        )
    )


if __name__ == "__main__":
    main()
