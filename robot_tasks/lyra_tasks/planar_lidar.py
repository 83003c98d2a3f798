"""The planar lidar of the tasks in plain NumPy: ranges in the section of a world's colliders at the lidar's height."""

from __future__ import annotations

import math

import numpy as np

from lyra.worldgen.core.mesh import TriMesh
from lyra.worldgen.sim.occupancy import cut_at


def ray_angles(rays: int) -> np.ndarray:
    """[rays] direction of each ray in the robot's frame [rad], counter-clockwise, the first pointing backwards."""
    return 2 * math.pi * np.arange(rays) / rays - math.pi


class PlanarLidar:
    """Ranges to colliders in one level plane; walls are seen from both sides.

    Args:
        colliders: world frame.
        height_m: of the plane, world frame.
    """

    def __init__(self, colliders: TriMesh, height_m: float) -> None:
        start, end = cut_at(colliders.triangles(), height_m)
        self._start = start[:, :2]
        self._along = end[:, :2] - self._start

    def ranges_m(self, xy_m: np.ndarray, yaw_rad: float, *, rays: int, max_range_m: float) -> np.ndarray:
        """[rays] distance to the first collider from a position [2], `max_range_m` where there is none nearer."""
        angle = yaw_rad + ray_angles(rays)[:, None]
        dx, dy = np.cos(angle), np.sin(angle)
        to_x, to_y = (self._start - xy_m).T
        along_x, along_y = self._along.T
        # Ray o + t d meets a + u e: cross both sides of a - o + u e = t d with e, and with d.
        across = dx * along_y - dy * along_x
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (to_x * along_y - to_y * along_x) / across
            u = (to_x * dy - to_y * dx) / across
            # A hair beyond the ends, so that no ray slips through where two pieces meet.
            hit = (t >= 0) & (u >= -1e-9) & (u <= 1 + 1e-9)
        return np.where(hit, t, np.inf).min(1, initial=max_range_m)
