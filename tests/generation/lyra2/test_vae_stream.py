"""The causal video VAE in pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden_data import load_golden
from lyra.worldgen.core.errors import BackendError, InputError
from lyra.worldgen.generation.lyra2 import checkpoint_keys as keys
from lyra.worldgen.generation.lyra2.vae_stream import StreamingVae

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def stream() -> StreamingVae:
    """The recorded tiny VAE."""
    return StreamingVae(golden_vae())


@pytest.fixture(scope="module")
def cases() -> dict:
    return {name: torch.from_numpy(value) for name, value in load_golden("vae_cases")[0].items()}


def golden_vae():
    from diffusers import AutoencoderKLWan

    release = {name: torch.from_numpy(value) for name, value in load_golden("vae_tiny_weights")[0].items()}
    config = keys.vae_config({key: tuple(tensor.shape) for key, tensor in release.items()})
    vae = AutoencoderKLWan(**config)
    vae.load_state_dict(keys.to_ours(keys.vae_names(config), release))
    return vae.eval().requires_grad_(False)


def test_configuration_is_read_off_the_shapes(stream):
    """The recorded VAE has one block a level, and latents scaled by the recorded numbers."""
    config = stream.vae.config
    assert (config.base_dim, config.num_res_blocks, config.dim_mult) == (8, 1, [1, 2, 4, 4])
    assert config.temperal_downsample == [False, True, True]
    description = load_golden("vae_tiny_weights")[1]
    np.testing.assert_allclose(config.latents_mean, description["latent_mean"], atol=1e-6)
    np.testing.assert_allclose(config.latents_std, description["latent_std"], atol=1e-6)


@pytest.mark.parametrize(
    ("given", "method", "expected"), [("video", "encode", "latents"), ("latents", "decode", "decoded")]
)
def test_whole_clip_matches_the_recording(stream, cases, given, method, expected):
    """A whole clip gives what the reference gave."""
    result, _ = getattr(stream, method)(cases[given])
    torch.testing.assert_close(result, cases[expected], atol=1e-5, rtol=0)


def test_single_frame_matches_the_recording(stream, cases):
    """One picture is one latent."""
    result, _ = stream.encode(cases["video"][:, :, :1])
    torch.testing.assert_close(result, cases["single_frame_latent"], atol=1e-5, rtol=0)


def test_pieces_match_the_recording(stream, cases):
    """9 then 8 frames, 3 then 2 latents, as the reference streamed them."""
    first, cache = stream.encode(cases["video"][:, :, :9])
    second, _ = stream.encode(cases["video"][:, :, 9:], cache)
    torch.testing.assert_close(first, cases["stream_encode_first9"], atol=1e-5, rtol=0)
    torch.testing.assert_close(second, cases["stream_encode_next8"], atol=1e-5, rtol=0)
    first, cache = stream.decode(cases["latents"][:, :, :3])
    second, _ = stream.decode(cases["latents"][:, :, 3:], cache)
    torch.testing.assert_close(first, cases["stream_decode_first3"], atol=1e-5, rtol=0)
    torch.testing.assert_close(second, cases["stream_decode_next2"], atol=1e-5, rtol=0)


@settings(max_examples=6)
@given(st.lists(st.integers(1, 2), min_size=1, max_size=3))
def test_pieces_are_bit_for_bit_the_whole(stream, cases, pieces):
    """However a clip is cut, every bit stays the same."""
    latents_of_all, _ = stream.encode(cases["video"][:, :, : 1 + 4 * min(4, sum(pieces))])
    video_of_all, _ = stream.decode(latents_of_all)
    encoder = decoder = None
    latents, video, at = [], [], 0
    total = latents_of_all.shape[2]
    for piece in [*pieces, total]:
        count = min(piece, total - at)
        if not count:
            continue
        frames = slice(0, 1 + 4 * (count - 1)) if at == 0 else slice(4 * at - 3, 4 * (at + count) - 3)
        part, encoder = stream.encode(cases["video"][:, :, frames], encoder)
        frames_of_part, decoder = stream.decode(part, decoder)
        latents.append(part)
        video.append(frames_of_part)
        at += count
    assert torch.equal(torch.cat(latents, 2), latents_of_all)
    assert torch.equal(torch.cat(video, 2), video_of_all)
    assert encoder is not None and encoder.latents == total


def test_going_back_to_an_older_cache(stream, cases):
    """What came after a cache leaves no trace in it: undo, and the clean history of training."""
    _, encoder = stream.encode(cases["video"][:, :, :9])
    kept = [state.clone() if hasattr(state, "clone") else state for state in encoder.states]
    once, _ = stream.encode(cases["video"][:, :, 9:13], encoder)
    stream.encode(-cases["video"][:, :, 9:], encoder)
    again, _ = stream.encode(cases["video"][:, :, 9:13], encoder)
    assert torch.equal(once, again)
    for before, after in zip(kept, encoder.states, strict=True):
        assert before is after or torch.equal(before, after)
    _, decoder = stream.decode(cases["latents"][:, :, :1])  # holds the mark of the first latent
    once, _ = stream.decode(cases["latents"][:, :, 1:2], decoder)
    stream.decode(-cases["latents"][:, :, 1:], decoder)
    assert torch.equal(once, stream.decode(cases["latents"][:, :, 1:2], decoder)[0])


def test_nothing_is_clamped(stream, cases):
    """Values beyond -1..1 come out as they are, which diffusers' own decode prevents."""
    video, _ = stream.decode(4 * cases["latents"])
    assert float(video.abs().max()) > 1.05


