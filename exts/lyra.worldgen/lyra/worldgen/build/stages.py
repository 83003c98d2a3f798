"""The stages of the build; each imports what it needs when it runs."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.config import RescaleConfig, ScaleConfig, WorldConfig
from ..core.licences import is_research_only, stated_licence
from ..core.manifest import StageRecord
from ..core.mesh import TriMesh
from ..core.progress import Progress
from ..core.scaling import scaled_geometry, scaled_mesh, scaled_splats
from ..core.schema import resolved_dict
from ..core.splats import GaussianCloud
from ..core.views import Photo, PhotoGeometry, RgbdView
from .backends import check_painter, depth_judge, resolve_backends
from .stage import Stage, StageContext, Stages
from .world_scale import imported_scale, scale_of

if TYPE_CHECKING:
    from ..reconstruction.reconstruct import Reconstruction
    from ..sim.simulate import SimulationResult

NOTICE_NAME = "NOTICE.txt"
NOTICE = """\
Pictures of this world were painted with the weights "{model}" under the licence:
{licence}
The world and everything made from it may be used only as far as that licence allows. world.json says which stage used
them. {photo}.
"""


def default_stages() -> Stages:
    """The stages of the product."""
    return Stages(
        read_photo=_read_photo,
        resolve=resolve_backends,
        items=(
            Stage(
                name="understand",
                run=_understand,
                sections=("geometry", "models"),
                late_sections=("scale",),
                work=4,
                disk_mib=20,
                outputs=("memory/geometry.npz",),
                revision=5,
            ),
            Stage(
                name="explore",
                run=_explore,
                sections=("geometry", "generation", "inpaint", "models"),
                painter_sections=("lyra2",),
                work=50,
                # A walk of 480 frames took 55 MiB, `explore` in six places 33 MiB, a turn 20 MiB; journeys grow.
                disk_mib=200,
                outputs=("memory/explored.npz",),
                chunked=True,
                check=check_painter,
                revision=3,
            ),
            Stage(
                name="reconstruct",
                run=_reconstruct,
                sections=("reconstruction",),
                late_sections=("rescale",),
                work=35,
                disk_mib=200,
                outputs=("memory/mesh.npz", "memory/splats.npz", "splats.ply", "points.ply", "mesh.glb"),
                revision=2,
            ),
            *late_stages(),
        ),
    )


def late_stages() -> tuple[Stage, ...]:
    """What follows when mesh and splats are there, wherever they come from."""
    return (
        Stage(
            name="simulate",
            run=_simulate,
            sections=("simulation",),
            work=5,
            disk_mib=120,
            outputs=("world.usda", "world_scene.usda", "nav/map.yaml", "nav/map.png", "nav/episodes.jsonl"),
            revision=2,
        ),
        Stage(
            name="certify",
            run=_certify,
            sections=("certificate",),
            work=6,
            disk_mib=10,
            outputs=("certificate.json", "certificate.html"),
            in_place=("certificate.json", "certificate.html"),
        ),
        Stage(
            name="preview",
            run=_preview,
            work=12,
            disk_mib=10,
            outputs=("preview.png",),
            in_place=("preview.png", "walkthrough.mp4", ".thumbs/256x256/world.usda.png"),
        ),
    )


def _read_photo(path: Path, config: WorldConfig) -> Photo:
    from ..generation.photo import load_photo

    return load_photo(path, long_side_px=config.geometry.working_long_side_px)


def _understand(context: StageContext) -> None:
    from ..core.store import save_geometry
    from ..generation.geometry import make_geometry
    from ..generation.scale import as_generated, metric_geometry, scale_clues

    notes, config = context.notes, context.config.geometry
    backend = make_geometry(context.config)
    geometry = backend.estimate(context.photo, config, progress=context.progress)
    scale = as_generated(geometry)
    if context.config.scale != ScaleConfig():
        clues = scale_clues(context.photo, context.photo_bytes, context.config.scale)

        def estimate(camera_height_m: float) -> PhotoGeometry:
            known = replace(config, camera_height_m=camera_height_m)
            return backend.estimate(context.photo, known, progress=context.progress)

        geometry, scale = metric_geometry(geometry, estimate, clues, context.config)
    (notes.folder / "memory").mkdir()
    save_geometry(notes.folder / "memory" / "geometry.npz", geometry)
    suffix = Path(context.photo.name).suffix.lower()
    known = suffix[1:].isalnum() and suffix.isascii() and len(suffix) < 8
    (notes.folder / f"photo{suffix if known else '.img'}").write_bytes(context.photo_bytes)
    # A model that was asked took part, even if its answer was put aside.
    notes.backend, notes.model, notes.weights_licence = geometry.backend, backend.model, backend.weights_licence
    models = () if backend.name == "embedded" else ("torch", "transformers", "moge", "depth_anything_3")
    notes.versions = installed_versions("numpy", "opencv-python-headless", *models)
    notes.facts = {
        "mode": geometry.mode,
        "confidence": round(geometry.confidence, 4),
        "scale": scale.as_dict(),
        "camera_height_m": geometry.layout.camera_height_m,
        "ceiling_m": None if geometry.layout.ceiling_m is None else round(geometry.layout.ceiling_m, 4),
        "notes": list(geometry.notes),
    }
    notes.findings = scale.report.as_list()


def _explore(context: StageContext) -> None:
    from ..core.store import load_geometry, save_explored
    from ..generation.painter import PAINTERS, paints_films
    from ..generation.pipeline import explore

    notes, config = context.notes, context.config
    geometry = load_geometry(notes.world / "memory" / "geometry.npz")
    painter = PAINTERS.load(config.generation.painter).from_config(config)
    foreign = hasattr(painter, "model")
    # Films are not judged: painting one again takes as long as painting it.
    judge = None if paints_films(painter) else depth_judge(config)
    try:
        views = explore(
            context.photo,
            geometry,
            painter,
            config.generation,
            seed=config.seed,
            progress=context.progress,
            store=context.chunks,
            journey=context.manifest.journey,
            judge=judge,
            on_frame=_shown(context.progress),
        )
    finally:
        if foreign:
            painter.free()
    (notes.folder / "memory").mkdir()
    save_explored(notes.folder / "memory", views)
    notes.backend = painter.name
    notes.model = painter.model if foreign else painter.name
    notes.weights_licence = painter.weights_licence
    if is_research_only(painter.weights_licence):
        (notes.folder / NOTICE_NAME).write_text(
            NOTICE.format(model=notes.model, licence=painter.weights_licence, photo=photo_licence(context.config)),
            encoding="utf-8",
        )
    notes.versions = installed_versions(
        "numpy", "torch", "diffusers", "opencv-python-headless", *(("transformers",) if foreign else ())
    )
    chunks = context.chunks.chunk_facts()
    notes.facts = {
        "views": len(views.views),
        "chunks": chunks,  # one undo point each
        "path_m": round(_length_m(views.Ts_world_path), 3),
        "metrics": {name: rounded(value) for name, value in sorted(views.metrics.items())},
        **({"painter": painter.info} if paints_films(painter) else {}),
    }


def _shown(progress: Progress) -> Callable[[int, int, RgbdView], None] | None:
    """Shows painted frames to a progress that wants to see them."""
    if not progress.wants_frames:
        return None
    return lambda chunk, number, view: progress.frame(chunk, number, view.rgb_u8)


def _reconstruct(context: StageContext) -> None:
    from ..core.store import load_views
    from ..reconstruction.reconstruct import reconstruct

    views = load_views(context.notes.world / "memory")
    result = reconstruct(views, context.config.reconstruction, progress=context.progress)
    write_reconstructed(context, result)
    context.notes.backend = "embedded"
    context.notes.versions = installed_versions(
        "numpy", "trimesh", "xatlas", "numba", "embreex", "opencv-python-headless"
    )
    context.notes.facts |= {name: rounded(value) for name, value in sorted(result.metrics.items())}
    context.notes.findings += result.report.as_list()


def reconstruct_again(context: StageContext, mesh: TriMesh, splats: GaussianCloud, record: StageRecord) -> None:
    """The stage `reconstruct` for a world whose mesh and splats are known and whose scale is another."""
    from ..core.report import Report
    from ..reconstruction.reconstruct import Reconstruction

    notes = context.notes
    write_reconstructed(context, Reconstruction(mesh=mesh, splats=splats, report=Report()))
    notes.backend, notes.model, notes.weights_licence = record.backend, record.model, record.weights_licence
    notes.versions = dict(record.versions)
    notes.facts |= {name: value for name, value in record.facts.items() if name != "scale"}
    notes.findings += [f for f in record.findings if not str(f.get("code", "")).startswith("scale.")]


def write_reconstructed(context: StageContext, result: Reconstruction) -> None:
    """Write mesh and splats: to the memory in its units, for everybody else in metres."""
    from ..core.mesh_levels import mesh_levels
    from ..core.store import save_splats
    from ..reconstruction.reconstruct import write_reconstruction

    notes = context.notes
    factor = 1.0
    if context.manifest.photo.imported:
        imported = imported_scale(context.manifest, context.config.rescale)
        factor = imported.metres_per_unit
        if context.config.rescale != RescaleConfig():
            notes.facts = {"scale": imported.as_dict()}
    elif context.config.rescale != RescaleConfig():
        scale = scale_of(notes.world, context.photo, context.photo_bytes, context.config)
        notes.facts = {"scale": scale.as_dict()}
        notes.findings = scale.report.as_list()
        factor = scale.metres_per_unit
    levels = mesh_levels(result.mesh, context.config.reconstruction.level_budgets)
    for number, level in enumerate(levels, 1):
        notes.facts[f"lod{number}_faces"] = level.mesh.face_count
        notes.facts[f"lod{number}_error_m"] = rounded(level.error_m * factor)
    write_reconstruction(notes.folder, result, levels=levels, metres_per_unit=factor)
    save_splats(notes.folder / "memory" / "splats.npz", result.splats)


def _simulate(context: StageContext) -> None:
    from ..certify.world_data import viewpoint
    from ..core.store import load_geometry, load_mesh, load_splats
    from ..sim.simulate import WorldMeta, write_simulation

    notes, manifest = context.notes, context.manifest
    factor = manifest.metres_per_unit
    extra = {"world_id": manifest.id, "seed": str(manifest.seed)}
    if manifest.photo.imported:
        scale = manifest.scale
        camera, T_world_cam = viewpoint(notes.world, factor)
        meta = WorldMeta(
            name=Path(manifest.photo.name).stem or "world",
            photo_sha256=manifest.photo.sha256,
            licence=manifest.licence,
            source_file=manifest.photo.name,
            relative_scale_sigma=0.25 if scale is None else scale.relative_sigma,
            confidence=manifest.confidence or 0.0,
            T_world_cam=T_world_cam,
            camera=camera,
            generator=manifest.generator,
            extra={**extra, "imported": manifest.photo.kind},
        )
    else:
        geometry = scaled_geometry(load_geometry(notes.world / "memory" / "geometry.npz"), factor)
        meta = WorldMeta(
            name=Path(manifest.photo.name).stem or "world",
            photo_sha256=manifest.photo.sha256,
            licence=f"weights: {manifest.licence}; {photo_licence(context.config)}",
            source_file=manifest.photo.name,
            relative_scale_sigma=_scale_sigma(context, geometry),
            confidence=geometry.confidence,
            T_world_cam=geometry.T_world_cam,
            camera=geometry.camera,
            generator=manifest.generator,
            extra={**extra, "painter": context.config.generation.painter},
        )
    result = write_simulation(
        notes.folder,
        scaled_mesh(load_mesh(notes.world / "memory" / "mesh.npz"), factor),
        scaled_splats(load_splats(notes.world / "memory" / "splats.npz"), factor),
        cfg=context.config.simulation,
        level_budgets=context.config.reconstruction.level_budgets,
        meta=meta,
        seed=context.config.seed,
        progress=context.progress,
    )
    notes.backend = "usd"
    notes.versions = installed_versions("numpy", "usd-core", "scipy", "fast-simplification")
    notes.facts = simulation_facts(result)
    notes.findings = result.report.as_list()


def photo_licence(config: WorldConfig) -> str:
    """Under which licence the photo is, in words."""
    stated = stated_licence({"config": resolved_dict(config)})
    return f"photo: {stated}" if stated else "the photo's own licence applies"


def simulation_facts(result: SimulationResult) -> dict[str, Any]:
    """What `world.json` says about collider, materials, movable things and free space; JSON values."""
    facts: dict[str, Any] = {
        "collider": result.plan.mode,
        "boxes": len(result.plan.boxes),
        "episodes": len(result.episodes),
        "free_space": result.space.stats,
        "ray_error_median_m": rounded(result.ray_error_median_m),
        "ray_error_p95_m": rounded(result.ray_error_p95_m),
        "materials": {kind: choice.as_dict() for kind, choice in sorted(result.materials.items())},
    }
    if result.objects:
        facts["objects"] = [thing.as_dict() for thing in result.objects]
    if result.convex is not None:
        median, p95 = result.convex_error_m
        facts["convex"] = {
            "pieces": len(result.convex.pieces),
            **result.convex.counts,
            "coarse_faces": result.convex.coarse_faces,
            "ray_error_median_m": rounded(median),
            "ray_error_p95_m": rounded(p95),
        }
    return facts


def _scale_sigma(context: StageContext, geometry: PhotoGeometry) -> float:
    scale = context.manifest.scale
    if scale is None or context.config.rescale == RescaleConfig():
        return geometry.relative_scale_sigma
    return scale.relative_sigma


def _certify(context: StageContext) -> None:
    from ..certify import certify_world

    notes = context.notes
    certificate = certify_world(notes.world, cfg=context.config.certificate, progress=context.progress)
    notes.backend = "physx"
    notes.versions = installed_versions(
        "ovphysx", "usd-core", "numpy", *(["newton"] if context.config.certificate.newton else [])
    )
    notes.facts = {
        "verdict": certificate.verdict,
        "summary": certificate.summary,
        "failed": [line.id for line in certificate.failed],
        "not_measured": [line.id for line in certificate.not_measured],
    }


def _preview(context: StageContext) -> None:
    from ..preview import write_preview

    write_preview(context.notes.world, progress=context.progress)
    context.notes.backend = "embedded"
    context.notes.versions = installed_versions("numpy", "pillow", "opencv-python-headless")


def rounded(value: float) -> float | None:
    """Six digits are plenty; what JSON cannot say becomes null."""
    return round(float(value), 6) if math.isfinite(value) else None


def _length_m(Ts_world_path: np.ndarray) -> float:
    """Length of a path of poses [P, 4, 4]."""
    return float(np.linalg.norm(np.diff(Ts_world_path[:, :3, 3], axis=0), axis=1).sum())


def installed_versions(*packages: str) -> dict[str, str]:
    """Versions of installed packages; missing ones are left out."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
