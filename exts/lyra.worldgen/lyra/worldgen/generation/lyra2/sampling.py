"""One chunk of new latents: by the solver with guidance, or in the four steps of the distilled network (our notes, 1).

The network is any callable; `conditioned` makes one of the transformer and a chunk's inputs. Its context stays what it
is: the solver sees the new latents alone, and the history is put before them whenever the network looks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...core.errors import BackendError, InputError
from ...core.optional import require
from ...core.progress import SILENT, SupportsProgress
from ..schedules import (
    SHIFT,
    distilled_levels,
    initial_noise,
    predict_clean,
    released_levels,
    renoise,
    unipc_scheduler,
)

if TYPE_CHECKING:
    import torch

Velocity = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
"""Latents [1, C, T, h, w], context first, and a timestep [1] to the velocity [1, C, new, h, w] of the new ones."""
STEPS = 35
GUIDANCE = 5.0
STAGE = "denoise"
"""What a progress display is told."""


def conditioned(network: Any, **inputs: torch.Tensor) -> Velocity:
    """A velocity of the transformer with everything but latents and timestep given; see its `forward`."""
    return lambda latents, timestep: network(latents, timestep=timestep, **inputs)


def chunk_noise(seed: int, like: torch.Tensor, new_latents: int) -> torch.Tensor:
    """float32 [1, C, new, h, w] noise that a chunk starts from, equal on every device; upstream: seed + chunk number.

    Args:
        seed: 0 to 2**32 - 1.
        like: [1, C, any, h, w] latents, whose size and device it gets.
        new_latents: to be generated.

    Raises:
        ConfigError: the seed does not fit the generator.
    """
    torch = require("torch", extra="gen")
    shape = (*like.shape[:2], new_latents, *like.shape[3:])
    return torch.from_numpy(initial_noise(seed, shape)).to(like.device)


def seeded_draws(seed: int, like: torch.Tensor) -> Callable[[int], torch.Tensor]:
    """Noise for the distilled network's steps, one draw after the other, equal on every device."""
    torch = require("torch", extra="gen")
    generator = torch.Generator().manual_seed(seed)
    return lambda step: torch.randn(like.shape, generator=generator).to(like.device)


def sample_unipc(
    velocity: Velocity,
    noise: torch.Tensor,
    *,
    history: torch.Tensor,
    negative: Velocity | None = None,
    steps: int = STEPS,
    shift: float = SHIFT,
    guidance: float = GUIDANCE,
    progress: SupportsProgress = SILENT,
) -> torch.Tensor:
    """New latents by UniPC, second order, over the released levels.

    Args:
        velocity: of the network with the prompt.
        noise: [1, C, new, h, w] float32 to start from.
        history: [1, C, context, h, w] clean context.
        negative: the same with the negative prompt; without it there is no guidance and half the work.
        steps, shift: of the released levels.
        guidance: `negative + guidance (velocity - negative)`; 1 asks for the prompt alone.
        progress: told after each step, and asked before it.

    Returns:
        [1, C, new, h, w] float32.

    Raises:
        InputError: shapes disagree.
        ConfigError: `steps` or `shift` out of range.
        BackendError: the network gave something that is not finite.
        Cancelled: the progress asked to stop.
    """
    torch = require("torch", extra="gen")
    _check(noise, history)
    scheduler = unipc_scheduler(released_levels(steps, shift=shift))
    x, past = noise.float(), history.float()
    with torch.no_grad():
        for timestep in progress.track(STAGE, scheduler.timesteps):
            told = timestep[None].to(x.device)
            latents = torch.cat([past, x], 2)
            v = velocity(latents, told).float()
            if negative is not None and guidance != 1:
                against = negative(latents, told).float()
                v = against + guidance * (v - against)
            x = scheduler.step(v, timestep, x).prev_sample
    return _finite(x)


def sample_distilled(
    velocity: Velocity,
    noise: torch.Tensor,
    *,
    history: torch.Tensor,
    draws: Callable[[int], torch.Tensor],
    progress: SupportsProgress = SILENT,
) -> torch.Tensor:
    """New latents in four steps of the distilled network, without guidance.

    Args:
        velocity: of the network with the distilled weights and the prompt.
        noise: [1, C, new, h, w] float32 to start from.
        history: [1, C, context, h, w] clean context.
        draws: [1, C, new, h, w] fresh noise after step 0, 1 and 2, as `seeded_draws` gives.
        progress: told after each step, and asked before it.

    Returns:
        [1, C, new, h, w] float32.

    Raises:
        InputError: shapes disagree.
        BackendError: the network gave something that is not finite.
        Cancelled: the progress asked to stop.
    """
    torch = require("torch", extra="gen")
    _check(noise, history)
    x, past = noise.float(), history.float()
    levels = list(distilled_levels().steps())
    with torch.no_grad():
        for k, (timestep, sigma, after) in enumerate(progress.track(STAGE, levels)):
            told = torch.tensor([timestep], dtype=torch.float32, device=x.device)
            clean = predict_clean(x, velocity(torch.cat([past, x], 2), told).float(), sigma)
            x = clean if after == 0 else renoise(clean, draws(k).to(x), after)
    return _finite(x)


def _check(noise: torch.Tensor, history: torch.Tensor) -> None:
    got, past = tuple(noise.shape), tuple(history.shape)
    if len(got) != 5 or got[:2] + got[3:] != past[:2] + past[3:]:
        raise InputError(f"noise has shape {got} and history {past}; expected [1, C, any, h, w] of both")


def _finite(x: torch.Tensor) -> torch.Tensor:
    if not x.isfinite().all():
        raise BackendError("the video network gave values that are not finite; use bfloat16 or float32 weights")
    return x
