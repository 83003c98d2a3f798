"""How well splats cover points of the surface."""

from __future__ import annotations

import numpy as np

from ..core.frames import rotation_from_quat_wxyz
from ..core.machine import core_count
from ..core.optional import require
from ..core.splats import GaussianCloud

NEIGHBOURS = 8
"""Splats that are asked at every point: where more than these are near, they are small and the point is covered."""
REACH_M = 0.6
"""Splats whose centre is farther away cover nothing [m]; no splat of a surface is that long."""
OFF_PLANE_M = 0.01
OFF_PLANE_SHARE = 0.3
"""A splat belongs to a point's surface when it lies no farther off its plane than a length, or than this share of its
own middle standard deviation."""
_CHUNK = 100_000


def transparency(points: np.ndarray, normals: np.ndarray, splats: GaussianCloud) -> np.ndarray:
    """[N] share of the light that the splats let through at points of the surface, looking along the normal.

    Args:
        points: [N, 3] on the surface [m].
        normals: [N, 3] unit, either side.
        splats: those that lie on the surface; what stands in front or behind does not count.
    """
    light = np.ones(len(points))
    if not len(splats) or not len(points):
        return light
    KDTree = require("scipy.spatial", extra="recon", package="scipy").cKDTree
    tree = KDTree(splats.means)
    near_count = min(NEIGHBOURS, len(splats))
    for start in range(0, len(points), _CHUNK):
        rows = slice(start, start + _CHUNK)
        distance_m, near = tree.query(points[rows], near_count, distance_upper_bound=REACH_M, workers=core_count())
        distance_m, near = distance_m.reshape(-1, near_count), near.reshape(-1, near_count)
        # Beyond three and a half standard deviations nothing is seen of a splat.
        reach_m = np.append(3.5 * splats.scales_m.max(1), 0.0)[np.minimum(near, len(splats))]
        at, slot = np.nonzero(distance_m < reach_m)
        which = near[at, slot]
        apart = points[rows][at] - splats.means[which]
        axes = rotation_from_quat_wxyz(splats.quats_wxyz[which])
        scales_m = splats.scales_m[which].astype(np.float64)
        thin = np.argmin(scales_m, 1)
        each = np.arange(len(thin))
        normal = normals[rows][at]
        off_m = np.abs(np.einsum("ni,ni->n", apart, normal))
        facing = np.abs(np.einsum("ni,ni->n", axes[each, :, thin], normal))
        local = np.einsum("nij,ni->nj", axes, apart) / scales_m
        # Rounding of a millimetre off the plane is many times the thickness of a disc.
        local[each, thin] = 0.0
        alpha = splats.opacities[which] * np.exp(-0.5 * np.einsum("nj,nj->n", local, local))
        same = (off_m <= np.maximum(OFF_PLANE_M, OFF_PLANE_SHARE * np.median(scales_m, 1))) & (facing > 0.7)
        np.multiply.at(light[rows], at, 1.0 - np.where(same, alpha, 0.0))
    return light
