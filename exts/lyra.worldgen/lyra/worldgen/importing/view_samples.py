"""Posed depth as surface samples, and what every pixel of it is once the scene stands upright."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import rotate_vectors, transform_points
from ..core.mesh import Label
from .samples import SAMPLES, SurfaceSamples
from .view_consistency import DepthPicture

FLOOR_REACH_M = 0.06
CEILING_REACH_M = 0.15
LEVEL_COS = 0.85
UPRIGHT_COS = 0.35
CELL_M = 0.1
WALL_RISE = 0.8
"""Share of the room's height that a column of the plan must reach to be a wall."""
WALL_RISE_OUTDOORS_M = 1.8
_JUMP = 0.1
"""Relative step of depth between neighbours that is no surface."""


def depth_normals(camera: PinholeCamera, depth_z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals towards the camera [H, W, 3] in cam, and where they mean something [H, W].

    Args:
        camera: of the depth map.
        depth_z: [H, W] along the optical axis, 0 where unknown.
    """
    points = camera.unproject(depth_z.astype(np.float64))
    left, right = np.roll(depth_z, 1, 1), np.roll(depth_z, -1, 1)
    up, down = np.roll(depth_z, 1, 0), np.roll(depth_z, -1, 0)
    ok = depth_z > 0
    for other in (left, right, up, down):
        ok &= (other > 0) & (np.abs(other - depth_z) < _JUMP * depth_z)
    ok[[0, -1]], ok[:, [0, -1]] = False, False
    across = np.roll(points, -1, 1) - np.roll(points, 1, 1)
    along = np.roll(points, -1, 0) - np.roll(points, 1, 0)
    normal = np.cross(along, across)
    length = np.linalg.norm(normal, axis=-1)
    ok &= length > 0
    normal /= np.maximum(length, 1e-300)[..., None]
    # Towards the camera: against the ray.
    normal *= -np.sign((normal * points).sum(-1) + 1e-300)[..., None]
    return normal, ok


def sample_views(
    pictures: Sequence[DepthPicture], rgb_u8: Sequence[np.ndarray], *, count: int = SAMPLES, seed: int = 0
) -> SurfaceSamples:
    """Points of all depth maps, weighted by the surface that each pixel shows.

    Args:
        pictures: depth in one world.
        rgb_u8: [H, W, 3] of each.
        count: number of points in all.
        seed: of which pixels they are.
    """
    rng = np.random.default_rng([seed, 0x71E35])
    points, normals, weights, luma = [], [], [], []
    for picture, rgb in zip(pictures, rgb_u8, strict=True):
        normal_cam, ok = depth_normals(picture.camera, picture.depth_z)
        known = np.flatnonzero(ok)
        if not len(known):
            continue
        pick = np.sort(rng.choice(known, min(count // len(pictures), len(known)), replace=False))
        depth = picture.depth_z.reshape(-1)[pick].astype(np.float64)
        rays = picture.camera.rays_cam().reshape(-1, 3)[pick]
        normal = normal_cam.reshape(-1, 3)[pick]
        facing = np.maximum(-(normal * rays).sum(1) / np.linalg.norm(rays, axis=1), 0.1)
        points.append(transform_points(picture.T_world_cam, rays * depth[:, None]))
        normals.append(rotate_vectors(picture.T_world_cam, normal))
        weights.append(depth**2 / (picture.camera.fx_px * picture.camera.fy_px * facing) * (len(known) / len(pick)))
        luma.append(rgb.reshape(-1, 3)[pick] @ np.array([0.299, 0.587, 0.114]) / 255.0)
    if not points:
        return SurfaceSamples(
            points=np.zeros((0, 3)), normals=np.zeros((0, 3)), weights=np.zeros(0), luma=np.zeros(0), signed=True
        )
    weight = np.concatenate(weights)
    weight = np.minimum(weight, 20.0 * np.median(weight))
    return SurfaceSamples(
        points=np.concatenate(points),
        normals=np.concatenate(normals),
        weights=weight / weight.sum(),
        luma=np.concatenate(luma),
        signed=True,
    )


def label_pixels(
    pictures: Sequence[DepthPicture], *, metres_per_unit: float, ceiling_m: float | None
) -> list[np.ndarray]:
    """[H, W] uint8 `Label` of each picture: floor and ceiling by height, walls by how high their place reaches.

    Args:
        pictures: in an upright world, floor at z = 0.
        metres_per_unit: of that world.
        ceiling_m: height of the ceiling; None without one.
    """
    rise_m = WALL_RISE_OUTDOORS_M if ceiling_m is None else WALL_RISE * ceiling_m
    parts = []
    for picture in pictures:
        normal_cam, ok = depth_normals(picture.camera, picture.depth_z)
        points_cam = picture.camera.unproject(picture.depth_z.astype(np.float64))
        points = transform_points(picture.T_world_cam, points_cam) * metres_per_unit
        slope = rotate_vectors(picture.T_world_cam, normal_cam)[..., 2]
        parts.append((points, np.where(ok, slope, 0.5), picture.depth_z > 0))
    low = np.min([points[known][:, :2].min(0) for points, _, known in parts if known.any()], axis=0)
    high = np.max([points[known][:, :2].max(0) for points, _, known in parts if known.any()], axis=0)
    # Far strays must not make the plan large.
    low, high = np.maximum(low, -500.0), np.minimum(high, 500.0)
    shape = tuple(np.ceil((high - low) / CELL_M).astype(int) + 1)
    tall = np.zeros(shape, np.int64)
    cells = []
    for points, slope, known in parts:
        cell = np.clip(((points[..., :2] - low) / CELL_M), 0, np.array(shape) - 1).astype(np.int64)
        cells.append(cell)
        top = known & (np.abs(slope) < UPRIGHT_COS) & (points[..., 2] > rise_m)
        if ceiling_m is not None:
            top &= points[..., 2] < ceiling_m + CEILING_REACH_M
        np.add.at(tall, (cell[..., 0][top], cell[..., 1][top]), 1)
    wall_cell = tall >= 3
    grown = wall_cell.copy()
    for axis in (0, 1):
        grown |= np.roll(wall_cell, 1, axis) | np.roll(wall_cell, -1, axis)
    labels = []
    for (points, slope, known), cell in zip(parts, cells, strict=True):
        label = np.full(known.shape, Label.OBJECT, np.uint8)
        label[grown[cell[..., 0], cell[..., 1]] & (np.abs(slope) < 0.8)] = Label.WALL
        height = points[..., 2]
        label[(slope > LEVEL_COS) & (np.abs(height) < FLOOR_REACH_M)] = Label.FLOOR
        # Where the slope is not known, at edges, the height alone decides close to the floor.
        label[(np.abs(height) < 0.3 * FLOOR_REACH_M)] = Label.FLOOR
        if ceiling_m is not None:
            label[(slope < -LEVEL_COS) & (np.abs(height - ceiling_m) < CEILING_REACH_M)] = Label.CEILING
        label[~known] = Label.UNKNOWN
        labels.append(label)
    return labels
