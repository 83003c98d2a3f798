"""Splats to a surface: depth is rendered from places all over the free floor and fused, its colours are baked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..core.camera import PinholeCamera
from ..core.config import WorldConfig
from ..core.errors import InputError
from ..core.frames import camera_pose
from ..core.machine import map_threads
from ..core.mesh import Label, TriMesh
from ..core.optional import require
from ..core.progress import SILENT, SupportsProgress
from ..core.report import Report
from ..core.splats import GaussianCloud
from ..core.views import SOURCE_PHOTO, RgbdView
from ..reconstruction.fuse import fuse_views
from ..reconstruction.mesh_extract import clean_mesh
from ..reconstruction.metrics import psnr_db
from ..reconstruction.reconstruct import Reconstruction
from ..reconstruction.splat_budget import compress_splats, shape_importance
from ..reconstruction.splat_render import render_splats
from ..reconstruction.texture import bake_texture
from .enclosure import enclose, underlaid
from .floor_holes import close_floor_holes
from .place import FloorMap, eye_height_m, floor_map, spread_stands
from .samples import sample_splats
from .surface_labels import label_surface
from .upright import judge_up

LOOK_PX = 256
"""Side of the square pictures that depth is taken from."""
AREA_A_STAND_M2 = 5.0
STANDS = (5, 24)
"""Fewest and most places to look from."""
HEIGHTS = (1.0, 0.45, 1.25)
"""Heights of the eye at neighbouring places, relative to a person's."""
LEAST_ALPHA = 0.25
"""Gaps between splats are no holes in a wall: what little is seen there lies on it."""
FILLED_PX = 3
"""Gaps in the depth of a picture that are no wider are filled from around them."""
BEND = 0.04
"""Inverse depth that bends by more than this share between neighbouring pixels mixes two surfaces."""
GAP_PX, PIERCED = 7, 0.015
"""Width of gaps between splats through which one sees farther, and by how much at least, relative to the distance."""
NEAREST_M = 0.15
SPLAT_PSNR_DB = 20.0


def reconstruct_splats(
    splats: GaussianCloud, Ts_world_path: np.ndarray, config: WorldConfig, *, progress: SupportsProgress = SILENT
) -> Reconstruction:
    """A labelled, textured surface of splats, and the splats with the labels of the surface near them.

    Args:
        splats: upright, in metres, the floor at z = 0, the origin on free floor.
        Ts_world_path: [P, 4, 4] the viewpoint first, in metres.
        config: its sections `source` and `reconstruction`.
        progress: steps are called "looking", "fusing", "baking" and "labels".

    Raises:
        InputError: no surface can be seen from the free floor.
    """
    samples = sample_splats(splats)
    upright = judge_up(samples, np.array([0.0, 0.0, 1.0]))
    if upright is None:
        raise InputError("the splats show no floor; say which axis points up with --up")
    ceiling_m = upright.ceiling
    plan = floor_map(samples, ceiling_m=ceiling_m)
    poses = look_poses(plan, Ts_world_path, ceiling_m=ceiling_m)
    views = list(progress.track("looking", look(splats, poses), len(poses)))
    report = Report()
    surface = fuse_views(views, voxel_m=config.source.voxel_m or None, progress=progress)
    surface = clean_mesh(surface)
    if not surface.face_count:
        raise InputError("no surface can be seen in the splats from the free floor; they may be too transparent")
    surface = label_surface(surface, ceiling_m=ceiling_m)
    if not (surface.face_labels == Label.FLOOR).any():
        raise InputError("the splats show no floor at z = 0 once they are fused; say which axis points up with --up")
    baked = bake_texture(surface, views, texture_px=config.reconstruction.texture_px, progress=progress)
    patched = close_floor_holes(baked.mesh, report)
    shown = enclose(underlaid(patched), poses[:, :3, 3], ceiling_m=ceiling_m, report=report)
    progress.step("labels", 0, 1)
    labelled = label_splats(splats, patched)
    limit = config.reconstruction.splat_max_count or config.reconstruction.splat_budget
    if len(labelled) > limit:
        labelled = compress_splats(labelled, limit, shape_importance(labelled))
    first = views[0]
    metrics = {
        "views_used": float(len(views)),
        "faces": float(shown.face_count),
        "charts": float(baked.charts),
        "texture_seen_share": baked.known_share,
        "splats": float(len(labelled)),
        "mesh_psnr_db": _mesh_psnr_db(shown, first),
        "depth_error_m": _depth_error_m(shown, views),
    }
    if metrics["mesh_psnr_db"] < SPLAT_PSNR_DB:
        report.warn(
            "mesh.psnr",
            f"the mesh shows the splats at {metrics['mesh_psnr_db']:.1f} dB PSNR from the viewpoint; expected "
            f"{SPLAT_PSNR_DB:.0f}",
        )
    progress.step("labels", 1, 1)
    return Reconstruction(mesh=shown, splats=labelled, report=report, metrics=metrics)


