"""Depth maps to one surface without any proxy: a truncated signed distance field and marching cubes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.errors import InputError
from ..core.frames import invert_rigid, transform_points
from ..core.mesh import Label, TriMesh
from ..core.optional import require
from ..core.progress import SILENT, SupportsProgress
from ..core.views import RgbdView

MAX_VOXELS = 6_000_000
MIN_VOXEL_M = 0.02
TRUNCATION_VOXELS = 4.0
MAX_FACES = 60_000
FLOATER_FACES = 60
"""Loose pieces smaller than this are noise, not furniture."""


def fuse_views(
    views: Sequence[RgbdView], *, voxel_m: float | None = None, progress: SupportsProgress = SILENT
) -> TriMesh:
    """Surface of all valid depth that is no sky, labelled by vote of the views, faces towards free space.

    Args:
        views: depth along the optical axis, all in one world frame.
        voxel_m: edge of a voxel; by default the width of a typical pixel on the surface, or as small as the memory
            bound allows.
        progress: one step per view, called "fusing".

    Raises:
        InputError: no view holds valid depth.
        DependencyError: scikit-image or fast-simplification is missing.
    """
    measure = require("skimage.measure", extra="recon", package="scikit-image")
    low, high = _extent(views)
    size_m = np.maximum(high - low, 0.1)
    if voxel_m is None:
        voxel_m = max(MIN_VOXEL_M, float(np.prod(size_m) / MAX_VOXELS) ** (1 / 3), _pixel_m(views))
    margin = TRUNCATION_VOXELS * voxel_m
    shape = np.ceil((size_m + 2 * margin) / voxel_m).astype(int) + 1
    if np.prod(shape.astype(float)) > 4 * MAX_VOXELS:
        raise InputError(f"voxel_m is {voxel_m}; a grid of {shape.tolist()} voxels is too large, choose larger voxels")
    origin = low - margin
    distance, weight = _integrate(views, origin, voxel_m, tuple(shape.tolist()), progress)
    seen = weight > 0
    if not ((distance < 0) & seen).any() or not ((distance > 0) & seen).any():
        return TriMesh(vertices=np.zeros((0, 3)), faces=np.zeros((0, 3), np.int32), face_labels=np.zeros(0, np.uint8))
    # Distance grows into free space, and "descent" turns the faces towards it.
    vertices, faces, _, _ = measure.marching_cubes(distance, 0.0, mask=seen, gradient_direction="descent")
    mesh = TriMesh(vertices=origin + vertices.astype(np.float64) * voxel_m, faces=faces.astype(np.int32))
    mesh = drop_floaters(mesh)
    if mesh.face_count > MAX_FACES:
        simplify = require("fast_simplification", extra="recon", package="fast-simplification")
        points, triangles = simplify.simplify(
            mesh.vertices.astype(np.float32), mesh.faces, target_count=MAX_FACES, agg=4
        )
        mesh = TriMesh(vertices=points.astype(np.float64), faces=triangles.astype(np.int32))
    return label_faces(mesh, views)


def drop_floaters(mesh: TriMesh, *, min_faces: int = FLOATER_FACES) -> TriMesh:
    """Without connected pieces of fewer faces; the largest piece always stays."""
    sparse = require("scipy.sparse", extra="recon", package="scipy")
    csgraph = require("scipy.sparse.csgraph", extra="recon", package="scipy")
    if not mesh.face_count:
        return mesh
    edge = np.concatenate([mesh.faces[:, :2], mesh.faces[:, 1:]])
    n = len(mesh.vertices)
    graph = sparse.coo_matrix((np.ones(len(edge)), (edge[:, 0], edge[:, 1])), (n, n))
    _, piece = csgraph.connected_components(graph, directed=False)
    of_face = piece[mesh.faces[:, 0]]
    count = np.bincount(of_face)
    return mesh.select_faces((count[of_face] >= min_faces) | (of_face == np.argmax(count)))


def label_faces(mesh: TriMesh, views: Sequence[RgbdView]) -> TriMesh:
    """With the label that most pixels give each face; faces nobody sees take the nearest labelled face's."""
    from dataclasses import replace

    from .surface_hits import cast_views

    votes = np.zeros((mesh.face_count, len(Label)), np.int64)
    for view, hit in zip(views, cast_views(mesh, views), strict=True):
        # Depth must agree, or a wrong surface in front would collect the votes for what it hides.
        near = np.abs(hit.depth_z_m - view.depth_z_m) < 0.05 * view.depth_z_m + 0.05
        ok = view.valid & (hit.face >= 0) & near & (view.labels < len(Label))
        index = hit.face[ok].astype(np.int64) * len(Label) + view.labels[ok]
        votes += np.bincount(index, minlength=votes.size).reshape(votes.shape)
    labels = votes.argmax(1).astype(np.uint8)
    voted = votes.any(1)
    if voted.any() and not voted.all():
        spatial = require("scipy.spatial", extra="recon", package="scipy")
        centres = mesh.triangles().mean(1)
        _, nearest = spatial.cKDTree(centres[voted]).query(centres[~voted])
        labels[~voted] = labels[voted][nearest]
    return replace(mesh, face_labels=labels)


def _usable(view: RgbdView) -> np.ndarray:
    """[H, W] bool: depth of something solid."""
    return view.valid & (view.labels != Label.SKY) & np.isfinite(view.depth_z_m) & (view.depth_z_m > 0)


def _pixel_m(views: Sequence[RgbdView]) -> float:
    """Median width of a pixel on the surface: finer voxels would only carry noise."""
    return float(np.median([np.median(v.depth_z_m[_usable(v)]) / v.camera.fx_px for v in views if _usable(v).any()]))


def _extent(views: Sequence[RgbdView]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner of nearly all points; a few stray ones must not blow up the grid."""
    lows, highs = [], []
    for view in views:
        mask = _usable(view)
        if mask.any():
            points = transform_points(view.T_world_cam, view.camera.unproject(view.depth_z_m)[mask])
            lows.append(np.quantile(points, 0.001, axis=0))
            highs.append(np.quantile(points, 0.999, axis=0))
    if not lows:
        raise InputError("no view holds valid depth of anything solid; there is no surface to fuse")
    return np.min(lows, 0), np.max(highs, 0)


def _integrate(
    views: Sequence[RgbdView], origin: np.ndarray, voxel_m: float, shape: tuple[int, ...], progress: SupportsProgress
) -> tuple[np.ndarray, np.ndarray]:
    """Truncated signed distance (in truncation lengths, positive in free space) and weight of every voxel."""
    from . import fuse_numba

    distance, weight = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for view in progress.track("fusing", views):
        T_cam_world = invert_rigid(view.T_world_cam)
        depth_m = np.where(_usable(view), view.depth_z_m, 0.0).astype(np.float32)
        c = view.camera
        fuse_numba.integrate(
            distance,
            weight,
            np.asarray(origin, float),
            voxel_m,
            TRUNCATION_VOXELS * voxel_m,
            np.ascontiguousarray(T_cam_world[:3, :3]),
            np.ascontiguousarray(T_cam_world[:3, 3]),
            np.array([c.fx_px, c.fy_px, c.cx_px, c.cy_px]),
            depth_m,
        )
    return distance, weight
