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
