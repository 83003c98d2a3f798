"""The photo as a level strip: rows are elevation, columns azimuth, both equidistant.

A camera that turns on the spot sees the strip slide past unchanged, so patches and columns can be copied along it
without perspective getting in the way. Azimuth follows the world frame: +X is 0, left positive; columns run to the
right, so azimuth descends along them, as elevation does along the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera

MIN_ROW_COVERAGE = 0.6
"""A row belongs to the strip when the photo fills this share of what it fills in its best row."""
MIN_COLUMN_COVERAGE = 0.6
"""A column belongs to the photo's sector when the photo fills this share of the strip's rows."""
MULTIPLE_PX = 16
"""Strip sizes are multiples of this, so that four halvings stay exact."""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """A full turn resampled from the photo."""

    rgb: np.ndarray
    """[R, C, 3] float32 in 0..255; zero where the photo has no pixel."""
    from_photo: np.ndarray
    """[R, C] bool."""
    labels: np.ndarray
    """[R, C] uint8 `Label`, nearest; 0 outside the photo."""
    elevation_rad: np.ndarray
    """[R] row centres, descending."""
    azimuth_rad: np.ndarray
    """[C] column centres, descending over exactly one turn."""
    sector: tuple[int, int]
    """First column and end of the columns that the photo fills well."""

    @property
    def step_rad(self) -> float:
        """Azimuth between neighbouring columns [rad]."""
        return 2 * np.pi / len(self.azimuth_rad)


def elevation_map(camera: PinholeCamera, T_world_cam: np.ndarray) -> np.ndarray:
    """Elevation of every pixel's ray above the horizon [rad], [H, W] float32."""
    rays = camera.rays_cam()
    up_cam = T_world_cam[2, :3]
    return np.arcsin(np.clip(rays @ up_cam / np.linalg.norm(rays, axis=-1), -1.0, 1.0)).astype(np.float32)


def project_directions(
    camera: PinholeCamera, T_world_cam: np.ndarray, elevation_rad: np.ndarray, azimuth_rad: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Photo pixels [R, C, 2] of directions and whether they fall inside the photo [R, C].

    Elevation and azimuth are the rows and columns of a grid, or one each for every pixel.
    """
    el, az = elevation_rad, azimuth_rad
    if el.ndim == 1:
        el, az = np.meshgrid(elevation_rad, azimuth_rad, indexing="ij")
    rays_world = np.stack([np.cos(el) * np.cos(az), np.cos(el) * np.sin(az), np.sin(el)], -1)
    rays_cam = rays_world @ T_world_cam[:3, :3]
    # Rays nearly at right angles to the optical axis project to infinity; no real photo reaches them.
    front = rays_cam[..., 2] > 0.02
    px, _ = camera.project(np.where(front[..., None], rays_cam, [0.0, 0.0, 1.0]))
    u, v = px[..., 0], px[..., 1]
    inside = front & (u >= 0.5) & (u <= camera.width_px - 0.5) & (v >= 0.5) & (v <= camera.height_px - 0.5)
    return px, inside


def level_strip(
    rgb_u8: np.ndarray,
    labels: np.ndarray,
    camera: PinholeCamera,
    T_world_cam: np.ndarray,
    *,
    rows_max: int,
    columns_max: int = 2880,
) -> Strip:
    """Resample a photo to a level strip over a full turn, at the photo's own resolution where the limits allow.

    The strip spans the elevations that the photo really shows: rows beyond them would hold invented content only.

    Args:
        rgb_u8: [H, W, 3].
        labels: [H, W] uint8.
        camera, T_world_cam: of the photo; any pitch and roll.
        rows_max, columns_max: upper limits of the strip's size [px].
    """
    import cv2

    low, high, sector = _extent(camera, T_world_cam)
    span = high - low
    px_per_rad = min(0.5 * (camera.fx_px + camera.fy_px), rows_max / span, columns_max / (2 * np.pi))
    rows = max(MULTIPLE_PX, int(span * px_per_rad / MULTIPLE_PX + 0.5) * MULTIPLE_PX)
    columns = max(8 * MULTIPLE_PX, int(2 * np.pi * px_per_rad / MULTIPLE_PX + 0.5) * MULTIPLE_PX)
    elevation = high - (np.arange(rows) + 0.5) * span / rows
    azimuth = np.pi - (np.arange(columns) + 0.5) * 2 * np.pi / columns

    # Reduce first, so that the resampling below neither skips nor repeats photo pixels.
    scale = min(1.0, px_per_rad / camera.fx_px)
    size = (max(2, round(camera.width_px * scale)), max(2, round(camera.height_px * scale)))
    picture = cv2.resize(rgb_u8, size, interpolation=cv2.INTER_AREA) if scale < 1 else rgb_u8
    px, inside = project_directions(camera, T_world_cam, elevation, azimuth)
    map_x = (px[..., 0] * size[0] / camera.width_px - 0.5).astype(np.float32)
    map_y = (px[..., 1] * size[1] / camera.height_px - 0.5).astype(np.float32)
    resampled = cv2.remap(picture.astype(np.float32), map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    u = np.clip(px[..., 0].astype(int), 0, camera.width_px - 1)
    v = np.clip(px[..., 1].astype(int), 0, camera.height_px - 1)
    first = int(np.floor((np.pi - sector[1]) / (2 * np.pi) * columns))
    end = int(np.ceil((np.pi - sector[0]) / (2 * np.pi) * columns))
    return Strip(
        rgb=np.where(inside[..., None], np.clip(resampled, 0, 255), 0).astype(np.float32),
        from_photo=inside,
        labels=np.where(inside, labels[v, u], 0).astype(np.uint8),
        elevation_rad=elevation,
        azimuth_rad=azimuth,
        sector=_well_filled(inside, max(0, first), min(columns, end)),
    )


def _extent(camera: PinholeCamera, T_world_cam: np.ndarray) -> tuple[float, float, tuple[float, float]]:
    """Lowest and highest elevation and the azimuth interval [rad] that the photo fills, on a half-degree grid."""
    step = np.radians(0.5)
    elevation = np.arange(np.pi / 2 - step / 2, -np.pi / 2, -step)
    azimuth = np.arange(np.pi - step / 2, -np.pi, -step)
    _, inside = project_directions(camera, T_world_cam, elevation, azimuth)
    filled = inside.sum(1)
    if not filled.any():
        # A telephoto picture thinner than the grid: take its middle.
        half = 0.5 * min(camera.hfov_rad, camera.vfov_rad)
        middle = float(np.arcsin(np.clip(T_world_cam[2, 2], -1, 1)))
        return middle - half, middle + half, (-half, half)
    row = int(filled.argmax())
    good = filled >= MIN_ROW_COVERAGE * filled[row]
    top, bottom = row, row
    while top > 0 and good[top - 1]:
        top -= 1
    while bottom + 1 < len(good) and good[bottom + 1]:
        bottom += 1
    seen = np.flatnonzero(inside[top : bottom + 1].any(0))
    return (
        float(elevation[bottom] - step / 2),
        float(elevation[top] + step / 2),
        (float(azimuth[seen[-1]] - step / 2), float(azimuth[seen[0]] + step / 2)),
    )


def _well_filled(inside: np.ndarray, first: int, end: int) -> tuple[int, int]:
    """Longest run of columns within [first, end) that the photo fills well."""
    good = inside[:, first:end].mean(0) >= MIN_COLUMN_COVERAGE
    if not good.any():
        good = inside[:, first:end].any(0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], good.astype(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    longest = int((ends - starts).argmax())
    return first + int(starts[longest]), first + int(ends[longest])
