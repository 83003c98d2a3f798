"""Blocks of pixels that may share one splat, and what that would cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.mesh import Label
from ..core.optional import require
from ..core.views import SOURCE_PHOTO, RgbdView
from .splat_length import longest_m_at
from .splat_render import BLUR_PX2
from .splat_shape import MAX_ELONGATION, MERGED_SPREAD, SPREAD_PX
from .surface_hits import SurfaceHits, surface_depth_m, surface_planes

SHARPEN = 0.5
"""Share of the blur of splats and of the renderer's low-pass that is taken back before lifting."""
PHOTO_MERGE_WEIGHT = 60.0
"""How much more an error in the photo counts than one in a painted view when splats are merged."""
_TOO_LONG = 3 * 255.0**2
"""Cost of merging into a splat that is too long, times how much; no difference in colour costs as much."""
_RIM = 1200.0
"""Cost of four pixels that become one splat beside an outline; of larger blocks in proportion to their area."""
_BEND, _STEP_SHARE, _STEP_M = 0.1, 0.02, 0.02
"""Neighbouring blocks go on in one another when their normals and their planes' offsets differ by less than this."""
LEVELS = 4
"""Blocks of up to 2^4 pixels a side may become one splat when the budget demands it."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Square blocks of pixels of one view at one level, [h, w] each (h = H / 2^level)."""

    cost: np.ndarray
    """Squared colour error per saved splat that merging the block adds; inf where it must not be merged."""
    rgb: np.ndarray
    """[h, w, 3] float32 mean colour 0..255."""
    plane: np.ndarray
    """[h, w, 4] float32 unit normal towards the camera and offset, in cam."""
    inverse_depth: np.ndarray
    """[h, w] float32 mean of 1 / z [1/m]; over a plane that is the value at the block's centre."""
    label: np.ndarray
    source: np.ndarray


def merge_costs(view: RgbdView, hit: SurfaceHits, mask: np.ndarray, normals_world: np.ndarray) -> list[Blocks]:
    """Blocks of levels 0 to 4; what is no multiple of a block stays unmerged at the rim."""
    block = 2**LEVELS
    pad = [(0, -mask.shape[0] % block), (0, -mask.shape[1] % block)]
    plane = surface_planes(view, hit, normals_world).astype(np.float32)
    inverse_depth = (1.0 / np.where(mask, surface_depth_m(view, hit), 1.0)).astype(np.float32)
    rgb = _sharpened(view, mask)
    cost = np.where(mask, 0.0, np.inf).astype(np.float32)
    blocks = [
        Blocks(
            cost=np.pad(cost, pad, constant_values=np.inf),
            rgb=np.pad(rgb, [*pad, (0, 0)]),
            plane=np.pad(plane, [*pad, (0, 0)]),
            inverse_depth=np.pad(inverse_depth, pad),
            label=np.pad(view.labels, pad),
            source=np.pad(view.source, pad),
        )
    ]
    # A wrong pixel of the photo is seen by everyone who compares, so it is merged last.
    weight = PHOTO_MERGE_WEIGHT if (view.source == SOURCE_PHOTO).any() else 1.0
    inside: np.ndarray = np.isfinite(blocks[0].cost)
    for level in range(LEVELS):
        last = blocks[-1]
        mean = _corners(last.rgb).mean(0)
        # Squared error that this merge adds, over the three splats that it saves: what PSNR pays for the budget.
        added = 4.0**level * ((_corners(last.rgb) - mean) ** 2).sum((0, -1)) / 3
        plane, plane_spread = _quarter(last.plane)
        flat = (plane_spread[..., :3].max(-1) < 0.02) & (plane_spread[..., 3] < 0.002 * np.abs(plane[..., 3]) + 0.002)
        same = (_quarter(last.label.astype(np.float32))[1] == 0) & (_quarter(last.source.astype(np.float32))[1] == 0)
        inside = np.asarray(_corners(inside).all(0))
        surface = ~np.isin(last.label[::2, ::2], (Label.SKY, Label.BACKDROP))
        # Four pixels of a surface reach too little beyond their own to be worth the budget.
        rim = ~_surrounded(inside, plane, last.label[::2, ::2]) & ~(surface & (level == 0))
        middle = _quarter(last.inverse_depth)[0]
        # On its plane a block is as long as its offset from the camera allows: z / f over the cosine of incidence.
        distance_m = 1 / np.maximum(middle, 1e-6)
        cosine = np.clip(np.abs(plane[..., 3]) / distance_m, 1 / MAX_ELONGATION, 1.0)
        long_m = MERGED_SPREAD * 2.0 ** (level + 1) * distance_m / view.camera.fx_px / cosine
        longest_m = longest_m_at(distance_m)
        too_long = np.where(surface, np.maximum(long_m / longest_m - 1, 0.0), 0.0)
        worst = np.maximum(_corners(last.cost).max(0), weight * added) + (_TOO_LONG * too_long).astype(np.float32)
        # A little of its own cost orders blocks whose rims cost the same.
        worst = np.where(rim, np.maximum(worst, np.float32(_RIM * 4.0**level)) + 0.02 * worst, worst)
        blocks.append(
            Blocks(
                cost=np.where(flat & same, worst, np.inf).astype(np.float32),
                rgb=mean,
                plane=plane,
                inverse_depth=middle,
                label=last.label[::2, ::2],
                source=last.source[::2, ::2],
            )
        )
    return blocks


