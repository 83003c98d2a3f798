"""Columns of a photo read from the floor upwards: floor, what stands on it, the wall, ceiling or sky.

Columns are azimuths, not image columns, so a rolled camera changes nothing. Each column is the most probable path
through the label probabilities under the grammar of rooms (Viterbi): floor, objects, wall, then ceiling or sky.

Source of the idea: Badino, Franke and Pfeiffer, "The Stixel World" (2009), and Pfeiffer and Franke's multi-layer
stixels (2011).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import rotate_vectors
from ..core.optional import require
from .label_net import CEILING, FLOOR, OBJECT, SKY, WALL

AZIMUTH_BINS = 1440
"""Bins of a full turn; a photo's sector uses those that it sees."""
ELEVATION_STEP_RAD = math.radians(0.25)
_LOWEST_RAD, _HIGHEST_RAD = math.radians(-80.0), math.radians(75.0)
_STEEPEST_SECTOR_RAD = math.radians(60.0)
"""Pixels that look up or down more steeply do not widen the sector: near the poles azimuth means little."""

# Cost of one row in nats, scaled because neighbouring rows are not independent.
_ROW_WEIGHT = 0.25
_NEVER = 60.0
_CHANGE = np.full((5, 5), _NEVER)
for _from, _to, _cost in (
    (FLOOR, WALL, 1.5),
    (FLOOR, OBJECT, 2.0),
    (FLOOR, SKY, 3.0),
    (FLOOR, CEILING, 12.0),
    (OBJECT, FLOOR, 3.0),
    (OBJECT, WALL, 1.5),
    (OBJECT, SKY, 2.0),
    (OBJECT, CEILING, 3.0),
    (WALL, CEILING, 1.0),
    (WALL, SKY, 1.0),
    (WALL, OBJECT, 8.0),
    (CEILING, WALL, 8.0),
    (SKY, CEILING, 6.0),
    (CEILING, SKY, 6.0),
):
    _CHANGE[_from, _to] = _cost
np.fill_diagonal(_CHANGE, 0.0)
_START = np.array([0.0, 1.5, _NEVER, 1.5, _NEVER])
"""Cost of the lowest visible row being each class; ceiling and sky can only start above the horizon."""


