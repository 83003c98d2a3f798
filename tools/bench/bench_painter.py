#!/usr/bin/env python3
"""How good and how fast the embedded painter is, on crops of real panoramas and on photos.

    python tools/bench/bench_painter.py [--panoramas DIR] [--photos DIR] [--seed 0] [--pictures DIR]

Crops: a 90-degree level view of a panorama is the photo, a second one 45 degrees to the right is half unknown and is
completed by each method; the panorama is the truth. Photos: the whole ring, and one 640x480 frame with a fifth of it
unknown. Figures are over unknown pixels only:

    patch_photo, patch_truth   sliced distance of 7x7 patches (0..1 colours) to the photo, to the truth; lower is better
    low_frequency              mean colour error after a 12 px blur
    gradient                   mean gradient relative to the photo's; 1 is as sharp as the photo
    seam                       step across the hole's rim relative to steps just beside it; 1 is unnoticeable
    repetition                 of a ring: mean over 12-degree windows outside the photo of the best correlation with any
                               other window, mirrored ones too, after taking light out; 1 is wallpaper
    planes_cpu_s               floor, ceiling and sky around the camera
    cpu_s                      process time; the ring's whole turn for the ring methods, after compilation

One JSON object goes to stdout.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2  # noqa: TID253 - a tool, not a module of the package
import numpy as np

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.config import GenerationConfig, GeometryConfig
from lyra.worldgen.core.frames import camera_pose, rotate_vectors
from lyra.worldgen.core.mesh import Label
from lyra.worldgen.core.views import Photo, PhotoGeometry, PolarLayout
from lyra.worldgen.generation import patch_diffusion
from lyra.worldgen.generation.cache import SpatialCache
from lyra.worldgen.generation.equirect import level_strip
from lyra.worldgen.generation.geometry import estimate_geometry
from lyra.worldgen.generation.painter import PaintHint, RingPanorama
from lyra.worldgen.generation.painter_patch import PatchPainter
from lyra.worldgen.generation.photo import load_photo
from lyra.worldgen.generation.pipeline import WorldPipeline
from lyra.worldgen.generation.proxy import build_proxy, clear_start, full_turn
from lyra.worldgen.generation.scene import Scene

REPOSITORY = Path(__file__).resolve().parents[2]
CROP = PinholeCamera.from_hfov(256, 144, np.pi / 2)
FRAME = PinholeCamera.from_hfov(640, 480, np.radians(75))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--panoramas", type=Path, default=REPOSITORY / "tests" / "data" / "panoramas")
    parser.add_argument("--photos", type=Path, default=REPOSITORY / "tests" / "data" / "photos")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path, help="folder for contact sheets")
    args = parser.parse_args()
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
    _warm_up()
    crops: dict[str, list[dict[str, float]]] = {}
    for path in sorted(args.panoramas.glob("*.png")):
        panorama = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        for method, row in bench_crop(panorama, args.seed, args.pictures, path.stem).items():
            crops.setdefault(method, []).append(row)
    photos = {
        path.stem: bench_photo(path, args.seed, args.pictures)
        for path in sorted(args.photos.iterdir())
        if path.suffix in (".png", ".jpg")
    }
    report = {
        "crops_mean": {
            m: {k: round(float(np.mean([r[k] for r in rows])), 4) for k in rows[0]} for m, rows in crops.items()
        },
        "crops": max((len(r) for r in crops.values()), default=0),
        "photos": photos,
        "seed": args.seed,
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    json.dump(report, sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0


def bench_crop(panorama: np.ndarray, seed: int, pictures: Path | None, name: str) -> dict[str, dict[str, float]]:
    """Every method's figures on one panorama."""
    front, right = (camera_pose(np.array([0.0, 0.0, 1.5]), heading_rad=h) for h in (0.0, -np.pi / 4))
    shown, truth = _look(panorama, front), _look(panorama, right)
    photo = Photo(rgb_u8=shown, name=name, sha256="0" * 64, original_size_px=(256, 144))
    geometry = _unknown_geometry(front)
    strip = level_strip(shown, geometry.labels, CROP, front, rows_max=384)
    # Columns of the strip from the photo to beyond the second view's right edge, photo at the left.
    window = (strip.azimuth_rad < np.pi / 4 + 0.05) & (strip.azimuth_rad > -np.pi / 2 - 0.1)
    flat = np.where(strip.from_photo[..., None], np.clip(strip.rgb + 0.5, 0, 255), 0).astype(np.uint8)[:, window]
    mask = (~strip.from_photo[:, window]).astype(np.uint8)

    def inpainted(flag: int) -> RingPanorama:
        return _as_ring(strip, window, cv2.inpaint(flat, mask, 5, flag))

    def quiet() -> RingPanorama:
        first, end = strip.sector
        prior = np.broadcast_to(strip.elevation_rad[:, None].astype(np.float32), strip.from_photo.shape)
        with _noise_free():
            out = patch_diffusion.complete(
                patch_diffusion.Target(
                    rgb=flat.astype(np.float32) / 127.5 - 1, known=mask == 0, hole=mask > 0, prior=prior[:, window]
                ),
                patch_diffusion.Source(
                    rgb=strip.rgb[:, first:end] / 127.5 - 1,
                    usable=strip.from_photo[:, first:end],
                    prior=prior[:, first:end],
                ),
                seed=seed,
            )
        return _as_ring(strip, window, np.clip(127.5 * (out + 1), 0, 255).astype(np.uint8))

    methods: dict[str, Callable[[], RingPanorama]] = {
        "telea": lambda: inpainted(cv2.INPAINT_TELEA),
        "navier_stokes": lambda: inpainted(cv2.INPAINT_NS),
        "patchmatch_no_noise": quiet,
        "mirror": lambda: PatchPainter(mode="mirror").prepare(photo, geometry, seed=seed),
        "patch": lambda: PatchPainter().prepare(photo, geometry, seed=seed),
    }
    hole = ~_seen_from(front, right)
    rows: dict[str, dict[str, float]] = {}
    tiles = [np.where(hole[..., None], 0, truth).astype(np.uint8), truth]
    for method, run in methods.items():
        start = time.process_time()
        ring = run()
        cpu_s = time.process_time() - start
        view = np.where(hole[..., None], _look_into_ring(ring, right), truth)
        rows[method] = {**figures(view, hole, shown, truth), "cpu_s": cpu_s}
        tiles.append(view.astype(np.uint8))
    rows["truth"] = {**figures(truth, hole, shown, truth), "cpu_s": 0.0}
    if pictures:
        cv2.imwrite(str(pictures / f"crop_{name}.png"), np.concatenate(tiles, 1)[..., ::-1])
    return rows


