"""Chunk inputs and encodings on tensors: equal to the recordings, and to the NumPy version where no recording is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from golden_data import load_golden
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.generation import chunk_inputs as reference
from lyra.worldgen.generation import correspondence_torch as c
from lyra.worldgen.generation.chunk_inputs import RetrievedView
from lyra.worldgen.generation.chunk_inputs_torch import assemble_chunk
from lyra.worldgen.generation.context_layout import ContextLayout
from toy_chunk import HISTORY, LAYOUT, toy_encoder

GPU = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
)
FIELDS = ("latents", "cond", "mask", "buffer", "buffer_valid")


@pytest.fixture(params=["cpu", GPU])
def device(request) -> torch.device:
    return torch.device(request.param)


def on(device: torch.device, array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def encoder(device: torch.device):
    """The recording's stand-in for a video encoder, for tensors."""
    return lambda video: on(device, toy_encoder(video.cpu().numpy()))


def given(device: torch.device | None) -> dict:
    """What both versions are asked; tensors on a device, or arrays for none."""
    g, meta = load_golden("prepare_inputs_case1")
    video, w2c, depths = g["video"][0], g["w2c"][0], g["depths"]
    arrays = {
        "first_frame": video[:, 0],
        "last_frame": video[:, -1],
        "last_depth_z": depths[HISTORY - 1],
        "history_latents": g["history_latents"][0],
    }
    return {
        **({k: on(device, a) for k, a in arrays.items()} if device else arrays),
        "window_w2c": w2c[np.array(meta["video_indices"])],
        "K_px": g["K"],
        "encode": encoder(device) if device else toy_encoder,
    }


def view_of(i: int) -> RetrievedView:
    g, _ = load_golden("prepare_inputs_case1")
    return RetrievedView(frame_id=i, rgb=g["video"][0][:, i], depth_z=g["depths"][i], w2c=g["w2c"][0][i])


@pytest.mark.parametrize("case", ["case1", "case2_seed_only", "case3_multiview"])
def test_inputs_equal_the_recording(case, device):
    """Context, conditioning, rays, mask and correspondence of a chunk."""
    want, spec = load_golden(f"prepare_inputs_{case}")
    picks = [view_of(i) for i in spec["retrieved_frame_ids_in_returned_order"]]
    got = assemble_chunk(LAYOUT, retrieved=picks, **given(device))
    latents, cond, buffer = got.latents.cpu(), got.cond.cpu(), got.buffer.cpu()
    np.testing.assert_allclose(latents, want["latents"][0], atol=1e-5)
    buffer = buffer if "cond_latent" in want else buffer[..., ::2, ::2]
    off = np.abs(buffer.numpy() - want["buffer"][0])
    # As for the NumPy version: pixels at a hole's rim have tiny weights.
    assert np.mean(off > 1e-4) <= 1e-3
    if "cond_latent" in want:
        np.testing.assert_allclose(cond[16:], want["cond_latent"][0, 16:], atol=1e-5)
        np.testing.assert_allclose(cond[:16], want["cond_latent"][0, :16], atol=1e-4)
        np.testing.assert_array_equal(got.mask.cpu(), want["mask"][0])


@pytest.mark.parametrize("layout", [LAYOUT, ContextLayout.parse("f1k1f3s2f2s1f2k2_g4")])
@pytest.mark.parametrize("lens", [1.0, 1.3])
def test_versions_agree(layout, lens, device):
    """With more slots than views, one frame picked twice and a lens of its own for every frame."""
    picks = [replace(view_of(i), K_px=given(None)["K_px"] * [[lens], [lens], [1]]) for i in (8, 0, 8)]
    rows = len(given(None)["window_w2c"])
    zoom = np.linspace(1, lens, rows)[:, None, None] * [[[1.0], [1.0], [0.0]]] + [[[0.0], [0.0], [1.0]]]
    Ks = given(None)["K_px"] * zoom
    want = reference.assemble_chunk(layout, retrieved=picks, **{**given(None), "K_px": Ks})
    got = assemble_chunk(layout, retrieved=picks, **{**given(device), "K_px": Ks})
    for name in FIELDS:
        off = np.abs(getattr(got, name).cpu().numpy().astype(float) - getattr(want, name))
        assert np.mean(off > 1e-4) <= 1e-3, name


def test_encodings_equal_the_recording(device):
    """Canonical maps, rays and their folding."""
    g, _ = load_golden("encodings")
    for slots in (1, 2, 5):
        maps = c.canonical_maps(slots, 6, 8, device=device)
        np.testing.assert_allclose(maps.cpu(), g[f"canonical_n{slots}"], atol=1e-5)
    rays = c.ray_map(on(device, g["ray_K"][0]), on(device, g["ray_c2w"][0]), 16, 24)
    np.testing.assert_allclose(rays.cpu(), g["ray_map"][0], atol=1e-5)
    np.testing.assert_array_equal(c.ray_latents(on(device, g["ray_map"][0])).cpu(), g["ray_latent384"][0])
    folded = c.fold_pixels(on(device, g["coord_pixels"][0][:, 3::4]).movedim(0, 1)).movedim(0, 1)
    np.testing.assert_array_equal(folded.cpu(), g["coord_latents"][0])


def test_sizes_that_do_not_fold_are_refused():
    with pytest.raises(InputError, match="multiples of 8"):
        c.fold_pixels(torch.zeros(1, 12, 16))


def test_an_encoder_of_another_pace_is_refused(device):
    """An encoder that gives too few latents is found out before the network is asked."""
    asked = given(device)
    with pytest.raises(InputError, match="encode gave"):
        assemble_chunk(LAYOUT, retrieved=[], **{**asked, "encode": lambda video: asked["encode"](video)[:, :2]})
