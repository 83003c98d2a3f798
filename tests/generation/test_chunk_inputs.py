"""The assembled inputs of one chunk against recordings of the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from golden_data import load_golden
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.generation.chunk_inputs import RetrievedView, assemble_chunk, compiled_warp, reference_warp
from lyra.worldgen.generation.context_layout import ContextLayout
from lyra.worldgen.generation.retrieval import cache_points, retrieve

LAYOUT = ContextLayout.parse("f1k1f1s2f1s1f4k4f2k2f1k1_g4")
HISTORY = 33


def toy_encoder(video: np.ndarray) -> np.ndarray:
    """The recording's stand-in for a video encoder: 8x8 means of every fourth frame."""
    frames = video[:, ::4]
    c, t, h, w = frames.shape
    small = frames.reshape(c, t, h // 8, 8, w // 8, 8).mean((3, 5))
    return np.stack([small[k % 3] * (k + 1) / 16 for k in range(16)]).astype(np.float32)


@pytest.mark.parametrize("warp", [reference_warp, compiled_warp])
@pytest.mark.parametrize("case", ["case1", "case2_seed_only", "case3_multiview"])
def test_inputs_equal_the_recording(case, warp):
    """Context, conditioning, rays, mask and correspondence of a chunk."""
    g, meta = load_golden("prepare_inputs_case1")
    want, spec = load_golden(f"prepare_inputs_{case}")
    video, w2c, K, depths = g["video"][0], g["w2c"][0], g["K"], g["depths"]
    ids = spec["cache_frame_ids"]
    cache = [cache_points(i, depths[i], w2c[i], K) for i in ids]
    views = spec["num_retrieval_views"]
    steps = np.floor(np.linspace(0, LAYOUT.new_frames - 1, views + 1)).astype(int)[1:]
    picks = retrieve(cache, w2c[HISTORY + steps], K, depths.shape[1:], count=len(LAYOUT.spatial_positions))
    assert picks == spec["retrieved_frame_ids_in_returned_order"]
    window = np.array(meta["video_indices"])
    inputs = assemble_chunk(
        LAYOUT,
        first_frame=video[:, 0],
        last_frame=video[:, -1],
        last_depth_z=depths[HISTORY - 1],
        history_latents=g["history_latents"][0],
        window_w2c=w2c[window],
        K_px=K,
        retrieved=[RetrievedView(frame_id=i, rgb=video[:, i], depth_z=depths[i], w2c=w2c[i]) for i in picks],
        encode=toy_encoder,
        warp=warp,
    )
    np.testing.assert_allclose(inputs.latents, want["latents"][0], atol=1e-5)
    buffer = inputs.buffer if "cond_latent" in want else inputs.buffer[..., ::2, ::2]
    off = np.abs(buffer - want["buffer"][0])
    # Folding spreads a pixel at a hole's rim, where splat weights are tiny, over nothing but itself.
    assert np.mean(off > 1e-4) <= 1e-3
    if "cond_latent" in want:
        np.testing.assert_allclose(inputs.cond[16:], want["cond_latent"][0, 16:], atol=1e-5)
        np.testing.assert_allclose(inputs.cond[:16], want["cond_latent"][0, :16], atol=1e-4)
        np.testing.assert_array_equal(inputs.mask, want["mask"][0])
        off = np.abs(inputs.warped_last - want["warped_last_frame"][0])
        assert np.mean(off > 1e-4) <= 1e-3


def test_a_lens_for_every_frame():
    """One camera matrix a frame is what one for all is when they are equal; a longer lens looks closer."""
    g, meta = load_golden("prepare_inputs_case1")
    video, w2c, K, depths = g["video"][0], g["w2c"][0], g["K"], g["depths"]
    window = np.array(meta["video_indices"])
    given = {
        "first_frame": video[:, 0],
        "last_frame": video[:, -1],
        "last_depth_z": depths[HISTORY - 1],
        "history_latents": g["history_latents"][0],
        "window_w2c": w2c[window],
        "encode": toy_encoder,
    }
    views = [RetrievedView(frame_id=0, rgb=video[:, 0], depth_z=depths[0], w2c=w2c[0])]
    Ks = np.tile(K, (len(window), 1, 1))
    want = assemble_chunk(LAYOUT, K_px=K, retrieved=views, **given)
    got = assemble_chunk(LAYOUT, K_px=Ks, retrieved=[replace(view, K_px=K) for view in views], **given)
    for name in ("latents", "cond", "buffer", "warped_last"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
    Ks[-LAYOUT.new_frames :, :2, :2] *= 1.5
    closer = assemble_chunk(LAYOUT, K_px=Ks, retrieved=views, **given)
    context = LAYOUT.context_latents
    np.testing.assert_array_equal(closer.cond[:, :context], want.cond[:, :context])
    assert (closer.warped_last != want.warped_last).any() and (
        closer.cond[16:, context:] != want.cond[16:, context:]
    ).any()
    with pytest.raises(InputError, match="K_px has shape"):
        assemble_chunk(LAYOUT, K_px=Ks[:3], retrieved=views, **given)
