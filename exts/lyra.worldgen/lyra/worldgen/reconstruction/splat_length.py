"""How long a splat may be, and long ones as rows of shorter ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..core.frames import rotation_from_quat_wxyz
from ..core.mesh import Label
from ..core.splats import GaussianCloud
from ..core.views import RgbdView
from .splat_shape import MERGED_SPREAD

LONGEST_M = 0.08
"""Standard deviations that no splat of a surface exceeds while the budget allows [m].

A robot comes within arm's length of floor that the photo saw from afar, and of walls that were seen at a low angle.
Splats as large as their distance to the camera are drawn wrongly by every renderer that projects them linearly, and
cover half of its picture."""
LONGEST_RAD, LONGEST_FAR_M = 0.012, 0.15
"""Seen from farther away the limit is this angle, up to another length [m]: the budget is needed near by."""
_MOST_PIECES = 24


def longest_m_at(distance_m: np.ndarray) -> np.ndarray:
    """Most that a splat's standard deviations may be, lifted from this far away; any shape [m]."""
    return np.maximum(np.minimum(LONGEST_RAD * distance_m, LONGEST_FAR_M), LONGEST_M)


def longest_m_of(cloud: GaussianCloud, owner: np.ndarray, views: list[RgbdView]) -> np.ndarray:
    """[N] most that each splat's standard deviations may be, by its distance from the view that it was lifted from."""
    eyes = np.stack([view.T_world_cam[:3, 3] for view in views])
    distance_m = np.linalg.norm(cloud.means - eyes[owner], axis=1)
    return longest_m_at(distance_m)


def pieces(cloud: GaussianCloud, longest_m: np.ndarray) -> np.ndarray:
    """[N, 3] int: into how many pieces along each axis a splat is cut so that none is longer; scenery is not cut."""
    count = np.clip(np.ceil(cloud.scales_m / longest_m[:, None]), 1, _MOST_PIECES).astype(np.int64)
    if cloud.labels is not None:
        count[np.isin(cloud.labels, (Label.SKY, Label.BACKDROP))] = 1
    return count


def cut_long(
    cloud: GaussianCloud, owner: np.ndarray, budget: int, longest_m: np.ndarray
) -> tuple[GaussianCloud, np.ndarray]:
    """Splats longer than `longest_m` [N] as rows of shorter ones that cover the same pixels; fewer without room."""
    count = pieces(cloud, longest_m)
    while len(cloud) + int((count.prod(1) - 1).sum()) > budget:
        longest_m = 1.25 * longest_m
        count = pieces(cloud, longest_m)
        if (count == 1).all():
            return cloud, owner
    copies = count.prod(1)
    row = np.repeat(np.arange(len(cloud)), copies)
    place = np.arange(len(row)) - np.repeat(np.cumsum(copies) - copies, copies)
    shape = count[row]
    index = np.stack(
        [place % shape[:, 0], place // shape[:, 0] % shape[:, 1], place // (shape[:, 0] * shape[:, 1])], -1
    )
    scales_m = cloud.scales_m[row] / shape
    # Pieces lie side by side as pixels do, whose width a splat covers with `MERGED_SPREAD` of it.
    local = (index - 0.5 * (shape - 1)) * scales_m / MERGED_SPREAD
    axes = rotation_from_quat_wxyz(cloud.quats_wxyz[row].astype(np.float64))
    cut = cloud.take(row)
    means = cut.means + np.einsum("nij,nj->ni", axes, local)
    return replace(cut, means=means.astype(np.float32), scales_m=scales_m.astype(np.float32)), owner[row]
