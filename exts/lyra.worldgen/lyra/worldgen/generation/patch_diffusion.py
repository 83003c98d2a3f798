"""A diffusion sampler whose denoiser is known in closed form: the photo's own patches are its whole training set.

If a picture's patches are drawn evenly from a finite set, the best guess of a clean patch under Gaussian noise is the
softmax-weighted mean of that set (the "equivariant local score machine" of Kamb and Ganguli, 2024, on one picture). No
weights, no training; a flow-matching Euler scheduler from diffusers turns the guess into samples. Conditioning happens
inside the denoiser: every pixel carries its own noise level, known pixels a small one.

Coarse pictures use the exact posterior mean as matrix products. Finer ones use one nearest patch per window, found by
PatchMatch with the same weighted distance and the same priors (`patch_match_numba`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..core.arrays import expect_shape
from ..core.errors import InputError
from ..core.machine import map_threads
from ..core.optional import require

ANY_CODE = 255
"""Target code that accepts sources of every code."""
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
MAX_UNIT = 16
CHUNK = 512
OVERLAP_SD = 0.28
"""Window of the overlapping patches, in patch sides."""
MIN_NOISE = 0.03
LIGHT_LIMIT = 0.35
"""Mismatches at a hole's rim much larger than this (-1..1 units) are another thing, not another light."""
JUMPS, JUMPS_LATER = (8, 4, 2, 1), (2, 1)
"""Neighbour distances of the search rounds in the first and the later steps of a level."""
TRIALS = 5
STEPS = (10, 3, 2, 2)
START_SIGMA = 0.93
START_SIGMA_GUIDED = 0.6
"""With a first guess to start from, less noise is enough."""
FINER_SIGMA = (0.2, 0.1, 0.06)
PRIOR_SD = float(np.radians(1.5))
"""Standard deviation of the elevation prior [rad]."""
PRIOR_REACH = 3.5
"""Candidates farther than this many standard deviations are skipped."""
KNOWN_SD = 0.08
KNOWN_SD_SHARE = 0.35
"""Known pixels count as observed with sd max(KNOWN_SD, KNOWN_SD_SHARE * s): a little slack lets patches fit at all."""
VOTE_TEMPERATURE = 0.1
MIN_PATCHES = 24
"""A code with fewer source patches than this is not worth insisting on."""


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """Source pixels at one scale: the picture and its mirror image side by side."""

    rgb: np.ndarray
    """[h, 2w, 3] float32 in -1..1, gaps filled."""
    usable: np.ndarray
    """[h, 2w] bool: centres of patches that hold real pixels only."""
    prior: np.ndarray
    """[h, 2w] float32: elevation [rad], zeros when it means nothing."""
    code: np.ndarray
    """[h, 2w] uint8."""
    patch: int
    """Side of the patches that `usable` was computed for [px]."""

    @cached_property
    def index(self) -> SourceIndex:
        """Usable pixels by code and prior."""
        return SourceIndex.of(self)

    @cached_property
    def _banks(self) -> dict[int, tuple[Any, Any]]:
        return {}

    def bank(self, code: int) -> tuple[Any, Any]:
        """Patches p [N, 3 patch^2] of `index.sources(code)` and the matrix [p, -p^2] transposed, as torch tensors."""
        import torch

        if code not in self._banks:
            r = self.patch // 2
            windows = np.lib.stride_tricks.sliding_window_view(
                _pad(self.rgb, r, False), (self.patch, self.patch), axis=(0, 1)
            )
            sources = self.index.sources(code)
            row, col = np.divmod(sources, self.usable.shape[1])
            p = torch.from_numpy(np.ascontiguousarray(windows[row, col].reshape(len(sources), -1)))
            self._banks[code] = p, torch.cat([p, -p * p], 1).T.contiguous()
        return self._banks[code]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A picture to complete."""

    rgb: np.ndarray
    """[H, W, 3] float32 in -1..1; outside `known` a first guess if `guided`, else ignored."""
    known: np.ndarray
    """[H, W] bool: condition on these."""
    hole: np.ndarray
    """[H, W] bool: paint these; pixels in neither mask are outside the picture."""
    prior: np.ndarray | None = None
    """[H, W] float32 elevation [rad]; None switches the prior off."""
    code: np.ndarray | None = None
    """[H, W] uint8: only sources of the same code may be copied, `ANY_CODE` takes all."""
    guided: bool = False
    wrap: bool = False
    """The right edge continues on the left."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A picture to copy from, as a pyramid that is built on demand and kept."""

    rgb: np.ndarray
    """[h, w, 3] float32 in -1..1."""
    usable: np.ndarray
    """[h, w] bool."""
    prior: np.ndarray | None = None
    """[h, w] float32 elevation [rad]."""
    code: np.ndarray | None = None
    """[h, w] uint8."""
    mirror: bool = True
    _levels: dict[tuple[int, int], Atlas] = field(default_factory=dict, repr=False)

    def atlas(self, halvings: int, patch: int) -> Atlas:
        """The atlas after `halvings` reductions by two, for patches of `patch` pixels."""
        if (halvings, patch) not in self._levels:
            self._levels[halvings, patch] = _build_atlas(self, halvings, patch)
        return self._levels[halvings, patch]


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
    padded = _padded(target, -h % unit, -w % unit)
    picture = match = None
    for level in range(halvings + 1):
        scaled = _reduced(padded, halvings - level)
        rng = np.random.default_rng([seed, level])
        if picture is None:
            exact = _fits_exact(target, source, halvings)
            guided = target.guided or not exact
            guess = scaled.rgb if target.guided or exact else _nearest_known(scaled)
            sigmas = _schedule(START_SIGMA_GUIDED if guided else START_SIGMA, STEPS[0], straight=guided)
            if exact:
                if not target.guided:
                    guess = np.broadcast_to(_mean_colour(source), guess.shape)
                atlas = source.atlas(halvings, PATCH_PX)
                picture, match = _sample_exact(scaled, atlas, guess, sigmas, rng, threads)
                continue
        else:
            guess = _doubled(picture, wrap=target.wrap)
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


