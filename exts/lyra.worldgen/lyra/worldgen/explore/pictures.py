"""The same look twice: as the painter made it, and as the splats show it now."""

from __future__ import annotations

import numpy as np

from ..core.camera import PinholeCamera
from ..faces.contents import Contents
from ..reconstruction.splat_render import render_splats

PAINTED, SPLATS = "painted", "splats"
SOURCES = (PAINTED, SPLATS)
LONG_SIDE_PX = 480
"""Drawn by the CPU, in well under a second."""
BACKGROUND = (0.6, 0.7, 0.85)


def frame_count(contents: Contents) -> int:
    """How many painted pictures a world remembers; 0 before it is explored."""
    return len(contents.views.views) if contents.has_layer("points") else 0


def frame_pose(contents: Contents, frame: int) -> tuple[PinholeCamera, np.ndarray]:
    """Camera and pose [4, 4] of a remembered picture."""
    view = contents.views.views[frame]
    return view.camera, view.T_world_cam


def picture(contents: Contents, frame: int, source: str) -> np.ndarray:
    """[H, W, 3] uint8 of one look; raises `InputError` while the world has no splats."""
    view = contents.views.views[frame]
    if source == PAINTED:
        return view.rgb_u8
    scale = min(1.0, LONG_SIDE_PX / max(view.camera.width_px, view.camera.height_px))
    size = (max(1, round(view.camera.width_px * scale)), max(1, round(view.camera.height_px * scale)))
    return render_splats(contents.cloud, view.camera.resized(*size), view.T_world_cam).rgb_u8(BACKGROUND)
