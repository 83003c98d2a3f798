"""Attention and rotation of heads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from lyra.worldgen.generation.lyra2.attention import KERNELS, attend, attend_plain, rotate_pairs  # noqa: E402


@pytest.mark.parametrize("kernel", KERNELS)
def test_attention_equals_the_formula(kernel):
    """Whatever kernel is asked for, at lengths that fill no block."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, n, 3, 16, generator=generator) for n in (77, 41, 41))
    torch.testing.assert_close(attend(q, k, v, kernel=kernel), attend_plain(q, k, v), rtol=0, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", KERNELS)
def test_attention_equals_the_formula_on_cuda(kernel):
    """Fused kernels in bfloat16 against the formula in float32."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, n, 4, 128, generator=generator).cuda().bfloat16() for n in (1000, 700, 700))
    want = attend_plain(q.float(), k.float(), v.float())
    torch.testing.assert_close(attend(q, k, v, kernel=kernel).float(), want, rtol=0, atol=2e-2)


@given(offset=st.integers(0, 40), distance=st.integers(0, 40))
def test_rotation_tells_distances_apart_not_places(offset, distance):
    """Products of rotated queries and keys depend on how far apart they are; lengths stay."""
    generator = torch.Generator().manual_seed(offset)
    q, k = torch.randn(2, 1, 1, 2, 12, generator=generator, dtype=torch.float32)
    rates = torch.linspace(0.1, 1, 6)

    def turned(x, place):
        return rotate_pairs(x, (place * rates).cos()[None], (place * rates).sin()[None])

    near = (turned(q, 0) * turned(k, distance)).sum(-1)
    torch.testing.assert_close((turned(q, offset) * turned(k, offset + distance)).sum(-1), near, rtol=0, atol=1e-4)
    torch.testing.assert_close(turned(q, offset).norm(dim=-1), q.norm(dim=-1))
