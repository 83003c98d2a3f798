#!/usr/bin/env python3
"""What the figures of docs/evaluation.md say of every named camera path, photo by photo.

    python tools/bench/bench_evaluate.py [PHOTO ... | --scenes SEED ...] [--paths NAME ...] [--out DIR]

Each path that `generate --path` offers is walked from each photo with its default options and the embedded painter;
the default photos are the four CC0 ones of the tests. Those were cut from panoramas, so that while a camera turns on
the spot the real frame is known, too, and PSNR and SSIM compare with it. Of the rendered scenes of known truth it is
known everywhere (seeds 0 to 35 are for reports). The field of view is told, and the height of the camera in scenes.
Films are measured on the photo and every fourth frame, separate looks on all of them. Figures are those of
`evaluate --video`; `memory` is what `generate` itself measures.

With `--out`, each finished walk is kept there and found again, so that a run can be stopped. One JSON object goes to
stdout; figures that need weights which are not on this machine are missing, and `not_measured` says which weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bench_calibration import DATA, sample_panorama
from PIL import Image

from lyra.worldgen.build import resolve_backends
from lyra.worldgen.core.chunks import MemoryChunkStore
from lyra.worldgen.core.config import WorldConfig
from lyra.worldgen.core.files import write_json
from lyra.worldgen.core.frames import camera_pose, invert_rigid
from lyra.worldgen.core.journey import Leg
from lyra.worldgen.core.progress import SILENT
from lyra.worldgen.core.views import Photo, RgbdView
from lyra.worldgen.evaluate.film import resized
from lyra.worldgen.evaluate.measures import Measure, measure_film, measure_reference
from lyra.worldgen.evaluate.networks import Networks, load_networks
from lyra.worldgen.generation.cache import SpatialCache
from lyra.worldgen.generation.geometry import estimate_geometry
from lyra.worldgen.generation.painter import PAINTERS
from lyra.worldgen.generation.paths import EXPLORE, TURNS, path_names
from lyra.worldgen.generation.photo import load_photo
from lyra.worldgen.generation.pipeline import PREPARED, WorldPipeline

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from known_scenes import known_scene

HEADINGS_DEG = {"apartment": 60.0, "warehouse": -20.0, "lobby": -10.0, "hall": 0.0}
"""Where the photos look in their panoramas, left positive (tests/data/README.md)."""
PITCH_DEG, HFOV_DEG = -6.0, 80.0
STILL_M = 1e-6
EVERY = 4
"""Of a film's frames."""


Real = Callable[[RgbdView], tuple[np.ndarray, np.ndarray] | None]
"""What the place really shows from a frame's pose, [H, W, 3], and where it is known, [H, W]; None where it is not."""


class Source:
    """A photo that is walked from, and what its walks share."""

    def __init__(self, name: str, photo: Photo, config: WorldConfig, *, size_px: int, real: Real | None = None) -> None:
        self.name, self.photo = name, photo
        self.geometry = estimate_geometry(photo, config.geometry)
        self.painter = PAINTERS.load(config.generation.painter).from_config(config)
        self.generation = dataclasses.replace(config.generation, view_long_side_px=size_px)
        self.real: Real = real or (lambda frame: None)
        # Exploring plans rooms around the photo's, and what is painted beforehand is theirs as well.
        self._prepared = {False: MemoryChunkStore(), True: MemoryChunkStore()}

    @classmethod
    def of_photo(cls, path: Path, size_px: int) -> Source:
        """A picture file; one of our own is a crop of a panorama."""
        config = resolve_backends(WorldConfig())
        photo = load_photo(path, long_side_px=config.geometry.working_long_side_px)
        if path.resolve().parent != (DATA / "photos").resolve():
            return cls(path.stem, photo, config, size_px=size_px)
        panorama = np.array(Image.open(DATA / "panoramas" / path.name).convert("RGB"))
        told = dataclasses.replace(photo, hfov_rad=np.radians(HFOV_DEG), calibrated=True)
        source = cls(path.stem, told, config, size_px=size_px)
        heading_rad = np.radians(HEADINGS_DEG[path.stem])
        true = camera_pose(np.zeros(3), heading_rad=heading_rad, pitch_rad=np.radians(PITCH_DEG))

        def real(frame: RgbdView) -> tuple[np.ndarray, np.ndarray] | None:
            motion = invert_rigid(source.geometry.T_world_cam) @ frame.T_world_cam
            if np.abs(motion[:3, 3]).max() > STILL_M:  # a panorama is one point
                return None
            R_panorama_frame = true[:3, :3] @ motion[:3, :3]
            return sample_panorama(panorama, frame.camera.rays_cam() @ R_panorama_frame.T), np.ones_like(frame.valid)

        source.real = real
        return source

    @classmethod
    def of_scene(cls, seed: int, size_px: int) -> Source:
        """A rendered room, corridor or hall, which can be rendered from anywhere."""
        scene = known_scene(seed)
        config = resolve_backends(WorldConfig())
        config = dataclasses.replace(
            config, geometry=dataclasses.replace(config.geometry, camera_height_m=scene.camera_height_m)
        )
        photo = dataclasses.replace(scene.photo(), hfov_rad=scene.camera.hfov_rad, calibrated=True)
        source = cls(f"{scene.kind}-{seed}", photo, config, size_px=size_px)

        def real(frame: RgbdView) -> tuple[np.ndarray, np.ndarray] | None:
            motion = invert_rigid(source.geometry.T_world_cam) @ frame.T_world_cam
            seen = scene.render(frame.camera, scene.T_world_cam @ motion, samples=2)
            return seen.rgb_u8, seen.valid

        source.real = real
        return source

    def walk(self, path: str, *, seed: int) -> tuple[list[RgbdView], dict[str, Any]]:
        """Frames in the order of time, the photo first, and what generation says of them."""
        leg, prepared, store = Leg(path=path), self._prepared[path == EXPLORE], MemoryChunkStore()
        seen: dict[tuple[int, int], RgbdView] = {}
        pipeline = WorldPipeline(
            painter=self.painter, cfg=self.generation, on_frame=lambda c, i, view: seen.update({(c, i): view})
        )
        pipeline.prepare(self.photo, self.geometry, SpatialCache(), leg, seed=seed, progress=SILENT, store=prepared)
        store.save_arrays(PREPARED, PREPARED, prepared.load_arrays(PREPARED, PREPARED) or {})
        began = time.process_time()
        views = pipeline(self.photo, self.geometry, seed=seed, store=store, journey=(leg,))
        cpu_s = time.process_time() - began
        frames = [seen[at] for at in sorted(seen)]
        painted = len(frames)
        if path not in TURNS and path != EXPLORE:
            frames = frames[EVERY - 1 :: EVERY]
        photo = views.views[0]
        size = min(((f.camera.width_px, f.camera.height_px) for f in frames), default=(0, 0))
        notes = [str(chunk.facts.get("note") or "") for _, chunk in store.chunks.values()]
        facts = {
            "frames": painted,
            "measured_frames": len(frames),
            "frame_px": list(size),
            "cpu_s": round(cpu_s, 2),
            "notes": [note for note in notes if note],
            "memory": {key: round(value, 2) for key, value in views.metrics.items()},
        }
        return [resized(frame, *size) for frame in (photo, *frames)], facts


