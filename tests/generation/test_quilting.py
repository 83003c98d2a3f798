"""Textures continued from what is known: a pattern keeps its phase, nothing forbidden is copied, seeds decide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyra.worldgen.generation.quilting import find_lattice, quilt

SIDE = 220


def tiles(period_px: float, angle_rad: float, seed: int = 0) -> np.ndarray:
    """[SIDE, SIDE, 3] checkered tiles with dark joints and grain."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    u, v = (c * x + s * y) / period_px, (c * y - s * x) / period_px
    joint = (np.abs(u - np.round(u)) < 0.06) | (np.abs(v - np.round(v)) < 0.06)
    grey = 140 + 50 * ((np.floor(u) + np.floor(v)) % 2) - 60 * joint
    return grey[..., None] * [1.0, 0.9, 0.8] + np.random.default_rng(seed).normal(0, 6, (SIDE, SIDE, 1))


def sector() -> np.ndarray:
    """What a camera in the middle sees of a floor: a wedge without its tip."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    return (np.abs(np.arctan2(y, x)) < 0.75) & (np.hypot(x, y) > 25)


@settings(max_examples=6)
@given(period=st.floats(12, 24), angle=st.floats(0, 1.5))
def test_lattice_of_tiles(period: float, angle: float) -> None:
    """The two steps bring the floor onto itself: after six of them a joint is still a joint."""
    floor = tiles(period, angle)
    found = find_lattice(floor, sector(), largest_px=60)
    assert found is not None
    c, s = np.cos(angle), np.sin(angle)
    for row, column in found.steps_px:
        u, v = (c * column + s * row) / period, (c * row - s * column) / period
        whole = np.round([u, v])
        np.testing.assert_allclose([u, v], whole, atol=0.03)
        assert whole.sum() % 2 == 0 and np.abs(whole).sum() > 0


def test_what_does_not_repeat_has_no_lattice(rng) -> None:
    """Grain and blotches are no pattern."""
    import cv2

    noise = rng.normal(128, 30, (SIDE, SIDE, 3))
    assert find_lattice(noise, sector(), largest_px=60) is None
    assert find_lattice(cv2.GaussianBlur(noise, (0, 0), 3), sector(), largest_px=60) is None


def test_tiles_go_on_in_phase() -> None:
    """All around the camera the floor is what it would have been, up to its grain."""
    floor, known = tiles(17.3, 0.4), sector()
    seen = np.where(known[..., None], floor, 0)
    lattice = find_lattice(seen, known, largest_px=60)
    out = quilt(seen, known, np.ones_like(known), known, seed=0, lattice=lattice)
    assert out is not None
    # Grain alone differs by 1.13 standard deviations on average; a pattern out of phase differs by tens.
    assert np.abs(out - floor)[~known].mean() < 2.2 * 6
    free = quilt(seen, known, np.ones_like(known), known, seed=0)
    assert free is not None
    assert np.abs(out - floor)[~known].mean() < 0.7 * np.abs(free - floor)[~known].mean()


def test_known_stays_and_everything_wanted_is_filled(rng) -> None:
    """Known pixels bit for bit, no gap, nothing outside, the same again for the same seed."""
    picture = rng.normal(120, 25, (SIDE, SIDE, 3)).astype(np.float32)
    known = sector()
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    wanted = np.hypot(x, y) < 100
    seen = np.where(known[..., None], picture, -999).astype(np.float32)
    out = quilt(seen, known, wanted, known, seed=1)
    assert out is not None
    np.testing.assert_array_equal(out[known | ~wanted], seen[known | ~wanted])
    assert out[wanted].min() > 0
    again, other = (quilt(seen, known, wanted, known, seed=s) for s in (1, 2))
    np.testing.assert_array_equal(out, again)
    assert other is not None and np.abs(other - out)[wanted & ~known].mean() > 1
    # As rough as what it was made of.
    assert 0.8 < out[wanted & ~known].std() / picture[known].std() < 1.2


def test_only_sources_are_copied(rng) -> None:
    """A red rug that is known but no source is not continued."""
    picture = rng.normal(120, 10, (SIDE, SIDE, 3))
    known = sector()
    rug = np.zeros_like(known)
    rug[90:130, 150:200] = True
    picture[rug] = [220, 30, 30]
    out = quilt(picture, known, np.ones_like(known), known & ~rug, seed=0)
    assert out is not None
    red = out[..., 0] - out[..., 1] > 90
    assert not red[~known].any() and red[rug & known].all()


@pytest.mark.parametrize("side", [0, 8])
def test_too_small_a_source_is_refused(side: int) -> None:
    """Where not even the smallest piece fits there is nothing to lay."""
    source = np.zeros((60, 60), bool)
    source[:side, :side] = True
    assert quilt(np.ones((60, 60, 3)), source, np.ones((60, 60), bool), source, seed=0) is None