def bench_photo(path: Path, seed: int, pictures: Path | None) -> dict[str, float]:
    """Ring and single frame of one photo with its estimated geometry."""
    photo = load_photo(path, long_side_px=832)
    geometry = estimate_geometry(photo, GeometryConfig())
    painter = PatchPainter()
    start = time.process_time()
    ring = painter.prepare(photo, geometry, seed=seed)
    ring_s = time.process_time() - start
    painted = ~ring.from_photo
    strip = level_strip(photo.rgb_u8, geometry.labels, geometry.camera, geometry.T_world_cam, rows_max=384)
    first, end = strip.sector
    closing = np.abs(ring.rgb_u8[:, 0].astype(float) - ring.rgb_u8[:, -1]).mean()
    labels = np.full((480, 640), Label.UNKNOWN, np.uint8)
    T = camera_pose(np.array([0.0, 0.0, 1.5]))
    picture = _look_into_ring(ring, T, FRAME)
    known = np.ones((480, 640), bool)
    known[120:400, 200:420] = False
    hint = PaintHint(rgb_u8=picture[None], known=known[None], labels=labels[None], camera=FRAME, Ts_world_cam=T[None])
    painter.paint(hint, seed=seed)
    start = time.process_time()
    frame = painter.paint(hint, seed=seed)[0]
    frame_s = time.process_time() - start
    known[:] = True
    known[100:120, 100:150] = known[300:310, 500:530] = False
    start = time.process_time()
    painter.paint(hint, seed=seed)
    specks_s = time.process_time() - start
    if pictures:
        cv2.imwrite(str(pictures / f"ring_{path.stem}.png"), ring.rgb_u8[..., ::-1])
        cv2.imwrite(str(pictures / f"frame_{path.stem}.png"), frame[..., ::-1])
    planes_s = bench_planes(photo, geometry, ring, seed, pictures, path.stem)
    return {
        "rows": ring.rgb_u8.shape[0],
        "columns": ring.rgb_u8.shape[1],
        "gradient": round(_gradient(ring.rgb_u8, painted) / _gradient(ring.rgb_u8[:, first:end]), 3),
        "seam": round(_seam(ring.rgb_u8, painted), 3),
        "repetition": round(repetition(ring), 3),
        "closing_step": round(float(closing / np.abs(np.diff(ring.rgb_u8.astype(float), axis=1)).mean()), 3),
        "ring_cpu_s": round(ring_s, 2),
        "planes_cpu_s": round(planes_s, 2),
        "frame_20_percent_cpu_s": round(frame_s, 2),
        "frame_half_percent_cpu_s": round(specks_s, 2),
    }


