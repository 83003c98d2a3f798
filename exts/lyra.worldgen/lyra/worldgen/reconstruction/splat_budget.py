"""Compression of a cloud to a number of splats: the ones that matter least for what is seen are left out."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..core.camera import PinholeCamera
from ..core.machine import map_threads
from ..core.splats import GaussianCloud
from .splat_render import gather_splats, project_splats

SPREAD_CAP = 0.99
"""Share of the splats whose area counts in full: a few sky-sized ones must not rule."""


def seen_importance(splats: GaussianCloud, views: Iterable[tuple[PinholeCamera, np.ndarray]]) -> np.ndarray:
    """[N] float64: what each splat adds to the pictures, in whole pixels summed over the views.

    It is the sum of the blending weights of the renderer, opacity times what nearer splats let through times the
    Gaussian's value at the pixel, so opacity, projected area and occlusion are in it exactly: a picture changes by at
    most this many pixels' worth of colour when the splat goes.

    Args:
        splats: the cloud.
        views: camera and T_world_cam of each.
    """

    def of_view(view: tuple[PinholeCamera, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        camera, T_world_cam = view
        projected = project_splats(splats, camera, T_world_cam)
        nothing = np.zeros((camera.height_px, camera.width_px, 3))
        return projected.index, gather_splats(projected, nothing)[1]

    total = np.zeros(len(splats))
    for index, weight in map_threads(of_view, views):
        total[index] += weight
    return total


def shape_importance(splats: GaussianCloud) -> np.ndarray:
    """[N] float64: opacity times the area of the splat's largest cross-section, where no views are known.

    Areas above the 99th percentile count as that.
    """
    scales_m = np.sort(splats.scales_m.astype(np.float64), 1)
    area = scales_m[:, 1] * scales_m[:, 2]
    if len(area):
        area = np.minimum(area, np.quantile(area, SPREAD_CAP))
    return area * splats.opacities


def keep_most_important(splats: GaussianCloud, importance: np.ndarray, count: int) -> GaussianCloud:
    """The `count` splats of the highest importance [N], in their old order; of equals the first."""
    if len(splats) <= count:
        return splats
    chosen = np.argsort(-importance, kind="stable")[:count]
    return splats.take(np.sort(chosen))
