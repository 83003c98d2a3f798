"""The layers of a world as arrays that a browser can draw, each within a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..certify.space import FreeSpace
from ..core.frames import rotation_from_quat_wxyz, transform_points
from ..core.grid import Cell
from ..core.mesh import Label, TriMesh
from ..core.splats import GaussianCloud
from ..core.views import SOURCE_PAINTED, SOURCE_PHOTO, RgbdView
from ..reconstruction.splat_budget import compress_splats, shape_importance

FREE_RAMP = np.array([[214, 69, 65], [244, 190, 79], [96, 186, 108], [40, 130, 160]], float)
"""Colours of clearance, from touching to roomy; the first is where the robot does not fit."""
OCCUPIED_RGBA = (24, 27, 33, 200)
FREE_ALPHA = 190
_SPREAD = (0.7548776662, 0.5698402910, 0.6180339887)
"""Steps of a pixel's rank from column to column, row to row and view to view; multiples of the first two, modulo 1,
fill the plane evenly."""


@dataclass(frozen=True, kw_only=True)
class PointLayer:
    """Coloured points."""

    points_world: np.ndarray
    """[N, 3] float32 [m]."""
    rgb_u8: np.ndarray
    """[N, 3]."""


@dataclass(frozen=True, kw_only=True)
class SplatLayer:
    """Gaussians as browsers take them."""

    centres_world: np.ndarray
    """[N, 3] float32 [m]."""
    covariances_m2: np.ndarray
    """[N, 3, 3] float32."""
    rgb: np.ndarray
    """[N, 3] float32 in 0..1."""
    opacities: np.ndarray
    """[N, 1] float32."""
    in_world: int
    """How many the world has; those shown may be merged from them."""


@dataclass(frozen=True, kw_only=True)
class FreeSpaceLayer:
    """The map, seen from above, as a picture that lies on the floor."""

    rgba_u8: np.ndarray
    """[H, W, 4]; the first row is the highest y, the first column the lowest x."""
    size_m: tuple[float, float]
    """Along x and along y."""
    centre_world: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class CertificateLayer:
    """What the certificate found, where it has a place."""

    reached: tuple[np.ndarray, ...]
    """[K, 2] ways that the certificate's robot drove to their goals [m]."""
    missed: tuple[np.ndarray, ...]
    """[K, 2] ways that ended short of them [m]."""
    looks: tuple[tuple[np.ndarray, float, float], ...]
    """Where sensors were compared: position [3] [m], heading [rad], share of pixels where depth disagrees [%]."""


def point_layer(views: Sequence[RgbdView], budget: int) -> PointLayer:
    """Points of what the views were the first to show, spread evenly over all of their pixels; sky is left out."""
    chosen, ranks = [], []
    for index in range(len(views)):
        view = views[index]
        own = view.valid & np.isin(view.source, (SOURCE_PHOTO, SOURCE_PAINTED)) & (view.labels != Label.SKY)
        row, col = np.nonzero(own)
        chosen.append(row * own.shape[1] + col)
        # Pixels below any rank lie evenly in both directions; every n-th pixel of a row would stand in columns.
        ranks.append((col * _SPREAD[0] + row * _SPREAD[1] + index * _SPREAD[2]) % 1.0)
    every = np.concatenate([np.zeros(0), *ranks])
    highest = np.partition(every, budget)[budget] if len(every) > budget else np.inf
    points, colours = [np.zeros((0, 3))], [np.zeros((0, 3), np.uint8)]
    for index, (pixels, rank) in enumerate(zip(chosen, ranks, strict=True)):
        view, kept = views[index], pixels[rank < highest]
        rays_cam = view.camera.rays_cam().reshape(-1, 3)[kept]
        points.append(transform_points(view.T_world_cam, rays_cam * view.depth_z_m.reshape(-1, 1)[kept]))
        colours.append(view.rgb_u8.reshape(-1, 3)[kept])
    return PointLayer(points_world=np.concatenate(points).astype(np.float32), rgb_u8=np.concatenate(colours))


