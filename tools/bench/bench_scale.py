#!/usr/bin/env python3
"""Whether the error bar of a world's scale tells the truth, for every kind of evidence, on rendered rooms.

    .venv/bin/python tools/bench/bench_scale.py [--scenes 40] [--first-seed 5000] [--json FILE]

Each scene is a photo of a room whose size is known exactly; the program sees the photo only. People click with 2 px of
noise, tapes err by a percent, cameras are held where people hold them, doors and persons vary as their kinds do. The
true scale is the one at which the median distance of the picture is right. For each kind of evidence:

    error    median |error| of the scale
    sigma    median of the stated sigma
    in 2     share of scenes with the truth within two stated sigma; at least 90 % is honest
    ratio    mean |error| / sigma; 0.5 to 1.1 is neither boasting nor hiding (0.80 for a Gaussian)
    refused  scenes in which the evidence could not be used, with the reason on stderr

The seeds from 1000 on served to choose the constants of `generation/scale.py`; results are only ever reported for
others. The last line is JSON. Exit code 1 if a row is not honest.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from lyra.worldgen.core.config import RescaleConfig, ScaleConfig, WorldConfig
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.views import Photo, PhotoGeometry
from lyra.worldgen.generation.geometry import BACKDROP, estimate_geometry
from lyra.worldgen.generation.photo import decode_photo
from lyra.worldgen.generation.scale import ScaleEstimate, as_generated, camera_doubt, fuse, gather, scale_clues

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from scale_scenes import Scene, make_scene

CLICK_PX = 2.0
KINDS = {
    "nothing (guessed height)": (),
    "camera height": ("height",),
    "floor measured": ("floor",),
    "wall measured": ("wall",),
    "door known": ("door",),
    "person known": ("person",),
    "AprilTag": ("tag",),
    "ceiling height": ("ceiling",),
    "two on the floor": ("floor", "floor2"),
    "door and person": ("door", "person"),
    "everything": ("height", "floor", "wall", "door", "person", "tag"),
}
"""Row of the table: what is told."""


def told(scene: Scene, rng: np.random.Generator) -> dict[str, tuple[str, str]]:
    """What somebody with this photo would write, by its short name: the setting and its text."""

    def clicked(points: np.ndarray) -> str:
        uv = scene.pixels(points) - 0.5 + rng.normal(0.0, CLICK_PX, (2, 2))
        return ",".join(f"{v:.1f}" for v in np.clip(uv, 0, np.array(scene.photo.original_size_px) - 1).ravel())

    def taped(length_m: float) -> str:
        return f"{length_m + rng.normal(0.0, max(0.01 * length_m, 0.005)):.4f}m"

    found = {}
    for name in ("floor", "floor2"):
        ends = floor_ends(scene, rng)
        found[name] = ("measure", f"{clicked(ends)}={taped(float(np.linalg.norm(ends[1] - ends[0])))}")
    ends = wall_ends(scene, rng)
    found["wall"] = ("measure", f"{clicked(ends)}={taped(float(np.linalg.norm(ends[1] - ends[0])))}")
    found["door"] = ("known", f"door:{clicked(scene.door_ends)}")
    found["person"] = ("known", f"person:{clicked(scene.person_ends)}")
    return found


def floor_ends(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """[2, 3] two places on the floor that the photo shows, half a metre to three metres apart."""
    return two_seen(scene, rng, lambda ends: bool((np.abs(ends[:, 2]) < 1e-6).all()))


def wall_ends(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """[2, 3] the same on one wall, below two metres."""
    lo, hi = np.array(scene.room.lo_m[:2]), np.array(scene.room.hi_m[:2])

    def one_wall(ends: np.ndarray) -> bool:
        on = [np.abs(ends[:, :2] - side).max(0) < 1e-6 for side in (lo, hi)]
        return bool(np.any(on) and (ends[:, 2] < 2.0).all())

    return two_seen(scene, rng, one_wall)


def two_seen(scene: Scene, rng: np.random.Generator, fits: Callable[[np.ndarray], bool]) -> np.ndarray:
    """[2, 3] places that the photo shows, that fit, and that lie half a metre to three metres apart."""
    eye = scene.room.T_world_cam[:3, 3]
    width, height = scene.photo.original_size_px
    rays = scene.room.camera.rays_cam() @ scene.room.T_world_cam[:3, :3].T
    while True:
        rows, cols = rng.integers(20, height - 20, 2), rng.integers(20, width - 20, 2)
        ends = eye + scene.depth_z_m[rows, cols, None] * rays[rows, cols]
        if 0.5 < np.linalg.norm(ends[1] - ends[0]) < 3.0 and fits(ends):
            return ends


def true_scale(scene: Scene, geometry: PhotoGeometry) -> float:
    """Metres per unit of the geometry, from everything in the picture."""
    h, w = geometry.depth_z_m.shape
    height, width = scene.depth_z_m.shape
    rows = ((np.arange(h) + 0.5) * height / h).astype(int)
    cols = ((np.arange(w) + 0.5) * width / w).astype(int)
    true_rays = scene.room.camera.rays_cam()[rows[:, None], cols]
    true_m = np.linalg.norm(true_rays, axis=-1) * scene.depth_z_m[rows[:, None], cols]
    range_m = np.linalg.norm(geometry.camera.rays_cam(), axis=-1) * geometry.depth_z_m
    return float(np.exp(np.median(np.log(true_m / range_m))))


def understood(scene: Scene, rng: np.random.Generator) -> tuple[Photo, bytes, PhotoGeometry]:
    """Photo at working size, file and geometry; two of five photos state their field of view."""
    file = io.BytesIO()
    Image.fromarray(scene.photo.rgb_u8).save(file, "PNG", compress_level=1)
    photo = decode_photo(file.getvalue(), Path("room.png"), long_side_px=832)
    if rng.random() < 0.4:
        photo = replace(photo, hfov_rad=scene.room.camera.hfov_rad * float(np.exp(rng.normal(0.0, 0.02))))
    return photo, file.getvalue(), estimate_geometry(photo, WorldConfig().geometry)


def scale_from(
    scene: Scene, photo: Photo, data: bytes, geometry: PhotoGeometry, doubt, lines: dict, names, rng
) -> ScaleEstimate:
    """The scale that the named evidence gives."""
    if not names:
        return as_generated(geometry)
    texts: dict[str, list[str]] = {"measure": [], "known": []}
    for name in names:
        if name in lines:
            setting, text = lines[name]
            texts[setting].append(text)
    scale = ScaleConfig(
        measure="; ".join(texts["measure"]),
        known="; ".join(texts["known"]),
        tag_size_m=scene.tag_size_m if "tag" in names else 0.0,
        ceiling_height_m=scene.room.hi_m[2] * float(np.exp(rng.normal(0, 0.01))) if "ceiling" in names else 0.0,
    )
    rescale = RescaleConfig()
    if "height" in names:
        rescale = RescaleConfig(camera_height_m=scene.room.camera_height_m * float(np.exp(rng.normal(0.0, 0.03))))
    config = WorldConfig(scale=scale, rescale=rescale)
    return fuse(gather(geometry, scale_clues(photo, data, scale), config), geometry, doubt)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--first-seed", type=int, default=5000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in KINDS}
    skipped: dict[str, int] = dict.fromkeys(KINDS, 0)
    for seed in range(args.first_seed, args.first_seed + args.scenes):
        scene, rng = make_scene(seed), np.random.default_rng([seed, 1])
        photo, data, geometry = understood(scene, rng)
        truth = true_scale(scene, geometry)
        lines = told(scene, rng)
        doubt = camera_doubt(photo, geometry)
        for name, names in KINDS.items():
            try:
                if names and geometry.mode == BACKDROP:
                    raise InputError("no floor was found")
                scale = scale_from(scene, photo, data, geometry, doubt, lines, names, rng)
            except InputError as error:
                skipped[name] += 1
                print(f"seed {seed}: {name}: {error}", file=sys.stderr)
                continue
            rows[name].append((float(np.log(scale.metres_per_unit / truth)), scale.relative_sigma))
    honest = True
    result = {}
    print(f"{'evidence':26} {'scenes':>6} {'refused':>7} {'error':>7} {'sigma':>7} {'in 2':>6} {'ratio':>6}")
    for name, pairs in rows.items():
        error, sigma = np.abs(np.array(pairs)).T
        within, ratio = float((error <= 2 * sigma).mean()), float((error / sigma).mean())
        good = within >= 0.9 and 0.5 <= ratio <= 1.1
        honest &= good
        print(
            f"{name:26} {len(pairs):6d} {skipped[name]:7d} {np.median(error):7.1%} {np.median(sigma):7.1%} "
            f"{within:6.0%} {ratio:6.2f}{'' if good else '  NOT HONEST'}"
        )
        result[name] = {
            "scenes": len(pairs),
            "refused": skipped[name],
            "median_error": float(np.median(error)),
            "median_sigma": float(np.median(sigma)),
            "within_two_sigma": within,
            "mean_error_over_sigma": ratio,
        }
    report = json.dumps({"first_seed": args.first_seed, "rows": result})
    print(f"\n{report}")
    if args.json:
        args.json.write_text(report + "\n")
    return 0 if honest else 1


if __name__ == "__main__":
    sys.exit(main())
