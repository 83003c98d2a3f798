"""What each view sees of the reconstructed surface: one ray per pixel, shared by texture and splats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.mesh import TriMesh
from ..core.progress import SILENT, SupportsProgress
from ..core.raycast import Raycaster
from ..core.views import RgbdView


@dataclass(frozen=True, kw_only=True)
class SurfaceHits:
    """First hits of one view's pixel rays."""

    depth_z_m: np.ndarray
    """[H, W] float32, 0 where nothing was hit."""
    face: np.ndarray
    """[H, W] int32, -1 where nothing was hit."""


def cast_views(mesh: TriMesh, views: Sequence[RgbdView], *, progress: SupportsProgress = SILENT) -> list[SurfaceHits]:
    """Hits of every view, in the order of `views`."""
    caster = Raycaster(mesh)
    hits = []
    for view in progress.track("looking", views):
        image = caster.render(view.camera, view.T_world_cam)
        depth_z_m = np.where(image.hit, image.depth_z_m, 0.0).astype(np.float32)
        hits.append(SurfaceHits(depth_z_m=depth_z_m, face=image.face))
    return hits


def surface_depth_m(view: RgbdView, hit: SurfaceHits) -> np.ndarray:
    """[H, W] float64 depth of the surface, of the view itself where its ray misses the surface."""
    return np.where(hit.depth_z_m > 0, hit.depth_z_m, view.depth_z_m).astype(np.float64)


def surface_planes(view: RgbdView, hit: SurfaceHits, normals_world: np.ndarray) -> np.ndarray:
    """[H, W, 4]: normal towards the camera and offset (normal . point), in cam."""
    depth_m = surface_depth_m(view, hit)
    points = view.camera.unproject(depth_m)
    if len(normals_world):
        normal = (normals_world @ view.T_world_cam[:3, :3])[np.maximum(hit.face, 0)]
    else:
        normal = np.zeros_like(points)
    free = hit.face < 0
    if free.any():
        # Away from any surface the view's own depth is all there is.
        across = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
        length = np.linalg.norm(across, axis=-1, keepdims=True)
        toward = -points / np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), 1e-12)
        normal = np.where(free[..., None], np.where(length > 1e-12, across / np.maximum(length, 1e-12), toward), normal)
    away = np.einsum("hwi,hwi->hw", normal, points) > 0
    normal = np.where(away[..., None], -normal, normal)
    return np.concatenate([normal, np.einsum("hwi,hwi->hw", normal, points)[..., None]], -1)
