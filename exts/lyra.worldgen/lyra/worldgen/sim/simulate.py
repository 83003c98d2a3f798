"""The simulation stage: a mesh and splats become a USD world with colliders and navigation data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.config import SimulationConfig
from ..core.errors import InputError
from ..core.mesh import Label, TriMesh
from ..core.mesh_levels import mesh_levels
from ..core.progress import SILENT, SupportsProgress
from ..core.report import Report
from ..core.splats import GaussianCloud
from .collision import ColliderPlan, build_colliders, ray_agreement_m
from .convex_pieces import ConvexPlan, convex_plan
from .episodes import Episode, sample_episodes, write_navigation
from .movable import MovableObject, split_movable
from .occupancy import FreeSpace, build_occupancy, write_ros_map
from .surface_materials import SurfaceChoice, choose_materials
from .usd_mesh import write_png, write_visual
from .usd_nurec import write_nurec
from .usd_physics import collision_bounds_m, write_collision, write_convex_collision, write_objects, write_physics_scene
from .usd_splats import write_splats
from .usd_stage import WorldMeta, write_interface, write_scene

AGREEMENT_MEDIAN_M = 0.01
AGREEMENT_P95_M = 0.03
THUMBNAIL_PX = 256
__all__ = ["SimulationResult", "WorldMeta", "write_simulation", "write_thumbnail"]


@dataclass(frozen=True, kw_only=True)
class SimulationResult:
    """What the stage decided and wrote."""

    files: tuple[str, ...]
    """Paths relative to the folder, sorted."""
    plan: ColliderPlan
    space: FreeSpace
    episodes: tuple[Episode, ...]
    materials: Mapping[str, SurfaceChoice]
    """What each kind of collider is taken to be made of."""
    ray_error_median_m: float
    """Collider against visual mesh, from points in free space."""
    ray_error_p95_m: float
    objects: tuple[MovableObject, ...]
    """What can be pushed."""
    convex: ConvexPlan | None
    """The collider without triangle meshes, where it was asked for."""
    convex_error_m: tuple[float, float]
    """Median and 95th percentile of its difference from the triangle mesh; 0 without."""
    report: Report


def write_simulation(
    folder: Path,
    mesh: TriMesh,
    splats: GaussianCloud,
    *,
    cfg: SimulationConfig,
    level_budgets: Sequence[int] = (),
    meta: WorldMeta,
    seed: int,
    progress: SupportsProgress = SILENT,
) -> SimulationResult:
    """Write world.usda, world_scene.usda, payloads/ and nav/ into a folder; the same input writes the same bytes.

    Args:
        folder: made if missing; the caller treats it as staging until this returns.
        mesh: visual mesh in the world frame, faces counter-clockwise seen from free space, labels wanted.
        splats: may be empty; then the stage has the mesh only.
        cfg: sizes and budgets.
        level_budgets: most faces of each coarser copy of the visual mesh.
        meta: provenance, trust in the scale, the photo's camera.
        seed: of the episodes and of the rays that compare collider and mesh.
        progress: six milestones.

    Raises:
        InputError: malformed mesh or splats.
        ConversionError: the mesh has no floor to stand on.
        DependencyError: a package of the extra `sim` is missing.
    """
    mesh.validate()
    splats.validate()
    if not mesh.face_count:
        raise InputError("the mesh has no faces; reconstruct it again or import one with triangles")
    report = Report()
    payloads, nav = folder / "payloads", folder / "nav"
    progress.step("simulate", 0, 6, "colliders")
    plan = build_colliders(mesh, cfg)
    if plan.mode == "mesh":
        report.warn("collision.mesh", "no wall fits a plane; the collider is a triangle mesh on a floor slab")
    progress.step("simulate", 1, 6, "map")
    space = build_occupancy(mesh, plan, cfg)
    origins = _origins(plan, space, seed, report)
    errors = _compare(mesh, plan, origins, seed, report)
    progress.step("simulate", 2, 6, "episodes")
    episodes = sample_episodes(space, count=cfg.episode_count, seed=seed)
    if len(episodes) < cfg.episode_count:
        report.warn("nav.episodes", f"{len(episodes)} episodes of {cfg.episode_count} fit into this world")
    progress.step("simulate", 3, 6, "collision and scene")
    low, high = mesh.bounds()
    materials = choose_materials(mesh, cfg)
    things: list[MovableObject] = []
    if cfg.movable_objects:
        # Map and episodes know them as obstacles; colliders and pictures of the world itself do without.
        mesh, things = split_movable(mesh, plan.floor_z_m, materials["object"])
        if things:
            plan = build_colliders(mesh, cfg)
            write_objects(payloads / "objects.usdc", things, materials)
        else:
            report.warn("objects.none", "nothing stands free on the floor, so there is nothing to move")
    write_collision(payloads / "collision.usdc", plan, materials)
    convex, convex_error_m = None, (0.0, 0.0)
    if cfg.convex:
        convex = convex_plan(plan, mesh)
        write_convex_collision(payloads / "collision_convex.usdc", plan, convex, materials)
        if len(origins):
            error = ray_agreement_m(plan.as_mesh(), convex.with_boxes(plan), origins, seed=seed)
            convex_error_m = _quantiles(error)
        if convex.problem:
            report.warn("collision.coacd", f"plates stand for a solid thing that CoACD did not cut: {convex.problem}")
        if convex.coarse_faces:
            report.warn(
                "collision.coarse",
                f"convex pieces stand for a surface without planes; it was reduced to {convex.coarse_faces} faces",
            )
    half_width = float(np.ceil(max(np.abs(low[:2]).max(), np.abs(high[:2]).max()) + 5.0))
    write_physics_scene(payloads / "physics_scene.usda", floor_z_m=plan.floor_z_m, half_width_m=half_width)
    progress.step("simulate", 4, 6, "visual")
    write_visual(payloads / "visual.usdc", mesh, mesh_levels(mesh, level_budgets))
    progress.step("simulate", 5, 6, "splats")
    files = ["world.usda", "world_scene.usda"]
    files += [f"payloads/{name}" for name in ("collision.usdc", "physics_scene.usda", "visual.usdc")]
    if things:
        files.append("payloads/objects.usdc")
    if convex is not None:
        files.append("payloads/collision_convex.usdc")
    if mesh.texture_u8 is not None and mesh.uv is not None:
        files.append("payloads/textures/albedo.jpg")
    if len(splats):
        write_splats(payloads / "splats.usdc", splats)
        files.append("payloads/splats.usdc")
        if cfg.nurec:
            write_nurec(payloads / "splats_nurec.usdz", splats)
            files.append("payloads/splats_nurec.usdz")
    write_interface(
        folder / "world.usda",
        meta=meta,
        visual_bounds_m=(low, high),
        collision_bounds_m=collision_bounds_m(plan),
        with_splats=len(splats) > 0,
        with_convex=convex is not None,
        object_masses_kg=tuple(thing.mass_kg for thing in things),
    )
    write_scene(folder / "world_scene.usda", indoors_light_m=_lamp(mesh, plan))
    files += [f"nav/{name}" for name in (*write_ros_map(nav, space.grid), *write_navigation(nav, space, episodes))]
    progress.step("simulate", 6, 6, "written")
    return SimulationResult(
        files=tuple(sorted(files)),
        plan=plan,
        space=space,
        episodes=tuple(episodes),
        materials=materials,
        ray_error_median_m=errors[0],
        ray_error_p95_m=errors[1],
        objects=tuple(things),
        convex=convex,
        convex_error_m=convex_error_m,
        report=report,
    )


def write_thumbnail(folder: Path, rgb_u8: np.ndarray) -> str:
    """`.thumbs/256x256/world.usda.png` from any picture [H, W, 3], cropped to its middle square; returns the path."""
    from PIL import Image

    h, w = rgb_u8.shape[:2]
    side = min(h, w)
    top, left = (h - side) // 2, (w - side) // 2
    square = Image.fromarray(np.ascontiguousarray(rgb_u8[top : top + side, left : left + side]))
    small = square.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    write_png(folder / ".thumbs" / "256x256" / "world.usda.png", np.asarray(small))
    return ".thumbs/256x256/world.usda.png"


def _origins(plan: ColliderPlan, space: FreeSpace, seed: int, report: Report) -> np.ndarray:
    """Points [K, 3] in free space at the height of a sensor; none where nothing is free."""
    where = np.argwhere(space.navigable if space.navigable.any() else space.grid.free)
    if not len(where):
        report.error("nav.none", "there is no free floor that the robot fits on")
        return np.zeros((0, 3))
    rng = np.random.default_rng([seed, 0x726179])
    chosen = where[np.sort(rng.integers(0, len(where), 32))]
    return np.c_[space.grid.centre_xy_m(chosen), np.full(len(chosen), plan.floor_z_m + 0.5)]


def _compare(
    mesh: TriMesh, plan: ColliderPlan, origins_world: np.ndarray, seed: int, report: Report
) -> tuple[float, float]:
    """Median and 95th percentile [m] of the difference that a range sensor on the robot would see."""
    if not len(origins_world):
        return float("inf"), float("inf")
    median, p95 = _quantiles(ray_agreement_m(mesh, plan, origins_world, seed=seed))
    if median > AGREEMENT_MEDIAN_M or p95 > AGREEMENT_P95_M:
        report.warn(
            "collision.disagrees",
            f"collider and visual mesh differ by {median * 100:.1f} cm (median), {p95 * 100:.1f} cm (95 %)",
        )
    return median, p95


def _quantiles(error_m: np.ndarray) -> tuple[float, float]:
    median, p95 = (float(np.percentile(error_m, q)) if len(error_m) else float("inf") for q in (50, 95))
    return median, p95


def _lamp(mesh: TriMesh, plan: ColliderPlan) -> np.ndarray | None:
    """Where a lamp hangs: under the ceiling above the photo's camera; None without a ceiling."""
    tops = [b.centre_m[2] - b.half_m[2] for b in plan.boxes if b.label == Label.CEILING]
    if not tops or (mesh.face_labels is not None and (mesh.face_labels == Label.SKY).any()):
        return None
    return np.array([0.0, 0.0, min(tops) - 0.3])
