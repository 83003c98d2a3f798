"""The network of Lyra 2.0 against recordings of the reference, with everything that they hold of the inside."""

from __future__ import annotations

import numpy as np
import pytest

from golden_data import load_golden
from tiny_lyra2 import golden_tensors, recorded_inputs, recorded_model

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from lyra.worldgen.generation.context_layout import RELEASED, ContextLayout  # noqa: E402
from lyra.worldgen.generation.lyra2.rotary import rotary_angles, segment_angles  # noqa: E402
from lyra.worldgen.generation.lyra2.token_grid import TokenGrid, averaged_tokens, token_grids  # noqa: E402
from lyra.worldgen.generation.lyra2.transformer import clean_weight, waves  # noqa: E402

ATOL = 1e-5


@pytest.fixture(scope="module")
def model():
    return recorded_model()


def observed(model, inputs: dict) -> dict:
    """The velocity and what passes through the network on the way, by the recording's names."""
    seen: dict = {}

    def keep(name):
        return lambda module, args, out: seen.__setitem__(name, out)

    def keep_inputs(module, args):
        seen.update(tokens=args[0], camera_tokens=args[2], buffer_tokens=torch.cat([args[3], args[4]], -1))

    hooks = [
        model.blocks[0].register_forward_pre_hook(keep_inputs),
        model.time_embedding.register_forward_hook(keep("time_emb")),
        model.img_emb.register_forward_hook(keep("clip_ctx")),
    ]
    for i, block in enumerate(model.blocks):
        hooks.append(block.self_attn.o.register_forward_hook(keep(f"block{i}_selfattn_out")))
        hooks.append(block.register_forward_hook(keep(f"block{i}_out")))
    try:
        with torch.inference_mode():
            seen["out"] = model(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    h, w = inputs["latents"].shape[-2:]
    seen["rope_angles"] = rotary_angles(model.context, h, w, head_width=32)
    return seen


@pytest.mark.parametrize("case", ["even", "padded"])
def test_forward_equals_the_recording(model, case):
    """Velocity and every intermediate; `padded` has sizes that no enlarged kernel divides."""
    want = golden_tensors(f"dit_case_{case}")
    seen = observed(model, recorded_inputs(want))
    # Tokens without correspondence hold whatever the recording left there.
    valid = want["buffer_tokens"][..., -1:]
    torch.testing.assert_close(seen["buffer_tokens"][..., -1:], valid, rtol=0, atol=0)
    seen["buffer_tokens"] = torch.where(valid > 0, seen["buffer_tokens"], want["buffer_tokens"])
    assert set(seen) == {name for name in want if not name.startswith("in_")}
    # Sums of 9216 terms reach 15 in the 4 x 4 x 4 segment; there the recording itself is 1.6e-5 off the exact sum.
    grids = token_grids(model.context, *want["in_x"].shape[-2:])
    big = slice(sum(g.tokens for g in grids[:3]), sum(g.tokens for g in grids[:4]))
    for name, got in seen.items():
        off = (got - want[name]).abs()
        if name in ("tokens", "block0_out", "block1_out"):
            assert off[:, big].max() <= 2e-5, name
            off[:, big] = 0
        assert off.max() <= ATOL, f"{name} is {off.max():.1e} off"


@pytest.mark.parametrize("case", ["even", "padded"])
def test_tokens_are_no_farther_from_the_exact_sums_than_the_recording_is(model, case):
    """In float64; this is why one segment of the recording is compared less strictly.

    How far depends on the order in which a processor's kernels sum: from a quarter of the recording's distance to all.
    """
    want = golden_tensors(f"dit_case_{case}")
    grids = token_grids(model.context, *want["in_x"].shape[-2:])
    x = torch.cat([want["in_x"], want["in_y"][:, :20]], 1)
    exact = recorded_model().double()
    with torch.inference_mode():
        off = (model.embed(x, grids) - exact.embed(x.double(), grids)).abs().max()
        recorded_off = (want["tokens"] - exact.embed(x.double(), grids)).abs().max()
    assert ATOL < recorded_off
    assert off <= 1.25 * recorded_off


def test_clean_embeddings_start_as_the_recording_does():
    """The base weight repeated over each kernel and divided by its size."""
    g = golden_tensors("clean_embedding_init")
    kernels = [(1, 1, 1), (1, 2, 2), (1, 1, 1), (4, 4, 4), (2, 2, 2), (1, 1, 1)]
    for i, kernel in enumerate(kernels):
        got = clean_weight(g["base_weight"], 4, kernel)
        torch.testing.assert_close(got, g[f"clean{i}_weight"], rtol=0, atol=ATOL)
        torch.testing.assert_close(g["base_bias"], g[f"clean{i}_bias"], rtol=0, atol=0)


def test_rotary_angles_of_the_released_layout_equal_the_recording():
    """All tokens of a small picture, the context of the released size, and a plain grid."""
    g, meta = load_golden("rope_release_layout")
    layout = ContextLayout.parse(RELEASED)
    for name, h, w in (("12x16", 12, 16), ("60x104", 60, 104)):
        spec = meta["layout"][name]
        grids = token_grids(layout, h, w)
        assert [grid.tokens for grid in grids] == [s["tokens"] for s in spec["segments"]]
        assert list(grids[-1].size) == spec["gen_grid"]
        angles = rotary_angles(layout, h, w, head_width=128).numpy()
        assert len(angles) == spec["sequence_length"]
        want = g["rope_angles_12x16" if h == 12 else "rope_angles_60x104_history_only"]
        np.testing.assert_allclose(angles[: len(want)], want, rtol=0, atol=ATOL)
    plain = TokenGrid(start=0, stop=2, kernel=(1, 1, 1), size=(2, 3, 4), retrieved=False)
    want = g["rope_angles_plain_2x3x4"]
    np.testing.assert_allclose(segment_angles(plain, 3, 4, 128).numpy(), want, rtol=0, atol=ATOL)


def test_waves_equal_the_recording():
    """Sines and cosines of an octave lie side by side, octave after octave."""
    g = golden_tensors("encodings")
    got = waves(g["sincos_in"], 2, torch.float32)
    torch.testing.assert_close(got, g["sincos_out_multires2"], rtol=0, atol=ATOL)


def test_ray_tokens_equal_the_recording():
    """Recorded with an odd width that was filled up with zeros beforehand."""
    g = golden_tensors("encodings")
    latents = torch.nn.functional.pad(g["ray_latent384"][:1], (0, 1))
    grid = TokenGrid(start=0, stop=2, kernel=(1, 1, 1), size=(2, 1, 2), retrieved=False)
    torch.testing.assert_close(averaged_tokens(latents, grid), g["ray_tokens1536"][:1], rtol=0, atol=ATOL)
