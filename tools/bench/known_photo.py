"""One scene of known truth through the whole path from its photo: understood, made a world, scored against the truth.

Nothing is painted: colliders come from the proxy world, which is what painting is laid on. What lies outside the photo
is planned as the embedded painter plans it.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lyra.worldgen.core.config import GeometryConfig, SimulationConfig
from lyra.worldgen.core.frames import rotate_vectors
from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.core.raycast import Raycaster
from lyra.worldgen.core.views import Photo, PhotoGeometry, PolarLayout
from lyra.worldgen.generation.equirect import level_strip
from lyra.worldgen.generation.geometry import estimate_geometry
from lyra.worldgen.generation.painter import RingPanorama
from lyra.worldgen.generation.painter_patch import boundary_at
from lyra.worldgen.generation.photo import decode_photo
from lyra.worldgen.generation.proxy import build_proxy, clear_start, full_turn
from lyra.worldgen.generation.ring_collage import lay_out
from lyra.worldgen.generation.ring_course import plan_course
from lyra.worldgen.generation.room_closing import close_room
from lyra.worldgen.generation.scale import as_generated
from lyra.worldgen.sim.collision import ColliderPlan, build_colliders
from lyra.worldgen.sim.occupancy import FreeSpace, build_occupancy

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from known_scenes import KnownScene, known_scene
from known_truth import grid_clearance, score_cells

RAYS_PX = (128, 96)
_RING_ROWS = 128


@dataclass(frozen=True, kw_only=True)
class PhotoWorld:
    """What the photo of a scene became."""

    photo: Photo
    geometry: PhotoGeometry
    layout: PolarLayout
    """Full turn."""
    mesh: TriMesh
    plan: ColliderPlan
    space: FreeSpace
    seconds: float
    """To understand the photo."""


@dataclass(frozen=True, kw_only=True)
class PhotoScore:
    """Figures of one scene; those of cells and ranges are at the true scale unless they say otherwise."""

    seed: int
    kind: str
    mode: str
    confidence: float
    indoors: bool
    floor_iou: float
    wall_iou: float
    object_iou: float
    """Of the labels of all pixels; the wall's counts the ceiling apart, the object's is NaN without objects."""
    fov_error_deg: float
    pitch_error_deg: float
    roll_error_deg: float
    free_cells: int
    free_found: float
    blocked_cells: int
    blocked_found: float
    range_error: float
    free_found_unscaled: float
    blocked_found_unscaled: float
    range_error_unscaled: float
    scale_error: float
    """Natural logarithm of claimed over true metres per unit, at the picture's median distance."""
    scale_sigma: float
    seconds: float


def photo_world(scene: KnownScene) -> PhotoWorld:
    """Understand the scene's photo and make a world of it as the program does, without paint."""
    file = io.BytesIO()
    Image.fromarray(scene.photo().rgb_u8).save(file, "PNG", compress_level=1)
    cfg = GeometryConfig()
    photo = decode_photo(file.getvalue(), Path(f"{scene.kind}-{scene.seed}.png"), long_side_px=cfg.working_long_side_px)
    began = time.process_time()
    geometry = estimate_geometry(photo, cfg)
    seconds = time.process_time() - began
    layout = clear_start(full_turn(clear_start(geometry.layout), unpainted_ring(photo, geometry)))
    mesh = build_proxy(layout)
    simulation = SimulationConfig()
    plan = build_colliders(mesh, simulation)
    space = build_occupancy(mesh, plan, simulation)
    return PhotoWorld(photo=photo, geometry=geometry, layout=layout, mesh=mesh, plan=plan, space=space, seconds=seconds)