def analytic_x0(
    y: np.ndarray,
    sd: np.ndarray,
    wanted: np.ndarray,
    atlas: Atlas,
    *,
    prior: np.ndarray | None = None,
    code: np.ndarray | None = None,
    wrap: bool = False,
    stride: int = 1,
    threads: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Posterior mean of the clean picture, given that its patches are patches of the atlas.

    For the patch y around a pixel and source patches p

        logit(p) = - sum_i |y_i - p_i|^2 / (2 sd_i^2) - (prior(y) - prior(p))^2 / (2 PRIOR_SD^2)

    and the mean patch is sum softmax(logit) p; overlapping mean patches are averaged under a Gaussian window.

    Args:
        y: [H, W, 3] noisy picture in units of the clean one.
        sd: [H, W] standard deviation of its noise; inf where the pixel says nothing.
        wanted: [H, W] bool: pixels to estimate.
        atlas: source patches.
        prior: [H, W] elevation [rad], or None.
        code: [H, W] uint8, or None.
        wrap: the right edge continues on the left.
        stride: distance of neighbouring patch centres [px]; every pixel still lies in many patches.
        threads: work on that many blocks of patches at once; does not change a single bit of the result.

    Returns:
        x0 [H, W, 3] float32 (y where not wanted), patch centres (y, x) [N, 2], and the atlas pixel (y, x) [N, 2] of
        the most probable patch of each.
    """
    import cv2
    import torch

    h, w, _ = y.shape
    patch, r = atlas.patch, atlas.patch // 2
    weight = (1.0 / (2.0 * np.square(sd))).astype(np.float32)
    spread = cv2.dilate(_pad(wanted.astype(np.uint8), r, wrap), np.ones((patch, patch), np.uint8))[r:-r, r:-r] > 0
    if stride > 1:
        grid = np.zeros_like(spread)
        grid[::stride, ::stride] = True
        spread &= grid
    centres = np.argwhere(spread)
    y_windows = np.lib.stride_tricks.sliding_window_view(_pad(y, r, wrap), (patch, patch), axis=(0, 1))
    w_windows = np.lib.stride_tricks.sliding_window_view(_pad(weight, r, wrap), (patch, patch), axis=(0, 1))
    queries = y_windows[centres[:, 0], centres[:, 1]].reshape(len(centres), -1).astype(np.float32)
    weights = np.tile(w_windows[centres[:, 0], centres[:, 1]].reshape(len(centres), -1), (1, 3))
    left = torch.from_numpy(np.concatenate([2 * weights * queries, weights], 1))
    mean = np.empty_like(queries)
    nearest = np.empty((len(centres), 2), np.int64)

    index = atlas.index
    own_prior, own_code = index.fit(prior, code, (h, w))
    own_prior = own_prior[centres[:, 0], centres[:, 1]]
    own_code = own_code[centres[:, 0], centres[:, 1]]
    order = np.lexsort((own_prior, own_code))
    jobs = []
    for value in np.unique(own_code).tolist():
        group = order[own_code[order] == value]
        atlas.bank(value)  # made here, once, not by several threads at a time
        jobs += [(value, group[begin : begin + CHUNK]) for begin in range(0, len(group), CHUNK)]
    width = atlas.usable.shape[1]

    def estimate(job: tuple[int, np.ndarray]) -> None:
        value, part = job
        torch.set_num_threads(1)  # every new thread starts with all of them
        sources = index.sources(value)
        p, right = atlas.bank(value)
        lo, hi = 0, len(sources)
        own = torch.from_numpy(own_prior[part] / PRIOR_SD)
        source_prior = torch.from_numpy(index.prior[sources] / PRIOR_SD)
        if prior is not None:
            ends = torch.stack([own[0] - PRIOR_REACH, own[-1] + PRIOR_REACH])
            lo, hi = torch.searchsorted(source_prior, ends).tolist()
            lo, hi = _at_least(lo, hi, len(sources))
        logit = left[part] @ right[:, lo:hi]
        if prior is not None:
            logit -= (own[:, None] - source_prior[None, lo:hi]).square_().mul_(0.5)
        nearest[part] = np.stack(np.divmod(sources[lo:hi], width), 1)[logit.argmax(1).numpy()]
        mean[part] = (torch.softmax(logit, 1) @ p[lo:hi]).numpy()

    with _one_torch_thread():
        for _ in map_threads(estimate, jobs, threads=threads):
            pass
    x0 = _overlap_add(mean.reshape(-1, 3, patch, patch), centres, (h, w), wrap)
    return np.where(wanted[..., None], x0, y).astype(np.float32), centres, nearest


@dataclass(frozen=True, kw_only=True)
class SourceIndex:
    """Usable atlas pixels by code and prior."""

    by_prior: np.ndarray
    """Flat atlas indices, one sorted run per code, then one of all."""
    runs: dict[int, tuple[int, int]]
    """Code -> begin and end in `by_prior`."""
    prior: np.ndarray
    """[h * 2w] prior of every atlas pixel."""

    @classmethod
    def of(cls, atlas: Atlas) -> SourceIndex:
        prior = atlas.prior.reshape(-1)
        usable = np.flatnonzero(atlas.usable.reshape(-1))
        usable = usable[np.argsort(prior[usable], kind="stable")]
        codes = atlas.code.reshape(-1)[usable]
        lists, runs, begin = [], {}, 0
        for value in [*np.unique(codes).tolist(), ANY_CODE]:
            members = usable if value == ANY_CODE else usable[codes == value]
            if value != ANY_CODE and len(members) < MIN_PATCHES:
                continue
            lists.append(members)
            runs[int(value)] = (begin, begin + len(members))
            begin += len(members)
        return cls(by_prior=np.concatenate(lists), runs=runs, prior=prior)

    def sources(self, code: int) -> np.ndarray:
        begin, end = self.runs[code]
        return self.by_prior[begin:end]

    def fit(
        self, prior: np.ndarray | None, code: np.ndarray | None, shape: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Target prior and code [H, W] brought into the range of what the source has: codes that it lacks accept all,
        priors beyond those of their code are clamped."""
        own = np.full(shape, ANY_CODE, np.uint8)
        if code is not None:
            known = np.isin(code, [c for c in self.runs])
            own[known] = code[known]
        clamped = np.zeros(shape, np.float32)
        if prior is not None:
            clamped[:] = prior
            for value in np.unique(own):
                sources = self.sources(int(value))
                low, high = self.prior[sources[0]], self.prior[sources[-1]]
                clamped = np.where(own == value, np.clip(clamped, low, high), clamped)
        return clamped.astype(np.float32), own


def _sample_exact(
    target: Target, atlas: Atlas, guess: np.ndarray, sigmas: list[float], rng: np.random.Generator, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sample one level with the exact denoiser; returns the picture and per pixel the best source (y, x) or -1."""
    h, w = target.hole.shape
    match = np.full((h, w, 2), -1, np.int64)

    def denoise(y: np.ndarray, s: float, last: bool) -> np.ndarray:
        sd = _noise_map(target, s)
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
    grown = cv2.dilate(_pad(target.hole.astype(np.uint8), r, target.wrap), np.ones((size, size), np.uint8))
    need = (grown[r:-r, r:-r] > 0) & (target.known | target.hole)
    pixels = np.argwhere(need).astype(np.int32)
    rim = np.argwhere(need & (cv2.dilate(target.hole.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0))
    rim = rim.astype(np.int32)
    index = atlas.index
    prior, code = index.fit(target.prior, target.code, (h, w))
    window = _windows(index, prior, code, pixels, use_prior=target.prior is not None)
    field_map = _first_field(index, atlas, code, pixels, window, coarse_match, rng, (h, w))
    cost_map = np.zeros((h, w), np.float32)
    found, cost = np.zeros(len(pixels), np.int64), np.zeros(len(pixels), np.float32)
    prior_weight = np.float32(0.0 if target.prior is None else 1 / (2 * PRIOR_SD**2))
    colours = np.zeros((len(rim), 3), np.float32)
    voted = target.rgb.copy()
    soft, sharp = _gaussian(size, size / 3.5), _gaussian(size, 1.0)
    turn = 0

    def denoise(y: np.ndarray, s: float, last: bool) -> np.ndarray:
        nonlocal turn
        first = turn == 0
        noisy = _pad(y.astype(np.float32), r, target.wrap)
        weight = _pad((1 / (2 * _noise_map(target, s) ** 2)).astype(np.float32), r, target.wrap)
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


def _noise_map(target: Target, s: float) -> np.ndarray:
    """[H, W] standard deviation of each pixel: s in the hole, a little slack where known, nothing said outside."""
    known = max(KNOWN_SD, KNOWN_SD_SHARE * s)
    return np.where(target.hole, s, np.where(target.known, known, np.inf)).astype(np.float32)


def spread_mismatch(
    painted: np.ndarray, truth: np.ndarray, known: np.ndarray, hole: np.ndarray, *, wrap: bool, reach_px: float = 24.0
) -> np.ndarray:
    """Carry the colour mismatch on a thin ring of known pixels smoothly into the hole, so that no edge shows.

    Args:
        painted: [H, W, 3] estimate that covers the hole and a rim of known pixels around it.
        truth: [H, W, 3], valid where `known`.
        known, hole: [H, W] bool.
        wrap: the right edge continues on the left.
        reach_px: how far the correction goes into the hole.
    """
    import cv2

    rim = known & (cv2.dilate(hole.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0)
    if not rim.any():
        return np.where(hole[..., None], painted, truth)
    pad = int(2 * reach_px) if wrap else 0
    ring = np.pad(rim.astype(np.float32), ((0, 0), (pad, pad)), mode="wrap") if pad else rim.astype(np.float32)
    wanted = (truth - painted) * rim[..., None]
    wanted *= np.exp(-np.square(np.abs(wanted).max(-1, keepdims=True) / LIGHT_LIMIT))
    wanted = np.pad(wanted, ((0, 0), (pad, pad), (0, 0)), mode="wrap") if pad else wanted
    both = np.dstack([wanted, ring]).astype(np.float32)
    total = np.zeros_like(both)
    scale = 1.0
    while scale <= reach_px:
        # Wide blurs need no full resolution.
        shrink = max(1, int(scale // 2))
        h, w = ring.shape
        small = cv2.resize(both, (max(1, w // shrink), max(1, h // shrink)), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), scale / shrink, borderType=cv2.BORDER_REPLICATE)
        total += cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR) / scale**2
        scale *= 2
    if pad:
        total = total[:, pad:-pad]
    distance = cv2.distanceTransform(np.pad(~rim, 1, constant_values=True).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    fade = np.exp(-np.square(distance / (0.5 * reach_px)))
    correction = total[..., :3] / np.maximum(total[..., 3:], 1e-5) * fade[..., None]
    return np.where(hole[..., None], painted + correction, truth).astype(np.float32)


def _build_atlas(source: Source, halvings: int, patch: int) -> Atlas:
    import cv2

    h, w = source.usable.shape
    unit = 1 << halvings
    # One padding for all levels keeps every level exactly twice the next.
    room = ((0, -h % MAX_UNIT), (0, -w % MAX_UNIT))
    usable = np.pad(source.usable, room)
    rgb = np.pad(source.rgb * source.usable[..., None], (*room, (0, 0)))
    weight = _block_mean(usable.astype(np.float32), unit)
    rgb = _block_mean(rgb, unit) / np.maximum(weight, 1e-6)[..., None]
    good: np.ndarray = weight > 0.5 if unit > 1 else usable
    if not good.any():
        good = weight > 0 if (weight > 0).any() else np.ones_like(good)
    code = np.zeros(good.shape, np.uint8)
    if source.code is not None:
        code = np.pad(source.code, room, mode="edge")[unit // 2 :: unit, unit // 2 :: unit]
    prior = np.zeros(good.shape, np.float32)
    if source.prior is not None:
        prior = _block_mean(np.pad(source.prior, room, mode="edge").astype(np.float32), unit)
    short = [max(0, patch + 2 - n) for n in good.shape]
    if any(short):
        grow = ((0, short[0]), (0, short[1]))
        good, code, prior = (np.pad(a, grow, mode="edge") for a in (good, code, prior))
        rgb = np.pad(rgb, (*grow, (0, 0)), mode="edge")
    rgb = _filled(rgb, good)
    r = patch // 2
    interior = np.zeros(good.shape, bool)
    interior[r : len(good) - r, r : good.shape[1] - r] = True
    whole = cv2.erode(good.astype(np.uint8), np.ones((patch, patch), np.uint8), borderValue=0) > 0
    whole &= interior
    if whole.sum() < MIN_PATCHES:
        whole = good & interior if (good & interior).any() else interior
    parts = (rgb, whole, prior, code)
    if source.mirror:
        parts = tuple(np.concatenate([a, a[:, ::-1]], 1) for a in parts)
    rgb, whole, prior, code = (np.ascontiguousarray(a) for a in parts)
    return Atlas(rgb=rgb.astype(np.float32), usable=whole, prior=prior.astype(np.float32), code=code, patch=patch)


def _filled(rgb: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Gaps take the colour of the nearest good pixel."""
    from scipy.ndimage import distance_transform_edt

    if good.all():
        return rgb
    at = np.asarray(distance_transform_edt(~good, return_distances=False, return_indices=True))
    return rgb[at[0], at[1]]


def _nearest_known(target: Target) -> np.ndarray:
    return _filled(target.rgb, target.known) if target.known.any() else np.zeros_like(target.rgb)


def _mean_colour(source: Source) -> np.ndarray:
    return source.rgb[source.usable].mean(0) if source.usable.any() else np.zeros(3, np.float32)


def _first_field(
    index: SourceIndex,
    atlas: Atlas,
    code: np.ndarray,
    pixels: np.ndarray,
    window: np.ndarray,
    coarse_match: np.ndarray | None,
    rng: np.random.Generator,
    shape: tuple[int, int],
) -> np.ndarray:
    """[H, W] flat atlas index per pixel to be matched, -1 elsewhere: the coarse match doubled, else a random pick."""
    y, x = pixels[:, 0], pixels[:, 1]
    pick = index.by_prior[window[:, 0] + (rng.random(len(pixels)) * (window[:, 1] - window[:, 0])).astype(np.int64)]
    h, w = atlas.usable.shape
    if coarse_match is not None:
        parent = coarse_match[y // 2, x // 2]
        sy, sx = 2 * parent[:, 0] + y % 2, 2 * parent[:, 1] + x % 2
        inside = (parent[:, 0] >= 0) & (sy < h) & (sx < w)
        sy, sx = np.where(inside, sy, 0), np.where(inside, sx, 0)
        own = code[y, x]
        keep = inside & atlas.usable[sy, sx] & ((own == ANY_CODE) | (own == atlas.code[sy, sx]))
        pick = np.where(keep, sy * w + sx, pick)
    out = np.full(shape, -1, np.int64)
    out[y, x] = pick
    return out


def _windows(
    index: SourceIndex, prior: np.ndarray, code: np.ndarray, pixels: np.ndarray, *, use_prior: bool
) -> np.ndarray:
    """[N, 2] begin and end in `index.by_prior` of the candidates for a random pick."""
    own_prior, own_code = prior[pixels[:, 0], pixels[:, 1]], code[pixels[:, 0], pixels[:, 1]]
    out = np.zeros((len(pixels), 2), np.int64)
    for value in np.unique(own_code):
        begin, end = index.runs[int(value)]
        here = own_code == value
        if use_prior:
            sources = index.prior[index.by_prior[begin:end]]
            lo = np.searchsorted(sources, own_prior[here] - 2 * PRIOR_SD)
            hi = np.searchsorted(sources, own_prior[here] + 2 * PRIOR_SD)
            lo, hi = _at_least(lo, hi, end - begin)
            out[here] = np.stack([begin + lo, begin + hi], 1)
        else:
            out[here] = begin, end
    return out


def _at_least(lo: Any, hi: Any, count: int, least: int = MIN_PATCHES) -> tuple[Any, Any]:
    """Widen the interval [lo, hi) within [0, count) until it holds `least` entries, if there are as many."""
    short = np.maximum(0, least - (hi - lo))
    lo = np.maximum(0, lo - (short + 1) // 2)
    hi = np.minimum(count, np.maximum(hi, lo + least))
    return np.maximum(0, np.minimum(lo, hi - least)), hi


def _overlap_add(patches: np.ndarray, centres: np.ndarray, shape: tuple[int, int], wrap: bool) -> np.ndarray:
    """[H, W, 3] Gaussian-weighted mean of overlapping patches [N, 3, p, p]; zero where none lies."""
    h, w = shape
    size = patches.shape[-1]
    r = size // 2
    kernel = _gaussian(size, OVERLAP_SD * size)
    total = np.zeros((h + 2 * r, w + 2 * r, 4), np.float32)
    colours = np.ascontiguousarray(patches.transpose(2, 3, 0, 1))
    y, x = centres[:, 0], centres[:, 1]
    for j in range(size):
        for i in range(size):
            at = (y + j, (x + i - r) % w + r) if wrap else (y + j, x + i)
            total[*at, :3] += kernel[j, i] * colours[j, i]
            total[*at, 3] += kernel[j, i]
    total = total[r : h + r, r : w + r]
    return total[..., :3] / np.maximum(total[..., 3:], 1e-6)


def _padded(target: Target, rows: int, columns: int) -> Target:
    """The picture with rows below and columns to the right that belong to neither mask."""
    if not rows and not columns:
        return target
    room = ((0, rows), (0, columns))
    return replace(
        target,
        rgb=np.pad(target.rgb, (*room, (0, 0))),
        known=np.pad(target.known, room),
        hole=np.pad(target.hole, room),
        prior=None if target.prior is None else np.pad(target.prior, room, mode="edge"),
        code=None if target.code is None else np.pad(target.code, room, mode="edge"),
    )


def _reduced(target: Target, halvings: int) -> Target:
    """The picture after `halvings` reductions by two; a block is a hole when half of what it holds is."""
    if not halvings:
        return target
    unit = 1 << halvings
    known = _block_mean(target.known.astype(np.float32), unit)
    open_ = _block_mean(target.hole.astype(np.float32), unit)
    hole = (open_ > 0) & (open_ >= known)
    known_rgb = _block_mean(target.rgb * target.known[..., None], unit) / np.maximum(known, 1e-6)[..., None]
    hole_rgb = _block_mean(target.rgb * target.hole[..., None], unit) / np.maximum(open_, 1e-6)[..., None]
    half = unit // 2
    return replace(
        target,
        rgb=np.where(hole[..., None], hole_rgb, known_rgb).astype(np.float32),
        known=(known > 0) & ~hole,
        hole=hole,
        prior=None if target.prior is None else _block_mean(target.prior.astype(np.float32), unit),
        code=None if target.code is None else target.code[half::unit, half::unit],
    )


def _block_mean(array: np.ndarray, unit: int) -> np.ndarray:
    """Mean over blocks of `unit` x `unit`; sizes must be multiples."""
    if unit == 1:
        return array
    h, w = array.shape[:2]
    return array.reshape(h // unit, unit, w // unit, unit, *array.shape[2:]).mean((1, 3))


def _doubled(picture: np.ndarray, *, wrap: bool) -> np.ndarray:
    import cv2

    h, w = picture.shape[:2]
    around = np.pad(picture, ((0, 0), (2, 2), (0, 0)), mode="wrap" if wrap else "edge")
    return cv2.resize(around, (2 * w + 8, 2 * h), interpolation=cv2.INTER_CUBIC)[:, 4:-4]


def _pad(array: np.ndarray, r: int, wrap: bool) -> np.ndarray:
    """Rows padded with zeros, columns with zeros or around the corner."""
    rest = [(0, 0)] * (array.ndim - 2)
    if wrap:
        array = np.pad(array, [(0, 0), (r, r), *rest], mode="wrap")
        return np.pad(array, [(r, r), (0, 0), *rest])
    return np.pad(array, [(r, r), (r, r), *rest])


def _gaussian(size: int, sd: float) -> np.ndarray:
    a = np.exp(-0.5 * ((np.arange(size) - size // 2) / sd) ** 2)
    return np.outer(a, a).astype(np.float32)


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Matrix products in one thread: their sums must not depend on how the work is split."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
