"""Which pixels of a depth map belong to one surface."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.reconstruction.volume import JUMP
from lyra.worldgen.reconstruction.volume_numba import broken_quads

slopes = st.floats(-0.2, 0.2)


@given(slopes, slopes, st.floats(-0.02, 0.02), st.floats(2.0, 9.0), st.booleans())
def test_planes_that_meet_are_never_torn(left, right, down, crease, convex):
    """However low the angle at which two planes are seen: their inverse depth bends where they meet and never jumps."""
    u, v = np.meshgrid(np.arange(12.0), np.arange(8.0))
    bend = np.minimum if convex else np.maximum
    w = bend(left * (u - crease), right * (u - crease)) + down * v
    assert not broken_quads(w - w.min() + 0.5, JUMP).any()


@given(st.floats(0.0, 0.03), st.floats(0.12, 0.4), st.floats(0.12, 0.4), st.integers(1, 3))
def test_what_shows_between_two_nearer_things_is_torn_from_both(slope, before, after, width):
    """Even a strip one pixel wide, and even if the nearer thing before it ends at a low angle."""
    u = np.arange(12)
    row = np.where(u < 5, 0.4 + before + slope * (4 - u), np.where(u < 5 + width, 0.4, 0.4 + after))
    torn = broken_quads(np.tile(row, (4, 1)), JUMP)
    assert torn[:, 4].all() and torn[:, 4 + width].all()
    assert not torn[:, :4].any() and not torn[:, 5 + width :].any()
