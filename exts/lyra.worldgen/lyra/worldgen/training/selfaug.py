"""One training step of the painter, self-augmentation included (our notes 5.3).

The network sees a history that it made itself: it denoises the segment before the target in one step, the result is
decoded, written over the film, encoded again with the caches of a clean past, and becomes the newest history. What is
to be generated stays the truth. So training meets the errors that a long walk feeds back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.optional import require
from ..generation.chunk_inputs import ChunkInputs, RetrievedView, Warp, assemble_chunk
from ..generation.context_layout import FRAMES_PER_LATENT, ContextLayout
from ..generation.schedules import TrainingTimes, network_timestep, predict_clean, renoise
from .clips import Clip
from .plan import StageDraws, StepPlan
from .segments import Segment

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Painter:
    """Everything that takes part in a step."""

    network: Any
    """`Lyra2Transformer3DModel` or what is called like it."""
    vae: Any
    """`StreamingVae` or `BlockVae`, frozen."""
    layout: ContextLayout
    times: TrainingTimes
    warp: Warp
    vision: Callable[[np.ndarray], torch.Tensor]
    """A frame [3, H, W] in -1..1 to image tokens [1, P, width]."""
    device: Any = "cpu"


class Footage:
    """A film of which some frames were painted over.

    Args:
        clip: the film; never changed.
    """

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self._painted: dict[int, np.ndarray] = {}

    @property
    def painted_frames(self) -> list[int]:
        return sorted(self._painted)

    def frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """[3, N, H, W] float32 in -1..1."""
        frames = self.clip.frames(np.asarray(indices, np.int64))
        for place, index in enumerate(indices):
            if (painted := self._painted.get(int(index))) is not None:
                frames[:, place] = painted
        return frames

    def frame(self, index: int) -> np.ndarray:
        """[3, H, W] float32 in -1..1."""
        return self.frames([index])[:, 0]

    def painted_over(self, indices: np.ndarray, frames: np.ndarray) -> Footage:
        """A film with [3, N, H, W] at these frames; where a frame is named twice the last one stays."""
        result = Footage(self.clip)
        result._painted = self._painted | {int(index): frames[:, place] for place, index in enumerate(indices)}
        return result


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Latents of a window, and what the encoder remembers."""

    history: torch.Tensor
    """[16, L, h, w]."""
    new: torch.Tensor
    """[16, new, h, w]."""
    cache_before: Any
    """After the history."""
    cache_after: Any
    """After the new frames."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the network is given besides noisy latents, on its device, each with a leading 1."""

    context: torch.Tensor
    """[1, 16, context, h, w]."""
    cond: torch.Tensor
    """[1, 4 + 16 + 384, T, h, w]."""
    buffer: torch.Tensor
    buffer_valid: torch.Tensor
    text: torch.Tensor
    image: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One pass through the network."""

    x_in: torch.Tensor
    """[1, 16, T, h, w]."""
    velocity: torch.Tensor
    """[1, 16, new, h, w]."""
    timestep: float
    sigma: float
    noise: torch.Tensor
    """[1, 16, new, h, w]."""


@dataclass(frozen=True, kw_only=True)
class Augmented:
    """What the network made of the segment before the target, and what becomes of it."""

    prediction: Prediction
    clean: torch.Tensor
    """[1, 16, new, h, w] the latents that the prediction points to."""
    footage: Footage
    history: torch.Tensor
    """[16, L + new, h, w] for the target: clean latents, then the segment encoded again."""
    encoded: Encoded
    """The clean window up to the segment."""


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Loss and what led to it."""

    loss: torch.Tensor
    """Scalar, with gradient."""
    weight: float
    prediction: Prediction
    inputs: Inputs
    target: torch.Tensor
    """[1, 16, new, h, w]."""
    augmented: Augmented | None


