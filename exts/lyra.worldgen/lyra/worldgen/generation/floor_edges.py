"""Where straight edges of the photo meet the columns: what label edges are moved onto.

Labels are right to a degree or so, line segments to a twentieth of that, and far away a degree is metres. The foot of a
wall is a level edge; the sides of a pillar end where it meets the floor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import rotate_vectors
from .calibration import ACROSS, ALONG, VERTICAL, CameraEstimate
from .stixels import PolarView

SNAP_RAD = np.radians(0.9)
"""Label edges are moved onto level edges this near."""
FOOT_RAD = np.radians(2.5)
"""A label edge is lowered onto the lower end of an upright edge this near."""
_FOOT_COLUMNS = 4
_LOWEST_RAD = np.radians(-0.5)
_SAMPLES_PER_EDGE = 64
_LEAST_UPRIGHT = 0.08
"""Shortest upright edge that says where a thing ends, in half long sides."""


@dataclass(frozen=True, kw_only=True)
class FloorEdges:
    """Edges below the horizon, by column."""

    level_column: np.ndarray
    """[N] int column of each sample of a level edge."""
    level_rad: np.ndarray
    """[N] its depression."""
    foot_column: np.ndarray
    """[M] int column of the lower end of each upright edge."""
    foot_rad: np.ndarray
    """[M] its depression."""


def floor_edges(
    estimate: CameraEstimate, camera: PinholeCamera, T_world_cam: np.ndarray, view: PolarView
) -> FloorEdges:
    """The edges of a calibrated photo that may be where something meets the floor."""
    step = float(view.azimuth_rad[1] - view.azimuth_rad[0])
    ends = estimate.segments.ends_px.reshape(-1, 2, 2)

    def polar(uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rays = np.stack(
            [
                (uv[..., 0] - camera.cx_px) / camera.fx_px,
                (uv[..., 1] - camera.cy_px) / camera.fy_px,
                np.ones(uv.shape[:-1]),
            ],
            -1,
        )
        world = rotate_vectors(T_world_cam, rays)
        column = np.round((np.arctan2(world[..., 1], world[..., 0]) - view.azimuth_rad[0]) / step).astype(int)
        return column, -np.arctan2(world[..., 2], np.hypot(world[..., 0], world[..., 1]))

    level = np.isin(estimate.family, (ALONG, ACROSS))
    t = np.linspace(0.0, 1.0, _SAMPLES_PER_EDGE)[:, None, None]
    column, depression = polar(ends[level, 0] * (1 - t) + ends[level, 1] * t)
    inside = (column >= 0) & (column < len(view.azimuth_rad)) & (depression > -_LOWEST_RAD)
    upright = (estimate.family == VERTICAL) & (estimate.segments.length > _LEAST_UPRIGHT)
    low = ends[upright, ends[upright, :, 1].argmax(1)] if upright.any() else np.zeros((0, 2))
    # What the picture's lower edge cuts off does not end there.
    low = low[low[:, 1] < 0.985 * camera.height_px]
    foot_column, foot_depression = polar(low)
    seen = (foot_column >= 0) & (foot_column < len(view.azimuth_rad)) & (foot_depression > -_LOWEST_RAD)
    return FloorEdges(
        level_column=column[inside],
        level_rad=depression[inside],
        foot_column=foot_column[seen],
        foot_rad=foot_depression[seen],
    )


def moved_onto_edges(contact_rad: np.ndarray, edges: FloorEdges) -> np.ndarray:
    """[A] depressions of the contacts [A] on the nearest edge, where there is one near enough; NaN stays."""
    out = contact_rad.copy()
    off = edges.level_rad - contact_rad[edges.level_column]
    near = np.flatnonzero(np.abs(off) < SNAP_RAD)
    # The nearest comes last and stays; of a skirting's two edges the lower one is the wall's foot.
    distance = np.where(off > 0, 0.6 * off, -off)
    near = near[np.argsort(-distance[near], kind="stable")]
    out[edges.level_column[near]] = edges.level_rad[near]
    for column, foot in zip(edges.foot_column, edges.foot_rad, strict=True):
        part = slice(max(0, column - _FOOT_COLUMNS), column + _FOOT_COLUMNS + 1)
        lower = (foot > out[part]) & (foot < out[part] + FOOT_RAD)
        out[part] = np.where(lower, foot, out[part])
    return out