def _surrounded(inside: np.ndarray, plane: np.ndarray, label: np.ndarray) -> np.ndarray:
    """[h, w] bool: blocks whose four neighbours go on with the same surface.

    A large splat reaches one block beyond its own: over an outline it would hide what lies behind, and over the rim of
    a view what another view shows there.

    Args:
        inside: [h, w] bool: all pixels of the block are lifted from this view.
        plane: [h, w, 4] mean planes.
        label: [h, w].
    """
    out = inside.copy()
    out[[0, -1]] = False
    out[:, [0, -1]] = False
    for axis in range(2):
        here = tuple(slice(None, -1) if k == axis else slice(None) for k in range(2))
        there = tuple(slice(1, None) if k == axis else slice(None) for k in range(2))
        turn = np.abs(plane[here][..., :3] - plane[there][..., :3]).max(-1)
        step = np.abs(plane[here][..., 3] - plane[there][..., 3])
        go_on = inside[here] & inside[there] & (label[here] == label[there])
        go_on &= (turn < _BEND) & (step < _STEP_SHARE * np.abs(plane[here][..., 3]) + _STEP_M)
        out[here] &= go_on
        out[there] &= go_on
    return out


def _corners(array: np.ndarray) -> np.ndarray:
    """The four children of every block, [4, h, w, ...]."""
    return np.stack([array[0::2, 0::2], array[0::2, 1::2], array[1::2, 0::2], array[1::2, 1::2]])


def _quarter(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the four children and their largest distance from it."""
    children = _corners(array)
    mean = children.mean(0)
    return mean, np.abs(children - mean).max(0)


def merge_threshold(costs: list[list[Blocks]], count: int, budget: int) -> float:
    """The smallest threshold on block costs that brings `count` pixels down to the budget; -1 to merge nothing."""
    excess = count - budget
    if excess <= 0:
        return -1.0
    # Every merge replaces four splats by one, and a block costs at least as much as its children.
    merges = np.concatenate([level.cost[np.isfinite(level.cost)] for blocks in costs for level in blocks[1:]])
    need = -(-excess // 3)
    if need >= len(merges):
        return np.inf
    return float(np.partition(merges, need - 1)[need - 1])


def _sharpened(view: RgbdView, mask: np.ndarray) -> np.ndarray:
    """[H, W, 3] float32 colours 0..255 with part of the blur that rendering will add taken back beforehand."""
    cv2 = require("cv2", extra="recon", package="opencv-python-headless")
    rgb = view.rgb_u8.astype(np.float32)
    weight = (view.valid | mask).astype(np.float32)
    sigma = float(np.sqrt(SPREAD_PX**2 + BLUR_PX2))
    soft = cv2.GaussianBlur(rgb * weight[..., None], (0, 0), sigma)
    soft /= np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3)[..., None]
    return np.clip(rgb + SHARPEN * (rgb - soft), 0, 255)