@dataclass(frozen=True, kw_only=True)
class PolarView:
    """A photo resampled to azimuth and elevation about the vertical through the camera."""

    azimuth_rad: np.ndarray
    """[A] bin centres, ascending (left positive), on the raster of `AZIMUTH_BINS`."""
    elevation_rad: np.ndarray
    """[E] row centres, ascending."""
    pixel_uv: np.ndarray
    """[E, A, 2] photo pixel of every sample."""
    seen: np.ndarray
    """[E, A] bool: inside the photo."""

    def sample(self, layers: np.ndarray, camera: PinholeCamera) -> np.ndarray:
        """[K, E, A] of maps [K, h, w] that span the photo; edge values continue outside."""
        cv2 = require("cv2", extra="gen", package="opencv-python-headless")
        scale = np.array([layers.shape[2] / camera.width_px, layers.shape[1] / camera.height_px])
        uv = (self.pixel_uv * scale - 0.5).astype(np.float32)
        u, v = np.ascontiguousarray(uv[..., 0]), np.ascontiguousarray(uv[..., 1])
        return np.stack([cv2.remap(layer, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for layer in layers])


def polar_view(camera: PinholeCamera, T_world_cam: np.ndarray) -> PolarView:
    """The azimuths and elevations that a photo sees, heading 0."""
    rim = _rim_directions(camera, T_world_cam)
    horizontal = np.hypot(rim[:, 0], rim[:, 1])
    azimuth, elevation = np.arctan2(rim[:, 1], rim[:, 0]), np.arctan2(rim[:, 2], horizontal)
    moderate = np.abs(elevation) < _STEEPEST_SECTOR_RAD
    # The optical axis keeps the sector from being empty for a camera that looks straight up or down.
    step = 2.0 * np.pi / AZIMUTH_BINS
    spread = np.concatenate([azimuth[moderate], [-step, step]])
    first, last = math.floor(spread.min() / step), math.ceil(spread.max() / step)
    first, last = max(first, -AZIMUTH_BINS // 2), min(last, AZIMUTH_BINS // 2)
    az = (np.arange(first, last) + 0.5) * step
    low = max(float(elevation.min()), _LOWEST_RAD)
    high = min(float(elevation.max()), _HIGHEST_RAD)
    low, high = min(low, -2.0 * ELEVATION_STEP_RAD), max(high, 2.0 * ELEVATION_STEP_RAD)
    # Rows meet at the horizon exactly, so that no row is half floor and half sky.
    el = (np.arange(math.floor(low / ELEVATION_STEP_RAD), math.ceil(high / ELEVATION_STEP_RAD)) + 0.5) * (
        ELEVATION_STEP_RAD
    )
    direction = np.stack(
        [
            np.cos(el)[:, None] * np.cos(az),
            np.cos(el)[:, None] * np.sin(az),
            np.broadcast_to(np.sin(el)[:, None], (len(el), len(az))),
        ],
        -1,
    )
    uv, depth = camera.project(rotate_vectors(T_world_cam.T, direction))
    uv = np.where(depth[..., None] > 0.02, uv, -1e4)
    seen = (uv[..., 0] >= 0) & (uv[..., 0] <= camera.width_px) & (uv[..., 1] >= 0) & (uv[..., 1] <= camera.height_px)
    return PolarView(azimuth_rad=az, elevation_rad=el, pixel_uv=np.clip(uv, -1e4, 1e5), seen=seen)


def _rim_directions(camera: PinholeCamera, T_world_cam: np.ndarray) -> np.ndarray:
    """World directions [N, 3] of points along the picture's rim and inside it."""
    u, v = np.meshgrid(np.linspace(0, camera.width_px, 65), np.linspace(0, camera.height_px, 65))
    rays = np.stack(
        [(u - camera.cx_px) / camera.fx_px, (v - camera.cy_px) / camera.fy_px, np.ones_like(u)], -1
    ).reshape(-1, 3)
    return rotate_vectors(T_world_cam, rays)


def parse_columns(probability: np.ndarray, view: PolarView) -> np.ndarray:
    """[E, A] int8 class of every sample, -1 outside the photo.

    Args:
        probability: [5, E, A] label probabilities.
        view: where they lie.
    """
    cost = _ROW_WEIGHT * np.minimum(-np.log(np.maximum(probability, 1e-4)), 5.0)
    below = view.elevation_rad < 0.0
    cost[[CEILING, SKY]] += np.where(below, _NEVER, 0.0)[:, None]
    cost[FLOOR] += np.where(below, 0.0, _NEVER)[:, None]
    cost = np.where(view.seen, cost, 0.0)
    rows, columns = view.seen.shape
    total = np.full((columns, 5), np.inf)
    came_from = np.zeros((rows, columns, 5), np.int8)
    started = np.zeros(columns, bool)
    for row in range(rows):
        seen = view.seen[row]
        step = total[:, :, None] + _CHANGE
        best = step.argmin(1)
        value = np.take_along_axis(step, best[:, None], 1)[:, 0]
        fresh = seen & ~started
        value[fresh] = _START
        best[fresh] = np.arange(5)
        total = np.where(seen[:, None], value + cost[:, row].T, total)
        came_from[row] = np.where(seen[:, None], best, np.arange(5))
        started |= seen
    labels = np.full((rows, columns), -1, np.int8)
    state = total.argmin(1)
    for row in range(rows - 1, -1, -1):
        labels[row] = np.where(view.seen[row], state, -1)
        state = np.take_along_axis(came_from[row], state[:, None], 1)[:, 0].astype(int)
    return labels


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Vertical runs of one class, from the bottom of every column upwards."""

    column: np.ndarray
    """[R] int."""
    label: np.ndarray
    """[R] int class of `label_net`."""
    low_rad: np.ndarray
    """[R] elevation of the lower edge."""
    high_rad: np.ndarray
    """[R] elevation of the upper edge."""
    first: np.ndarray
    """[R] bool: nothing of the column is seen below."""
    last: np.ndarray
    """[R] bool: nothing of the column is seen above."""

    def next_label(self) -> np.ndarray:
        """[R] class of the run above, -1 for the last."""
        return np.where(self.last, -1, np.append(self.label[1:], -1))

    def previous_label(self) -> np.ndarray:
        """[R] class of the run below, -1 for the first."""
        return np.where(self.first, -1, np.insert(self.label[:-1], 0, -1))


def column_runs(labels: np.ndarray, view: PolarView) -> Runs:
    """Runs of the parsed columns [E, A], ordered by column, then upwards."""
    by_column = labels.T
    columns, rows = by_column.shape
    padded = np.pad(by_column, ((0, 0), (1, 1)), constant_values=-1)
    starts = (padded[:, 1:-1] != padded[:, :-2]) & (by_column >= 0)
    ends = (padded[:, 1:-1] != padded[:, 2:]) & (by_column >= 0)
    column, low = np.nonzero(starts)
    _, high = np.nonzero(ends)
    half = 0.5 * ELEVATION_STEP_RAD
    label = by_column[column, low].astype(int)
    first = np.insert(column[1:] != column[:-1], 0, True) if len(column) else np.zeros(0, bool)
    last = np.append(column[1:] != column[:-1], True) if len(column) else np.zeros(0, bool)
    assert columns == len(view.azimuth_rad) and rows == len(view.elevation_rad), "labels and view differ in size"
    return Runs(
        column=column,
        label=label,
        low_rad=view.elevation_rad[low] - half,
        high_rad=view.elevation_rad[high] + half,
        first=first,
        last=last,
    )
