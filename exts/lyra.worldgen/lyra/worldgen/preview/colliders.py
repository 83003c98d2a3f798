"""Edges of the collision geometry drawn over a picture."""

from __future__ import annotations

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import transform_points
from ..sim.usd_read import ColliderMesh
from .raster import MeshRasteriser

EDGE_RGB = np.array([64, 224, 255])
PARALLEL = 0.999
"""Cosine between normals of what counts as one surface."""
FLUSH_M = 0.02
"""A box backs a mesh this close, and the picture shows now the one, now the other."""


def draw_wireframe(
    colliders: ColliderMesh, camera: PinholeCamera, T_world_cam: np.ndarray, backdrop_u8: np.ndarray
) -> np.ndarray:
    """[H, W, 3] uint8: edges of the nearest colliders over a dimmed picture [H, W, 3] of the same camera."""
    h, w = camera.height_px, camera.width_px
    large = camera.resized(2 * w, 2 * h)
    image = MeshRasteriser(colliders.mesh).render(large, T_world_cam)
    edge = _edges(colliders, image.face, transform_points(T_world_cam, large.unproject(image.depth_z_m)))
    share = edge.reshape(h, 2, w, 2).mean((1, 3))[..., None]
    amount = np.clip(1.6 * share, 0, 1)
    grey = backdrop_u8.mean(-1, keepdims=True)
    dim = 0.45 * (0.5 * backdrop_u8 + 0.5 * grey)
    return (dim * (1 - amount) + EDGE_RGB * amount).astype(np.uint8)


def _edges(colliders: ColliderMesh, face: np.ndarray, points_world: np.ndarray) -> np.ndarray:
    """[H, W] bool: the pixel on the right or below shows another flat side that does not lie in the same plane.

    Args:
        face: [H, W] face that a pixel shows, -1 for none.
        points_world: [H, W, 3] where.
    """
    side = np.where(face >= 0, colliders.side[face], -1)
    normal = colliders.mesh.face_normals()[face]
    edge = np.zeros(face.shape, bool)
    for here, there in (((slice(None), slice(None, -1)), (slice(None), slice(1, None))), (np.s_[:-1], np.s_[1:])):
        a, b = face[here], face[there]
        parallel = np.abs(np.einsum("ijk,ijk->ij", normal[here], normal[there])) > PARALLEL
        with np.errstate(invalid="ignore"):
            apart_m = np.abs(np.einsum("ijk,ijk->ij", normal[here], points_world[there] - points_world[here]))
        flush = (a >= 0) & (b >= 0) & parallel & (apart_m < FLUSH_M)
        edge[here] |= (side[here] != side[there]) & ~flush
    return edge
