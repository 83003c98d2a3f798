"""Occupancy grids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.grid import Cell, OccupancyGrid
from strategies import grids


@given(grids())
def test_cell_centres_map_back_to_their_cells(grid):
    """Centre of a cell to cell is the identity, over the whole grid."""
    rowcol = np.stack(np.meshgrid(np.arange(grid.shape[0]), np.arange(grid.shape[1]), indexing="ij"), -1)
    centres = grid.centre_xy_m(rowcol)
    np.testing.assert_array_equal(grid.rowcol(centres), rowcol)
    np.testing.assert_array_equal(grid.free_at(centres), grid.cells == Cell.FREE)


@given(grids())
def test_nothing_is_free_outside(grid):
    """Positions off the grid are not free and raise nothing."""
    far = np.array([[1e4, 1e4], [-1e4, 0.0]])
    assert not grid.inside(grid.rowcol(far)).any() and not grid.free_at(far).any()


def test_row_zero_is_the_lowest_y():
    """[row, col] grows with y and x from the lower-left corner."""
    cells = np.full((2, 3), Cell.OCCUPIED, np.uint8)
    cells[0, 2] = Cell.FREE
    grid = OccupancyGrid(cells=cells, cell_m=0.5, origin_xy_m=(-1.0, 2.0))
    np.testing.assert_allclose(grid.centre_xy_m(np.array([0, 2])), [0.25, 2.25])
    assert grid.free_at(np.array([0.2, 2.1])) and not grid.free_at(np.array([0.2, 2.6]))


@pytest.mark.parametrize("cell_m", [0.0, -0.1, float("nan")])
def test_impossible_cell_sizes_are_refused(cell_m):
    """A grid without a positive cell size is no grid."""
    with pytest.raises(InputError, match="cell_m"):
        OccupancyGrid(cells=np.zeros((1, 1), np.uint8), cell_m=cell_m, origin_xy_m=(0, 0))
