"""Depth maps to one surface without any proxy: a sparse distance field, planar priors, simplification, labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..core.errors import InputError
from ..core.frames import rotate_vectors, transform_points
from ..core.mesh import Label, TriMesh
from ..core.optional import require
from ..core.progress import SILENT, SupportsProgress
from ..core.raycast import Raycaster
from ..core.simplify import simplify
from ..core.views import RgbdView
from .close import close_holes
from .flatten import flatten
from .volume import SparseVolume, usable

MIN_VOXEL_M = 0.02
FINE_FACES = 600_000
"""About how many faces the surface has before it is simplified; larger worlds get larger voxels."""
MOST_BLOCKS = 30_000
"""Blocks of voxels that a size of our own choice may need; about 65 faces come from one."""
MAX_FACES = 60_000
FLAT_VOXELS = 0.4
"""What is this close to a plane belongs to it, unless the surface is noisier than that."""
ERROR_M = 0.004
"""Root mean square distance that simplification may move the surface."""
FLOATER_FACES = 60
"""Loose pieces smaller than this are noise, not furniture."""
VOTERS_PX = 20_000
"""Pixels of each view that vote for labels, evenly chosen."""
COARSE_M = 0.15


def fuse_views(
    views: Sequence[RgbdView], *, voxel_m: float | None = None, progress: SupportsProgress = SILENT
) -> TriMesh:
    """Surface of all valid depth that is no sky, labelled by vote of the views, faces towards free space.

    Nearly flat parts become exactly flat with sharp edges between them (`flatten`), flat parts have few faces, and
    floor in the shadow of things is closed (`close_holes`).

    Args:
        views: depth along the optical axis, all in one world frame.
        voxel_m: edge of a voxel; by default the width of a typical pixel on the surface, or as small as the bound on
            faces and memory allows.
        progress: one step per view, called "fusing".

    Raises:
        InputError: no view holds valid depth, or the voxels asked for are too small for so large a world.
        DependencyError: numba or scipy is missing.
    """
    low, high = _extent(views)
    wanted_m = voxel_m
    if voxel_m is None:
        voxel_m = max(MIN_VOXEL_M, 0.8 * _pixel_m(views), float(np.sqrt(2 * _area_m2(views, low, high) / FINE_FACES)))
    volume = SparseVolume(low, high, voxel_m)
    while volume.mark(views) > MOST_BLOCKS and wanted_m is None:
        # Ground seen at a low angle is far larger than the few pixels on it let expect.
        voxel_m = 1.25 * voxel_m
        volume = SparseVolume(low, high, voxel_m)
    volume.fuse(views, progress=progress)
    fine = drop_floaters(volume.surface())
    if not fine.face_count:
        return replace(fine, face_labels=np.zeros(0, np.uint8))
    flat = flatten(fine, tolerance_m=max(FLAT_VOXELS * voxel_m, 2.5 * roughness_m(fine)), reach_m=1.2 * voxel_m)
    mesh, _ = simplify(flat.mesh, error_m=min(ERROR_M, 0.1 * voxel_m), max_faces=MAX_FACES, rank=flat.rank)
    return close_holes(label_faces(mesh, views), views)


def roughness_m(mesh: TriMesh) -> float:
    """Median height of a vertex over the mean of its neighbours: zero on planes, about the noise on a noisy surface."""
    edge = np.concatenate([mesh.faces[:, :2], mesh.faces[:, 1:], mesh.faces[:, ::2]])
    n = len(mesh.vertices)
    count = np.bincount(edge.ravel(), minlength=n)
    mean = (
        np.stack(
            [
                np.bincount(edge[:, 0], mesh.vertices[edge[:, 1], k], n)
                + np.bincount(edge[:, 1], mesh.vertices[edge[:, 0], k], n)
                for k in range(3)
            ],
            -1,
        )
        / np.maximum(count, 1)[:, None]
    )
    from .flatten_numba import vertex_normals

    normal = vertex_normals(np.ascontiguousarray(mesh.vertices), np.ascontiguousarray(mesh.faces), 1)
    return float(np.median(np.abs(np.einsum("ij,ij->i", mesh.vertices - mean, normal))))


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
    votes = np.zeros((mesh.face_count, len(Label)), np.int64)
    caster = Raycaster(mesh)
    for view in views:
        if not view.labels.any():
            continue
        step = max(1, int(np.sqrt(view.labels.size / VOTERS_PX)))
        pick = (slice(step // 2, None, step), slice(step // 2, None, step))
        rays_world = rotate_vectors(view.T_world_cam, view.camera.rays_cam()[pick].reshape(-1, 3))
        t, face, _ = caster.cast(view.T_world_cam[:3, 3], rays_world)
        depth, labels = view.depth_z_m[pick].ravel(), view.labels[pick].ravel()
        # Depth must agree, or a wrong surface in front would collect the votes for what it hides.
        with np.errstate(invalid="ignore"):
            near = np.abs(t - depth) < 0.05 * depth + 0.05
        ok = view.valid[pick].ravel() & (face >= 0) & near & (labels < len(Label))
        index = face[ok].astype(np.int64) * len(Label) + labels[ok]
        votes += np.bincount(index, minlength=votes.size).reshape(votes.shape)
    labels = votes.argmax(1).astype(np.uint8)
    voted = votes.any(1)
    if voted.any() and not voted.all():
        spatial = require("scipy.spatial", extra="recon", package="scipy")
        centres, normals = mesh.triangles().mean(1), mesh.face_normals()
        # A narrow face at the foot of a wall belongs to what faces the same way.
        key = np.c_[centres, 0.5 * normals]
        _, nearest = spatial.cKDTree(key[voted]).query(key[~voted])
        labels[~voted] = labels[voted][nearest]
    return replace(mesh, face_labels=labels)


def _points(view: RgbdView, step: int) -> np.ndarray:
    """[N, 3] world points of every so many-th solid pixel."""
    mask = usable(view)[::step, ::step]
    return transform_points(view.T_world_cam, view.camera.unproject(view.depth_z_m)[::step, ::step][mask])


def _pixel_m(views: Sequence[RgbdView]) -> float:
    """Median width of a pixel on the surface: finer voxels would only carry noise."""
    return float(np.median([np.median(v.depth_z_m[usable(v)]) / v.camera.fx_px for v in views if usable(v).any()]))


def _area_m2(views: Sequence[RgbdView], low: np.ndarray, high: np.ndarray) -> float:
    """About the area of all surfaces, by the coarse cells that they pass."""
    cells = [np.unique(np.floor((_points(view, 4) - low) / COARSE_M).astype(np.int64), axis=0) for view in views]
    cell = np.concatenate(cells)
    cell = cell[((cell >= 0) & (cell * COARSE_M <= high - low)).all(1)]
    # A surface passes about one and a half times as many cells as its area would fill.
    return len(np.unique(cell, axis=0)) * COARSE_M**2 / 1.5


def _extent(views: Sequence[RgbdView]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner of nearly all points; a few stray ones must not blow up the grid."""
    lows, highs = [], []
    for view in views:
        points = _points(view, 2 if view.valid.size > 20_000 else 1)
        if len(points):
            lows.append(np.quantile(points, 0.001, axis=0))
            highs.append(np.quantile(points, 0.999, axis=0))
    if not lows:
        raise InputError("no view holds valid depth of anything solid; there is no surface to fuse")
    return np.min(lows, 0), np.max(highs, 0)
