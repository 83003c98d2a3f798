"""Pixels of several views that show one spot: only the best view's is lifted."""

from __future__ import annotations

import numpy as np

from ..core.frames import transform_points
from ..core.views import SOURCE_PHOTO, RgbdView
from .surface_hits import SurfaceHits, surface_depth_m


def without_duplicates(views: list[RgbdView], hits: list[SurfaceHits], usable: list[np.ndarray]) -> list[np.ndarray]:
    """Masks without pixels whose spot (a voxel of their own footprint) a better view has claimed."""
    if len(views) < 2:
        return usable
    from . import splat_numba

    own, around, view_of, rank = [], [], [], []
    for i, (view, hit, mask) in enumerate(zip(views, hits, usable, strict=True)):
        depth_m = surface_depth_m(view, hit)
        points = transform_points(view.T_world_cam, view.camera.unproject(depth_m)[mask])
        level = np.floor(np.log2(np.maximum(depth_m[mask], 1e-3) / view.camera.fx_px)).astype(np.int64)
        photo = view.source[mask] == SOURCE_PHOTO
        own.append(_voxel_keys(points, level))
        # The photo wins against finer views too, everybody else only against coarser ones.
        keys = [np.where(photo, _voxel_keys(points, level + k), own[-1]) for k in (-3, -2, -1, 3)]
        around.append(np.stack([*keys, _voxel_keys(points, level + 1), _voxel_keys(points, level + 2)], -1))
        view_of.append(np.full(len(level), i, np.int32))
        rank.append(np.where(photo, -1000, level))
    key, other, owner = np.concatenate(own), np.concatenate(around), np.concatenate(view_of)
    order = np.lexsort((np.arange(len(key)), owner, np.concatenate(rank)))
    taken = np.zeros(len(key), bool)
    slots = 1 << int(np.ceil(np.log2(max(len(key) * 6, 1024))))
    splat_numba.claim_voxels(
        key[order], other[order], owner[order], np.full(slots, -1, np.int64), np.zeros(slots, np.int32), taken
    )
    lost = np.zeros(len(key), bool)
    lost[order] = taken
    kept, start = [], 0
    for mask in usable:
        count = int(mask.sum())
        keep = mask.copy()
        keep[mask] = ~lost[start : start + count]
        kept.append(keep)
        start += count
    return kept


def _voxel_keys(points: np.ndarray, level: np.ndarray) -> np.ndarray:
    """[N] int64 >= 0: level and cell of a grid whose cells are 2^level metres wide."""
    cell = np.floor(points / np.exp2(level.astype(np.float64))[:, None]).astype(np.int64) & 0x3FFFF
    return ((level & 0x3F) << 54) | (cell[:, 0] << 36) | (cell[:, 1] << 18) | cell[:, 2]