def unpainted_ring(photo: Photo, geometry: PhotoGeometry) -> RingPanorama:
    """The ring that `PatchPainter.prepare` lays out, its gaps not painted."""
    strip = level_strip(photo.rgb_u8, geometry.labels, geometry.camera, geometry.T_world_cam, rows_max=_RING_ROWS)
    first, end = strip.sector
    room = None
    if geometry.layout.ceiling_m is not None:
        room = close_room(geometry.layout, strip.azimuth_rad, strip.sector, geometry.manhattan_yaw_rad)
    seen = boundary_at(geometry.layout, strip.azimuth_rad[first:end])
    course = plan_course(strip, seed=0, boundary_m=seen, room=room)
    collage = lay_out(strip, course, seamless=False)
    return RingPanorama(
        rgb_u8=strip.rgb.astype(np.uint8),
        from_photo=strip.from_photo,
        elevation_rad=strip.elevation_rad,
        azimuth_rad=strip.azimuth_rad,
        source_azimuth_rad=np.interp(collage.column, np.arange(len(strip.azimuth_rad)), strip.azimuth_rad),
        mirrored=collage.mirrored,
        boundary_m=course.boundary_m,
        stretch=None if course.boundary_m is None else collage.stretch,
    )


def score_photo(scene: KnownScene, world: PhotoWorld) -> PhotoScore:
    """Compare a photo's world with the scene, where the photo shows it."""
    geometry = world.geometry
    truth = scene.render()
    true_scale = scene.camera_height_m / geometry.layout.camera_height_m
    clearance = grid_clearance(world.space.grid)
    cells = score_cells(scene, [truth], clearance, scale=true_scale)
    unscaled = score_cells(scene, [truth], clearance)
    height_px, width_px = geometry.labels.shape
    small = scene.render(scene.camera.resized(width_px, height_px))

    def iou(label: Label) -> float:
        found, true = geometry.labels == label, small.labels == label
        return float((found & true).sum() / (found | true).sum()) if true.mean() > 0.002 else float("nan")

    pitch, roll = _pitch_roll(geometry.T_world_cam)
    true_pitch, true_roll = _pitch_roll(scene.T_world_cam)
    range_error = _range_errors(scene, world.plan)
    scale = as_generated(geometry)
    rays_m = np.linalg.norm(small.camera.rays_cam(), axis=-1) * small.depth_z_m
    found_m = np.linalg.norm(geometry.camera.rays_cam(), axis=-1) * geometry.depth_z_m
    metres_per_unit = float(np.median(rays_m[small.valid] / found_m[small.valid]))
    return PhotoScore(
        seed=scene.seed,
        kind=scene.kind,
        mode=geometry.mode,
        confidence=geometry.confidence,
        indoors=geometry.layout.ceiling_m is not None,
        floor_iou=iou(Label.FLOOR),
        wall_iou=iou(Label.WALL),
        object_iou=iou(Label.OBJECT),
        fov_error_deg=float(np.degrees(geometry.camera.hfov_rad - scene.camera.hfov_rad)),
        pitch_error_deg=float(np.degrees(pitch - true_pitch)),
        roll_error_deg=float(np.degrees(roll - true_roll)),
        free_cells=cells.free_seen,
        free_found=cells.free_found,
        blocked_cells=cells.blocked_seen,
        blocked_found=cells.blocked_found,
        range_error=range_error(true_scale),
        free_found_unscaled=unscaled.free_found,
        blocked_found_unscaled=unscaled.blocked_found,
        range_error_unscaled=range_error(1.0),
        scale_error=float(np.log(scale.metres_per_unit / metres_per_unit)),
        scale_sigma=scale.relative_sigma,
        seconds=world.seconds,
    )


def _pitch_roll(T_world_cam: np.ndarray) -> tuple[float, float]:
    """Of a camera pose, in the conventions of `frames.up_in_cam` [rad]."""
    x, y, z = T_world_cam[2, :3]
    return float(np.arcsin(np.clip(z, -1, 1))), float(np.arctan2(-x, -y))


