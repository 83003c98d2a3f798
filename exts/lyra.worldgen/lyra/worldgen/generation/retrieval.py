"""Which remembered views help a target camera: greedy coverage with a z-buffer (our notes on Lyra 2.0, section 2.3).

`retrieve` is the rule, word for word: every point of every view is projected. `RetrievalIndex` returns the very same
picks and looks only at what can be seen: boxes around small tiles of points drop everything outside the frustum, and a
walk from front to back drops what others hide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .warp import unproject_reference

DOWNSAMPLE = 4
TILE_POINTS = 8
"""Side of the tiles of points that are judged as one."""
DEPTH_TOLERANCE = 0.1
"""Largest distance behind the nearest remembered point that still counts as visible, absolute along the axis."""


@dataclass(frozen=True, kw_only=True)
class CachedPoints:
    """What retrieval needs of one remembered view."""

    view_id: int
    points_world: np.ndarray
    """[N, 3] float32: every fourth pixel, unprojected; tile by tile."""
    tile_start: np.ndarray
    """[T + 1] int64: tile t holds points tile_start[t] to tile_start[t + 1]."""
    tile_box: np.ndarray
    """[T, 2, 3] float32: smallest and largest coordinates of each tile."""


def cache_points(
    view_id: int, depth_z: np.ndarray, w2c: np.ndarray, K: np.ndarray, *, keep: np.ndarray | None = None
) -> CachedPoints:
    """Subsample a depth map [H, W] and lift it.

    Points without depth land on the world origin, as in the reference; `keep` [H, W] bool leaves pixels out for good.
    """
    small = depth_z[::DOWNSAMPLE, ::DOWNSAMPLE].astype(np.float32)
    K_small = K.copy()
    K_small[:2] /= DOWNSAMPLE
    lifted = small > 0
    points = np.where(lifted[..., None], unproject_reference(small, w2c, K_small), 0).astype(np.float32)
    rows, columns = np.indices(small.shape) // TILE_POINTS
    # The origin is far from its pixel's neighbours; in a tile of its own it spoils no box.
    tile = np.where(lifted, rows * small.shape[1] + columns + 1, 0)
    if keep is not None:
        keep = keep[::DOWNSAMPLE, ::DOWNSAMPLE]
        points, tile = points[keep], tile[keep]
    points, tile = points.reshape(-1, 3), tile.reshape(-1)
    order = np.argsort(tile, kind="stable")
    points, tile = points[order], tile[order]
    first = np.flatnonzero(np.diff(tile, prepend=-1)) if len(tile) else np.zeros(0, np.int64)
    box = np.zeros((len(first), 2, 3), np.float32)
    if len(first):
        box[:, 0] = np.minimum.reduceat(points, first)
        box[:, 1] = np.maximum.reduceat(points, first)
    return CachedPoints(
        view_id=view_id, points_world=points, tile_start=np.append(first, len(points)).astype(np.int64), tile_box=box
    )


def project(points: np.ndarray, w2c: np.ndarray, K: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cell (x, y) as floats and depth z of points [N, 3], all float32 and rounded after every operation.

    Written out because a matrix product may fuse or reorder its sums: compiled code has to find the same cells.
    """
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    cx, cy, cz = (w2c[i, 0] * x + w2c[i, 1] * y + w2c[i, 2] * z + w2c[i, 3] for i in range(3))
    px, py, pz = (K[i, 0] * cx + K[i, 1] * cy + K[i, 2] * cz for i in range(3))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.round(px / pz), np.round(py / pz), pz


def target_grid(target_K: np.ndarray, size_hw: tuple[int, int]) -> tuple[int, int, np.ndarray]:
    """Height, width and float32 intrinsics of the coarse grid that coverage is counted on."""
    K = target_K.astype(np.float32).copy()
    K[:2] /= DOWNSAMPLE
    return -(-size_hw[0] // DOWNSAMPLE), -(-size_hw[1] // DOWNSAMPLE), K


def retrieve(
    cache: list[CachedPoints],
    targets_w2c: np.ndarray,
    target_K: np.ndarray,
    size_hw: tuple[int, int],
    *,
    count: int,
    depth_tolerance: float = DEPTH_TOLERANCE,
    cover_newest: bool = True,
) -> list[int]:
    """View ids whose points cover most of the target views, best last.

    Args:
        cache: remembered views in the order they were added.
        targets_w2c: [V, 4, 4]; target_K [3, 3] at full size (pixel centres at integers).
        size_hw: full picture size of the targets.
        count: how many views to pick at most.
        depth_tolerance: how far behind the nearest point of its cell a point still counts [units of z].
        cover_newest: the newest view counts as covered already and is never picked (it is warped anyway); off when the
            caller wants it ranked like any other.
    """
    if not cache or count <= 0:
        return []
    h, w, K = target_grid(target_K, size_hw)
    points = np.concatenate([c.points_world for c in cache])
    owner = np.repeat(np.arange(len(cache)), [len(c.points_world) for c in cache])
    cover = np.zeros((len(cache), len(targets_w2c) * h * w), bool)
    tolerance = np.float32(depth_tolerance)
    for k, w2c in enumerate(targets_w2c.astype(np.float32)):
        x, y, z = project(points, w2c, K)
        with np.errstate(invalid="ignore"):
            ok = (z > 0) & (x >= 0) & (x < w) & (y >= 0) & (y < h)
        cell = y[ok].astype(np.int64) * w + x[ok].astype(np.int64)
        nearest = np.full(h * w, np.inf, np.float32)
        np.minimum.at(nearest, cell, z[ok])
        survive = z[ok] <= nearest[cell] + tolerance
        cover[owner[ok][survive], cell[survive] + k * h * w] = True
    ids = np.array([c.view_id for c in cache])
    taken = np.zeros(len(cache), bool)
    covered = np.zeros(cover.shape[1], bool)
    newest = int(ids.argmax())
    if cover_newest and ids[newest] > 0:
        covered |= cover[newest]
        taken[newest] = True
    picks: list[int] = []
    for _ in range(count):
        gain = np.where(taken, -1, (cover & ~covered).sum(1))
        best = int(gain.argmax())
        if gain[best] <= 0:
            break
        picks.append(int(ids[best]))
        taken[best] = True
        covered |= cover[best]
    return picks[::-1]


def visible_cells(
    cache: list[CachedPoints], target_w2c: np.ndarray, target_K: np.ndarray, size_hw: tuple[int, int]
) -> np.ndarray:
    """[views] int64: cells of the coarse target grid in which each view's point is the nearest of all.

    Of equally near points the view that was added first owns the cell.
    """
    h, w, K = target_grid(target_K, size_hw)
    points = np.concatenate([c.points_world for c in cache])
    owner = np.repeat(np.arange(len(cache)), [len(c.points_world) for c in cache])
    x, y, z = project(points, target_w2c.astype(np.float32), K)
    with np.errstate(invalid="ignore"):
        ok = (z > 0) & (x >= 0) & (x < w) & (y >= 0) & (y < h)
    cell, z, owner = y[ok].astype(np.int64) * w + x[ok].astype(np.int64), z[ok], owner[ok]
    order = np.lexsort((owner, z, cell))
    first = order[np.flatnonzero(np.diff(cell[order], prepend=-1))]
    return np.bincount(owner[first], minlength=len(cache))
