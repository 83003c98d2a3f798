"""Lay materials on the surfaces of a world: the same change for the texture and for the splats.

A point keeps its place, its light and what stands on the surface; what is replaced is the material. Colours come from
the sheet at the point's own place on the surface, as wide as the point is, so a board that the mesh shows is where the
splats show it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..core.optional import require
from .materials import PX_PER_M, Sheet
from .surface_map import Places

DETAIL = {"floor": 0.0, "wall": 0.35, "ceiling": 0.2, "object": 0.8}
"""How much of the old fine brightness stays, as a power of it: reliefs, frames and folds. Floors have patterns."""
COARSEST = 5


class SheetReader:
    """A sheet at every coarseness."""

    def __init__(self, sheet: Sheet, *, turn_rad: float = 0.0, shift_m: tuple[float, float] = (0.0, 0.0)) -> None:
        """
        Args:
            sheet: the material.
            turn_rad: by how much it is turned on the surface.
            shift_m: where on the surface it begins.
        """
        cv2 = require("cv2", extra="recon", package="opencv-python-headless")
        self._levels = [sheet.rgb]
        for _ in range(COARSEST):
            size = self._levels[-1].shape[0] // 2
            self._levels.append(cv2.resize(self._levels[-1], (size, size), interpolation=cv2.INTER_AREA))
        c, s = np.cos(turn_rad), np.sin(turn_rad)
        self._turn = np.array([[c, s], [-s, c]], np.float32)
        self._shift = np.asarray(shift_m, np.float32)

    def at(self, uv_m: np.ndarray, width_m: np.ndarray) -> np.ndarray:
        """Colours [N, 3] float32 of places [N, 2] on the surface, each as wide as stated [N]."""
        cv2 = require("cv2", extra="recon", package="opencv-python-headless")
        level = np.clip(np.rint(np.log2(np.maximum(width_m * PX_PER_M, 1e-3))), 0, COARSEST).astype(np.int8)
        out = np.empty((len(uv_m), 3), np.float32)
        for k, picture in enumerate(self._levels):
            rows = np.flatnonzero(level == k)
            if not len(rows):
                continue
            n = picture.shape[0]
            xy = ((uv_m[rows] + self._shift) @ self._turn.T) * np.float32(PX_PER_M / 2**k)
            xy = np.mod(xy - np.float32(0.5), np.float32(n))
            wrapped = cv2.copyMakeBorder(picture, 0, 1, 0, 1, cv2.BORDER_WRAP)
            # Its maps may have no side of more than 32766.
            wide = 4096
            padded = np.zeros((-(-len(rows) // wide) * wide, 2), np.float32)
            padded[: len(rows)] = xy
            grid = padded.reshape(-1, wide, 2)
            taken = [
                cv2.remap(wrapped, np.ascontiguousarray(grid[i : i + 16384]), None, cv2.INTER_LINEAR)
                for i in range(0, len(grid), 16384)
            ]
            out[rows] = np.concatenate(taken).reshape(-1, 3)[: len(rows)]
        return out


def restyled(
    rgb_u8: np.ndarray, places: Mapping[str, Places], sheets: Mapping[str, SheetReader], *, light: float
) -> np.ndarray:
    """Colours with other materials.

    Args:
        rgb_u8: [M, 3] display values of texels or splats; not changed.
        places: of these points, by kind.
        sheets: materials, by kind; others stay.
        light: how much of the light that lies on the surfaces stays, as a power of it.
    """
    out = rgb_u8.copy()
    for kind, sheet in sorted(sheets.items()):
        where = places.get(kind)
        if where is None:
            continue
        # In pieces that stay in the cache of a core.
        step = 1 << 18
        for i in range(0, len(where.index), step):
            part = slice(i, i + step)
            index = where.index[part]
            colour = sheet.at(where.uv_m[part], where.level[part])
            lit = where.light[part] ** np.float32(light)
            if DETAIL[kind]:
                lit = lit * np.clip(where.fine[part], 0.4, 1.35) ** np.float32(DETAIL[kind])
            share = where.share[part, None]
            new = np.clip(colour * lit[:, None], 0, 1) * np.float32(255)
            old = rgb_u8[index].astype(np.float32)
            # At the rim of a thing a point shows both; what is left of it without the old surface is the thing.
            surface = where.usual_rgb * where.light[part, None] * np.float32(255)
            thing = np.clip((old - share * surface) / np.maximum(1 - share, np.float32(0.05)), 0, 255)
            out[index] = (thing * (1 - share) + new * share + np.float32(0.5)).astype(np.uint8)
    return out