def _range_errors(scene: KnownScene, plan: ColliderPlan) -> Callable[[float], float]:
    """Median relative error of the collider's distance along the true camera's rays, as a function of the scale."""
    camera = scene.camera.resized(*RAYS_PX)
    rays = rotate_vectors(scene.T_world_cam, camera.rays_cam()).reshape(-1, 3)
    eye = scene.T_world_cam[:3, 3]
    true_m, _, _ = Raycaster(scene.truth).cast(eye, rays)
    solid = np.isfinite(true_m)
    collider = Raycaster(plan.as_mesh())

    def error(scale: float) -> float:
        found_m, _, _ = collider.cast(eye / scale, rays[solid])
        return float(np.median(np.abs(scale * found_m / true_m[solid] - 1.0)))

    return error


def summary(scores: list[PhotoScore]) -> dict[str, float]:
    """Figures of all scenes together."""

    def column(name: str) -> np.ndarray:
        return np.array([getattr(score, name) for score in scores], float)

    free, blocked = column("free_cells"), column("blocked_cells")
    in_sigmas = np.abs(column("scale_error")) / column("scale_sigma")
    return {
        "scenes": len(scores),
        "free_mean": float(column("free_found").mean()),
        "free_pooled": float(column("free_found") @ free / free.sum()),
        "blocked_mean": float(column("blocked_found").mean()),
        "blocked_pooled": float(column("blocked_found") @ blocked / blocked.sum()),
        "range_error_median": float(np.median(column("range_error"))),
        "range_error_worst": float(column("range_error").max()),
        "free_unscaled_mean": float(column("free_found_unscaled").mean()),
        "blocked_unscaled_mean": float(column("blocked_found_unscaled").mean()),
        "range_error_unscaled_median": float(np.median(column("range_error_unscaled"))),
        "scale_within_2_sigma": float((in_sigmas <= 2.0).mean()),
        "scale_error_over_sigma_mean": float(in_sigmas.mean()),
        "floor_iou_mean": float(np.nanmean(column("floor_iou"))),
        "fov_error_median_deg": float(np.median(np.abs(column("fov_error_deg")))),
        "indoors": float(column("indoors").mean()),
        "seconds_median": float(np.median(column("seconds"))),
    }


LEAST = {"free_mean": 0.90, "blocked_mean": 0.92, "scale_within_2_sigma": 0.90, "scale_error_over_sigma_mean": 0.5}
MOST = {"range_error_median": 0.08, "scale_error_over_sigma_mean": 1.1}


def report(seeds: Iterable[int], to_json: Path | None) -> int:
    """Measure scenes, print them and all together; 1 if a limit is missed."""
    print(
        "seed kind     mode      indoors floor wall object   fov pitch  roll  free blocked range"
        "  (unscaled: free blocked range)  scale  sigma"
    )
    scores = []
    for seed in seeds:
        scene = known_scene(seed)
        s = score_photo(scene, photo_world(scene))
        scores.append(s)
        at_claimed = f"{s.free_found_unscaled:5.1%} {s.blocked_found_unscaled:6.1%} {s.range_error_unscaled:5.1%}"
        print(
            f"{s.seed:4d} {s.kind:8} {s.mode:9} {s.indoors!s:7}"
            f" {s.floor_iou:5.2f} {s.wall_iou:4.2f} {s.object_iou:6.2f}"
            f" {s.fov_error_deg:+5.1f} {s.pitch_error_deg:+5.1f} {s.roll_error_deg:+5.1f}"
            f" {s.free_found:5.1%} {s.blocked_found:6.1%} {s.range_error:5.1%}  {at_claimed}"
            f"  {s.scale_error:+.3f} {s.scale_sigma:.3f}",
            flush=True,
        )
    figures = summary(scores)
    missed = [name for name, limit in LEAST.items() if figures[name] < limit]
    missed += [name for name, limit in MOST.items() if figures[name] > limit]
    print(f"missed: {', '.join(missed)}" if missed else "all limits hold")
    result = {"summary": figures, "scenes": [asdict(score) for score in scores]}
    print(f"\n{json.dumps(result)}")
    if to_json:
        to_json.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if missed else 0
