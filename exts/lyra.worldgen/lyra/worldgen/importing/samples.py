"""The surface of a scene as weighted points with normals: what orientation, floor and size are found from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.frames import rotation_from_quat_wxyz
from ..core.mesh import TriMesh
from ..core.optional import require
from ..core.splats import GaussianCloud

SAMPLES = 150_000
FLAT = 0.5
"""A splat whose least axis is below this share of the middle one has a normal."""
NEIGHBOURS = 12


@dataclass(frozen=True, kw_only=True)
class SurfaceSamples:
    """N points on the surfaces of a scene, in the scene's own axes and units."""

    points: np.ndarray
    """[N, 3] float64."""
    normals: np.ndarray
    """[N, 3] float64 unit."""
    weights: np.ndarray
    """[N] float64 share of the surface that the point stands for; sums to 1."""
    luma: np.ndarray
    """[N] float64 brightness 0..1; 0.5 where there is no colour."""
    signed: bool
    """Whether normals point into free space, as far as the file knows; else their sign means nothing."""

    def __len__(self) -> int:
        return len(self.points)

    def turned(self, R_new_old: np.ndarray) -> SurfaceSamples:
        """In axes turned by a rotation [3, 3]."""
        return SurfaceSamples(
            points=self.points @ R_new_old.T,
            normals=self.normals @ R_new_old.T,
            weights=self.weights,
            luma=self.luma,
            signed=self.signed,
        )


def sample_mesh(
    mesh: TriMesh, luma: np.ndarray | None = None, *, count: int = SAMPLES, seed: int = 0
) -> SurfaceSamples:
    """Points spread evenly over the faces of a mesh by area.

    Args:
        mesh: with at least one face that has an area.
        luma: [F] brightness 0..1 of the faces.
        count: number of points.
        seed: of where on the faces they lie.
    """
    rng = np.random.default_rng([seed, 0x736D706C])
    area = mesh.face_areas_m2()
    # Systematic sampling: every face gets its share to within one point.
    at = (np.arange(count) + rng.random()) / count * area.sum()
    face = np.minimum(np.searchsorted(np.cumsum(area), at), len(area) - 1)
    a, b = np.sqrt(rng.random(count)), rng.random(count)
    corner = mesh.triangles()[face]
    points = corner[:, 0] * (1 - a)[:, None] + corner[:, 1] * (a * (1 - b))[:, None] + corner[:, 2] * (a * b)[:, None]
    return SurfaceSamples(
        points=points,
        normals=mesh.face_normals()[face],
        weights=np.full(count, 1.0 / count),
        luma=np.full(count, 0.5) if luma is None else luma[face],
        signed=True,
    )


def sample_splats(splats: GaussianCloud, *, count: int = SAMPLES) -> SurfaceSamples:
    """Centres of splats, weighted by what they cover: opacity times area, no single one more than fifty usual ones."""
    step = max(1, -(-len(splats) // count))
    chosen = splats.take(np.arange(0, len(splats), step))
    scales = np.sort(chosen.scales_m.astype(np.float64), 1)
    area = scales[:, 1] * scales[:, 2]
    weights = chosen.opacities * np.minimum(area, 50 * np.median(area))
    normals = splat_normals(chosen)
    flat = scales[:, 0] < FLAT * scales[:, 1]
    if weights[flat].sum() < 0.5 * weights.sum():
        normals = neighbour_normals(chosen.means.astype(np.float64))
    return SurfaceSamples(
        points=chosen.means.astype(np.float64),
        normals=normals,
        weights=weights / max(weights.sum(), 1e-300),
        luma=chosen.rgb().astype(np.float64) @ (0.299, 0.587, 0.114),
        signed=False,
    )


def splat_normals(splats: GaussianCloud) -> np.ndarray:
    """[N, 3] float64 direction of the least axis of each splat; its sign means nothing."""
    axes = rotation_from_quat_wxyz(splats.quats_wxyz.astype(np.float64))
    thin = np.argmin(splats.scales_m, 1)
    return axes[np.arange(len(splats)), :, thin]


def neighbour_normals(points: np.ndarray, *, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """[N, 3] direction in which the nearest neighbours of each point spread least."""
    spatial = require("scipy.spatial", extra="recon", package="scipy")
    k = min(neighbours, len(points))
    _, near = spatial.cKDTree(points).query(points, k=k, workers=-1)
    near = near.reshape(len(points), -1)
    normals = np.empty_like(points)
    for start in range(0, len(points), 50_000):
        around = points[near[start : start + 50_000]]
        around = around - around.mean(1, keepdims=True)
        _, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", around, around))
        normals[start : start + 50_000] = vectors[:, :, 0]
    return normals
