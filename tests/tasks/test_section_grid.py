"""No piece of a section is missing from a cell that it goes through, and none lies about elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from known_scenes import known_scene
from lyra.worldgen.core.mesh import TriMesh
from lyra_tasks import section_grid
from lyra_tasks.section_grid import CELL_M, SectionGrids, section_grids
from sample_worlds import box_corners, star_world


def cells_of(grids: SectionGrids, k: int, xy_m: np.ndarray) -> np.ndarray:
    """[N] cells that positions [N, 2] of world k lie in."""
    col, row = np.floor((xy_m - grids.origin_xy_m[k]) / grids.cell_m[k]).astype(int).T
    assert (col >= 0).all() and (row >= 0).all() and (row < grids.shape[k, 0]).all() and (col < grids.shape[k, 1]).all()
    return grids.base[k] + row * grids.shape[k, 1] + col


@pytest.mark.slow
@given(st.integers(1000, 1020), st.floats(0.05, 1.5), st.floats(-3, 3), st.floats(-3, 3))
def test_every_piece_is_in_every_cell_on_its_way(seed, height_m, x, y):
    """Points along pieces of two worlds of different sizes; on average few cells hold a piece for nothing."""
    room = known_scene(seed, kind="room").truth
    moved = TriMesh(vertices=0.5 * room.vertices + np.array([x, y, 0.0]), faces=room.faces)
    grids = section_grids([room, moved], [height_m, 0.5 * height_m])
    owner = np.repeat(np.arange(len(grids.first) - 1), np.diff(grids.first))
    pairs = set(zip(owner.tolist(), grids.held.tolist(), strict=True))
    world = (grids.held >= len(grids.pieces) // 2).astype(int)
    # The same section at half the size: as many pieces.
    assert len(grids.pieces) % 2 == 0 and (owner >= grids.base[world]).all()
    needed = set()
    for share in np.linspace(0.0, 1.0, 33):
        for k, part in enumerate(np.split(grids.pieces, 2)):
            cell = cells_of(grids, k, part[:, :2] + share * part[:, 2:])
            needed |= set(zip(cell.tolist(), (np.arange(len(part)) + k * len(part)).tolist(), strict=True))
    assert needed <= pairs
    assert len(pairs) < 2 * len(needed)


def test_large_worlds_get_larger_cells(monkeypatch):
    """The number of cells is bounded, whatever the world's extent."""
    monkeypatch.setattr(section_grid, "MOST_CELLS", 100)
    room = star_world(box_corners(-20, 40, -30, 30), ceiling_m=2.0)
    grids = section_grids([room], [1.0])
    assert grids.shape[0].prod() <= 121 and grids.cell_m[0] > CELL_M


def test_nothing_at_that_height_is_one_empty_cell():
    """Above all colliders, beside a world that has some."""
    room = star_world(box_corners(-2, 4, -3, 3), ceiling_m=2.0)
    grids = section_grids([room, room], [50.0, 1.0])
    assert grids.shape[0].tolist() == [1, 1] and grids.first[:2].tolist() == [0, 0]
    assert grids.first[-1] == len(grids.held) > 0 and grids.held.max() < len(grids.pieces)


@pytest.mark.parametrize("heights", [[1.0], [1.0, 1.0, 1.0]])
def test_one_height_a_world(heights):
    room = star_world(box_corners(-2, 4, -3, 3), ceiling_m=2.0)
    with pytest.raises(ValueError, match=r"zip|longer|shorter"):
        section_grids([room, room], heights)
