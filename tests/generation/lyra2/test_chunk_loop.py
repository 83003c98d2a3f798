"""The film as a value: history is what was shown, re-encoded; nothing of the past that counts is lost."""

from __future__ import annotations

import numpy as np
import pytest

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.generation.chunk_inputs import RetrievedView, assemble_chunk, compiled_warp
from lyra.worldgen.generation.context_layout import ContextLayout
from lyra.worldgen.generation.lyra2.chunk_loop import ChunkLoop, FilmState
from tiny_lyra2 import TINY_LAYOUT, golden_vae

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
LAYOUT = ContextLayout.parse(TINY_LAYOUT)
H, W = 32, 48
K = np.array([[40.0, 0, 23.5], [0, 40, 15.5], [0, 0, 1]])


@pytest.fixture(scope="module")
def loop() -> ChunkLoop:
    from lyra.worldgen.generation.lyra2.vae_stream import StreamingVae

    return ChunkLoop(LAYOUT, StreamingVae(golden_vae()))


@pytest.fixture(scope="module")
def films(loop) -> list[FilmState]:
    """A film after 0, 1, 2 and 3 chunks."""
    states = [loop.begin(frame(0), K)]
    for k in range(3):
        states.append(loop.advance(states[-1], frames_of(k), states[-1].decoder, **cameras_of(k)))
    return states


def frame(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(-1, 1, (3, H // 8, W // 8)).astype(np.float32)
    return coarse.repeat(8, 1).repeat(8, 2)


def frames_of(chunk: int) -> np.ndarray:
    """[3, 16, H, W] that overshoot a little, as decoded frames do."""
    a, b = frame(10 + chunk), frame(11 + chunk)
    s = np.linspace(0, 1.1, LAYOUT.new_frames, dtype=np.float32)[:, None, None]
    return (1 - s) * a[:, None] + s * b[:, None]


def cameras_of(chunk: int) -> dict[str, np.ndarray]:
    w2c = np.tile(np.eye(4), (LAYOUT.new_frames, 1, 1))
    w2c[:, 0, 3] = 0.02 * (LAYOUT.new_frames * chunk + 1 + np.arange(LAYOUT.new_frames))
    lens = np.tile(K, (LAYOUT.new_frames, 1, 1))
    lens[:, 0, 0] += chunk
    return {"new_w2c": w2c, "new_K": lens}


def test_history_is_the_film_encoded_in_one_go(loop, films):
    """The first frame for the time before, then every frame as it was shown: equal to the whole clip."""
    still = np.repeat(frame(0)[:, None], 1 + 4 * (LAYOUT.context_latents - 1), axis=1)
    clip = np.concatenate([still, *(frames_of(k) for k in range(3))], 1)
    whole, cache = loop.vae.encode(torch.from_numpy(clip)[None])
    latents = films[3].latents
    np.testing.assert_array_equal(latents[:, :1], whole[0, :, :1].numpy())
    np.testing.assert_array_equal(latents[:, 1:], whole[0, :, -(latents.shape[1] - 1) :].numpy())
    for ours, theirs in zip(films[3].encoder.states, cache.states, strict=True):
        if hasattr(ours, "shape"):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_the_state_keeps_its_size_and_loses_nothing(loop, films):
    """Inputs assembled from the bounded state are those of the whole history."""
    assert {film.latents.shape for film in films} == {(16, LAYOUT.context_latents, H // 8, W // 8)}
    assert {film.window_w2c.shape for film in films} == {(1 + 4 * (LAYOUT.context_latents - 1), 4, 4)}
    new = cameras_of(3)
    shown = [RetrievedView(frame_id=5, rgb=frame(12), depth_z=np.full((H, W), 2.0), w2c=new["new_w2c"][3], K_px=K)]
    depth = np.full((H, W), 3.0, np.float32)
    got = loop.assemble(films[3], last_depth_z=depth, retrieved=shown, **new)
    length = 1 + 4 * (LAYOUT.context_latents - 1)
    still = np.repeat(frame(0)[:, None], length, axis=1)
    whole = loop.vae.encode(torch.from_numpy(np.concatenate([still, *(frames_of(k) for k in range(3))], 1))[None])[0]
    cameras = [cameras_of(k) for k in range(4)]
    want = assemble_chunk(
        LAYOUT,
        first_frame=frame(0),
        last_frame=frames_of(2)[:, -1],
        last_depth_z=depth,
        history_latents=whole[0].numpy(),
        window_w2c=np.concatenate([np.tile(np.eye(4), (length, 1, 1)), *(c["new_w2c"] for c in cameras)]),
        K_px=np.concatenate([np.tile(K, (length, 1, 1)), *(c["new_K"] for c in cameras)]),
        retrieved=shown,
        encode=lambda video: loop.vae.encode(torch.from_numpy(np.ascontiguousarray(video))[None])[0][0].numpy(),
        warp=compiled_warp,
    )
    for name in ("latents", "cond", "mask", "buffer", "buffer_valid", "warped_last"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))


def test_an_older_state_is_the_film_as_it_was(loop, films):
    """Going back and on again gives the same bits: nothing is changed in place."""
    again = loop.advance(films[1], frames_of(1), films[1].decoder, **cameras_of(1))
    np.testing.assert_array_equal(again.latents, films[2].latents)
    noise = np.random.default_rng(0).standard_normal((16, LAYOUT.new_latents, H // 8, W // 8)).astype(np.float32)
    a, after = loop.decode(films[1], noise)
    b, _ = loop.decode(films[1], noise)
    np.testing.assert_array_equal(a, b)
    assert a.shape == (3, LAYOUT.new_frames, H, W)
    after_that, _ = loop.decode(loop.advance(films[1], a, after, **cameras_of(1)), noise)
    assert not np.array_equal(a, after_that), "the decoder remembers"


def test_another_number_of_frames_is_refused(loop, films):
    """A chunk has the layout's frames, no more and no fewer."""
    with pytest.raises(InputError, match="frames has shape"):
        loop.advance(films[0], frames_of(0)[:, :8], films[0].decoder, **cameras_of(0))


@pytest.mark.slow
def test_what_is_older_than_the_lookback_leaves_no_trace(loop):
    """A film that begins anew with its newest chunks is the whole film to the bit; with fewer chunks it is not."""
    still = np.full((3, 16, 16), 0.25, np.float32)
    noise = np.random.default_rng(1).standard_normal((40, 16, LAYOUT.new_latents, 2, 2)).astype(np.float32)
    count = loop.lookback_chunks
    assert 10 < count < 20

    def film(chunks) -> FilmState:
        state = loop.begin(still, K)
        for k in chunks:
            frames, decoder = loop.decode(state, noise[k])
            state = loop.advance(state, frames, decoder, **cameras_of(k))
        return state

    def arrays(state: FilmState) -> list[np.ndarray]:
        tensors = [*state.encoder.states, *state.decoder.states]
        plain = [state.latents, state.window_w2c, state.window_K, state.first_frame, state.last_frame]
        return [*plain, *(t.numpy() for t in tensors if hasattr(t, "numpy"))]

    end = count + 2
    want = arrays(film(range(end)))
    for a, b in zip(want, arrays(film(range(end - count, end))), strict=True):
        np.testing.assert_array_equal(a, b)
    few = arrays(film(range(end - 3, end)))
    assert not all(np.array_equal(a, b) for a, b in zip(want, few, strict=True))
