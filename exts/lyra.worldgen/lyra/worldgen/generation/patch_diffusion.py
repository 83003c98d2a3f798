"""A diffusion sampler whose denoiser is known in closed form: the photo's own patches are its whole training set.

If a picture's patches are drawn evenly from a finite set, the best guess of a clean patch under Gaussian noise is the
softmax-weighted mean of that set (the "equivariant local score machine" of Kamb and Ganguli, 2024, on one picture). No
weights, no training; a flow-matching Euler scheduler from diffusers turns the guess into samples. Conditioning happens
inside the denoiser: every pixel carries its own noise level, known pixels a small one.

Coarse pictures use the exact posterior mean as matrix products. Finer ones use one nearest patch per window, found by
PatchMatch with the same weighted distance and the same priors (`patch_match_numba`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.arrays import expect_shape
from ..core.errors import InputError
from ..core.optional import require
from .mismatch import spread_mismatch
from .patch_atlas import MAX_UNIT, PRIOR_SD, Atlas, Source, candidate_windows, first_field, mean_colour
from .patch_exact import analytic_x0, gaussian_window
from .patch_target import Target, doubled, nearest_known, noise_map, pad_around, padded_target, reduced_target

PATCH_PX = 9
"""Patch side of the exact denoiser."""
MATCH_PX = 7
"""Patch side of the fine levels."""
EXACT_SOURCE_PX = 7_000
"""Largest source, before mirroring, that the exact denoiser compares with."""
EXACT_PAIRS = 2_000_000
"""Most pairs of hole pixel and source patch in one exact step; an elevation prior leaves an eighth of them."""
WIDE_HOLE_PX, NARROW_HOLE_PX = 10.0, 3.0
"""Distance of a hole's innermost pixel from its rim: above the first the hole needs the exact level, below the second
no coarser level at all."""
MIN_NOISE = 0.03
JUMPS, JUMPS_LATER = (8, 4, 2, 1), (2, 1)
"""Neighbour distances of the search rounds in the first and the later steps of a level."""
TRIALS = 5
STEPS = (10, 3, 2, 2)
START_SIGMA = 0.93
START_SIGMA_GUIDED = 0.6
"""With a first guess to start from, less noise is enough."""
FINER_SIGMA = (0.2, 0.1, 0.06)
VOTE_TEMPERATURE = 0.1


def complete(target: Target, source: Source, *, seed: int, threads: int = 1) -> np.ndarray:
    """Paint the holes of a picture with patches of the source.

    Args:
        target: what is known and what is missing.
        source: what may be copied.
        seed: every random stream derives from (seed, level, step).
        threads: of the fine levels; does not change a single bit of the result.

    Returns:
        [H, W, 3] float32 in -1..1; known pixels unchanged.

    Raises:
        InputError: shapes disagree, or a wrapped width cannot be halved as often as needed.
    """
    h, w = target.hole.shape
    expect_shape("target.rgb", target.rgb, (h, w, 3))
    expect_shape("target.known", target.known, (h, w))
    if not target.hole.any():
        return target.rgb.copy()
    halvings = halvings_for(target, source)
    unit = 1 << halvings
    if target.wrap and w % unit:
        raise InputError(f"wrapped target is {w} px wide; expected a multiple of {unit}")
    padded = padded_target(target, -h % unit, -w % unit)
    picture = match = None
    for level in range(halvings + 1):
        scaled = reduced_target(padded, halvings - level)
        rng = np.random.default_rng([seed, level])
        if picture is None:
            exact = _fits_exact(target, source, halvings)
            guided = target.guided or not exact
            guess = scaled.rgb if target.guided or exact else nearest_known(scaled)
            sigmas = _schedule(START_SIGMA_GUIDED if guided else START_SIGMA, STEPS[0], straight=guided)
            if exact:
                if not target.guided:
                    guess = np.broadcast_to(mean_colour(source), guess.shape)
                atlas = source.atlas(halvings, PATCH_PX)
                picture, match = _sample_exact(scaled, atlas, guess, sigmas, rng, threads)
                continue
        else:
            guess = doubled(picture, wrap=target.wrap)
            at = min(level, len(FINER_SIGMA)) - 1
            sigmas = _schedule(FINER_SIGMA[at], STEPS[at + 1], straight=True)
        picture, match = _sample_matched(
            scaled,
            source.atlas(halvings - level, MATCH_PX),
            guess,
            sigmas,
            rng,
            match,
            seed=int(np.random.SeedSequence([seed, level]).generate_state(1, np.uint32)[0]),
            threads=threads,
            finest=level == halvings,
        )
    assert picture is not None
    out = np.clip(picture[:h, :w], -1.0, 1.0)
    return np.where(target.hole[..., None], out, target.rgb).astype(np.float32)


def halvings_for(target: Target, source: Source) -> int:
    """How often to halve: until the exact denoiser is affordable, or a narrow hole has closed."""
    import cv2

    affordable = 0
    while affordable < int(np.log2(MAX_UNIT)) and not _fits_exact(target, source, affordable):
        affordable += 1
    if target.hole.all():
        return affordable
    hole = np.concatenate([target.hole] * 2, 1) if target.wrap else np.pad(target.hole, 1)
    half_width = float(cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 3).max())
    if half_width > WIDE_HOLE_PX:
        return affordable
    return min(affordable, max(0, int(np.ceil(np.log2(max(1.0, half_width / NARROW_HOLE_PX))))))


def _fits_exact(target: Target, source: Source, halvings: int) -> bool:
    """Whether the exact denoiser can compare all of the hole with all of the source after `halvings`."""
    sources = 2 * int(source.usable.sum()) >> (2 * halvings)
    holes = int(target.hole.sum()) >> (2 * halvings)
    return sources <= 2 * EXACT_SOURCE_PX and holes * sources <= EXACT_PAIRS * (1 if target.prior is None else 8)


def _sample_exact(
    target: Target, atlas: Atlas, guess: np.ndarray, sigmas: list[float], rng: np.random.Generator, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sample one level with the exact denoiser; returns the picture and per pixel the best source (y, x) or -1."""
    h, w = target.hole.shape
    match = np.full((h, w, 2), -1, np.int64)

    def denoise(y: np.ndarray, s: float, last: bool) -> np.ndarray:
        sd = noise_map(target, s)
        x0, centres, nearest = analytic_x0(
            y,
            sd,
            target.hole,
            atlas,
            prior=target.prior,
            code=target.code,
            wrap=target.wrap,
            stride=1 if last else 2,
            threads=threads,
        )
        if last:
            match[centres[:, 0], centres[:, 1]] = nearest
        return x0

    return _euler(target, guess, sigmas, rng, denoise), match


