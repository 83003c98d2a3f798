"""The film that Lyra 2.0 paints, as a value: what it needs of the past, and how a chunk changes that (our notes, 1.3).

A step is `assemble`, sampling, `decode`, and `advance` with the frames that the world made of the decoded ones. History
holds re-encoded latents of those frames, never the sampled ones. The caches of encoder and decoder go on for the whole
film, so every latent is produced in its full causal context. Nothing is changed in place: an older state is the film as
it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ...core.arrays import expect_shape
from ...core.optional import require
from ..chunk_inputs import ChunkInputs, RetrievedView, assemble_chunk, compiled_warp
from ..context_layout import FRAMES_PER_LATENT, ContextLayout

if TYPE_CHECKING:
    from .vae_stream import StreamingVae, VaeCache


@dataclass(frozen=True, kw_only=True)
class FilmState:
    """What a film needs of its past to go on; its size does not grow with the film."""

    latents: np.ndarray
    """[16, L, h, w] float32 of the first frame and of the newest ones."""
    window_w2c: np.ndarray
    """[1 + 4 (L - 1), 4, 4] cameras of the frames behind those latents, relative to the film's first camera."""
    window_K: np.ndarray
    """[1 + 4 (L - 1), 3, 3] with pixel centres at integers."""
    first_frame: np.ndarray
    """[3, H, W] float32, black -1, white 1."""
    last_frame: np.ndarray
    """[3, H, W] as above."""
    encoder: VaeCache
    decoder: VaeCache


