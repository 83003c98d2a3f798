"""Which remembered views help a target camera: greedy coverage with a z-buffer (our notes on Lyra 2.0, section 2.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .warp import unproject_reference

DOWNSAMPLE = 4
DEPTH_TOLERANCE = 0.1
"""Largest distance behind the nearest remembered point that still counts as visible, absolute along the axis."""


@dataclass(frozen=True, kw_only=True)
class CachedPoints:
    """What retrieval needs of one remembered view."""

    view_id: int
    points_world: np.ndarray
    """[N, 3] float32: every fourth pixel, unprojected."""


def cache_points(
    view_id: int, depth_z: np.ndarray, w2c: np.ndarray, K: np.ndarray, *, keep: np.ndarray | None = None
) -> CachedPoints:
    """Subsample a depth map [H, W] and lift it.

    Points without depth land on the world origin, as in the reference; `keep` [H, W] bool leaves pixels out for good.
    """
    small = depth_z[::DOWNSAMPLE, ::DOWNSAMPLE].astype(np.float32)
    K_small = K.copy()
    K_small[:2] /= DOWNSAMPLE
    points = unproject_reference(small, w2c, K_small)
    points = np.where((small > 0)[..., None], points, 0).astype(np.float32).reshape(-1, 3)
    if keep is not None:
        points = points[keep[::DOWNSAMPLE, ::DOWNSAMPLE].reshape(-1)]
    return CachedPoints(view_id=view_id, points_world=points)


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
        cover_newest: the newest view counts as covered already and is never picked (it is warped anyway); off when the
            caller wants it ranked like any other.
    """
    if not cache or count <= 0:
        return []
    h, w = -(-size_hw[0] // DOWNSAMPLE), -(-size_hw[1] // DOWNSAMPLE)
    K = target_K.astype(np.float32).copy()
    K[:2] /= DOWNSAMPLE
    points = np.concatenate([c.points_world for c in cache])
    owner = np.repeat(np.arange(len(cache)), [len(c.points_world) for c in cache])
    cells_of: list[np.ndarray] = []
    owners: list[np.ndarray] = []
    for k, w2c in enumerate(targets_w2c.astype(np.float32)):
        cam = points @ w2c[:3, :3].T + w2c[:3, 3]
        pix = cam @ K.T
        z = pix[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            x, y = np.round(pix[:, 0] / z), np.round(pix[:, 1] / z)
        ok = (z > 0) & (x >= 0) & (x < w) & (y >= 0) & (y < h)
        cell = y[ok].astype(np.int64) * w + x[ok].astype(np.int64)
        nearest = np.full(h * w, np.inf, np.float32)
        np.minimum.at(nearest, cell, z[ok])
        survive = z[ok] <= nearest[cell] + depth_tolerance
        cells_of.append(cell[survive] + k * h * w)
        owners.append(owner[ok][survive])
    cells, who = np.concatenate(cells_of), np.concatenate(owners)
    cover = np.zeros((len(cache), len(targets_w2c) * h * w), bool)
    cover[who, cells] = True
    taken = np.zeros(len(cache), bool)
    covered = np.zeros(cover.shape[1], bool)
    ids = [c.view_id for c in cache]
    newest = int(np.argmax(ids))
    if cover_newest and ids[newest] > 0:
        covered |= cover[newest]
        taken[newest] = True
    picks: list[int] = []
    for _ in range(count):
        gain = np.where(taken, -1, (cover & ~covered).sum(1))
        best = int(np.argmax(gain))
        if gain[best] <= 0:
            break
        picks.append(ids[best])
        taken[best] = True
        covered |= cover[best]
    return picks[::-1]
