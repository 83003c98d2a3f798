"""Views to splats and a textured mesh: the steps in order and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..core.camera import PinholeCamera
from ..core.config import ReconstructionConfig
from ..core.mesh import TriMesh
from ..core.mesh_levels import MeshLevel
from ..core.progress import SILENT, SupportsProgress
from ..core.raycast import Raycaster
from ..core.report import Report
from ..core.scaling import scaled_mesh, scaled_splats
from ..core.splats import GaussianCloud
from ..core.store import save_mesh
from ..core.views import SOURCE_PAINTED, SOURCE_PHOTO, RgbdView, WorldViews
from .exposure import balanced, measure_exposure
from .glb import write_mesh_glb
from .mesh_extract import extract_surface, refine_near
from .metrics import psnr_db
from .splat_budget import compress_splats, seen_importance
from .splat_colours import fit_colours
from .splat_fill import cover_gaps
from .splat_io import write_points_ply, write_splats
from .splat_lift import lift_splats
from .splat_prune import consistent_splats, trimmed_splats
from .splat_render import render_splats
from .surface_hits import cast_views
from .texture import bake_texture

SPLAT_PSNR_DB = 28.0
MESH_PSNR_DB = 24.0
"""Below these the photo is not reproduced well enough from its own pose."""
UNSEEN_BUDGET_SHARE = 0.08
"""Share of the splat budget that is kept for places without splats; they may use what the views leave, too."""
POINT_BUDGET = 500_000
JUDGES = 8
"""Views that say which splats matter when their number is cut."""


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """What can be looked at."""

    mesh: TriMesh
    """With uv, texture_u8 and face_labels; faces point into free space."""
    splats: GaussianCloud
    """With labels, spherical harmonics of degree 0."""
    report: Report
    """What turned out worse than it should."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Numbers for the manifest: PSNR of both from the photo's pose, sizes, shares."""


def reconstruct(views: WorldViews, cfg: ReconstructionConfig, *, progress: SupportsProgress = SILENT) -> Reconstruction:
    """Surface, baked texture and splats of a set of views.

    Args:
        views: the photo first; with the proxy world that gave them their depth, or without, then depth is fused.
        cfg: sizes and budgets.
        progress: steps are called "surface", "looking", "exposure", "baking", "lifting", "fitting", "merging" and
            "measuring".

    Raises:
        InputError: the views hold no surface.
        DependencyError: a package of the extra `recon` is missing.
        Cancelled: the user stopped.
    """
    progress.step("surface", 0, 1)
    surface = extract_surface(views, progress=progress)
    surface = refine_near(surface, np.stack([v.T_world_cam[:3, 3] for v in views.views]))
    progress.step("surface", 1, 1)
    useful = [v for i, v in enumerate(views.views) if i == 0 or adds_something(v)]
    hits = cast_views(surface, useful, progress=progress)
    exposure = measure_exposure(useful, hits, progress=progress)
    useful = balanced(useful, exposure)
    baked = bake_texture(surface, useful, texture_px=cfg.texture_px, hits=hits, progress=progress)
    eye = views.photo_view.T_world_cam[:3, 3]
    reserve = int(UNSEEN_BUDGET_SHARE * cfg.splat_budget)
    lifted = lift_splats(surface, useful, hits, budget=cfg.splat_budget - reserve, progress=progress)
    unseen = cover_gaps(baked, lifted.splats, eye, budget=cfg.splat_budget - len(lifted.splats))
    lifted = lifted.with_more(unseen)
    floating = ~consistent_splats(lifted.splats, lifted.view, useful)
    lifted = lifted.without(floating)
    trimmed, trimmed_count = trimmed_splats(lifted.splats, lifted.view, useful)
    lifted = replace(lifted, splats=trimmed)
    splats = fit_colours(lifted, views.photo_view, 0, progress=progress).splats
    if 0 < cfg.splat_max_count < len(splats):
        progress.step("merging", 0, 1)
        splats = compress_splats(splats, cfg.splat_max_count, seen_importance(splats, _judges(useful)))
        progress.step("merging", 1, 1)
    progress.step("measuring", 0, 1)
    photo = views.photo_view
    known = photo.valid & (photo.source == SOURCE_PHOTO)
    splat_rgb_u8 = render_splats(splats, photo.camera, photo.T_world_cam).rgb_u8()
    metrics = {
        "views_used": float(len(useful)),
        "faces": float(baked.mesh.face_count),
        "charts": float(baked.charts),
        "texels_per_pixel": baked.texels_per_pixel,
        "texture_seen_share": baked.known_share,
        "largest_gain": float(np.exp(np.abs(np.log(exposure.gains)).max())),
        "splats": float(len(splats)),
        "splat_duplicates": float(lifted.duplicates),
        "unseen_splats": float(len(unseen)),
        "floating_splats": float(floating.sum()),
        "trimmed_splats": float(trimmed_count),
        "lifted_pixels": float(lifted.pixels),
    }
    report = Report()
    if known.any():
        mesh_rgb_u8 = Raycaster(baked.mesh).render(photo.camera, photo.T_world_cam).shade(baked.mesh)
        metrics["splat_psnr_db"] = psnr_db(splat_rgb_u8, photo.rgb_u8, known)
        metrics["mesh_psnr_db"] = psnr_db(mesh_rgb_u8, photo.rgb_u8, known)
        for name, limit in (("splat", SPLAT_PSNR_DB), ("mesh", MESH_PSNR_DB)):
            value = metrics[f"{name}_psnr_db"]
            if value < limit:
                message = f"the {name} shows the photo at {value:.1f} dB PSNR from its own pose; expected {limit:.0f}"
                report.warn(f"{name}.psnr", message, measured_db=value, limit_db=limit)
    if baked.texels_per_pixel < 0.7:
        report.warn(
            "texture.coarse",
            f"the texture has {baked.texels_per_pixel:.2f} texels per view pixel; raise texture_px for a sharper mesh",
        )
    progress.step("measuring", 1, 1)
    return Reconstruction(mesh=baked.mesh, splats=splats, report=report, metrics=metrics)


