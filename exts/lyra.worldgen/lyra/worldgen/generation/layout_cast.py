"""Depth and labels of every pixel, cast from a polar layout: planes stay planar and edges sharp at any size."""

from __future__ import annotations

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import rotate_vectors
from ..core.mesh import Label
from ..core.views import PolarLayout

SKY_FACTOR = 3.0
"""Distance of the sky in units of the farthest boundary."""
UPRIGHT_GAP_M = 0.05
_SMOOTH_LOG = 0.1
"""Neighbouring columns closer than this (log distance) are one surface; farther apart they are two."""


def cast_layout(layout: PolarLayout, camera: PinholeCamera, T_world_cam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """depth_z_m [H, W] float32 and labels [H, W] uint8 seen by a camera above the origin.

    Azimuths outside the layout's sector take its first or last column.
    """
    rays = rotate_vectors(T_world_cam, camera.rays_cam())
    across = np.maximum(np.hypot(rays[..., 0], rays[..., 1]), 1e-9)
    slope = rays[..., 2] / across
    azimuth = np.arctan2(rays[..., 1], rays[..., 0])
    h = layout.camera_height_m
    count = len(layout.azimuth_rad)
    position = np.clip((azimuth - layout.azimuth_rad[0]) / layout.step_rad, 0.0, count - 1.0)
    column = np.minimum(np.round(position).astype(np.int32), count - 1)
    wall = boundary_at(layout, position)
    wall_top = layout.boundary_top_m[column]

    with np.errstate(divide="ignore", over="ignore"):
        floor = np.where(slope < 0, -h / np.minimum(slope, -1e-12), np.inf)
        if layout.ceiling_m is None:
            ceiling = np.full_like(slope, np.inf)
        else:
            ceiling = np.where(slope > 0, (layout.ceiling_m - h) / np.maximum(slope, 1e-12), np.inf)
    wall_z = h + np.minimum(wall, 1e6) * slope
    wall = np.where(wall_z <= wall_top, wall, np.inf)

    distance = np.minimum(np.minimum(floor, ceiling), wall)
    labels = np.where(
        distance == floor,
        np.uint8(Label.FLOOR),
        np.where(distance == wall, layout.boundary_label[column].astype(np.uint8), np.uint8(Label.CEILING)),
    )
    for near, far, top in _object_layers(layout):
        # Where the ray is at the near face, and where it comes down onto the top.
        n, f, t = near[column], far[column], top[column]
        z = h + n * slope
        front = (z >= 0) & (z <= t)
        with np.errstate(divide="ignore", invalid="ignore"):
            onto_top = np.where(slope < 0, (t - h) / np.minimum(slope, -1e-12), np.inf)
        over = (onto_top >= n) & (onto_top <= f)
        hit = np.where(front, n, np.where(over, onto_top, np.inf))
        closer = hit < distance
        distance = np.where(closer, hit, distance)
        upright = np.where(reaches_ceiling(t, layout.ceiling_m), np.uint8(Label.WALL), np.uint8(Label.OBJECT))
        labels = np.where(closer, upright, labels)
    sky = ~np.isfinite(distance)
    labels = np.where(sky, np.uint8(Label.SKY), labels)
    sky_range = SKY_FACTOR * float(layout.boundary_m.max())
    # The ray has unit z in the camera, so its own parameter is depth along the optical axis.
    depth = np.where(sky, sky_range / np.sqrt(1.0 + slope**2), distance) / across
    return np.clip(depth, 0.05, 150.0).astype(np.float32), labels.astype(np.uint8)


def reaches_ceiling(top_m: np.ndarray, ceiling_m: float | None) -> np.ndarray:
    """[...] bool: what stands so high is a pillar or the end of a wall and no object."""
    if ceiling_m is None:
        return np.zeros(np.shape(top_m), bool)
    return np.asarray(top_m) > ceiling_m - UPRIGHT_GAP_M


def boundary_at(layout: PolarLayout, position: np.ndarray) -> np.ndarray:
    """Boundary distance at fractional columns; inverse distance is linear along a straight wall, jumps stay jumps."""
    count = len(layout.azimuth_rad)
    low = np.clip(np.floor(position).astype(np.int32), 0, max(count - 2, 0))
    high = np.minimum(low + 1, count - 1)
    fraction = position - low
    near, far = layout.boundary_m[low], layout.boundary_m[high]
    smooth = np.abs(np.log(near / far)) < _SMOOTH_LOG
    blended = 1.0 / ((1.0 - fraction) / near + fraction / far)
    return np.where(smooth, blended, np.where(fraction < 0.5, near, far))


def _object_layers(layout: PolarLayout) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """near, far, top [A] of the first, second, ... object of each column; nothing stands at inf."""
    count = len(layout.azimuth_rad)
    order = np.lexsort((layout.object_near_m, layout.object_bin))
    bins = layout.object_bin[order]
    rank = np.arange(len(bins)) - np.searchsorted(bins, bins)
    layers = []
    for k in range(int(rank.max(initial=-1)) + 1):
        pick = order[rank == k]
        near, far, top = np.full(count, np.inf), np.full(count, -np.inf), np.full(count, -1.0)
        near[layout.object_bin[pick]] = layout.object_near_m[pick]
        far[layout.object_bin[pick]] = layout.object_far_m[pick]
        top[layout.object_bin[pick]] = layout.object_top_m[pick]
        near = np.where(np.isfinite(near), near, 1e9)
        layers.append((near, far, top))
    return layers
