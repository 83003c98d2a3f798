"""LiDAR scans of a world, by rays against what is seen or against what collides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.errors import InputError
from ..core.frames import expect_rigid, rotate_vectors
from .world import SensorWorld

SURFACES = ("mesh", "collider")


@dataclass(frozen=True, kw_only=True)
class LidarPattern:
    """Beams that turn about the sensor's +Z."""

    elevations_rad: tuple[float, ...]
    """One per beam, upwards positive."""
    azimuth_count: int
    """Rays of a full turn, the first along +X, on towards +Y."""
    min_range_m: float = 0.05
    max_range_m: float = 100.0

    def __post_init__(self) -> None:
        if not self.elevations_rad or self.azimuth_count < 1 or not 0 <= self.min_range_m < self.max_range_m:
            raise InputError(
                f"lidar has {len(self.elevations_rad)} beams, {self.azimuth_count} rays a turn and a range of "
                f"{self.min_range_m} to {self.max_range_m} m; expected at least one of each and a positive range"
            )

    def directions(self) -> np.ndarray:
        """Unit directions [beams, azimuths, 3] in the sensor's frame: +X forward, +Y left, +Z up."""
        elevation = np.asarray(self.elevations_rad, float)[:, None]
        azimuth = 2 * np.pi * np.arange(self.azimuth_count)[None] / self.azimuth_count
        flat = np.cos(elevation)
        up = np.broadcast_to(np.sin(elevation), (len(elevation), self.azimuth_count))
        return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), up], -1)


PLANAR_LIDAR = LidarPattern(elevations_rad=(0.0,), azimuth_count=720)
"""A safety scanner: one level beam, half a degree a ray."""
LIDAR_16 = LidarPattern(elevations_rad=tuple(np.radians(np.arange(-15.0, 16.0, 2.0)).tolist()), azimuth_count=360)
"""Sixteen beams from 15 degrees below to 15 degrees above level, one degree a ray."""


@dataclass(frozen=True, kw_only=True)
class LidarScan:
    """One turn; arrays are [beams, azimuths]."""

    range_m: np.ndarray
    """float64 distance along the ray; 0 where `valid` is false."""
    valid: np.ndarray
    """bool: something was hit within the pattern's range."""
    labels: np.ndarray
    """uint8 `Label` of what was hit."""
    points_world: np.ndarray
    """[beams, azimuths, 3] float64; the sensor's own place where `valid` is false."""


def scan_lidar(
    world: SensorWorld, T_world_lidar: np.ndarray, pattern: LidarPattern, *, surface: str = "mesh"
) -> LidarScan:
    """One turn of a LiDAR without noise.

    Args:
        world: from `load_sensor_world`.
        T_world_lidar: [4, 4] rigid pose, +X forward, +Y left, +Z up.
        pattern: beams and range.
        surface: `mesh` for what is seen (sky is not hit), `collider` for what a physics engine would hit.

    Raises:
        InputError: the pose is not rigid, or the surface has another name.
    """
    if surface not in SURFACES:
        raise InputError(f"surface is '{surface}'; expected one of: {', '.join(SURFACES)}")
    T_world_lidar = expect_rigid("T_world_lidar", T_world_lidar)
    caster = world.mesh_caster if surface == "mesh" else world.collider_caster
    directions = rotate_vectors(T_world_lidar, pattern.directions())
    shape = directions.shape[:2]
    range_m, face, _ = caster.cast(T_world_lidar[:3, 3], directions.reshape(-1, 3))
    range_m, face = range_m.reshape(shape), face.reshape(shape)
    valid = (range_m >= pattern.min_range_m) & (range_m <= pattern.max_range_m)
    range_m = np.where(valid, range_m, 0.0)
    own = caster.mesh.face_labels
    labels = np.zeros(shape, np.uint8) if own is None else np.where(valid, own[np.maximum(face, 0)], 0).astype(np.uint8)
    return LidarScan(
        range_m=range_m,
        valid=valid,
        labels=labels,
        points_world=T_world_lidar[:3, 3] + range_m[..., None] * directions,
    )