def test_gradients_pass_through_pieces_and_end_at_a_detached_cache(stream, cases):
    """A loss on the second piece reaches the first through the cache, unless that was detached."""
    video = cases["video"].clone().requires_grad_()
    first, cache = stream.encode(video[:, :, :5])
    second, _ = stream.encode(video[:, :, 5:9], cache)
    (gradient,) = torch.autograd.grad(second.square().sum(), video, retain_graph=True)
    assert float(gradient[:, :, :5].abs().max()) > 0
    second, _ = stream.encode(video[:, :, 5:9], cache.detached())
    (gradient,) = torch.autograd.grad(second.square().sum(), video)
    assert float(gradient[:, :, :5].abs().max()) == 0 and float(gradient[:, :, 5:9].abs().max()) > 0
    with torch.no_grad():
        _, cache = stream.decode(first)
    assert not any(getattr(state, "requires_grad", False) for state in cache.states)


@pytest.mark.parametrize(
    ("frames", "streamed", "words"),
    [(4, False, "4 frames; expected 1 \\+ 4 m"), (5, True, "5 frames; expected 4 m"), (0, True, "0 frames")],
)
def test_wrong_number_of_frames_is_refused(stream, cases, frames, streamed, words):
    """The grouping of frames into latents is not guessed."""
    cache = stream.encode(cases["video"][:, :, :1])[1] if streamed else None
    with pytest.raises(InputError, match=words):
        stream.encode(cases["video"][:, :, :frames], cache)


def test_foreign_cache_and_shapes_are_refused(stream, cases):
    """A cache of the other half or of another size, and odd pictures, are named."""
    _, cache = stream.encode(cases["video"][:, :, :1])
    with pytest.raises(InputError, match="belongs to the encoder"):
        stream.decode(cases["latents"], cache)
    with pytest.raises(InputError, match="keeps its size"):
        stream.encode(cases["video"][:, :, 1:5, :16], cache)
    with pytest.raises(InputError, match="multiples of 8"):
        stream.encode(cases["video"][:, :, :1, :20])
    with pytest.raises(InputError, match=r"latents has shape \(1, 3, 17"):
        stream.decode(cases["video"])


def test_nonfinite_results_are_an_error(stream, cases):
    """NaN never reaches the memory of a world."""
    broken = cases["latents"].clone()
    broken[0, 0, 1, 0, 0] = float("nan")
    with pytest.raises(BackendError, match="decoder returned"):
        stream.decode(broken)


def test_names_round_trip(stream):
    """Our tensors under the released names and back are the same tensors, and none is left over."""
    config = dict(stream.vae.config)
    ours = stream.vae.state_dict()
    release = keys.to_release(keys.vae_names(config), ours)
    recorded = load_golden("vae_tiny_weights")[0]
    assert set(release) == set(recorded)
    back = keys.to_ours(keys.vae_names(config), release)
    assert set(back) == set(ours)
    assert all(torch.equal(back[key], ours[key]) for key in ours)
    assert all(np.array_equal(release[key].numpy(), recorded[key]) for key in recorded)


def test_names_of_the_released_vae():
    """At the released size every parameter of diffusers' class has exactly one name in the release."""
    from diffusers import AutoencoderKLWan

    with torch.device("meta"):
        vae = AutoencoderKLWan()
    names = keys.vae_names(dict(vae.config))
    assert sorted(key for name in names for key in name.ours) == sorted(vae.state_dict())
    assert len({name.release for name in names}) == len(names)
