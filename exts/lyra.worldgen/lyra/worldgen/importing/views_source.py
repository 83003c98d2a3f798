"""Posed pictures as an imported scene: depth given or measured, upright, in metres as far as anybody knows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..core.config import SourceConfig, WorldConfig
from ..core.errors import InputError
from ..core.frames import rigid, rotate_vectors, transform_points
from ..core.mesh import Label, TriMesh
from ..core.progress import SILENT, SupportsProgress
from ..core.report import Report
from ..core.scaling import scaled_mesh, scaled_poses, scaled_views
from ..core.views import SOURCE_PHOTO, RgbdView, WorldViews
from ..reconstruction.fuse import fuse_views
from ..reconstruction.mesh_extract import clean_mesh
from .enclosure import enclose, underlaid
from .floor_holes import close_floor_holes
from .plane_fill import fill_planes, scene_planes
from .posed import PosedSet
from .posed_set import PosedPicture, find_posed_set, load_pictures
from .records import ImportedScene, Source
from .samples import SurfaceSamples
from .settle import FileCustoms, Settled, settle
from .stereo import StereoPicture, measure_depth
from .upright import AXES
from .view_consistency import LEAST_AGREEMENT, DepthPicture, agreement, depth_factor
from .view_samples import label_pixels, sample_views

CUSTOMS = FileCustoms(
    # Pictures are taken upright; the samples are turned so that the pictures' mean up is +Z.
    up_odds={"z": 4.0},
    unit_odds={"m": 1.0, "none": 1.0},
)
LEAST_UP = 0.5
"""Below this mean length the pictures' own ups contradict each other and say nothing."""
SURE_AGREEMENT = 0.7
"""Above it depth maps are in the unit that they are said to be in."""
LEAST_STEREO = 0.12
"""The same for depth that is measured: only what several pictures confirm counts, so little is much."""
LEAST_COVERAGE = 0.25
"""Share of all pixels with depth below which no surface is made of them."""


def read_views_source(source: Source, config: WorldConfig, *, progress: SupportsProgress = SILENT) -> ImportedScene:
    """RGB-D views of a COLMAP model, a nerfstudio data set or a Lyra camera path, with their depth maps.

    Raises:
        InputError: nothing with poses, damaged pictures, or depth that does not fit the poses or shows too little.
        DependencyError: OpenCV or SciPy is missing.
    """
    report = Report()
    posed = find_posed_set(source)
    pictures = load_pictures(posed, progress=progress)
    depths, cfg, facts = _depths(pictures, posed, config.source, report, progress)
    up_turn = _up_turn(pictures, cfg)
    turned = [replace(d, T_world_cam=rigid(up_turn, np.zeros(3)) @ d.T_world_cam) for d in depths]
    samples = sample_views(turned, [p.rgb_u8 for p in pictures])
    customs = CUSTOMS if cfg.up_axis is None else replace(CUSTOMS, up_odds={})
    said = cfg.up_axis
    if said is None and facts["depth"] == "stereo" and not np.array_equal(up_turn, np.eye(3)):
        # Stereo sees patterns, wherever they are: a patterned wall must not pass for the floor.
        said = "z"
    settled = settle(samples, cfg, customs, report, said=said)
    T_scene_file = settled.T_scene_file @ rigid(up_turn, np.zeros(3))
    placed = [replace(d, T_world_cam=T_scene_file @ d.T_world_cam) for d in depths]
    if facts["depth"] == "stereo":
        placed = _completed(pictures, placed, samples, settled, progress)
        facts["depth_share_with_planes"] = round(float(np.mean([np.mean(d.depth_z > 0) for d in placed])), 4)
    views = _views(pictures, placed, settled)
    views = replace(views, proxy=_surface(views, settled, config, report, progress))
    up_file = T_scene_file[2, :3]
    return ImportedScene(
        scale=settled.scale,
        views=views,
        backend=f"import-{posed.layout}",
        facts={
            **settled.facts,
            "up_said": cfg.up_axis is not None,
            "up": max(AXES, key=lambda axis: float(np.dot(AXES[axis], up_file))),
            "T_scene_file": [[round(float(v), 9) for v in row] for row in T_scene_file],
            "poses": len(posed.frames),
            "views": len(pictures),
            **facts,
        },
        report=report,
    )


