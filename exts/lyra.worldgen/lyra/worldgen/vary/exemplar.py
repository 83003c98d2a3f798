"""Materials that a painter paints: a piece of the photo's own floor that goes on for ever, or what a model makes.

Painters see a flat picture with a hole, as everywhere: the embedded one copies patches of the piece, one with foreign
weights reads the words as well. What is known stays bit for bit, so that a sheet's sides fit together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.optional import require
from .materials import PX_PER_M, SHEET_PX, Sheet
from .surface_map import Places

if TYPE_CHECKING:
    from ..generation.painter import Painter

CELL_M = 0.125
COARSEST_M = 1 / 50
"""Texels that are wider show a surface too badly to copy from."""
WINDOWS_M = (2.0, 1.5, 1.0)
"""Sides of the piece that is copied from, the largest that is found."""
SHORTEST = 0.6
"""A piece repeats after so much of its side or more, where its pattern fits best."""
COVERED = 0.85
PIECE_PX = 512
"""A painted sheet repeats after so many pixels."""
SEAM_PX = 24
FRAME_PX = 24
WORDS = {
    "floor": "seamless floor texture, seen from straight above, evenly lit, photograph",
    "wall": "seamless wall texture, seen head-on, evenly lit, photograph",
    "ceiling": "seamless ceiling texture, seen from straight below, evenly lit, photograph",
    "object": "seamless surface texture, seen head-on, evenly lit, photograph",
}


def photo_sheet(rgb_u8: np.ndarray, places: Places, painter: Painter, *, kind: str, seed: int) -> Sheet | None:
    """The sharpest piece that the photo shows of a level surface, continued until it repeats without a seam.

    Args:
        rgb_u8: [M, 3] colours of texels.
        places: texels of the surface.
        painter: continues the piece.
        kind: of the surface.
        seed: of the painting.

    Returns:
        None where no piece of a metre is sharp enough.
    """
    found = _sharpest(places)
    if found is None:
        return None
    corner, side_m = found
    piece = _piece(rgb_u8, places, corner, side_m)
    rows, columns = _period_px(piece), _period_px(np.swapaxes(piece, 0, 1))
    tile = piece[:rows, :columns]
    # What were its outer sides lie in the middle now, as a cross that is painted over.
    half = rows // 2, columns // 2
    canvas = np.roll(tile, half, (0, 1))
    known = np.ones((rows, columns), bool)
    known[half[0] - SEAM_PX // 2 : half[0] + SEAM_PX // 2] = False
    known[:, half[1] - SEAM_PX // 2 : half[1] + SEAM_PX // 2] = False
    canvas = _paint(painter, canvas, known, WORDS[kind], seed, piece)
    facts = {
        "from_uv_m": [round(float(v), 3) for v in corner],
        "repeats_after_m": [round(columns / PX_PER_M, 3), round(rows / PX_PER_M, 3)],
        "painter": painter.name,
    }
    return Sheet(rgb=_spread(canvas), facts=facts)


def painted_sheet(sheet: Sheet, painter: Painter, *, material: str, kind: str, seed: int) -> Sheet:
    """What a painter with foreign weights makes of a material: a frame of it stays, so that it repeats.

    Args:
        sheet: the material as it is made from numbers.
        painter: reads words.
        material: its name.
        kind: of the surface.
        seed: of the painting.
    """
    n = PIECE_PX
    canvas = (sheet.rgb[:n, :n] * 255 + 0.5).astype(np.uint8)
    # A quarter of a sheet repeats only if its sides fit: they are taken from one side each.
    frame = FRAME_PX
    canvas[-frame:], canvas[:, -frame:] = canvas[:frame][::-1], canvas[:, :frame][:, ::-1]
    known = np.ones((n, n), bool)
    known[frame:-frame, frame:-frame] = False
    painted = _paint(painter, canvas, known, f"{material}, {WORDS[kind]}", seed, canvas)
    times = SHEET_PX // n
    rgb = np.tile(painted, (times, times, 1)).astype(np.float32) / 255
    return replace(sheet, rgb=rgb, facts={**sheet.facts, "painter": painter.name, "repeats_after_m": n / PX_PER_M})


def _period_px(piece: np.ndarray) -> int:
    """After how many rows a piece [n, n, 3] goes on best where it began, so that its pattern keeps its step."""
    n = piece.shape[0]
    value = piece.astype(np.float32)
    tries = np.arange(int(SHORTEST * n), n - SEAM_PX)
    apart = [np.abs(value[p : p + SEAM_PX] - value[:SEAM_PX]).mean() for p in tries]
    return int(tries[int(np.argmin(apart))])


def _spread(tile: np.ndarray) -> np.ndarray:
    """A sheet [N, N, 3] float32 in 0..1 of a whole number of tiles [h, w, 3]; sizes change by some percent."""
    cv2 = require("cv2", extra="recon", package="opencv-python-headless")
    h, w = tile.shape[:2]
    many = np.tile(tile, (max(1, round(SHEET_PX / h)), max(1, round(SHEET_PX / w)), 1))
    return cv2.resize(many, (SHEET_PX, SHEET_PX), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _paint(
    painter: Painter, canvas: np.ndarray, known: np.ndarray, prompt: str, seed: int, source: np.ndarray
) -> np.ndarray:
    from ..generation.painter import PaintHint

    hint = PaintHint(rgb_u8=canvas[None], known=known[None], prompt=prompt, source_rgb_u8=source)
    return painter.paint(hint, seed=seed)[0]


def _sharpest(places: Places) -> tuple[np.ndarray, float] | None:
    """Lower corner [2] and side of the square that is all seen and shows most."""
    ndimage: Any = require("scipy.ndimage", extra="sim", package="scipy")
    good = (places.level < COARSEST_M) & (places.share > 0.5) & places.inside
    if not good.any():
        return None
    uv, width, fine = places.uv_m[good], places.level[good].astype(float), places.fine[good].astype(float)
    low = uv.min(0)
    cell = ((uv - low) / CELL_M).astype(int)
    shape = tuple(cell.max(0) + 1)
    flat = np.ravel_multi_index(tuple(cell.T), shape)
    size = int(np.prod(shape))
    area = np.bincount(flat, width**2, size)
    mean = np.bincount(flat, width**2 * fine, size) / np.maximum(area, 1e-12)
    spread = np.bincount(flat, width**2 * (fine - mean[flat]) ** 2, size) / np.maximum(area, 1e-12)
    covered = (area > COVERED * CELL_M**2).reshape(shape)
    spread = np.sqrt(spread).reshape(shape)
    for side_m in WINDOWS_M:
        n = round(side_m / CELL_M)
        if min(shape) < n:
            continue
        whole = ndimage.uniform_filter(covered.astype(float), n, mode="constant", origin=-(n // 2)) > 0.97
        shows = ndimage.uniform_filter(spread, n, mode="constant", origin=-(n // 2))
        whole[shape[0] - n + 1 :], whole[:, shape[1] - n + 1 :] = False, False
        if whole.any():
            best = np.unravel_index(np.argmax(np.where(whole, shows, -np.inf)), shape)
            return low + np.array(best) * CELL_M, side_m
    return None


def _piece(rgb_u8: np.ndarray, places: Places, corner: np.ndarray, side_m: float) -> np.ndarray:
    """The square seen head-on, [n, n, 3] uint8, without the light on it."""
    spatial = require("scipy.spatial", extra="sim", package="scipy")
    margin = 0.1
    near = ((places.uv_m > corner - margin) & (places.uv_m < corner + side_m + margin)).all(1) & places.inside
    near &= places.level < COARSEST_M
    n = round(side_m * PX_PER_M)
    at = (np.arange(n) + 0.5) / PX_PER_M
    # Columns run along the surface, rows down it, as in a sheet.
    grid = np.stack(np.meshgrid(corner[0] + at, corner[1] + at), -1).reshape(-1, 2)
    away, nearest = spatial.cKDTree(places.uv_m[near]).query(grid, k=4)
    weight = 1 / (away + 0.003) ** 2
    colour = rgb_u8[places.index[near]].astype(np.float32) / places.light[near, None]
    mixed = (colour[nearest] * weight[..., None]).sum(1) / weight.sum(1, keepdims=True)
    return np.clip(mixed.reshape(n, n, 3) + 0.5, 0, 255).astype(np.uint8)
