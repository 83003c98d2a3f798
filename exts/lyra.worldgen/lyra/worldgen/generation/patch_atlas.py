"""What patches are copied from: source pixels at several scales, and which of them a target pixel may take."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .patch_target import block_mean, filled, pad_around

ANY_CODE = 255
"""Target code that accepts sources of every code."""
MAX_UNIT = 16
PRIOR_SD = float(np.radians(1.5))
"""Standard deviation of the elevation prior [rad]."""
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
                pad_around(self.rgb, r, False), (self.patch, self.patch), axis=(0, 1)
            )
            sources = self.index.sources(code)
            row, col = np.divmod(sources, self.usable.shape[1])
            p = torch.from_numpy(np.ascontiguousarray(windows[row, col].reshape(len(sources), -1)))
            self._banks[code] = p, torch.cat([p, -p * p], 1).T.contiguous()
        return self._banks[code]


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


def _build_atlas(source: Source, halvings: int, patch: int) -> Atlas:
    import cv2

    h, w = source.usable.shape
    unit = 1 << halvings
    # One padding for all levels keeps every level exactly twice the next.
    room = ((0, -h % MAX_UNIT), (0, -w % MAX_UNIT))
    usable = np.pad(source.usable, room)
    rgb = np.pad(source.rgb * source.usable[..., None], (*room, (0, 0)))
    weight = block_mean(usable.astype(np.float32), unit)
    rgb = block_mean(rgb, unit) / np.maximum(weight, 1e-6)[..., None]
    good: np.ndarray = weight > 0.5 if unit > 1 else usable
    if not good.any():
        good = weight > 0 if (weight > 0).any() else np.ones_like(good)
    code = np.zeros(good.shape, np.uint8)
    if source.code is not None:
        code = np.pad(source.code, room, mode="edge")[unit // 2 :: unit, unit // 2 :: unit]
    prior = np.zeros(good.shape, np.float32)
    if source.prior is not None:
        prior = block_mean(np.pad(source.prior, room, mode="edge").astype(np.float32), unit)
    short = [max(0, patch + 2 - n) for n in good.shape]
    if any(short):
        grow = ((0, short[0]), (0, short[1]))
        good, code, prior = (np.pad(a, grow, mode="edge") for a in (good, code, prior))
        rgb = np.pad(rgb, (*grow, (0, 0)), mode="edge")
    rgb = filled(rgb, good)
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


def mean_colour(source: Source) -> np.ndarray:
    return source.rgb[source.usable].mean(0) if source.usable.any() else np.zeros(3, np.float32)


def first_field(
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


def candidate_windows(
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
            lo, hi = at_least(lo, hi, end - begin)
            out[here] = np.stack([begin + lo, begin + hi], 1)
        else:
            out[here] = begin, end
    return out


def at_least(lo: Any, hi: Any, count: int, least: int = MIN_PATCHES) -> tuple[Any, Any]:
    """Widen the interval [lo, hi) within [0, count) until it holds `least` entries, if there are as many."""
    short = np.maximum(0, least - (hi - lo))
    lo = np.maximum(0, lo - (short + 1) // 2)
    hi = np.minimum(count, np.maximum(hi, lo + least))
    return np.maximum(0, np.minimum(lo, hi - least)), hi
