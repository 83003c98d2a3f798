#!/usr/bin/env python3
"""What the figures of docs/evaluation.md say of every named camera path, photo by photo.

    python tools/bench/bench_evaluate.py [PHOTO ...] [--size 256] [--seed 0] [--paths NAME ...] [--out DIR]

Each path that `generate --path` offers is walked from each photo with its default options and the embedded painter;
the default photos are the four CC0 ones of the tests. Those were cut from panoramas, so that while a camera turns on
the spot the real frame is known, too, and PSNR and SSIM compare with it; their field of view is told.
Films are measured on the photo and every fourth frame, separate looks on all of them. Figures are those of
`evaluate --video`; `memory` is what `generate` itself measures.

With `--out`, each finished walk is kept there and found again, so that a run can be stopped. One JSON object goes to
stdout; figures that need weights which are not on this machine are null, and `not_measured` says which weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from bench_calibration import DATA, sample_panorama
from PIL import Image

from lyra.worldgen.core.chunks import MemoryChunkStore
from lyra.worldgen.core.files import write_json
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.core.journey import Leg
from lyra.worldgen.core.progress import SILENT
from lyra.worldgen.core.views import RgbdView
from lyra.worldgen.evaluate.film import resized
from lyra.worldgen.evaluate.measures import Measure, measure_film, measure_reference
from lyra.worldgen.evaluate.networks import Networks, load_networks
from lyra.worldgen.evaluate.run import read_source
from lyra.worldgen.generation.cache import SpatialCache
from lyra.worldgen.generation.geometry import estimate_geometry
from lyra.worldgen.generation.paths import EXPLORE, TURNS, path_names
from lyra.worldgen.generation.pipeline import PREPARED, WorldPipeline

HEADINGS_DEG = {"apartment": 60.0, "warehouse": -20.0, "lobby": -10.0, "hall": 0.0}
"""Where the photos look in their panoramas, left positive (tests/data/README.md)."""
PITCH_DEG, HFOV_DEG = -6.0, 80.0
STILL_M = 1e-6
EVERY = 4
"""Of a film's frames."""


class Source:
    """A photo that is walked from, and what its walks share."""

    def __init__(self, photo: Path, size_px: int) -> None:
        self.name = photo.stem
        self.photo, self.geometry, self.painter, config = read_source(photo)
        self.generation = dataclasses.replace(config.generation, view_long_side_px=size_px)
        self.panorama = None
        if photo.resolve().parent == (DATA / "photos").resolve():
            self.panorama = np.array(Image.open(DATA / "panoramas" / photo.name).convert("RGB"))
            self.photo = dataclasses.replace(self.photo, hfov_rad=np.radians(HFOV_DEG), calibrated=True)
            self.geometry = estimate_geometry(self.photo, config.geometry)
        # Exploring plans rooms around the photo's, and what is painted beforehand is theirs as well.
        self._prepared = {False: MemoryChunkStore(), True: MemoryChunkStore()}

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

    def real(self, frame: RgbdView) -> np.ndarray | None:
        """[H, W, 3] what the place really shows from a frame's pose, where the panorama knows it."""
        place = self.geometry.T_world_cam
        if self.panorama is None or np.abs(frame.T_world_cam[:3, 3] - place[:3, 3]).max() > STILL_M:
            return None
        true = camera_pose(
            np.zeros(3), heading_rad=np.radians(HEADINGS_DEG[self.name]), pitch_rad=np.radians(PITCH_DEG)
        )
        R_panorama_frame = true[:3, :3] @ place[:3, :3].T @ frame.T_world_cam[:3, :3]
        return sample_panorama(self.panorama, frame.camera.rays_cam() @ R_panorama_frame.T)


def measure(source: Source, path: str, networks: Networks, *, seed: int) -> dict[str, Any]:
    """One walk."""
    frames, facts = source.walk(path, seed=seed)
    began = time.process_time()
    measures: list[Measure] = list(measure_film(frames, networks).measures)
    real = [(source.real(f), f) for f in frames[1:]]
    pairs = [(picture, f) for picture, f in real if picture is not None]
    if pairs and len(pairs) == len(real):
        whole = np.ones(pairs[0][1].valid.shape, bool)
        made = [f.rgb_u8 for _, f in pairs]
        measures += measure_reference([p for p, _ in pairs], made, [whole] * len(pairs), networks)
    figures = {m.id: None if m.value is None else float(f"{m.value:.6g}") for m in measures}
    why = {m.id: m.detail for m in measures if m.value is None}
    return {**facts, "measuring_cpu_s": round(time.process_time() - began, 2), "figures": figures, "why": why}


def medians(walks: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Median over photos of every figure of every path."""
    out: dict[str, dict[str, Any]] = {}
    for path in dict.fromkeys(path for of_photo in walks.values() for path in of_photo):
        rows = [of_photo[path]["figures"] for of_photo in walks.values() if path in of_photo]
        values = {key: [row[key] for row in rows if row.get(key) is not None] for row in rows for key in row}
        out[path] = {key: float(f"{statistics.median(v):.6g}") if v else None for key, v in values.items()}
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO")
    parser.add_argument("--paths", nargs="*", metavar="NAME", help="these paths (default: all)")
    parser.add_argument("--size", type=int, default=256, help="long side of the frames [px]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--networks", type=Path, help="folder of weights of AlexNet, VGG-16, Inception")
    parser.add_argument("--out", type=Path, help="folder of finished walks, which are found again")
    args = parser.parse_args()
    networks = load_networks(args.networks)
    paths = args.paths or sorted(path_names())
    walks: dict[str, dict[str, Any]] = {}
    for photo in args.photos or sorted((DATA / "photos").glob("*.png")):
        source: Source | None = None
        walks[photo.stem] = {}
        for path in paths:
            kept = args.out / f"{photo.stem}-{path.replace(':', '_')}.json" if args.out else None
            if kept is not None and kept.is_file():
                walks[photo.stem][path] = json.loads(kept.read_text(encoding="utf-8"))
                continue
            source = source or Source(photo, args.size)
            walks[photo.stem][path] = measure(source, path, networks, seed=args.seed)
            print(f"{photo.stem}, {path}: {walks[photo.stem][path]['cpu_s']} CPU s", file=sys.stderr)
            if kept is not None:
                args.out.mkdir(parents=True, exist_ok=True)
                write_json(kept, walks[photo.stem][path])
    every = [walk for of_photo in walks.values() for walk in of_photo.values()]
    reasons = {key: reason for walk in every for key, reason in walk.pop("why").items()}
    missing = {key: reason for key, reason in reasons.items() if "hub" in reason or "--networks" in reason}
    result = {
        "seed": args.seed,
        "long_side_px": args.size,
        "not_measured": missing,
        "cpu_s": round(sum(walk["cpu_s"] + walk["measuring_cpu_s"] for walk in every), 1),
        "median": medians(walks),
        "walks": walks,
    }
    json.dump(result, sys.stdout)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
