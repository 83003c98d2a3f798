"""One training step of the painter, self-augmentation included (our notes 5.3).

The network sees a history that it made itself: it denoises the segment before the target in one step, the result is
decoded, written over the film, encoded again with the caches of a clean past, and becomes the newest history. What is
to be generated stays the truth. So training meets the errors that a long walk feeds back.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.optional import require
from ..generation.chunk_inputs import (
    MASK_CHANNELS,
    ChunkGeometry,
    RetrievedView,
    Warp,
    assemble_chunk,
    chunk_cameras,
    chunk_geometry,
    distinct_views,
)
from ..generation.context_layout import FRAMES_PER_LATENT, ContextLayout
from ..generation.schedules import TrainingTimes, network_timestep, predict_clean, renoise
from .clips import Clip
from .memo import Memo
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
    memo: Memo | None = None
    """Keeps what is computed of films; None: everything is computed each time."""

    def kept(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The result of `make`, or what it was when it was asked for under this key before."""
        return make() if self.memo is None else self.memo.get(key, make)


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

    @property
    def untouched(self) -> bool:
        """Whether nothing was painted over."""
        return not self._painted

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
class Appearance:
    """What of a chunk's inputs shows colours, before anything is corrupted."""

    latents: np.ndarray
    """[16, T, h, w]: context, zeros where latents are to be generated."""
    cond: np.ndarray
    """[16, T, h, w]: context and warped last frame."""
    image: torch.Tensor
    """[1, P, width] of the last frame."""


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
class Question:
    """What the network is asked about one film."""

    inputs: Inputs
    clean: torch.Tensor
    """[1, 16, new, h, w] latents that are hidden under noise."""
    draws: StageDraws
    timestep: float
    sigma: float


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What it answers."""

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


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One film of a step."""

    footage: Footage
    """The film that was planned for."""
    plan: StepPlan
    """What was drawn."""
    text: torch.Tensor
    """[1, L, width] for the target."""
    before_text: torch.Tensor | None = None
    """The same for the segment before it; `text` when None."""


def training_step(
    painter: Painter, footage: Footage, plan: StepPlan, *, text: torch.Tensor, before_text: torch.Tensor | None = None
) -> StepResult:
    """The loss of one planned step on one film; see `Lesson`."""
    return training_steps(painter, [Lesson(footage=footage, plan=plan, text=text, before_text=before_text)])[0]


def training_steps(painter: Painter, lessons: Sequence[Lesson]) -> list[StepResult]:
    """The loss of every film of a step; the network sees all of them at once.

    Args:
        painter: the network and what is around it.
        lessons: of films of one size.
    """
    own = [x for x in lessons if x.plan.before is not None]
    made = iter(augment(painter, own) if own else [])
    asked, augmentations = [], []
    for x in lessons:
        footage, target = x.footage, x.plan.target
        augmented = None if x.plan.before is None else next(made)
        if augmented is None:
            encoded = encode_segment(painter, footage, target)
            history, truth = encoded.history, encoded.new
        else:
            truth = encode_new(painter, footage, target, augmented.encoded.cache_after)
            footage, history = augmented.footage, augmented.history
        inputs = network_inputs(painter, footage, target, history, x.plan.draws, text=x.text)
        index = int(painter.times.index_of(x.plan.draws.time_u))
        times = float(painter.times.timesteps[index]), float(painter.times.sigmas[index])
        asked.append(Question(inputs=inputs, clean=truth[None], draws=x.plan.draws, timestep=times[0], sigma=times[1]))
        augmentations.append((augmented, float(painter.times.weights[index])))
    results = []
    for question, prediction, (augmented, weight) in zip(asked, predict(painter, asked), augmentations, strict=True):
        error = prediction.velocity.float() - (prediction.noise - question.clean)
        results.append(
            StepResult(
                loss=weight * error.square().mean(),
                weight=weight,
                prediction=prediction,
                inputs=question.inputs,
                target=question.clean,
                augmented=augmented,
            )
        )
    return results


def augment(painter: Painter, lessons: Sequence[Lesson]) -> list[Augmented]:
    """Let the network denoise the segments before the targets in one step, and write what it made over the films."""
    torch = require("torch", extra="train")
    asked, windows = [], []
    for x in lessons:
        segment, draws = x.plan.before, x.plan.before_draws
        assert segment is not None and draws is not None, "an augmented step has a segment before its target"
        encoded = encode_segment(painter, x.footage, segment)
        text = x.text if x.before_text is None else x.before_text
        inputs = network_inputs(painter, x.footage, segment, encoded.history, draws, text=text)
        drawn = painter.times.timesteps[int(painter.times.index_of(draws.time_u))]
        sigma = float(painter.times.sigmas[int(painter.times.halved(drawn, factor=x.plan.noise_factor))])
        timestep = float(network_timestep(sigma))
        asked.append(Question(inputs=inputs, clean=encoded.new[None], draws=draws, timestep=timestep, sigma=sigma))
        windows.append((x.footage, segment, encoded))
    results = []
    with torch.no_grad():
        predictions = predict(painter, asked)
        for (footage, segment, encoded), prediction in zip(windows, predictions, strict=True):
            x = prediction.x_in[:, :, painter.layout.context_latents :]
            clean = predict_clean(x, prediction.velocity.float(), prediction.sigma)
            latents = torch.cat([encoded.history, clean[0]], 1)
            kept = FRAMES_PER_LATENT * (painter.layout.total_latents - 1)
            painted = footage.painted_over(segment.window[-kept:], _decode_last(painter, latents, kept).clip(-1, 1))
            again = encode_new(painter, painted, segment, encoded.cache_before)
            results.append(
                Augmented(
                    prediction=prediction,
                    clean=clean,
                    footage=painted,
                    history=torch.cat([encoded.history, again], 1),
                    encoded=encoded,
                )
            )
    return results