def measure(source: Source, path: str, networks: Networks, *, seed: int) -> dict[str, Any]:
    """One walk."""
    frames, facts = source.walk(path, seed=seed)
    began = time.process_time()
    measures: list[Measure] = list(measure_film(frames, networks).measures)
    real = [(source.real(f), f.rgb_u8) for f in frames[1:]]
    pairs = [(*known, made) for known, made in real if known is not None and known[1].any()]
    if pairs and len(pairs) == len(real):
        pictures, where, made = zip(*pairs, strict=True)
        measures += measure_reference(pictures, made, where, networks)
    figures = {m.id: None if m.value is None else float(f"{m.value:.6g}") for m in measures}
    why = {m.id: m.detail for m in measures if m.value is None}
    return {**facts, "measuring_cpu_s": round(time.process_time() - began, 2), "figures": figures, "why": why}


def median(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float]:
    """Of each figure, over the rows that have it."""
    values = {key: [row[key] for row in rows if row.get(key) is not None] for row in rows for key in row}
    return {key: _short(statistics.median(known)) for key, known in values.items() if known}


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO")
    parser.add_argument("--scenes", nargs="*", type=int, default=[], metavar="SEED", help="rendered scenes, no photos")
    parser.add_argument("--paths", nargs="*", metavar="NAME", help="these paths (default: all)")
    parser.add_argument("--size", type=int, default=256, help="long side of the frames [px]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--networks", type=Path, help="folder of weights of AlexNet, VGG-16, Inception")
    parser.add_argument("--out", type=Path, help="folder of finished walks, which are found again")
    args = parser.parse_args()
    networks = load_networks(args.networks)
    paths = args.paths or sorted(path_names())
    walks: dict[str, dict[str, Any]] = {}
    makers: dict[str, Callable[[], Source]] = {
        f"scene-{n}": partial(Source.of_scene, n, args.size) for n in args.scenes
    }
    if not args.scenes:
        photos = args.photos or sorted((DATA / "photos").glob("*.png"))
        makers = {photo.stem: partial(Source.of_photo, photo, args.size) for photo in photos}
    for name, make in makers.items():
        source: Source | None = None
        walks[name] = {}
        for path in paths:
            kept = args.out / f"{name}-{path.replace(':', '_')}.json" if args.out else None
            if kept is not None and kept.is_file():
                walks[name][path] = json.loads(kept.read_text(encoding="utf-8"))
                continue
            source = source or make()
            walks[name][path] = measure(source, path, networks, seed=args.seed)
            print(f"{name}, {path}: {walks[name][path]['cpu_s']} CPU s", file=sys.stderr)
            if kept is not None:
                args.out.mkdir(parents=True, exist_ok=True)
                write_json(kept, walks[name][path])
    every = [walk for of_photo in walks.values() for walk in of_photo.values()]
    reasons = {key: reason for walk in every for key, reason in walk.pop("why").items()}
    figures = {photo: {path: walk["figures"] for path, walk in of_photo.items()} for photo, of_photo in walks.items()}
    for walk in every:
        walk["figures"] = {key: _short(value) for key, value in walk["figures"].items() if value is not None}
    result = {
        "seed": args.seed,
        "long_side_px": args.size,
        "not_measured": {key: reason for key, reason in reasons.items() if "--networks" in reason},
        "cpu_s": round(sum(walk["cpu_s"] + walk["measuring_cpu_s"] for walk in every), 1),
        "by_path": {path: median([of_photo[path] for of_photo in figures.values()]) for path in paths},
        "by_photo": {photo: median(list(of_photo.values())) for photo, of_photo in figures.items()},
        "walks": walks,
    }
    json.dump(result, sys.stdout)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
