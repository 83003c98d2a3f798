"""Noise levels of Lyra 2.0: sampling with UniPC, the distilled four steps, training (our notes 1.6, 3.5, 5.3).

A latent at noise level sigma is `x = (1 - sigma) clean + sigma noise`, and the network predicts the velocity
`noise - clean`. The functions that mix latents take NumPy arrays and torch tensors alike.

A chunk is sampled with `unipc_scheduler`, or without guidance over `distilled_levels`:

    scheduler = unipc_scheduler(released_levels(35))
    for t in scheduler.timesteps:
        x = scheduler.step(velocity(x, t), t, x).prev_sample

    for k, (t, sigma, after) in enumerate(distilled_levels().steps()):
        clean = predict_clean(x, velocity(x, t), sigma)
        x = clean if after == 0 else renoise(clean, fresh_noise(k), after)

The solver leaves alone what has zero velocity. `renoise` does not: positions of the history are put back after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.errors import ConfigError
from ..core.optional import require
from ..core.schema import MAX_SEED

TRAIN_STEPS = 1000
SHIFT = 5.0
"""How far the released grids are pushed towards noise."""
DISTILLED_UNSHIFTED = (1.0, 0.75, 0.5, 0.25)
MAX_STEPS = 1000


@dataclass(frozen=True, kw_only=True)
class NoiseLevels:
    """A way from noise to a clean latent."""

    sigmas: np.ndarray
    """[N + 1] float32, decreasing; the last one is 0."""
    timesteps: np.ndarray
    """[N] what the network is told, int64 or float32, 0 to 1000."""

    def __len__(self) -> int:
        return len(self.timesteps)

    def steps(self) -> Iterator[tuple[float, float, float]]:
        """Timestep, sigma and the sigma afterwards of each step."""
        yield from zip(self.timesteps.tolist(), self.sigmas[:-1].tolist(), self.sigmas[1:].tolist(), strict=True)


def shifted(s: Any, shift: float = SHIFT) -> Any:
    """`shift s / (1 + (shift - 1) s)`: keeps 0 and 1 and moves what is between towards 1."""
    return shift * s / (1 + (shift - 1) * s)


def network_timestep(sigma: Any) -> Any:
    """int64: the whole timestep that the network is told for a sigma, rounded down."""
    return np.trunc(TRAIN_STEPS * np.asarray(sigma, np.float64)).astype(np.int64)


def released_levels(steps: int, *, shift: float = SHIFT) -> NoiseLevels:
    """The grid of the released sampler, which begins a little below pure noise.

    Raises:
        ConfigError: `steps` or `shift` out of range.
    """
    if not 1 <= steps <= MAX_STEPS:
        raise ConfigError(f"steps is {steps}; expected 1 to {MAX_STEPS}")
    if not 0 < shift < np.inf:
        raise ConfigError(f"shift is {shift:g}; expected more than 0")
    return levels_at(shifted(np.linspace(1 - 1 / TRAIN_STEPS, 0, steps + 1)[:-1], shift))


def levels_at(sigmas: Sequence[float] | np.ndarray) -> NoiseLevels:
    """A grid through given sigmas and on to 0; one sigma is the single step of self-augmentation.

    Raises:
        ConfigError: sigmas do not decrease strictly within (0, 1).
    """
    s = np.asarray(sigmas, np.float64).reshape(-1)
    held = np.append(s, 0).astype(np.float32)
    # The solver works with log((1 - sigma) / sigma), which pure noise does not have.
    if len(held) == 1 or not (held[0] < 1 and (np.diff(held) < 0).all()):
        raise ConfigError(f"sigmas are {s[:4].tolist()} (of {len(s)}); expected numbers that decrease within (0, 1)")
    return NoiseLevels(sigmas=held, timesteps=network_timestep(s))


def distilled_levels(*, shift: float = SHIFT) -> NoiseLevels:
    """The four steps of the distilled network; it is told timesteps that are not whole."""
    sigmas = shifted(np.array(DISTILLED_UNSHIFTED), shift)
    return NoiseLevels(
        sigmas=np.append(sigmas, 0).astype(np.float32), timesteps=(TRAIN_STEPS * sigmas).astype(np.float32)
    )


def unipc_scheduler(levels: NoiseLevels, *, device: Any = None) -> Any:
    """A fresh `UniPCMultistepScheduler` of diffusers that walks exactly these levels, second order.

    Its own grids differ from the released one by up to 4e-3 in sigma. It carries state from step to step: build one
    for every chunk. Timesteps lie on `device`, sigmas on the CPU.

    Raises:
        ConfigError: levels that are no whole timesteps, as those of the distilled network.
        DependencyError: torch or diffusers is missing.
    """
    if not np.issubdtype(levels.timesteps.dtype, np.integer):
        raise ConfigError("levels have timesteps that are not whole; expected those of released_levels or levels_at")
    torch = require("torch", extra="gen")
    module = require("diffusers.schedulers.scheduling_unipc_multistep", extra="gen", package="diffusers")
    scheduler = module.UniPCMultistepScheduler(
        num_train_timesteps=TRAIN_STEPS,
        solver_order=2,
        solver_type="bh2",
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        predict_x0=True,
        lower_order_final=True,
    )
    scheduler.set_timesteps(len(levels), device=device)
    scheduler.sigmas = torch.from_numpy(levels.sigmas.copy())
    scheduler.timesteps = torch.from_numpy(levels.timesteps.copy()).to(device)
    # Fine grids repeat whole timesteps; counting from the first step needs no look-up of them.
    scheduler.set_begin_index(0)
    return scheduler


def predict_clean(x: Any, velocity: Any, sigma: Any) -> Any:
    """The clean latent that a velocity at noise level `sigma` points to."""
    return x - sigma * velocity


def renoise(clean: Any, noise: Any, sigma: Any) -> Any:
    """A clean latent brought to noise level `sigma` with standard normal noise."""
    return (1 - sigma) * clean + sigma * noise


def initial_noise(seed: int, shape: Sequence[int]) -> np.ndarray:
    """float32 standard normal noise that a chunk starts from; upstream adds the chunk's number to its seed.

    Raises:
        ConfigError: the seed does not fit the generator.
    """
    if not 0 <= seed <= MAX_SEED:
        raise ConfigError(f"seed is {seed}; expected 0 to {MAX_SEED}")
    # Recorded worlds come from NumPy's old generator; the new one draws other numbers from the same seed.
    return np.random.RandomState(seed).standard_normal(tuple(shape)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class TrainingTimes:
    """Noise levels that training draws from, from pure noise downwards."""

    timesteps: np.ndarray
    """[1000] float32."""
    sigmas: np.ndarray
    """[1000] float32."""
    weights: np.ndarray
    """[1000] float32 weight of the loss, 1 on average, 0 at pure noise."""

    def index_of(self, u: np.ndarray | float) -> np.ndarray:
        """Places in the table for quantiles `u` in 0..1, which training draws logit-normal."""
        return np.clip((TRAIN_STEPS * np.asarray(u, np.float32)).astype(np.int64), 0, TRAIN_STEPS - 1)

    def halved(self, timesteps: np.ndarray | float, *, factor: float = 0.5) -> np.ndarray:
        """Places in the table for self-augmentation: half the timestep (or another part of it), rounded down, at least
        1, the nearest entry."""
        half = np.maximum(np.floor(factor * np.asarray(timesteps, np.float64)), 1.0)
        return np.abs(half[..., None] - self.timesteps).argmin(-1)


def training_times(*, shift: float = SHIFT) -> TrainingTimes:
    """The table of the released training."""
    sigmas = shifted(1 - np.arange(TRAIN_STEPS) / TRAIN_STEPS, shift)
    bell = np.exp(-2 * (sigmas - 0.5) ** 2)
    weights = bell - bell.min()
    return TrainingTimes(
        timesteps=(TRAIN_STEPS * sigmas).astype(np.float32),
        sigmas=sigmas.astype(np.float32),
        weights=(weights / weights.mean()).astype(np.float32),
    )
