"""Retrieval over thousands of remembered views: the picks of `retrieval.retrieve` at a fraction of its cost.

Nothing is approximated. A view, or a tile of its points, is left out only when its box proves that the exhaustive rule
could not have counted a single one of its points: outside the target's frustum, or behind points that were already
projected, by more than the tolerance, in every cell it can reach. Views are drawn from near to far, so that in a
building only the rooms that can be seen cost anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.errors import InputError
from .retrieval import DEPTH_TOLERANCE, CachedPoints, target_grid

FIRST_BATCH = 8
"""Views drawn before the first look at what they hide; later batches double."""
SPARE = 0.5
"""Room for growth of the arrays, relative to what they hold."""


@dataclass(kw_only=True)
class _Sight:
    """One target after all visible tiles were drawn."""

    w2c: np.ndarray
    nearest: np.ndarray
    """[h, w] float32 least z of every cell."""
    tiles: np.ndarray
    z_low: np.ndarray
    rect: np.ndarray


class RetrievalIndex:
    """Remembered points with boxes at two levels: views and tiles."""

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._view_box = _Rows((2, 3), np.float32)
        self._first_tile = _Rows((), np.int64)
        self._tile_box = _Rows((2, 3), np.float32)
        self._tile_view = _Rows((), np.int64)
        self._tile_start = _Rows((), np.int64)
        self._points = _Rows((3,), np.float32)
        self._first_tile.append(np.zeros(1, np.int64))
        self._tile_start.append(np.zeros(1, np.int64))

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def view_ids(self) -> list[int]:
        """In the order they were added."""
        return list(self._ids)

    def add(self, points: CachedPoints) -> None:
        """Remember a view; raises `InputError` for an id that is taken."""
        if points.view_id in self._ids:
            raise InputError(f"view {points.view_id} is already in the index; remove it first")
        box = points.tile_box
        # An empty box is nowhere.
        whole = [box[:, 0].min(0), box[:, 1].max(0)] if len(box) else [[np.inf] * 3, [-np.inf] * 3]
        self._view_box.append(np.array([whole], np.float32))
        self._tile_box.append(box)
        self._tile_view.append(np.full(len(box), len(self._ids), np.int64))
        self._tile_start.append(len(self._points) + points.tile_start[1:])
        self._points.append(points.points_world)
        self._first_tile.append(np.array([len(self._tile_box)], np.int64))
        self._ids.append(points.view_id)

    def remove(self, view_id: int) -> None:
        """Forget a view; raises `InputError` for an id that is unknown."""
        if view_id not in self._ids:
            raise InputError(f"view {view_id} is not in the index")
        at = self._ids.index(view_id)
        first, last = self._first_tile.rows[at : at + 2]
        begin, end = self._tile_start.rows[[first, last]]
        self._points.delete(begin, end)
        self._tile_start.delete(first + 1, last + 1)
        self._tile_start.rows[first + 1 :] -= end - begin
        self._tile_box.delete(first, last)
        self._tile_view.delete(first, last)
        self._tile_view.rows[first:] -= 1
        self._first_tile.delete(at + 1, at + 2)
        self._first_tile.rows[at + 1 :] -= last - first
        self._view_box.delete(at, at + 1)
        del self._ids[at]

    def retrieve(
        self,
        targets_w2c: np.ndarray,
        target_K: np.ndarray,
        size_hw: tuple[int, int],
        *,
        count: int,
        depth_tolerance: float = DEPTH_TOLERANCE,
        cover_newest: bool = True,
    ) -> list[int]:
        """View ids whose points cover most of the target views, best last; see `retrieval.retrieve`.

        Raises:
            DependencyError: numba is not installed.
        """
        if not self._ids or count <= 0:
            return []
        from . import retrieval_numba

        h, w, K = target_grid(target_K, size_hw)
        tolerance = np.float32(depth_tolerance)
        targets = np.ascontiguousarray(targets_w2c, np.float32)
        sights = [self._draw(w2c, K, (h, w), tolerance) for w2c in targets]
        active = np.unique(np.concatenate([self._tile_view.rows[s.tiles] for s in sights]))
        row = np.full(len(self._ids), -1, np.int64)
        row[active] = np.arange(len(active))
        words = -(-len(targets) * h * w // 64)
        cover = np.zeros((len(active), words), np.uint64)
        for k, s in enumerate(sights):
            retrieval_numba.mark(
                s.tiles, s.z_low, s.rect, row[self._tile_view.rows[s.tiles]], self._points.rows, self._tile_start.rows,
                s.w2c, K, tolerance, s.nearest, k * h * w, cover,
            )  # fmt: skip
        ids = np.array(self._ids)
        newest = int(ids.argmax())
        covered = np.zeros(words, np.uint64)
        taken = np.zeros(len(active), bool)
        if cover_newest and ids[newest] > 0 and row[newest] >= 0:
            taken[row[newest]] = True
            covered |= cover[row[newest]]
        picks: list[int] = []
        gain = np.zeros(len(active), np.int64)
        for _ in range(min(count, len(active))):
            retrieval_numba.gains(cover, covered, taken, gain)
            best = int(gain.argmax())
            if gain[best] <= 0:
                break
            picks.append(int(ids[active[best]]))
            taken[best] = True
            covered |= cover[best]
        return picks[::-1]

    def _draw(self, w2c: np.ndarray, K: np.ndarray, hw: tuple[int, int], tolerance: np.float32) -> _Sight:
        """Project whatever can be seen of all views, from near to far."""
        from . import retrieval_numba

        T, K64 = w2c.astype(np.float64), K.astype(np.float64)
        nearest = np.full(hw, np.inf, np.float32)
        views, z_low, rect = retrieval_numba.boxes_in_sight(np.arange(len(self._ids)), self._view_box.rows, T, K64, *hw)
        order = np.lexsort((self._distance(views, T), z_low))
        views, z_low, rect = views[order], z_low[order], rect[order]
        drawn: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        begin, size = 0, FIRST_BATCH
        while begin < len(views):
            batch = slice(begin, begin + size)
            far = retrieval_numba.block_max(nearest)
            seen = ~retrieval_numba.hidden(z_low[batch], rect[batch], tolerance, far)
            tiles = np.concatenate(
                [
                    np.zeros(0, np.int64),
                    *(
                        np.arange(int(self._first_tile.rows[v]), int(self._first_tile.rows[v + 1]))
                        for v in views[batch][seen]
                    ),
                ]
            )
            tiles, tile_z, tile_rect = retrieval_numba.boxes_in_sight(tiles, self._tile_box.rows, T, K64, *hw)
            done = np.zeros(len(tiles), bool)
            retrieval_numba.draw(
                np.argsort(tile_z, kind="stable"), tiles, tile_z, tile_rect, self._points.rows, self._tile_start.rows,
                w2c, K, tolerance, far, nearest, done,
            )  # fmt: skip
            drawn.append((tiles[done], tile_z[done], tile_rect[done]))
            begin, size = begin + size, 2 * size
        parts = list(zip(*drawn, strict=True)) or [
            [np.zeros(0, np.int64)],
            [np.zeros(0, np.float32)],
            [np.zeros((0, 4))],
        ]
        tiles, tile_z, tile_rect = (np.concatenate(part) for part in parts)
        return _Sight(w2c=w2c, nearest=nearest, tiles=tiles, z_low=tile_z, rect=tile_rect.astype(np.int64))

    def _distance(self, views: np.ndarray, w2c: np.ndarray) -> np.ndarray:
        """Distance of the middle of each view's box from the target: who begins among those around the camera."""
        eye = -w2c[:3, :3].T @ w2c[:3, 3]
        return np.linalg.norm(self._view_box.rows[views].mean(1) - eye, axis=1)


class _Rows:
    """An array that grows at its end."""

    def __init__(self, shape: tuple[int, ...], dtype: type) -> None:
        self._data = np.zeros((64, *shape), dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def rows(self) -> np.ndarray:
        return self._data[: self._count]

    def append(self, rows: np.ndarray) -> None:
        need = self._count + len(rows)
        if need > len(self._data):
            grown = np.empty((int(need * (1 + SPARE)), *self._data.shape[1:]), self._data.dtype)
            grown[: self._count] = self.rows
            self._data = grown
        self._data[self._count : need] = rows
        self._count = need

    def delete(self, begin: int, end: int) -> None:
        self._data[begin : self._count - (end - begin)] = self._data[end : self._count].copy()
        self._count -= end - begin
