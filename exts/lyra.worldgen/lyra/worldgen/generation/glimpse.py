"""What is known about a view before it is painted: from memory, from what the painter prepared, from narrow cracks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.views import SOURCE_PAINTED, SOURCE_WARPED, RgbdView
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

    def painted(
        self,
        rgb_u8: np.ndarray,
        shown: np.ndarray | None = None,
        *,
        view_id: int,
        camera: PinholeCamera,
        T_world_cam: np.ndarray,
    ) -> RgbdView:
        """The frame as a view once it is painted: its depth is the scene's.

        Args:
            rgb_u8: [H, W, 3] the whole picture.
            shown: [H, W] bool where it shows what is remembered; everywhere that it could when None.
            view_id: of the view.
            camera: that the glimpse was taken with.
            T_world_cam: [4, 4] its pose.
        """
        around = self.surroundings
        shown = self.remembered if shown is None else shown
        source = np.where(shown, SOURCE_WARPED, np.where(around.hit, SOURCE_PAINTED, 0))
        return RgbdView(
            view_id=view_id,
            camera=camera,
            T_world_cam=T_world_cam,
            rgb_u8=rgb_u8,
            depth_z_m=around.depth_z_m,
            valid=around.hit,
            source=source.astype(np.uint8),
            labels=around.labels,
        )


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
