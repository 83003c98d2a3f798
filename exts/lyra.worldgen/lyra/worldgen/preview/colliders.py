"""Edges of the collision geometry drawn over a picture."""

from __future__ import annotations

import numpy as np

from ..core.camera import PinholeCamera
from ..sim.usd_read import ColliderMesh
from .raster import MeshRasteriser

EDGE_RGB = np.array([64, 224, 255])


def draw_wireframe(
    colliders: ColliderMesh, camera: PinholeCamera, T_world_cam: np.ndarray, backdrop_u8: np.ndarray
) -> np.ndarray:
    """[H, W, 3] uint8: edges of the nearest colliders over a dimmed picture [H, W, 3] of the same camera."""
    h, w = camera.height_px, camera.width_px
    face = MeshRasteriser(colliders.mesh).render(camera.resized(2 * w, 2 * h), T_world_cam).face
    side = np.where(face >= 0, colliders.side[face], -1)
    edge = np.zeros(side.shape, bool)
    edge[:, :-1] |= side[:, :-1] != side[:, 1:]
    edge[:-1] |= side[:-1] != side[1:]
    share = edge.reshape(h, 2, w, 2).mean((1, 3))[..., None]
    amount = np.clip(1.6 * share, 0, 1)
    grey = backdrop_u8.mean(-1, keepdims=True)
    dim = 0.45 * (0.5 * backdrop_u8 + 0.5 * grey)
    return (dim * (1 - amount) + EDGE_RGB * amount).astype(np.uint8)
