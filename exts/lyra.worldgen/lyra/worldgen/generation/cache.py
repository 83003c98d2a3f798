"""The spatial memory: every view ever made, with depth and pose. Nothing is fused and nothing is forgotten."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

import numpy as np

from ..core.camera import PinholeCamera
from ..core.errors import InputError
from ..core.frames import invert_rigid
from ..core.machine import core_count, map_threads
from ..core.views import SOURCE_PAINTED, SOURCE_PHOTO, RgbdView
from .retrieval import cache_points
from .retrieval_index import RetrievalIndex
from .warp import SAME_DEPTH, reference_K

PHOTO_PREFERENCE = 3.0
"""A pixel of the photo wins over a painted one until the painted one resolves the surface this much finer."""
HELD_BYTES = 400 * 2**20
"""Most that views take in memory once they can be read again; their points for retrieval come on top."""
_POINTS_PER_JOB = 1 << 16


class SpatialCache:
    """Remembers views and answers which colour a world point had when it was first seen.

    Args:
        held_bytes: views beyond this are read again when they are needed, if somebody keeps them.
    """

    def __init__(self, *, held_bytes: int = HELD_BYTES) -> None:
        self._held_bytes = held_bytes
        self._held: OrderedDict[int, RgbdView] = OrderedDict()
        self._order: list[int] = []
        self._kept: dict[int, Callable[[int], RgbdView]] = {}
        self._index = RetrievalIndex()

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[RgbdView]:
        return iter(self.views)

    @property
    def views(self) -> Sequence[RgbdView]:
        """In the order they were added; those that are not held are read when they are looked at."""
        return _Views(self, tuple(self._order))

    @property
    def next_id(self) -> int:
        return max(self._order, default=-1) + 1

    def view(self, view_id: int) -> RgbdView:
        """One remembered view."""
        if view_id not in self._held:
            self._held[view_id] = self._kept[view_id](view_id)
            self._shrink()
        self._held.move_to_end(view_id)
        return self._held[view_id]

    def reset(self) -> None:
        """Forget everything."""
        self._held.clear()
        self._order.clear()
        self._kept.clear()
        self._index = RetrievalIndex()

    def add(self, view: RgbdView) -> None:
        """Remember a view; raises `InputError` for an id that is taken."""
        if view.view_id in self._order:
            raise InputError(f"view_id {view.view_id} is already remembered; use next_id")
        self._order.append(view.view_id)
        self._held[view.view_id] = view
        self._index.add(
            cache_points(
                view.view_id,
                view.depth_z_m,
                invert_rigid(view.T_world_cam),
                reference_K(view.camera),
                keep=own_pixels(view),
            )
        )

    def may_release(self, view_ids: Iterable[int], load: Callable[[int], RgbdView]) -> None:
        """Say that views are kept elsewhere, from where `load` reads them again exactly as they were."""
        self._kept |= dict.fromkeys(view_ids, load)
        self._shrink()

    def retrieve(self, camera: PinholeCamera, T_world_cam: np.ndarray, *, count: int) -> list[int]:
        """Ids of the views whose own pixels cover most of the target picture, best last."""
        return self._index.retrieve(
            invert_rigid(T_world_cam)[None],
            reference_K(camera),
            (camera.height_px, camera.width_px),
            count=count,
            cover_newest=False,
        )

    def recall(
        self, points_world: np.ndarray, view_ids: list[int], *, own_pixels_only: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Colours of surface points from the given views; among several the photo wins, then the finest.

        Args:
            points_world: [N, 3] [m].
            view_ids: which views may answer.
            own_pixels_only: read only pixels that a view contributed itself (photo or painted), so that colour is
                resampled once and never drifts.

        Returns:
            rgb [N, 3] float32, known [N] bool.

        Raises:
            DependencyError: numba is not installed.
        """
        from .recall_numba import recall_from_view

        points = np.ascontiguousarray(points_world, np.float64)
        rgb = np.zeros((len(points), 3), np.float32)
        best = np.zeros(len(points), np.float32)
        views = [self.view(view_id) for view_id in view_ids]
        asked = [
            (
                np.ascontiguousarray(invert_rigid(view.T_world_cam)),
                np.array([view.camera.fx_px, view.camera.fy_px, view.camera.cx_px, view.camera.cy_px]),
                np.ascontiguousarray(view.depth_z_m),
                np.ascontiguousarray(view.rgb_u8),
                np.ascontiguousarray(own_pixels(view) if own_pixels_only else view.valid),
                PHOTO_PREFERENCE if view.view_id == 0 else 1.0,
                SAME_DEPTH,
            )
            for view in views
        ]

        def answer(part: slice) -> None:
            for arguments in asked:
                recall_from_view(points[part], *arguments, best[part], rgb[part])

        parts = [slice(i, i + _POINTS_PER_JOB) for i in range(0, len(points), _POINTS_PER_JOB)]
        # Each point is answered alone, so the result does not depend on the number of threads.
        for _ in map_threads(answer, parts, threads=min(core_count(), len(parts))):
            pass
        return rgb, best > 0

    def _shrink(self) -> None:
        """Let go of the views that were not looked at for longest."""
        held = sum(_bytes_of(view) for view in self._held.values())
        for view_id in list(self._held)[:-1]:
            if held <= self._held_bytes:
                break
            if view_id in self._kept:
                held -= _bytes_of(self._held.pop(view_id))


class _Views(Sequence[RgbdView]):
    """Remembered views as a sequence that reads what is not in memory."""

    def __init__(self, cache: SpatialCache, ids: tuple[int, ...]) -> None:
        self._cache, self._ids = cache, ids

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> RgbdView: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RgbdView]: ...
    def __getitem__(self, index: int | slice) -> RgbdView | Sequence[RgbdView]:
        if isinstance(index, slice):
            return _Views(self._cache, self._ids[index])
        return self._cache.view(self._ids[index])


def own_pixels(view: RgbdView) -> np.ndarray:
    """[H, W] bool: pixels this view contributed to the world."""
    return view.valid & ((view.source == SOURCE_PHOTO) | (view.source == SOURCE_PAINTED))


def _bytes_of(view: RgbdView) -> int:
    return sum(a.nbytes for a in (view.rgb_u8, view.depth_z_m, view.valid, view.source, view.labels))
