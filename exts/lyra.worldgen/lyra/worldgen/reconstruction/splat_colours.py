"""Colours of splats fitted to what one view shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..core.progress import SILENT, SupportsProgress
from ..core.sh import SH_C0
from ..core.splats import sh_from_rgb
from ..core.views import SOURCE_PAINTED, SOURCE_PHOTO, RgbdView
from .splat_lift import LiftedSplats
from .splat_render import blend_splats, gather_splats, project_splats

OVERSTEP = 1.6
"""Share of the residual that one round of colour fitting takes back; SIRT converges below 2."""
DAMPING = 0.3
"""Pixels of weight that hold the colour of every splat while colours are fitted: what hardly shows in the one view that
is fitted would else take any colour, and other views see it."""
LARGEST_FIT = 0.5
"""Most that fitting changes a colour, of 1."""


def fit_colours(
    lifted: LiftedSplats, view: RgbdView, view_index: int, *, rounds: int = 6, progress: SupportsProgress = SILENT
) -> LiftedSplats:
    """Adjust the colours of the splats of one view until their rendering reproduces it.

    Rendering is linear in colour, so each round adds the residual through the transposed blending weights (SIRT); a few
    rounds take back the blur without ringing. Splats that hardly show in the view keep their colour.
    """
    mine = lifted.view == view_index
    if not mine.any() or rounds < 1:
        return lifted
    cloud = lifted.splats
    projected = project_splats(cloud, view.camera, view.T_world_cam)
    rows = projected.index
    lifted_colour = np.clip(0.5 + SH_C0 * cloud.sh[rows, 0].astype(np.float64), 0.0, 1.0)
    lowest, highest = np.maximum(lifted_colour - LARGEST_FIT, 0.0), np.minimum(lifted_colour + LARGEST_FIT, 1.0)
    colour = lifted_colour
    wanted = view.rgb_u8 / 255.0
    known = view.valid & np.isin(view.source, (SOURCE_PHOTO, SOURCE_PAINTED))
    for _ in progress.track("fitting", range(rounds)):
        image = blend_splats(projected, colour, view.camera)
        residual = np.where(known[..., None], wanted - image.rgb, 0.0)
        total, weight = gather_splats(projected, residual)
        step = total / (weight + DAMPING)[:, None]
        colour = np.where(mine[rows][:, None], np.clip(colour + OVERSTEP * step, lowest, highest), colour)
    sh = cloud.sh.copy()
    sh[rows[mine[rows]]] = sh_from_rgb(colour[mine[rows]])
    return replace(lifted, splats=replace(cloud, sh=sh))
