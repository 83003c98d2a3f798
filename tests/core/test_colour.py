"""Edits of colours: pictures and splats show the same, from any side."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.colour import ColourEdit, display_gain
from lyra.worldgen.core.sh import evaluate_sh
from lyra.worldgen.core.splats import GaussianCloud

three = st.tuples(*[st.floats(0.2, 2.0)] * 3)
offsets = st.tuples(*[st.floats(-0.2, 0.2)] * 3)


def cloud(sh: np.ndarray) -> GaussianCloud:
    n = len(sh)
    return GaussianCloud(
        means=np.zeros((n, 3), np.float32),
        scales_m=np.ones((n, 3), np.float32),
        quats_wxyz=np.tile(np.array([1, 0, 0, 0], np.float32), (n, 1)),
        opacities=np.full(n, 0.5, np.float32),
        sh=sh.astype(np.float32),
    )


@given(gain=three, offset=offsets, degree=st.integers(0, 3))
def test_splats_take_an_edit_exactly(gain, offset, degree):
    """The colour seen along any direction is gain times what it was plus offset."""
    rng = np.random.default_rng(1)
    before = cloud(rng.normal(0, 0.3, (20, (degree + 1) ** 2, 3)))
    after = ColourEdit(gain=gain, offset=offset).of_splats(before)
    looks = rng.normal(size=(20, 3))
    was, now = (0.5 + evaluate_sh(c.sh, looks) for c in (before, after))
    np.testing.assert_allclose(now, was * gain + offset, atol=2e-6)


@given(gain=three, offset=offsets)
def test_pictures_take_the_same_edit(gain, offset):
    """Every value, clipped and rounded to the nearest step."""
    picture = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, -1)
    now = ColourEdit(gain=gain, offset=offset).of_picture(picture)
    want = np.clip(picture / 255 * gain + offset, 0, 1) * 255
    assert np.abs(now - want).max() <= 0.5 + 1e-9


def test_nothing_is_copied_for_nothing():
    """The neutral edit hands back what it got."""
    splats, picture = cloud(np.zeros((2, 1, 3))), np.zeros((2, 2, 3), np.uint8)
    assert ColourEdit().of_splats(splats) is splats and ColourEdit().of_picture(picture) is picture
    np.testing.assert_allclose(display_gain((1.0, 1.0, 1.0)), 1.0)