def _sample_matched(
    target: Target,
    atlas: Atlas,
    guess: np.ndarray,
    sigmas: list[float],
    rng: np.random.Generator,
    coarse_match: np.ndarray | None,
    *,
    seed: int,
    threads: int,
    finest: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Sample one level with one nearest patch per window; returns the picture and per pixel its source (y, x) or -1."""
    import cv2

    from . import patch_match_numba

    h, w = target.hole.shape
    size, r = MATCH_PX, MATCH_PX // 2
    grown = cv2.dilate(pad_around(target.hole.astype(np.uint8), r, target.wrap), np.ones((size, size), np.uint8))
    need = (grown[r:-r, r:-r] > 0) & (target.known | target.hole)
    pixels = np.argwhere(need).astype(np.int32)
    rim = np.argwhere(need & (cv2.dilate(target.hole.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0))
    rim = rim.astype(np.int32)
    index = atlas.index
    prior, code = index.fit(target.prior, target.code, (h, w))
    window = candidate_windows(index, prior, code, pixels, use_prior=target.prior is not None)
    field_map = first_field(index, atlas, code, pixels, window, coarse_match, rng, (h, w))
    cost_map = np.zeros((h, w), np.float32)
    found, cost = np.zeros(len(pixels), np.int64), np.zeros(len(pixels), np.float32)
    prior_weight = np.float32(0.0 if target.prior is None else 1 / (2 * PRIOR_SD**2))
    colours = np.zeros((len(rim), 3), np.float32)
    voted = target.rgb.copy()
    soft, sharp = gaussian_window(size, size / 3.5), gaussian_window(size, 1.0)
    turn = 0

    def denoise(y: np.ndarray, s: float, last: bool) -> np.ndarray:
        nonlocal turn
        first = turn == 0
        noisy = pad_around(y.astype(np.float32), r, target.wrap)
        weight = pad_around((1 / (2 * noise_map(target, s) ** 2)).astype(np.float32), r, target.wrap)
        for step in JUMPS if first else JUMPS_LATER:
            patch_match_numba.search(
                len(pixels), threads, pixels, noisy, weight, prior, code, atlas.rgb, atlas.usable, atlas.prior,
                atlas.code, window, index.by_prior, field_map, found, cost, prior_weight, size, step, TRIALS, seed,
                turn, target.wrap,
            )  # fmt: skip
            field_map[pixels[:, 0], pixels[:, 1]] = found
            turn += 1
        cost_map[pixels[:, 0], pixels[:, 1]] = cost
        sharpness = np.float32(1 / (VOTE_TEMPERATURE * float(np.median(cost)) + 1e-6))
        patch_match_numba.vote(
            len(rim), threads, rim, atlas.rgb, field_map, cost_map, sharp if last and finest else soft, sharpness,
            target.wrap, colours,
        )  # fmt: skip
        voted[rim[:, 0], rim[:, 1]] = colours
        return np.where(target.hole[..., None], voted, target.rgb)

    picture = _euler(target, guess, sigmas, rng, denoise)
    if finest:
        picture = spread_mismatch(voted, target.rgb, target.known, target.hole, wrap=target.wrap)
    match = np.full((h, w, 2), -1, np.int64)
    match[pixels[:, 0], pixels[:, 1]] = np.stack(np.divmod(found, atlas.usable.shape[1]), 1)
    return picture, match


def _euler(
    target: Target,
    guess: np.ndarray,
    sigmas: list[float],
    rng: np.random.Generator,
    denoise: Callable[[np.ndarray, float, bool], np.ndarray],
) -> np.ndarray:
    """Integrate the flow from the noised guess to a clean picture; known pixels stay clean throughout.

    `denoise(y, s, last)` gets the picture in units of the clean one and its noise s = sigma / (1 - sigma).
    """
    import torch

    scheduler = _scheduler(sigmas)
    noise = rng.standard_normal(guess.shape, dtype=np.float32)
    z = ((1 - sigmas[0]) * guess + sigmas[0] * noise).astype(np.float32)
    hole = target.hole[..., None]
    x0 = z
    for i, t in enumerate(scheduler.timesteps):
        sigma = float(scheduler.sigmas[i])
        y = np.where(hole, z / (1 - sigma), target.rgb).astype(np.float32)
        x0 = denoise(y, max(sigma / (1 - sigma), MIN_NOISE), i == len(sigmas) - 1)
        velocity = torch.from_numpy((z - x0) / sigma)
        z = scheduler.step(velocity, t, torch.from_numpy(z)).prev_sample.numpy()
    return np.where(hole, x0, target.rgb).astype(np.float32)


def _scheduler(sigmas: list[float]) -> Any:
    require("torch", extra="gen")
    diffusers = require("diffusers.schedulers.scheduling_flow_match_euler_discrete", extra="gen", package="diffusers")
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)
    scheduler.set_timesteps(sigmas=sigmas)
    return scheduler


def _schedule(start: float, steps: int, *, straight: bool) -> list[float]:
    """Descending noise levels; a start from pure noise spends half of its steps below 0.3, where texture forms."""
    if straight:
        return np.linspace(start, 0, steps + 1)[:-1].tolist()
    half = steps // 2
    return [*np.linspace(start, 0.3, half, endpoint=False), *np.linspace(0.3, 0.03, steps - half)]