def _depths(
    pictures: list[PosedPicture], posed: PosedSet, cfg: SourceConfig, report: Report, progress: SupportsProgress
) -> tuple[list[DepthPicture], SourceConfig, dict[str, object]]:
    """Depth in the unit of the poses, what the depth says about that unit, and facts for the manifest."""
    if all(p.depth_z is None for p in pictures):
        depths, facts = _measured(pictures, posed, report, progress)
        return depths, cfg, facts
    depths = [
        DepthPicture(
            camera=p.camera,
            T_world_cam=p.T_file_cam,
            depth_z=np.zeros(p.inside.shape, np.float32) if p.depth_z is None else np.where(p.inside, p.depth_z, 0.0),
        )
        for p in pictures
    ]
    coverage = float(np.mean([np.mean(d.depth_z > 0) for d in depths]))
    if coverage < LEAST_COVERAGE:
        raise InputError(
            f"the depth maps cover {coverage:.0%} of the pictures; expected at least {LEAST_COVERAGE:.0%}: {posed.path}"
        )
    unit_m = next((p.depth_unit_m for p in pictures if p.depth_unit_m is not None), None)
    guess = 1.0 if unit_m is None else unit_m
    share = float(agreement(depths, np.array([guess]))[0])
    factor = guess
    if unit_m is not None or share < SURE_AGREEMENT:
        found, better = depth_factor(depths)
        # A wall seen from far off agrees about as well at many sizes; only what is clearly better overrules the file.
        if unit_m is not None or better > share + 0.1:
            factor, share = found, better
            report.info("import.depth_unit", f"one unit of the depth maps is {factor:.6g} units of the poses")
    if share < LEAST_AGREEMENT:
        raise InputError(
            f"depth maps and poses do not fit together: at best {share:.0%} of the pixels lie where other pictures see "
            f"them, expected {LEAST_AGREEMENT:.0%}; check which pictures they belong to: {posed.path}"
        )
    if unit_m is not None and not (cfg.metres_per_unit or cfg.units != "auto"):
        # Depth in millimetres says how long a unit of the poses is.
        cfg = replace(cfg, metres_per_unit=unit_m / factor)
    scaled = [replace(d, depth_z=(d.depth_z * factor).astype(np.float32)) for d in depths]
    return scaled, cfg, {"depth": "given", "depth_share": round(coverage, 4), "depth_agreement": round(share, 4)}


def _measured(
    pictures: list[PosedPicture], posed: PosedSet, report: Report, progress: SupportsProgress
) -> tuple[list[DepthPicture], dict[str, object]]:
    """Depth by stereo between the pictures, and facts for the manifest."""
    stereo = measure_depth(
        [StereoPicture(camera=p.camera, T_world_cam=p.T_file_cam, rgb_u8=p.rgb_u8, inside=p.inside) for p in pictures],
        posed.points,
        progress=progress,
    )
    if stereo.coverage < LEAST_STEREO:
        raise InputError(
            f"stereo finds depth for {stereo.coverage:.0%} of the pixels of {len(pictures)} pictures; expected at "
            f"least {LEAST_STEREO:.0%}: surfaces without texture, too few pictures of the same things, or wrong poses; "
            f"add pictures, or give depth maps: {posed.path}"
        )
    depths = [
        DepthPicture(camera=p.camera, T_world_cam=p.T_file_cam, depth_z=depth)
        for p, depth in zip(pictures, stereo.depth_z, strict=True)
    ]
    report.warn(
        "import.stereo",
        f"depth was measured by stereo and covers {stereo.coverage:.0%} of the pictures; what has no texture "
        "is filled from the planes around it, or stays open",
        coverage=round(stereo.coverage, 4),
    )
    return depths, {"depth": "stereo", "depth_share": round(stereo.coverage, 4)}