def look_poses(plan: FloorMap, Ts_world_path: np.ndarray, *, ceiling_m: float | None) -> np.ndarray:
    """[V, 4, 4] level cameras looking four ways, one up and one down at each of many places; the viewpoint first."""
    area_m2 = float((plan.clearance_m > 0).sum()) * 0.01
    count = int(np.clip(round(area_m2 / AREA_A_STAND_M2), *STANDS))
    eye = eye_height_m(ceiling_m)
    top = np.inf if ceiling_m is None else ceiling_m - 0.3
    poses = [Ts_world_path[0]] if len(Ts_world_path) else []
    for k, xy in enumerate(spread_stands(plan, count)):
        position = np.array([*xy, float(min(eye * HEIGHTS[k % len(HEIGHTS)], top))])
        turn = 0.35 * k
        poses += [camera_pose(position, heading_rad=turn + i * np.pi / 2) for i in range(4)]
        poses += [camera_pose(position, heading_rad=turn, pitch_rad=s * np.pi / 2) for s in (1.0, -1.0)]
    return np.stack(poses)


def look(splats: GaussianCloud, poses: np.ndarray):
    """Views with depth of a cloud, one after another; depth that mixes two surfaces is left out."""
    camera = PinholeCamera.from_hfov(LOOK_PX, LOOK_PX, np.pi / 2)

    def one(index: int) -> RgbdView:
        image = render_splats(splats, camera, poses[index], threads=1)
        depth = image.depth_z_m
        valid = (image.alpha > LEAST_ALPHA) & (depth > NEAREST_M)
        depth, valid = _filled(depth, valid)
        valid &= ~(_bent(depth) | _pierced(depth))
        rgb = image.rgb / np.maximum(image.alpha, 1e-3)[..., None]
        return RgbdView(
            view_id=index,
            camera=camera,
            T_world_cam=poses[index],
            rgb_u8=(np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8),
            depth_z_m=np.where(valid, depth, 1.0).astype(np.float32),
            valid=valid,
            source=np.where(valid, SOURCE_PHOTO, 0).astype(np.uint8),
            labels=np.zeros(depth.shape, np.uint8),
        )

    return map_threads(one, range(len(poses)))


def _filled(depth_z_m: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth and validity with narrow gaps filled by the mean inverse depth around them."""
    inverse = np.where(valid, 1.0 / np.maximum(depth_z_m.astype(np.float64), 1e-3), 0.0)
    known = valid.copy()
    for _ in range(FILLED_PX):
        total, count = _around(inverse * known), _around(known.astype(np.float64))
        grown = ~known & (count >= 3)
        inverse = np.where(grown, total / np.maximum(count, 1.0), inverse)
        known = known | grown
    return np.where(known, 1.0 / np.maximum(inverse, 1e-3), depth_z_m), known


def _pierced(depth_z_m: np.ndarray) -> np.ndarray:
    """[H, W] bool: a narrow spot shows what is farther than all around it, through a gap between splats."""
    ndimage = require("scipy.ndimage", extra="recon", package="scipy")
    inverse = 1.0 / np.maximum(depth_z_m.astype(np.float64), 1e-3)
    diagonal = np.eye(GAP_PX, dtype=bool)
    lines = (np.ones((1, GAP_PX), bool), np.ones((GAP_PX, 1), bool), diagonal, diagonal[::-1])
    # In the corner of a room depth is largest along a line, which the line of its own direction leaves as it is.
    closed = np.min([ndimage.grey_closing(inverse, footprint=line) for line in lines], axis=0)
    return closed > (1 + PIERCED) * inverse


def _around(picture: np.ndarray) -> np.ndarray:
    """Sum over the eight neighbours of every pixel."""
    p = np.pad(picture, 1)
    h, w = picture.shape
    return sum(p[i : i + h, j : j + w] for i in range(3) for j in range(3)) - picture


def _bent(depth_z_m: np.ndarray) -> np.ndarray:
    """[H, W] bool: inverse depth, which is linear over a plane, bends here."""
    inverse = 1.0 / np.maximum(depth_z_m.astype(np.float64), 1e-3)
    p = np.pad(inverse, 1, mode="edge")
    bend = np.maximum(
        np.abs(p[1:-1, :-2] + p[1:-1, 2:] - 2 * inverse), np.abs(p[:-2, 1:-1] + p[2:, 1:-1] - 2 * inverse)
    )
    return bend > BEND * inverse


def label_splats(splats: GaussianCloud, mesh: TriMesh) -> GaussianCloud:
    """Splats with the label of the nearest face."""
    spatial = require("scipy.spatial", extra="recon", package="scipy")
    assert mesh.face_labels is not None, "labelled before"
    centres = mesh.triangles().mean(1)
    _, nearest = spatial.cKDTree(centres).query(splats.means.astype(np.float64), workers=-1)
    return replace(splats, labels=mesh.face_labels[nearest].astype(np.uint8))


def _mesh_psnr_db(mesh: TriMesh, view: RgbdView) -> float:
    from ..core.raycast import Raycaster

    image = Raycaster(mesh).render(view.camera, view.T_world_cam)
    seen = view.valid & image.hit
    return psnr_db(image.shade(mesh), view.rgb_u8, seen) if seen.any() else float("nan")


def _depth_error_m(mesh: TriMesh, views: list[RgbdView]) -> float:
    """Median difference between the splats' depth and the mesh's, over some views [m]."""
    from ..core.raycast import Raycaster

    caster = Raycaster(mesh)
    errors = []
    for view in views[:: max(1, len(views) // 12)]:
        image = caster.render(view.camera, view.T_world_cam)
        seen = view.valid & image.hit
        errors.append(np.abs(image.depth_z_m - view.depth_z_m)[seen])
    joined = np.concatenate(errors)
    return float(np.median(joined)) if len(joined) else float("nan")