def encode_segment(painter: Painter, footage: Footage, segment: Segment) -> Encoded:
    """Latents of a window from its start."""
    if not footage.untouched:
        return _encode_segment(painter, footage, segment)
    place = ("latents", footage.clip.token, segment.number)
    return painter.kept(place, lambda: _encode_segment(painter, footage, segment))


def _encode_segment(painter: Painter, footage: Footage, segment: Segment) -> Encoded:
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
    place = (footage.clip.token, segment.number, draws.picks)
    geometry = painter.kept(("geometry", *place), lambda: _geometry(painter, footage.clip, segment, draws.picks))

    def look() -> Appearance:
        return _appearance(painter, footage, segment, history, draws.picks, geometry)

    seen = painter.kept(("appearance", *place), look) if footage.untouched else look()
    latents, cond = corrupted(seen, painter.layout, draws)

    def there(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array)[None].to(painter.device)

    mask = np.ones((MASK_CHANNELS, *cond.shape[1:]), np.float32)
    return Inputs(
        context=there(latents[:, : painter.layout.context_latents]),
        cond=torch.cat([there(mask), there(cond), there(geometry.rays)], 1),
        buffer=there(geometry.buffer),
        buffer_valid=there(geometry.buffer_valid)[0],
        text=text,
        image=seen.image,
    )


def _views(footage: Footage, picks: Sequence[int]) -> list[RetrievedView]:
    clip = footage.clip
    return [RetrievedView(frame_id=i, rgb=footage.frame(i), depth_z=clip.depth_z[i], w2c=clip.w2c[i]) for i in picks]


def _geometry(painter: Painter, clip: Clip, segment: Segment, picks: Sequence[int]) -> ChunkGeometry:
    views = distinct_views(painter.layout, _views(Footage(clip), picks))
    latents = 1 + (segment.history_frames - 1) // FRAMES_PER_LATENT
    cameras = chunk_cameras(painter.layout, views, clip.w2c[segment.window], clip.K_px, history_latents=latents)
    hw = (clip.rgb_u8.shape[1], clip.rgb_u8.shape[2])
    return chunk_geometry(painter.layout, views, cameras, hw, painter.warp)


def _appearance(
    painter: Painter,
    footage: Footage,
    segment: Segment,
    history: torch.Tensor,
    picks: Sequence[int],
    geometry: ChunkGeometry,
) -> Appearance:
    torch = require("torch", extra="train")
    clip = footage.clip

    def encode(video: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            pixels = torch.from_numpy(np.ascontiguousarray(video, np.float32))[None].to(painter.device)
            return painter.vae.encode(pixels, None)[0][0].float().cpu().numpy()

    last = segment.last_history
    last_frame = footage.frame(last)
    chunk = assemble_chunk(
        painter.layout,
        first_frame=footage.frame(int(segment.window[0])),
        last_frame=last_frame,
        last_depth_z=clip.depth_z[last],
        history_latents=history.cpu().numpy(),
        window_w2c=clip.w2c[segment.window],
        K_px=clip.K_px,
        retrieved=_views(footage, picks),
        encode=encode,
        warp=painter.warp,
        geometry=geometry,
    )
    # A copy, so that rays are not held once more.
    cond = chunk.cond[: len(chunk.latents)].copy()
    return Appearance(latents=chunk.latents, cond=cond, image=painter.vision(last_frame))


def corrupted(seen: Appearance, layout: ContextLayout, draws: StageDraws) -> tuple[np.ndarray, np.ndarray]:
    """Latents and condition with noise on those of retrieved views, the same in both."""
    noise = draws.corruption_sigma[None, :, None, None] * draws.corruption_noise
    latents, cond = seen.latents.copy(), seen.cond.copy()
    for slot, position in enumerate(layout.spatial_positions):
        latents[:, position] += noise[:, slot]
        cond[:, position] += noise[:, slot]
    return latents, cond


def predict(painter: Painter, asked: Sequence[Question]) -> list[Prediction]:
    """The network's velocities at some noise levels; history stays exact."""
    torch = require("torch", extra="train")
    noises, x_in = [], []
    for x in asked:
        noise = torch.from_numpy(x.draws.noise)[None].to(x.clean.device)
        noises.append(noise)
        x_in.append(torch.cat([x.inputs.context, renoise(x.clean, noise, x.sigma)], 2))
    given = [x.inputs for x in asked]
    velocity = painter.network(
        torch.cat(x_in),
        cond=torch.cat([x.cond for x in given]),
        buffer=torch.cat([x.buffer for x in given]),
        buffer_valid=given[0].buffer_valid,
        timestep=torch.tensor([x.timestep for x in asked], dtype=torch.float32, device=x_in[0].device),
        text=torch.cat([x.text for x in given]),
        image=torch.cat([x.image for x in given]),
    )
    return [
        Prediction(x_in=x_in[k], velocity=velocity[k : k + 1], timestep=x.timestep, sigma=x.sigma, noise=noises[k])
        for k, x in enumerate(asked)
    ]


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