def _up_turn(pictures: list[PosedPicture], cfg: SourceConfig) -> np.ndarray:
    """[3, 3] rotation that takes the pictures' mean up to +Z; none where an axis was said or they do not agree."""
    if cfg.up_axis is not None:
        return np.eye(3)
    up = -np.mean([p.T_file_cam[:3, 1] for p in pictures], axis=0)
    length = float(np.linalg.norm(up))
    if length < LEAST_UP:
        return np.eye(3)
    z = up / length
    x = np.cross([0.0, 1.0, 0.0] if abs(z[1]) < 0.9 else [1.0, 0.0, 0.0], z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def _completed(
    pictures: list[PosedPicture],
    placed: list[DepthPicture],
    samples: SurfaceSamples,
    settled: Settled,
    progress: SupportsProgress,
) -> list[DepthPicture]:
    """Measured depth moved onto floor, ceiling and walls, and what lies between on the same planes."""
    factor = settled.scale.metres_per_unit
    T = settled.T_scene_file
    metric = SurfaceSamples(
        points=transform_points(T, samples.points) * factor,
        normals=rotate_vectors(T, samples.normals),
        weights=samples.weights,
        luma=samples.luma,
        signed=samples.signed,
    )
    planes = scene_planes(metric, ceiling_m=None if settled.ceiling is None else settled.ceiling * factor)
    in_metres = [
        replace(d, T_world_cam=scaled_poses(d.T_world_cam, factor), depth_z=(d.depth_z * factor).astype(np.float32))
        for d in placed
    ]
    grey = [(p.rgb_u8 @ np.array([0.299, 0.587, 0.114])).astype(np.float32) for p in pictures]
    depths = fill_planes(in_metres, grey, planes, progress=progress)
    return [
        replace(d, depth_z=np.where(p.inside, depth / factor, 0.0).astype(np.float32))
        for d, p, depth in zip(placed, pictures, depths, strict=True)
    ]


def _views(pictures: list[PosedPicture], placed: list[DepthPicture], settled: Settled) -> WorldViews:
    factor = settled.scale.metres_per_unit
    ceiling_m = None if settled.ceiling is None else settled.ceiling * factor
    labels = label_pixels(placed, metres_per_unit=factor, ceiling_m=ceiling_m)
    order = sorted(range(len(placed)), key=lambda i: -_worth_looking(placed[i]))
    # The best one first, the others as they come.
    order = [order[0], *sorted(order[1:])]
    views = []
    for view_id, i in enumerate(order):
        valid = placed[i].depth_z > 0
        views.append(
            RgbdView(
                view_id=view_id,
                camera=placed[i].camera,
                T_world_cam=placed[i].T_world_cam,
                rgb_u8=pictures[i].rgb_u8,
                depth_z_m=placed[i].depth_z,
                valid=valid,
                source=np.where(valid, SOURCE_PHOTO, 0).astype(np.uint8),
                labels=labels[i],
            )
        )
    return WorldViews(views=views, ceiling_m=settled.ceiling, Ts_world_path=settled.Ts_scene_path)


def _surface(
    views: WorldViews, settled: Settled, config: WorldConfig, report: Report, progress: SupportsProgress
) -> TriMesh:
    """The fused depth, labelled, its floor whole, and closed around; in units of the scene."""
    factor = settled.scale.metres_per_unit
    metric = scaled_views(views, factor)
    surface = clean_mesh(fuse_views(metric.views, voxel_m=config.source.voxel_m or None, progress=progress))
    if not surface.face_count or not (surface.face_labels == Label.FLOOR).any():
        raise InputError("the depth of the pictures shows no floor once it is fused; add pictures that look down")
    surface = close_floor_holes(surface, report)
    eyes = np.stack([v.T_world_cam[:3, 3] for v in metric.views])
    surface = enclose(underlaid(surface), eyes, ceiling_m=metric.ceiling_m, report=report)
    return scaled_mesh(surface, 1 / factor)


def _worth_looking(picture: DepthPicture) -> float:
    """How much a picture shows: far and level views of known things show most."""
    known = picture.depth_z > 0
    if not known.any():
        return 0.0
    level = float(np.sqrt(max(1.0 - picture.T_world_cam[2, 2] ** 2, 0.0)))
    return float(np.median(picture.depth_z[known]) * known.mean() * level)