def bench_planes(
    photo: Photo, geometry: PhotoGeometry, ring: RingPanorama, seed: int, pictures: Path | None, name: str
) -> float:
    """Process time of floor, ceiling and sky; their pictures, and what is seen straight from above."""
    layout = clear_start(full_turn(clear_start(geometry.layout), ring))
    scene = Scene(layout, build_proxy(layout), ring)
    cache = SpatialCache()
    pipeline = WorldPipeline(painter=PatchPainter(), cfg=GenerationConfig())
    cache.add(pipeline.seed_view(photo, geometry, scene))
    start = time.process_time()
    pipeline.paint_planes(photo, geometry, scene, cache, seed=seed)
    spent = time.process_time() - start
    if pictures:
        for label, plane in scene.planes.items():
            picture = np.where(plane.known[..., None], plane.rgb_u8, 0)
            cv2.imwrite(str(pictures / f"{Label(label).name.lower()}_{name}.png"), picture[..., ::-1])
    return spent


def repetition(ring: RingPanorama, *, window_rad: float = float(np.radians(12)), rows: int = 96) -> float:
    """See the module's description; floor and upper rows, which have planes of their own, are left out."""
    grey = cv2.cvtColor(ring.rgb_u8, cv2.COLOR_RGB2GRAY).astype(np.float32)
    columns = round(grey.shape[1] * rows / len(grey))
    grey = cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA)
    elevation = np.linspace(ring.elevation_rad[0], ring.elevation_rad[-1], rows)
    grey = grey[(elevation > np.radians(-12)) & (elevation < np.radians(20))]
    grey -= cv2.GaussianBlur(grey, (0, 0), rows / 12)
    width = round(window_rad / (2 * np.pi) * columns)
    around = np.concatenate([grey, grey], 1)
    windows = np.stack([around[:, c : c + width] for c in range(columns)])
    both = [w.reshape(columns, -1) for w in (windows, windows[:, :, ::-1])]
    both = [w - w.mean(1, keepdims=True) for w in both]
    both = [w / (np.linalg.norm(w, axis=1, keepdims=True) + 1e-6) for w in both]
    seen = cv2.resize(ring.from_photo.mean(0)[None].astype(np.float32), (columns, 1))[0] > 0.5
    painted = np.flatnonzero(~seen)
    gap = np.abs((painted[:, None] - np.arange(columns)[None] + columns // 2) % columns - columns // 2)
    alike = np.maximum(both[0][painted] @ both[0].T, both[0][painted] @ both[1].T)
    return float(np.where(gap > width, alike, -1).max(1).mean()) if len(painted) else 0.0


def figures(view: np.ndarray, hole: np.ndarray, photo: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The quality figures of the module's description."""
    blur = [cv2.GaussianBlur(x.astype(np.float32) / 255, (0, 0), 12) for x in (view, truth)]
    return {
        "patch_photo": sliced_distance(_patches(view, hole), _patches(photo)),
        "patch_truth": sliced_distance(_patches(view, hole), _patches(truth, hole)),
        "low_frequency": float(np.abs(blur[0] - blur[1])[hole].mean()),
        "gradient": _gradient(view, hole) / _gradient(photo),
        "seam": _seam(view, hole),
    }


def sliced_distance(a: np.ndarray, b: np.ndarray, *, directions: int = 128) -> float:
    """Mean distance of the quantiles of two sets [N, D], [M, D] along random directions."""
    rng = np.random.default_rng(0)
    d = rng.normal(size=(a.shape[1], directions))
    d /= np.linalg.norm(d, axis=0)
    q = np.linspace(0.005, 0.995, 200)
    return float(np.abs(np.quantile(a @ d, q, axis=0) - np.quantile(b @ d, q, axis=0)).mean())


def _patches(rgb: np.ndarray, where: np.ndarray | None = None, size: int = 7) -> np.ndarray:
    r = size // 2
    windows = np.lib.stride_tricks.sliding_window_view(rgb.astype(np.float32) / 255, (size, size), axis=(0, 1))
    keep = np.ones(windows.shape[:2], bool)
    if where is not None:
        keep = cv2.erode(where.astype(np.uint8), np.ones((size, size), np.uint8))[r:-r, r:-r] > 0
    found = windows[keep].reshape(int(keep.sum()), -1)
    return found[np.random.default_rng(0).choice(len(found), min(3000, len(found)), replace=False)]


def _gradient(rgb: np.ndarray, where: np.ndarray | None = None) -> float:
    grey = cv2.cvtColor(rgb.astype(np.uint8), cv2.COLOR_RGB2GRAY).astype(np.float32)
    size = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    if where is None:
        return float(size.mean())
    return float(size[cv2.erode(where.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0].mean())


def _seam(rgb: np.ndarray, hole: np.ndarray) -> float:
    step = np.abs(np.diff(rgb.astype(float), axis=1)).mean(-1)
    edge = hole[:, 1:] != hole[:, :-1]
    beside = (cv2.dilate(edge.astype(np.uint8), np.ones((1, 13), np.uint8)) > 0) & ~edge
    return float(step[edge].mean() / max(step[beside].mean(), 1e-6)) if edge.any() else float("nan")


def _look(panorama: np.ndarray, T_world_cam: np.ndarray, camera: PinholeCamera = CROP) -> np.ndarray:
    h, w, _ = panorama.shape
    return _sample(panorama, T_world_cam, camera, np.pi, 2 * np.pi / w, np.pi / 2, np.pi / h)


def _look_into_ring(ring: RingPanorama, T_world_cam: np.ndarray, camera: PinholeCamera = CROP) -> np.ndarray:
    column = ring.azimuth_rad[0] - ring.azimuth_rad[1]
    row = ring.elevation_rad[0] - ring.elevation_rad[1]
    return _sample(
        ring.rgb_u8, T_world_cam, camera, ring.azimuth_rad[0] + column / 2, column, ring.elevation_rad[0] + row / 2, row
    )


def _sample(
    picture: np.ndarray, T: np.ndarray, camera: PinholeCamera, left: float, column: float, top: float, row: float
) -> np.ndarray:
    """Perspective view of an equirectangular picture whose upper left corner is at azimuth `left`, elevation `top`."""
    rays = rotate_vectors(T, camera.rays_cam())
    azimuth = np.arctan2(rays[..., 1], rays[..., 0])
    elevation = np.arctan2(rays[..., 2], np.hypot(rays[..., 0], rays[..., 1]))
    x = np.mod(left - azimuth, 2 * np.pi) / column - 0.5
    padded = np.concatenate([picture[:, -2:], picture, picture[:, :2]], 1)
    y = (top - elevation) / row - 0.5
    return cv2.remap(
        padded, (x + 2).astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _seen_from(T_first: np.ndarray, T_second: np.ndarray) -> np.ndarray:
    """[H, W] bool: pixels of the second crop that the first one shows."""
    rays = rotate_vectors(T_second, CROP.rays_cam()) @ T_first[:3, :3]
    px, z = CROP.project(rays)
    u, v = np.nan_to_num(px[..., 0], nan=-1), np.nan_to_num(px[..., 1], nan=-1)
    return (z > 0) & (u >= 0.5) & (u <= CROP.width_px - 0.5) & (v >= 0.5) & (v <= CROP.height_px - 0.5)


def _unknown_geometry(T_world_cam: np.ndarray) -> PhotoGeometry:
    """True camera, nothing else: the painter has to do without labels."""
    bins = 90
    azimuth = np.radians(np.arange(bins) - 44.5)
    nothing = np.zeros(0)
    return PhotoGeometry(
        camera=CROP,
        T_world_cam=T_world_cam,
        depth_z_m=np.full((CROP.height_px, CROP.width_px), 5, np.float32),
        labels=np.zeros((CROP.height_px, CROP.width_px), np.uint8),
        layout=PolarLayout(
            azimuth_rad=azimuth,
            boundary_m=np.full(bins, 5.0),
            boundary_top_m=np.full(bins, np.inf),
            boundary_label=np.full(bins, Label.WALL, np.uint8),
            object_bin=nothing.astype(np.int32),
            object_near_m=nothing,
            object_far_m=nothing,
            object_top_m=nothing,
            ceiling_m=2.8,
            camera_height_m=1.5,
        ),
        confidence=1.0,
        mode="manhattan",
        manhattan_yaw_rad=0.0,
        relative_scale_sigma=0.1,
        backend="bench",
    )


def _as_ring(strip, window: np.ndarray, rgb_u8: np.ndarray) -> RingPanorama:
    full = np.zeros((*strip.from_photo.shape, 3), np.uint8)
    full[:, window] = rgb_u8
    return RingPanorama(
        rgb_u8=full,
        from_photo=strip.from_photo,
        elevation_rad=strip.elevation_rad,
        azimuth_rad=strip.azimuth_rad,
        source_azimuth_rad=strip.azimuth_rad,
        mirrored=np.zeros(len(strip.azimuth_rad), bool),
    )


@contextlib.contextmanager
def _noise_free() -> Iterator[None]:
    """The same search and vote without diffusion noise: iterated nearest patches."""
    with (
        patch.object(patch_diffusion, "START_SIGMA", 0.1),
        patch.object(patch_diffusion, "FINER_SIGMA", (0.04,)),
        patch.object(patch_diffusion, "STEPS", (6, 4)),
        patch.object(patch_diffusion, "EXACT_SOURCE_PX", 0),
    ):
        yield


def _warm_up() -> None:
    """Compile once, outside every timing."""
    hole = np.zeros((64, 64), bool)
    hole[:, 32:] = True
    rng = np.random.default_rng(0)
    rgb = rng.random((64, 64, 3)).astype(np.float32)
    source = patch_diffusion.Source(rgb=rgb, usable=np.ones((64, 64), bool))
    patch_diffusion.complete(patch_diffusion.Target(rgb=rgb, known=~hole, hole=hole), source, seed=0)


if __name__ == "__main__":
    raise SystemExit(main())