def training_step(
    painter: Painter, footage: Footage, plan: StepPlan, *, text: torch.Tensor, before_text: torch.Tensor | None = None
) -> StepResult:
    """The loss of one planned step.

    Args:
        painter: the network and what is around it.
        footage: the film that was planned for.
        plan: what was drawn.
        text: [1, L, width] for the target.
        before_text: the same for the segment before it; `text` when None.
    """
    augmented = None
    if plan.before is None or plan.before_draws is None:
        encoded = encode_segment(painter, footage, plan.target)
        history, target = encoded.history, encoded.new
    else:
        before_text = text if before_text is None else before_text
        augmented = augment(
            painter, footage, plan.before, plan.before_draws, text=before_text, noise_factor=plan.noise_factor
        )
        target = encode_new(painter, footage, plan.target, augmented.encoded.cache_after)
        footage, history = augmented.footage, augmented.history
    inputs = network_inputs(painter, footage, plan.target, history, plan.draws, text=text)
    index = int(painter.times.index_of(plan.draws.time_u))
    prediction = predict(
        painter, inputs, target[None], plan.draws,
        timestep=float(painter.times.timesteps[index]), sigma=float(painter.times.sigmas[index]),
    )  # fmt: skip
    weight = float(painter.times.weights[index])
    error = prediction.velocity.float() - (prediction.noise - target[None])
    return StepResult(
        loss=weight * error.square().mean(),
        weight=weight,
        prediction=prediction,
        inputs=inputs,
        target=target[None],
        augmented=augmented,
    )


def augment(
    painter: Painter,
    footage: Footage,
    segment: Segment,
    draws: StageDraws,
    *,
    text: torch.Tensor,
    noise_factor: float = 0.5,
) -> Augmented:
    """Let the network denoise a segment in one step, and write what it made over the film."""
    torch = require("torch", extra="train")
    encoded = encode_segment(painter, footage, segment)
    inputs = network_inputs(painter, footage, segment, encoded.history, draws, text=text)
    drawn = painter.times.timesteps[int(painter.times.index_of(draws.time_u))]
    sigma = float(painter.times.sigmas[int(painter.times.halved(drawn, factor=noise_factor))])
    with torch.no_grad():
        prediction = predict(
            painter, inputs, encoded.new[None], draws, timestep=float(network_timestep(sigma)), sigma=sigma
        )
        x = prediction.x_in[:, :, painter.layout.context_latents :]
        clean = predict_clean(x, prediction.velocity.float(), sigma)
        latents = torch.cat([encoded.history, clean[0]], 1)
        kept = FRAMES_PER_LATENT * (painter.layout.total_latents - 1)
        painted = footage.painted_over(segment.window[-kept:], _decode_last(painter, latents, kept).clip(-1, 1))
    again = encode_new(painter, painted, segment, encoded.cache_before)
    return Augmented(
        prediction=prediction,
        clean=clean,
        footage=painted,
        history=torch.cat([encoded.history, again], 1),
        encoded=encoded,
    )


def encode_segment(painter: Painter, footage: Footage, segment: Segment) -> Encoded:
    """Latents of a window from its start."""
    torch = require("torch", extra="train")
    indices, at, cache, latents = segment.window[: segment.history_frames], 0, None, []
    with torch.no_grad():
        while at < len(indices):
            # Pieces, so that a long film never lies in memory as a whole.
            end = at + segment.new_frames + (1 if at == 0 else 0)
            piece, cache = painter.vae.encode(_video(painter, footage, indices[at:end]), cache)
            latents.append(piece[0])
            at = end
        new, after = painter.vae.encode(_video(painter, footage, segment.window[segment.history_frames :]), cache)
    return Encoded(history=torch.cat(latents, 1).float(), new=new[0].float(), cache_before=cache, cache_after=after)


def encode_new(painter: Painter, footage: Footage, segment: Segment, cache: Any) -> torch.Tensor:
    """Latents [16, new, h, w] of a segment's new frames after what the cache remembers."""
    torch = require("torch", extra="train")
    with torch.no_grad():
        video = _video(painter, footage, segment.window[segment.history_frames :])
        return painter.vae.encode(video, cache)[0][0].float()


