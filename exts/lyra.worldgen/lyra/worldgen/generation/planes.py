"""Floor and ceiling completed in their own plane: what lies below and above the reach of the photo.

A level camera at eye height never sees the floor around its own feet, yet a robot drives there. Painting that disc in
the picture would stretch it; painting it in the plane keeps the material's true scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LARGEST_SIDE_PX = 480
FINEST_CELL_M = 0.012
MIN_SOURCE_PX = 400
"""Fewer known pixels than this carry no material worth copying."""


@dataclass(frozen=True, kw_only=True)
class PlaneTexture:
    """Colours of a square of a horizontal plane centred on the vertical through the origin."""

    z_m: float
    cell_m: float
    rgb_u8: np.ndarray
    """[S, S, 3]; row 0 at the lowest y, column 0 at the lowest x."""
    known: np.ndarray
    """[S, S] bool."""

    def lookup(self, points_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bilinear colour [N, 3] float32 and validity [N] bool of points on the plane."""
        import cv2

        side = len(self.rgb_u8)
        xy = (points_world[:, :2] / self.cell_m + side / 2).astype(np.float32)
        ok = ((xy >= 0.5) & (xy <= side - 0.5)).all(1) & (np.abs(points_world[:, 2] - self.z_m) < 0.02)
        col, row = np.clip(xy.astype(int), 0, side - 1).T
        ok &= self.known[row, col]
        out = np.zeros((len(points_world), 3), np.float32)
        pick = np.flatnonzero(ok)
        for start in range(0, len(pick), 30_000):  # cv2.remap addresses at most 32767 rows
            part = pick[start : start + 30_000]
            out[part] = cv2.remap(
                self.rgb_u8,
                xy[part, :1] - 0.5,
                xy[part, 1:] - 0.5,
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )[:, 0]
        return out, ok


def plane_cells(radius_m: float, z_m: float) -> tuple[np.ndarray, float]:
    """World points [S, S, 3] of the cells of a square that holds a disc of `radius_m`, and the cell size [m]."""
    cell = max(FINEST_CELL_M, 2 * radius_m / LARGEST_SIDE_PX)
    side = int(np.ceil(2 * radius_m / cell))
    axis = (np.arange(side) + 0.5 - side / 2) * cell
    x, y = np.meshgrid(axis, axis)
    return np.stack([x, y, np.full_like(x, z_m)], -1), cell


def common_material(rgb_u8: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """[S, S] bool: candidate cells that look like most of the plane.

    What was taken for floor but is none (the rim of a fountain, a bench cut off by the picture's edge) covers less of
    it than the floor does, so a robust distance from the median colour leaves it out. Edges of the candidate area are
    left out too: colours mix there.
    """
    import cv2

    inner = cv2.erode(candidates.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if inner.sum() < MIN_SOURCE_PX:
        return candidates
    lab = cv2.cvtColor(rgb_u8, cv2.COLOR_RGB2LAB).astype(np.float32)
    weight = cv2.GaussianBlur(candidates.astype(np.float32), (0, 0), 3)
    smooth = cv2.GaussianBlur(lab * candidates[..., None], (0, 0), 3) / np.maximum(weight, 1e-3)[..., None]
    # Light falls unevenly on one material: lightness counts less than hue.
    distance = np.linalg.norm((smooth - np.median(smooth[inner], axis=0)) * [0.5, 1.0, 1.0], axis=-1)
    limit = max(3.0 * float(np.median(distance[inner])), 6.0)
    keep = inner & (distance <= limit)
    return keep if keep.sum() >= MIN_SOURCE_PX else candidates
