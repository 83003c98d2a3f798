"""Occupancy grid of a robot that drives on the floor."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from .arrays import expect_shape
from .errors import InputError


class Cell(IntEnum):
    """State of one grid cell."""

    FREE = 0
    OCCUPIED = 1
    UNKNOWN = 2


@dataclass(frozen=True, kw_only=True)
class OccupancyGrid:
    """Cells in the world's XY plane; [row, col] with row 0 at the lowest y and col 0 at the lowest x."""

    cells: np.ndarray
    """[rows, cols] uint8 `Cell` values."""
    cell_m: float
    origin_xy_m: tuple[float, float]
    """World position of the lower-left corner of cell [0, 0]."""

    def __post_init__(self) -> None:
        expect_shape("cells", self.cells, (None, None))
        if not self.cell_m > 0:
            raise InputError(f"cell_m is {self.cell_m}; expected a positive size in metres")

    @property
    def shape(self) -> tuple[int, int]:
        return self.cells.shape[0], self.cells.shape[1]

    @property
    def free(self) -> np.ndarray:
        """[rows, cols] bool."""
        return self.cells == Cell.FREE

    def rowcol(self, xy_m: np.ndarray) -> np.ndarray:
        """[..., 2] integer cells of world positions [..., 2]; may lie outside the grid."""
        return np.floor((np.asarray(xy_m, float) - self.origin_xy_m) / self.cell_m).astype(int)[..., ::-1]

    def centre_xy_m(self, rowcol: np.ndarray) -> np.ndarray:
        """World positions [..., 2] of cell centres [..., 2]."""
        return (np.asarray(rowcol, float)[..., ::-1] + 0.5) * self.cell_m + np.asarray(self.origin_xy_m)

    def inside(self, rowcol: np.ndarray) -> np.ndarray:
        """[...] bool: the cell exists."""
        rc = np.asarray(rowcol)
        return (rc >= 0).all(-1) & (rc[..., 0] < self.shape[0]) & (rc[..., 1] < self.shape[1])

    def free_at(self, xy_m: np.ndarray) -> np.ndarray:
        """[...] bool: the position lies in a free cell."""
        rc = self.rowcol(xy_m)
        ok = self.inside(rc)
        safe = np.where(ok[..., None], rc, 0)
        return ok & self.free[safe[..., 0], safe[..., 1]]
