"""Tiles, prefilling and joining: properties that hold for any hole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.generation.inpaint_tiles import (
    joined,
    mask_in_cells,
    model_size,
    next_tile,
    resized,
    smooth_fill,
    tile_boxes,
)


@st.composite
def holes(draw) -> np.ndarray:
    """[H, W] bool with any share of holes, none and all included."""
    h, w = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    share = draw(st.sampled_from([0.0, 0.01, 0.5, 0.95, 1.0]))
    return np.random.default_rng(draw(st.integers(0, 99))).random((h, w)) < share


@given(holes(), st.integers(0, 99))
def test_filling_keeps_what_is_known_and_stays_in_its_range(hole, seed):
    """Known values are untouched; unknown ones lie between the smallest and the largest known value."""
    rgb = np.random.default_rng(seed).integers(0, 256, (*hole.shape, 3)).astype(np.uint8)
    out = smooth_fill(rgb, ~hole)
    np.testing.assert_array_equal(out[~hole], rgb[~hole])
    if hole.all():
        assert (out == 127.5).all()
    else:
        assert (out >= rgb[~hole].min(0) - 1e-3).all() and (out <= rgb[~hole].max(0) + 1e-3).all()


def test_filling_continues_a_slope():
    """Across a hole in a gradient the fill is close to the gradient."""
    x = np.broadcast_to(np.arange(64, dtype=np.float32)[None, :, None] * 3, (48, 64, 3)).copy()
    known = np.ones((48, 64), bool)
    known[16:30, 20:36] = False
    assert np.abs(smooth_fill(x, known) - x)[~known].max() < 15


@given(st.integers(1, 300), st.integers(1, 300), st.integers(16, 128))
def test_tiles_cover_and_overlap(height, width, side):
    """Every pixel lies in a tile, none is larger than allowed, neighbours share a quarter."""
    boxes = tile_boxes(height, width, side)
    covered = np.zeros((height, width), int)
    for y, x in boxes:
        assert 0 < y.stop - y.start <= side and 0 < x.stop - x.start <= side
        covered[y, x] += 1
    assert covered.min() >= 1
    columns = sorted({x.start for _, x in boxes})
    assert all(a + side - b >= 0.25 * side - 2 for a, b in itertools.pairwise(columns))


@given(holes())
def test_every_hole_is_visited_once(hole):
    """Tiles are taken until nothing is left; tiles without a hole are never taken."""
    boxes, left, taken = tile_boxes(*hole.shape, 16), hole.copy(), []
    while (index := next_tile(boxes, left)) is not None:
        assert left[boxes[index]].any()
        left[boxes[index]] = False
        taken.append(index)
    assert not left.any() and len(set(taken)) == len(taken)


def test_best_known_tile_first():
    """The hole grows inwards from what is known."""
    hole = np.zeros((16, 64), bool)
    hole[:, 20:] = True
    boxes = tile_boxes(16, 64, 16)
    first = next_tile(boxes, hole)
    assert first is not None and boxes[first][1].start < 20 < boxes[first][1].stop


@pytest.mark.parametrize(
    ("shape", "side", "multiple", "size"),
    [
        ((384, 512), 512, 8, (384, 512)),
        ((384, 512), 1024, 8, (768, 1024)),
        ((300, 512), 512, 8, (304, 512)),
        ((45, 61), 128, 16, (96, 128)),
        ((2, 512), 512, 8, (8, 512)),
        ((512, 512), 512, 64, (512, 512)),
    ],
)
def test_sizes_for_the_model(shape, side, multiple, size):
    """Never smaller than the picture by more than half a multiple, never without a row."""
    assert model_size(*shape, side_px=side, multiple_px=multiple) == size


@given(holes(), st.sampled_from([4, 8, 16]), st.integers(1, 4), st.integers(1, 4))
def test_no_pixel_of_a_hole_is_lost_in_cells(hole, cell, rows, cols):
    """However thin: the grown mask, brought back to the picture's size, covers every pixel of the hole."""
    h, w = hole.shape
    height, width = cell * max(rows, -(-h // cell)), cell * max(cols, -(-w // cell))
    mask = mask_in_cells(hole, height, width, cell)
    assert mask.shape == (height, width)
    cells = mask.reshape(height // cell, cell, width // cell, cell)
    assert (cells.all((1, 3)) == cells.any((1, 3))).all()
    y, x = np.nonzero(hole)
    assert mask[(y * height) // h, (x * width) // w].all()
    if not hole.any():
        assert not mask.any()


@given(holes(), st.integers(0, 99))
def test_joining_changes_holes_only(hole, seed):
    """Known pixels bit for bit, whatever was painted."""
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 256, (*hole.shape, 3)).astype(np.uint8)
    painted = rng.random((*hole.shape, 3)).astype(np.float32) * 255
    out = joined(painted, frame, ~hole)
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out[~hole], frame[~hole])


def test_a_tint_vanishes_at_the_edge_and_stays_inside():
    """A model that returns the scene with another tint: no step at the edge, its own colour far inside."""
    frame = np.full((80, 120, 3), 100, np.uint8)
    known = np.ones((80, 120), bool)
    known[10:70, 20:100] = False
    out = joined(np.full((80, 120, 3), 130.0, np.float32), frame, known).astype(int)
    assert abs(out[40, 20, 0] - 100) <= 2 and out[40, 60, 0] == 130
    row = out[40, 19:50, 0]
    assert (np.diff(row) >= 0).all() and np.diff(row).max() <= 5


def test_a_right_size_is_not_resampled():
    """Bits are kept."""
    picture = np.zeros((4, 5, 3), np.uint8)
    assert resized(picture, 4, 5) is picture and resized(picture, 8, 10).shape == (8, 10, 3)
