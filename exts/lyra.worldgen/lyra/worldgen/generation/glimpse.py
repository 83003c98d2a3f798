"""What is known about a view before it is painted: from memory, from what the painter prepared, from narrow cracks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from .cache import SpatialCache
from .cracks import fill_cracks
from .scene import Scene, Surroundings

RETRIEVED_VIEWS = 32
"""Past views that may answer for one frame; the released Lyra 2 layout has five slots, ours is not bound to them."""


@dataclass(frozen=True, kw_only=True)
class Glimpse:
    """What is known about a frame before it is painted."""

    surroundings: Surroundings
    picture_u8: np.ndarray
    """[H, W, 3]."""
    remembered: np.ndarray
    """[H, W] bool: seen by an earlier view."""
    known: np.ndarray
    """[H, W] bool: remembered or prepared by the painter."""


def recall_view(
    scene: Scene, cache: SpatialCache, camera: PinholeCamera, T_world_cam: np.ndarray, *, prepared: bool = True
) -> Glimpse:
    """What memory and, where `prepared`, ring and planes know of a view."""
    around = scene.surroundings(camera, T_world_cam)
    hit = around.hit.reshape(-1)
    ids = cache.retrieve(camera, T_world_cam, count=RETRIEVED_VIEWS)
    rgb, remembered = cache.recall(around.points_world, ids)
    remembered &= hit
    fresh = hit & ~remembered
    if prepared:
        for colour, index in scene.recall_prepared(around.points_world, around.labels.reshape(-1), fresh):
            rgb[index] = colour
            fresh[index] = False
    shape = around.hit.shape
    picture, unknown, known = rgb.reshape(*shape, 3), fresh.reshape(shape), (hit & ~fresh).reshape(shape)
    filled = fill_cracks(picture, unknown, known, around.depth_z_m, around.labels)
    return Glimpse(
        surroundings=around,
        picture_u8=np.clip(picture + 0.5, 0, 255).astype(np.uint8),
        remembered=remembered.reshape(shape) | filled,
        known=known | filled,
    )
