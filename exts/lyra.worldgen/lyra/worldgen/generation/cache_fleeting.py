"""A memory that keeps only what is in the picture: what the spatial memory is measured against."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import invert_rigid, transform_points
from ..core.views import SOURCE_NONE, RgbdView
from .cache import SpatialCache, own_pixels
from .warp import SAME_DEPTH


class FleetingCache(SpatialCache):
    """Forgets every surface point that the newest view does not show.

    What stays in the picture keeps the colour of its first sight exactly, so nothing is lost but what was forgotten: no
    blur of colours that are handed from frame to frame. Views have to come in the order of time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._left: list[int] = []

    def add(self, view: RgbdView) -> None:
        for view_id in self._left:
            self._held[view_id] = _still_seen(self._held[view_id], view)
        super().add(view)
        self._left = [i for i in (*self._left, view.view_id) if own_pixels(self._held[i]).any()]

    def reset(self) -> None:
        super().reset()
        self._left.clear()

    def retrieve(self, camera: PinholeCamera, T_world_cam: np.ndarray, *, count: int) -> list[int]:
        """Every view of which something is left; none may be missed."""
        return list(self._left)

    def may_release(self, view_ids: Iterable[int], load: Callable[[int], RgbdView]) -> None:
        """Nothing is ever read again: views elsewhere hold what is forgotten here."""


def _still_seen(view: RgbdView, newest: RgbdView) -> RgbdView:
    """The view without the pixels whose surface the newest view does not show; in doubt they stay."""
    import cv2

    rows, cols = np.nonzero(own_pixels(view))
    camera = newest.camera
    rays_cam = view.camera.rays_cam()[rows, cols]
    points_world = transform_points(view.T_world_cam, rays_cam * view.depth_z_m[rows, cols, None])
    uv_px, z_m = camera.project(transform_points(invert_rigid(newest.T_world_cam), points_world))
    with np.errstate(invalid="ignore"):
        inside = (z_m > 1e-3) & (uv_px >= 0).all(-1) & (uv_px < [camera.width_px, camera.height_px]).all(-1)
    col, row = np.where(inside[:, None], uv_px, 0).astype(int).T
    # Neighbouring pixels of one slanted surface bracket the depth between them.
    depth = np.where(newest.valid, newest.depth_z_m, 0).astype(np.float32)
    near, far = (f(depth, np.ones((3, 3), np.uint8))[row, col] for f in (cv2.erode, cv2.dilate))
    tolerance_m = SAME_DEPTH * np.maximum(z_m, 0.5)
    gone = ~(inside & (z_m >= near - tolerance_m) & (z_m <= far + tolerance_m))
    source = view.source.copy()
    source[rows[gone], cols[gone]] = SOURCE_NONE
    return dataclasses.replace(view, source=source)