def splat_layer(splats: GaussianCloud, budget: int) -> SplatLayer:
    """All splats, or as many as the budget allows, merged where neighbours look alike."""
    count = len(splats)
    if count > budget:
        splats = compress_splats(splats, budget, shape_importance(splats))
    R = rotation_from_quat_wxyz(splats.quats_wxyz)
    spread = R * splats.scales_m[:, None, :].astype(float)
    return SplatLayer(
        centres_world=splats.means.astype(np.float32),
        covariances_m2=(spread @ spread.swapaxes(-1, -2)).astype(np.float32),
        rgb=splats.rgb().astype(np.float32),
        opacities=splats.opacities[:, None].astype(np.float32),
        in_world=count,
    )


def free_space_layer(space: FreeSpace, floor_z_m: float) -> FreeSpaceLayer:
    """The map coloured by clearance: red where the robot does not fit, blue where there is room."""
    grid = space.grid
    # A robot's radius is the end of the first quarter of the ramp, so that the eye sees at once where it fits.
    at = np.clip(space.clearance_m / max(space.robot_radius_m, 1e-3), 0, len(FREE_RAMP) - 1)
    rgb = np.stack([np.interp(at, np.arange(len(FREE_RAMP)), FREE_RAMP[:, c]) for c in range(3)], -1)
    rgba = np.zeros((*grid.shape, 4), np.uint8)
    rgba[..., :3] = np.round(rgb)
    rgba[..., 3] = FREE_ALPHA
    rgba[grid.cells == Cell.OCCUPIED] = OCCUPIED_RGBA
    rgba[grid.cells == Cell.UNKNOWN] = 0
    rows, cols = grid.shape
    width_m, height_m = cols * grid.cell_m, rows * grid.cell_m
    x, y = grid.origin_xy_m
    return FreeSpaceLayer(
        rgba_u8=np.ascontiguousarray(rgba[::-1]),
        size_m=(width_m, height_m),
        centre_world=(x + width_m / 2, y + height_m / 2, floor_z_m + 0.02),
    )


def certificate_layer(certificate: dict[str, Any]) -> CertificateLayer:
    """Driven ways and compared looks of a certificate; what makes no sense in it is left out."""
    ways: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for drive in _objects(certificate.get("drives")):
        trace = _numbers(drive.get("trace_xy_m"), 2)
        if trace is not None:
            ways[drive.get("reached") is True].append(trace)
    sensors = certificate.get("facts")
    sensors = sensors.get("sensors") if isinstance(sensors, dict) else None
    looks = []
    for look in _objects(sensors.get("views") if isinstance(sensors, dict) else None):
        place = _numbers([look.get("position_m")], 3)
        numbers = _numbers([[look.get("heading_deg"), look.get("disagree_percent")]], 2)
        if place is not None and numbers is not None:
            looks.append((place[0], math.radians(numbers[0, 0]), float(numbers[0, 1])))
    return CertificateLayer(reached=tuple(ways[True]), missed=tuple(ways[False]), looks=tuple(looks))


def outline(mesh: TriMesh, side: np.ndarray) -> np.ndarray:
    """Edges [E, 2, 3] between the flat sides of a mesh, each once.

    Args:
        mesh: triangles.
        side: [F] number of the flat side that a face belongs to.
    """
    ends = mesh.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    keys = np.sort(ends, axis=1)
    of = np.repeat(side, 3)
    # An edge inside a flat side is met twice with the same number; every other one is drawn.
    _, inverse, counts = np.unique(np.c_[keys, of], axis=0, return_inverse=True, return_counts=True)
    rim = keys[counts[inverse.reshape(-1)] == 1]
    return mesh.vertices[np.unique(rim, axis=0)]


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _numbers(value: Any, width: int) -> np.ndarray | None:
    """[K, width] finite numbers, or None."""
    try:
        numbers = np.asarray(value, float)
    except (TypeError, ValueError):
        return None
    good = numbers.ndim == 2 and numbers.shape[1] == width and len(numbers) and np.isfinite(numbers).all()
    return numbers if good else None