class ChunkLoop:
    """The steps around the network.

    Args:
        layout: of the network's context.
        vae: of the film.
    """

    def __init__(self, layout: ContextLayout, vae: StreamingVae) -> None:
        self.layout, self.vae = layout, vae
        self.caches_rest_on_cpu = False
        """Whether what the VAE remembers leaves its device between two calls."""

    @property
    def lookback_chunks(self) -> int:
        """A film's state follows from its first frame and so many of its newest chunks.

        The context looks back over its latents, those over the frames that the encoder sees, and those over the latents
        that the decoder sees: every convolution over time reaches two of its own steps back.
        """
        config = self.vae.vae.config
        blocks, levels = int(config.num_res_blocks), len(config.dim_mult)
        halved = [bool(flag) for flag in config.temperal_downsample]
        step, encoder = 1, 2  # frames; the first convolution
        for level in range(levels):
            encoder += 2 * (2 * blocks) * step
            if level < levels - 1 and halved[level]:
                encoder += 2 * step
                step *= 2
        encoder += 2 * (4 + 1) * step
        decoder = 2 * (1 + 4) * step
        for level in range(levels):
            decoder += 2 * 2 * (blocks + 1) * step
            if level < levels - 1 and halved[::-1][level]:
                decoder += 2 * step
                step //= 2
        decoder += 2 * step
        context = FRAMES_PER_LATENT * (self.layout.context_latents - 1)
        # Frames are encoded four at a time, so a reach may begin inside such a group.
        frames = context + encoder + decoder + 2 * FRAMES_PER_LATENT
        return -(-frames // self.layout.new_frames)

    def begin(self, frame: np.ndarray, K_px: np.ndarray) -> FilmState:
        """A film that begins with a frame [3, H, W] in -1..1, which stands for the time before it as well."""
        _, height, width = expect_shape("frame", frame, (3, None, None)).shape
        count = self.layout.context_latents
        frames = 1 + FRAMES_PER_LATENT * (count - 1)
        still = np.broadcast_to(frame[:, None], (3, frames, height, width))
        latents, encoder = self._encode(still, None)
        torch = require("torch", extra="models")
        with torch.no_grad():
            _, decoder = self.vae.decode(torch.from_numpy(latents)[None], None)
        decoder = self._resting(decoder)
        return FilmState(
            latents=latents,
            window_w2c=np.tile(np.eye(4), (frames, 1, 1)),
            window_K=np.tile(np.asarray(K_px, float), (frames, 1, 1)),
            first_frame=frame,
            last_frame=frame,
            encoder=encoder,
            decoder=decoder,
        )

    def assemble(
        self,
        state: FilmState,
        *,
        last_depth_z: np.ndarray,
        new_w2c: np.ndarray,
        new_K: np.ndarray,
        retrieved: Sequence[RetrievedView],
    ) -> ChunkInputs:
        """What the network is given for the next chunk.

        Args:
            state: the film so far.
            last_depth_z: [H, W] of its last frame.
            new_w2c, new_K: [new frames, 4, 4] relative to the film's first camera, [new frames, 3, 3].
            retrieved: best last.

        Raises:
            InputError: shapes disagree.
        """
        expect_shape("new_w2c", new_w2c, (self.layout.new_frames, 4, 4))
        return assemble_chunk(
            self.layout,
            first_frame=state.first_frame,
            last_frame=state.last_frame,
            last_depth_z=last_depth_z,
            history_latents=state.latents,
            window_w2c=np.concatenate([state.window_w2c, new_w2c]),
            K_px=np.concatenate([state.window_K, new_K]),
            retrieved=retrieved,
            encode=lambda video: self._encode(video, None)[0],
            warp=compiled_warp,
        )

    def decode(self, state: FilmState, new_latents: np.ndarray) -> tuple[np.ndarray, VaeCache]:
        """Frames [3, new frames, H, W] of the sampled latents [16, new, h, w], not clipped, and the decoder after them.

        Raises:
            BackendError: the decoder returned NaN or infinity.
        """
        torch = require("torch", extra="models")
        with torch.no_grad():
            video, cache = self.vae.decode(
                torch.from_numpy(np.ascontiguousarray(new_latents))[None], state.decoder.to(self.vae.vae.device)
            )
        return video[0].float().cpu().numpy(), self._resting(cache)

    def advance(
        self, state: FilmState, frames: np.ndarray, decoder: VaeCache, *, new_w2c: np.ndarray, new_K: np.ndarray
    ) -> FilmState:
        """The film after a chunk whose frames [3, new frames, H, W] are final; `decoder` as `decode` gave it.

        Raises:
            BackendError: the encoder returned NaN or infinity.
        """
        expect_shape("frames", frames, (3, self.layout.new_frames, *state.first_frame.shape[1:]))
        latents, encoder = self._encode(frames, state.encoder)
        joined = np.concatenate([state.latents, latents], 1)
        keep = self.layout.context_latents - 1
        # The context asks for the first latent and the newest ones; what lies between is never looked at again.
        return replace(
            state,
            latents=np.concatenate([joined[:, :1], joined[:, -keep:]], 1) if keep else joined[:, :1],
            window_w2c=_newest(state.window_w2c, new_w2c, FRAMES_PER_LATENT * keep),
            window_K=_newest(state.window_K, new_K, FRAMES_PER_LATENT * keep),
            last_frame=np.ascontiguousarray(frames[:, -1]),
            encoder=encoder,
            decoder=decoder,
        )

    def _encode(self, video: np.ndarray, cache: VaeCache | None) -> tuple[np.ndarray, VaeCache]:
        torch = require("torch", extra="models")
        with torch.no_grad():
            latents, cache = self.vae.encode(
                torch.from_numpy(np.ascontiguousarray(video, np.float32))[None],
                None if cache is None else cache.to(self.vae.vae.device),
            )
        return latents[0].float().cpu().numpy(), self._resting(cache)

    def _resting(self, cache: VaeCache) -> VaeCache:
        return cache.to("cpu") if self.caches_rest_on_cpu else cache


def _newest(before: np.ndarray, new: np.ndarray, count: int) -> np.ndarray:
    """The first row, and the newest `count`, which are fewer than there are."""
    joined = np.concatenate([before, new])
    return np.concatenate([joined[:1], joined[len(joined) - count :]])
