"""The spatial memory: every view ever made, with depth and pose. Nothing is fused and nothing is forgotten."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..core.camera import PinholeCamera
from ..core.errors import InputError
from ..core.frames import invert_rigid
from ..core.views import SOURCE_PAINTED, SOURCE_PHOTO, RgbdView
from .retrieval import cache_points
from .retrieval_index import RetrievalIndex
from .warp import gather, reference_K

PHOTO_PREFERENCE = 3.0
"""A pixel of the photo wins over a painted one until the painted one resolves the surface this much finer."""


class SpatialCache:
    """Remembers views and answers which colour a world point had when it was first seen."""

    def __init__(self) -> None:
        self._views: dict[int, RgbdView] = {}
        self._index = RetrievalIndex()

    def __len__(self) -> int:
        return len(self._views)

    def __iter__(self) -> Iterator[RgbdView]:
        return iter(self._views.values())

    @property
    def views(self) -> list[RgbdView]:
        """In the order they were added."""
        return list(self._views.values())

    @property
    def next_id(self) -> int:
        return max(self._views, default=-1) + 1

    def reset(self) -> None:
        self._views.clear()
        self._index = RetrievalIndex()

    def add(self, view: RgbdView) -> None:
        """Remember a view; raises `InputError` for an id that is taken."""
        if view.view_id in self._views:
            raise InputError(f"view_id {view.view_id} is already remembered; use next_id")
        self._views[view.view_id] = view
        self._index.add(
            cache_points(
                view.view_id,
                view.depth_z_m,
                invert_rigid(view.T_world_cam),
                reference_K(view.camera),
                keep=_original(view),
            )
        )

    def retrieve(self, camera: PinholeCamera, T_world_cam: np.ndarray, *, count: int) -> list[int]:
        """Ids of the views whose own pixels cover most of the target picture, best last."""
        return self._index.retrieve(
            invert_rigid(T_world_cam)[None],
            reference_K(camera),
            (camera.height_px, camera.width_px),
            count=count,
            cover_newest=False,
        )

    def recall(self, points_world: np.ndarray, view_ids: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Colours of surface points from the given views.

        Only pixels that a view contributed itself (photo or painted) are read, so colour is resampled once and never
        drifts; among several the photo wins, then the finest.

        Args:
            points_world: [N, 3] [m].
            view_ids: which views may answer.

        Returns:
            rgb [N, 3] float32, known [N] bool.
        """
        rgb = np.zeros((len(points_world), 3), np.float32)
        best = np.zeros(len(points_world), np.float32)
        for view_id in view_ids:
            view = self._views[view_id]
            colour, visible, px_per_m = gather(
                points_world,
                camera=view.camera,
                T_world_cam=view.T_world_cam,
                depth_z_m=view.depth_z_m,
                rgb=view.rgb_u8,
                usable=_original(view),
            )
            quality = px_per_m * (PHOTO_PREFERENCE if view_id == 0 else 1.0)
            better = visible & (quality > best)
            rgb[better] = colour[better]
            best[better] = quality[better]
        return rgb, best > 0


def _original(view: RgbdView) -> np.ndarray:
    """[H, W] bool: pixels this view contributed to the world."""
    return view.valid & ((view.source == SOURCE_PHOTO) | (view.source == SOURCE_PAINTED))