def network_inputs(
    painter: Painter,
    footage: Footage,
    segment: Segment,
    history: torch.Tensor,
    draws: StageDraws,
    *,
    text: torch.Tensor,
) -> Inputs:
    """Context, conditions and correspondence of a segment; retrieved views are corrupted as drawn."""
    torch = require("torch", extra="train")
    clip = footage.clip

    def encode(video: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            pixels = torch.from_numpy(np.ascontiguousarray(video, np.float32))[None].to(painter.device)
            return painter.vae.encode(pixels, None)[0][0].float().cpu().numpy()

    last = segment.last_history
    chunk = assemble_chunk(
        painter.layout,
        first_frame=footage.frame(int(segment.window[0])),
        last_frame=footage.frame(last),
        last_depth_z=clip.depth_z[last],
        history_latents=history.cpu().numpy(),
        window_w2c=clip.w2c[segment.window],
        K_px=clip.K_px,
        retrieved=[
            RetrievedView(frame_id=i, rgb=footage.frame(i), depth_z=clip.depth_z[i], w2c=clip.w2c[i])
            for i in draws.picks
        ],
        encode=encode,
        warp=painter.warp,
    )
    chunk = corrupted(chunk, painter.layout, draws)

    def there(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array)[None].to(painter.device)

    return Inputs(
        context=there(chunk.latents[:, : painter.layout.context_latents]),
        cond=torch.cat([there(chunk.mask), there(chunk.cond)], 1),
        buffer=there(chunk.buffer),
        buffer_valid=there(chunk.buffer_valid)[0],
        text=text,
        image=painter.vision(footage.frame(last)),
    )


def corrupted(chunk: ChunkInputs, layout: ContextLayout, draws: StageDraws) -> ChunkInputs:
    """Noise on the latents of retrieved views, the same in context and condition."""
    noise = draws.corruption_sigma[None, :, None, None] * draws.corruption_noise
    latents, cond = chunk.latents.copy(), chunk.cond.copy()
    for slot, position in enumerate(layout.spatial_positions):
        latents[:, position] += noise[:, slot]
        cond[: len(latents), position] += noise[:, slot]
    return replace(chunk, latents=latents, cond=cond)


def predict(
    painter: Painter, inputs: Inputs, clean: torch.Tensor, draws: StageDraws, *, timestep: float, sigma: float
) -> Prediction:
    """The network's velocity for the clean latents [1, 16, new, h, w] at a noise level; history stays exact."""
    torch = require("torch", extra="train")
    noise = torch.from_numpy(draws.noise)[None].to(clean.device)
    x_in = torch.cat([inputs.context, renoise(clean, noise, sigma)], 2)
    velocity = painter.network(
        x_in,
        cond=inputs.cond,
        buffer=inputs.buffer,
        buffer_valid=inputs.buffer_valid,
        timestep=torch.tensor([timestep], dtype=torch.float32, device=clean.device),
        text=inputs.text,
        image=inputs.image,
    )
    return Prediction(x_in=x_in, velocity=velocity, timestep=timestep, sigma=sigma, noise=noise)


def _video(painter: Painter, footage: Footage, indices: np.ndarray) -> torch.Tensor:
    torch = require("torch", extra="train")
    return torch.from_numpy(footage.frames(indices))[None].to(painter.device)


def _decode_last(painter: Painter, latents: torch.Tensor, frames: int) -> np.ndarray:
    """The last `frames` frames [3, N, H, W] of latents [16, L, h, w] decoded from their start."""
    cache, kept, step = None, [], painter.layout.new_latents
    for at in range(0, latents.shape[1], step):
        piece, cache = painter.vae.decode(latents[None, :, at : at + step], cache)
        kept = [*kept, piece[0].float().cpu().numpy()]
        while sum(x.shape[1] for x in kept[1:]) >= frames:
            kept = kept[1:]
    return np.concatenate(kept, 1)[:, -frames:]
