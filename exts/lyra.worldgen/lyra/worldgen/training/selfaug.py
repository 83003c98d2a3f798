"""One training step of the painter, self-augmentation included (our notes 5.3).

The network sees a history that it made itself: it denoises the segment before the target in one step, the result is
decoded, written over the film, encoded again with the caches of a clean past, and becomes the newest history. What is
to be generated stays the truth. So training meets the errors that a long walk feeds back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core.optional import require
from ..generation.context_layout import FRAMES_PER_LATENT
from ..generation.schedules import network_timestep, predict_clean, renoise
from .footage import Footage
from .plan import StageDraws, StepPlan
from .step_inputs import Encoded, Inputs, Painter, encode_new, encode_segment, network_inputs

if TYPE_CHECKING:
    import torch


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


def _decode_last(painter: Painter, latents: torch.Tensor, frames: int) -> np.ndarray:
    """The last `frames` frames [3, N, H, W] of latents [16, L, h, w] decoded from their start."""
    cache, kept, step = None, [], painter.layout.new_latents
    for at in range(0, latents.shape[1], step):
        piece, cache = painter.vae.decode(latents[None, :, at : at + step], cache)
        kept = [*kept, piece[0].float().cpu().numpy()]
        while sum(x.shape[1] for x in kept[1:]) >= frames:
            kept = kept[1:]
    return np.concatenate(kept, 1)[:, -frames:]