def _judges(views: list[RgbdView]) -> list[tuple[PinholeCamera, np.ndarray]]:
    """Cameras of half size and poses of the photo and of other views, evenly chosen."""
    chosen = [views[0], *views[1 :: max(1, -(-(len(views) - 1) // (JUDGES - 1)))]]
    return [(v.camera.resized(v.camera.width_px // 2, v.camera.height_px // 2), v.T_world_cam) for v in chosen]


def adds_something(view: RgbdView) -> bool:
    """Whether a view holds more than copies of older views."""
    fresh = view.valid & np.isin(view.source, (SOURCE_PHOTO, SOURCE_PAINTED))
    return int(fresh.sum()) >= max(16, fresh.size // 20_000)


def write_reconstruction(
    folder: Path, result: Reconstruction, *, levels: Sequence[MeshLevel] = (), metres_per_unit: float = 1.0
) -> list[Path]:
    """Write the portable copies and the exact mesh into a world folder; returns what was written.

    Args:
        folder: of the world.
        result: from `reconstruct`.
        levels: coarser copies of the mesh for `mesh.glb`.
        metres_per_unit: of everything but the memory.

    `mesh.glb`, `splats.ply` and `points.ply` are for other programs and in metres; `memory/mesh.npz` is for later
    stages and, like `result`, in the units of the memory.
    """
    folder = Path(folder)
    (folder / "memory").mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in ("mesh.glb", "splats.ply", "points.ply", "memory/mesh.npz")]
    splats = scaled_splats(result.splats, metres_per_unit)
    coarser = [scaled_mesh(level.mesh, metres_per_unit) for level in levels]
    write_mesh_glb(paths[0], scaled_mesh(result.mesh, metres_per_unit), coarser)
    write_splats(paths[1], splats)
    points, rgb_u8 = cloud_points(splats)
    write_points_ply(paths[2], points, rgb_u8)
    save_mesh(paths[3], result.mesh)
    return paths


def cloud_points(splats: GaussianCloud, *, budget: int = POINT_BUDGET) -> tuple[np.ndarray, np.ndarray]:
    """Evenly chosen centres [N, 3] and colours [N, 3] uint8 of a cloud."""
    step = max(1, -(-len(splats) // budget))
    rgb_u8 = (splats.rgb()[::step] * 255 + 0.5).astype(np.uint8)
    return splats.means[::step], rgb_u8
