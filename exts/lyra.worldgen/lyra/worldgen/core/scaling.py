"""Similarity by a factor: records in the units of a world's memory become records in metres.

Everything below `memory/` keeps the units in which it was painted; `scale.metres_per_unit` of `world.json` says how
many metres one of them is, and everything else in a world folder is in metres. So a world can be rescaled, and scaled
back, without a bit of its memory changing. A factor of exactly 1 returns the record itself.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from .errors import InputError
from .mesh import TriMesh
from .splats import GaussianCloud
from .views import PhotoGeometry, PolarLayout, RgbdView, WorldViews

FACTOR_RANGE = (1e-3, 1e3)
"""Nobody's photo is off by more; a factor outside is a slip of units."""


def expect_factor(name: str, factor: float) -> float:
    """Return `factor` if a world can be scaled by it; raises `InputError` otherwise."""
    low, high = FACTOR_RANGE
    if not (math.isfinite(factor) and low <= factor <= high):
        raise InputError(f"{name} is {factor:g}; expected {low:g} to {high:g} metres per unit")
    return float(factor)


def scaled_mesh(mesh: TriMesh, factor: float) -> TriMesh:
    """The mesh with every length times `factor`."""
    return mesh if factor == 1.0 else replace(mesh, vertices=_times(mesh.vertices, factor))


def scaled_splats(splats: GaussianCloud, factor: float) -> GaussianCloud:
    """The splats with every length times `factor`; spherical harmonics depend on directions only."""
    if factor == 1.0:
        return splats
    return replace(splats, means=_times(splats.means, factor), scales_m=_times(splats.scales_m, factor))


def scaled_poses(Ts_world: np.ndarray, factor: float) -> np.ndarray:
    """Poses [..., 4, 4] with translations times `factor`."""
    if factor == 1.0:
        return Ts_world
    scaled = np.array(Ts_world, float)
    scaled[..., :3, 3] *= factor
    return scaled


def scaled_view(view: RgbdView, factor: float) -> RgbdView:
    """The same picture from the same place of a world with every length times `factor`."""
    if factor == 1.0:
        return view
    return replace(view, T_world_cam=scaled_poses(view.T_world_cam, factor), depth_z_m=_times(view.depth_z_m, factor))


def scaled_views(views: WorldViews, factor: float) -> WorldViews:
    """All views, their proxy world and their path with every length times `factor`."""
    if factor == 1.0:
        return views
    return replace(
        views,
        views=[scaled_view(view, factor) for view in views.views],
        proxy=None if views.proxy is None else scaled_mesh(views.proxy, factor),
        ceiling_m=None if views.ceiling_m is None else views.ceiling_m * factor,
        Ts_world_path=scaled_poses(views.Ts_world_path, factor),
    )


def scaled_geometry(geometry: PhotoGeometry, factor: float) -> PhotoGeometry:
    """What is known about the photo's space with every length times `factor`; the doubt is relative and stays."""
    if factor == 1.0:
        return geometry
    return replace(
        geometry,
        T_world_cam=scaled_poses(geometry.T_world_cam, factor),
        depth_z_m=_times(geometry.depth_z_m, factor),
        layout=_scaled_layout(geometry.layout, factor),
    )


def _scaled_layout(layout: PolarLayout, factor: float) -> PolarLayout:
    return replace(
        layout,
        boundary_m=layout.boundary_m * factor,
        boundary_top_m=layout.boundary_top_m * factor,
        object_near_m=layout.object_near_m * factor,
        object_far_m=layout.object_far_m * factor,
        object_top_m=layout.object_top_m * factor,
        ceiling_m=None if layout.ceiling_m is None else layout.ceiling_m * factor,
        camera_height_m=layout.camera_height_m * factor,
    )


def _times(lengths: np.ndarray, factor: float) -> np.ndarray:
    """The product, rounded once, in the type of `lengths`."""
    return (np.asarray(lengths, np.float64) * factor).astype(lengths.dtype)
