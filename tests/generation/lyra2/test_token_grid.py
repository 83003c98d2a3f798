"""Tokens of any layout, and the angles that belong to them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyra.worldgen.generation.context_layout import ContextLayout
from lyra.worldgen.generation.lyra2.token_grid import PATCH, fold, token_count, token_grids, unfold

torch = pytest.importorskip("torch")

from lyra.worldgen.generation.lyra2.rotary import rotary_angles  # noqa: E402

segments = st.tuples(st.integers(1, 5), st.sampled_from("ks"), st.integers(1, 4))


@given(parts=st.lists(segments, min_size=1, max_size=4), new=st.integers(1, 3), rows=st.integers(1, 5))
@settings(max_examples=25)
def test_tokens_and_angles_belong_together(parts, new, rows):
    """Any layout at any even size has an angle for each token; those to generate lie in the grid they are read from."""
    layout = ContextLayout.parse("".join(f"f{n}{kind}{k}" for n, kind, k in parts) + f"_g{new}")
    h, w = PATCH * rows, PATCH * (6 - rows)
    grids = token_grids(layout, h, w)
    angles = rotary_angles(layout, h, w, head_width=12)
    assert angles.shape == (token_count(layout, h, w), 6)
    assert [g.start for g in grids] == [0, *(g.stop for g in grids[:-1])] and grids[-1].stop == layout.total_latents
    times = angles[-grids[-1].tokens :, 0].reshape(grids[-1].size)
    assert torch.equal(times[:, 0, 0], torch.arange(layout.context_latents, layout.total_latents).float())


def test_folding_and_unfolding_undo_each_other():
    """The head writes the channel last, the embedding reads it first."""
    x = torch.arange(2 * 3 * 2 * 4 * 6).reshape(2, 3, 2, 4, 6).float()
    channel_first = fold(x, (1, 2, 2)).unflatten(-1, (3, 2, 2))
    tokens = channel_first.permute(0, 1, 2, 3, 5, 6, 4).reshape(2, -1, 12)
    assert torch.equal(unfold(tokens, (2, 2, 3), 3), x)
