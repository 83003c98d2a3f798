"""The walk over photo columns: closed, with long runs, sparing landmarks, and keeping walls together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyra.worldgen.generation.slab_layout import slab_walk, uniqueness


def striped(w: int = 90, period: int = 15, rows: int = 24) -> np.ndarray:
    """[rows, w, 3] picture that repeats itself every `period` columns."""
    wave = 0.5 + 0.4 * np.sin(2 * np.pi * np.arange(w) / period)
    return np.broadcast_to(wave[None, :, None], (rows, w, 3)).astype(np.float32).copy()


def runs(walk) -> list[int]:
    """Lengths of the runs between jumps."""
    step = np.where(walk.mirrored, -1, 1)
    new = (np.diff(walk.column) != step[1:]) | (walk.mirrored[1:] != walk.mirrored[:-1])
    return np.diff(np.concatenate([[0], np.flatnonzero(new) + 1, [len(walk.column)]])).tolist()


@pytest.mark.slow
@settings(max_examples=8)
@given(w=st.integers(1, 60), length=st.integers(0, 200), seed=st.integers(0, 2**32 - 1))
def test_every_size_gives_a_walk(w, length, seed):
    """Indices stay inside the photo whatever the sizes; the same seed gives the same walk."""
    strip = np.random.default_rng(seed).random((12, w, 3)).astype(np.float32)
    walk = slab_walk(strip, length, column_deg=1.0, seed=seed)
    assert walk.column.shape == walk.mirrored.shape == (length,)
    assert length == 0 or (walk.column.min() >= 0 and walk.column.max() < w)
    again = slab_walk(strip, length, column_deg=1.0, seed=seed)
    np.testing.assert_array_equal(walk.column, again.column)


def test_runs_are_long():
    """Between two jumps lies at least the minimum run; only the last run may be cut by the photo."""
    walk = slab_walk(striped(), 220, column_deg=1.0, seed=3, min_run_deg=20)
    lengths = runs(walk)
    assert min(lengths[:-1]) >= 20
    assert len(lengths) >= 3


def test_jumps_land_where_it_looks_alike():
    """On a periodic picture the phase continues across every jump and into the photo."""
    period = 15
    walk = slab_walk(striped(period=period), 220, column_deg=1.0, seed=0, min_run_deg=20)
    shown = striped(period=period)[0, :, 0][walk.column]
    photo = striped(period=period)[0, :, 0]
    closed = np.concatenate([photo, shown, photo[:1]])
    steps = np.abs(np.diff(closed))
    assert steps.max() <= 2 * np.abs(np.diff(photo)).max() + 1e-6


def test_landmark_is_not_repeated():
    """One unique object on a periodic background is never shown again."""
    strip = striped(w=120)
    strip[4:20, 50:58] = [1.0, 0.0, 0.0]
    assert uniqueness(strip, 6)[54] > 0.9
    walk = slab_walk(strip, 240, column_deg=1.0, seed=0)
    assert not np.isin(walk.column, np.arange(50, 58)).any()


def test_walls_of_equal_distance_are_joined():
    """With equal looks everywhere the geometry decides: jumps avoid steps in the boundary."""
    boundary = np.where(np.arange(90) < 45, 2.6, 8.0)
    strip = striped()

    def mean_step(boundary_m):
        walk = slab_walk(strip, 220, column_deg=1.0, seed=1, boundary_m=boundary_m, min_run_deg=20)
        shown = np.log(boundary[np.concatenate([[89], walk.column, [0]])])
        position = np.concatenate([[89], walk.column, [0]])
        jumped = np.abs(np.diff(position)) > 1
        return np.abs(np.diff(shown))[jumped].mean()

    assert mean_step(boundary) < 0.5 * mean_step(None) + 1e-9 or mean_step(boundary) < 0.1


def test_near_walls_are_shown_less():
    """A boundary within arm's reach is dear; the walk prefers free space."""
    boundary = np.where(np.arange(90) < 45, 0.6, 5.0)
    walk = slab_walk(striped(), 220, column_deg=1.0, seed=1, boundary_m=boundary)
    assert (boundary[walk.column] > 1).mean() > 0.6


@pytest.mark.parametrize("seed", [0])
def test_objects_are_not_cut(seed):
    """Jumps keep away from columns that show standing objects."""
    objects = np.zeros(90)
    objects[30:40] = 0.8
    walk = slab_walk(striped(), 220, column_deg=1.0, seed=seed, object_share=objects)
    jumps = np.flatnonzero(np.abs(np.diff(walk.column)) > 1)
    assert not (objects[walk.column[jumps]] > 0).any() and not (objects[walk.column[jumps + 1]] > 0).any()


def test_seeds_differ():
    """Another seed gives another ring."""
    strip = np.random.default_rng(0).random((20, 80, 3)).astype(np.float32)
    walks = [slab_walk(strip, 280, column_deg=1.0, seed=s).column.tolist() for s in range(2)]
    assert walks[0] != walks[1]
