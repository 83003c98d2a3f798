"""The denoiser in closed form: posterior mean of a picture whose patches are patches of an atlas."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ..core.machine import map_threads
from .patch_atlas import PRIOR_SD, Atlas, at_least
from .patch_target import pad_around

CHUNK = 512
OVERLAP_SD = 0.28
"""Window of the overlapping patches, in patch sides."""
PRIOR_REACH = 3.5
"""Candidates farther than this many standard deviations are skipped."""


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
    spread = cv2.dilate(pad_around(wanted.astype(np.uint8), r, wrap), np.ones((patch, patch), np.uint8))[r:-r, r:-r] > 0
    if stride > 1:
        grid = np.zeros_like(spread)
        grid[::stride, ::stride] = True
        spread &= grid
    centres = np.argwhere(spread)
    y_windows = np.lib.stride_tricks.sliding_window_view(pad_around(y, r, wrap), (patch, patch), axis=(0, 1))
    w_windows = np.lib.stride_tricks.sliding_window_view(pad_around(weight, r, wrap), (patch, patch), axis=(0, 1))
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
            lo, hi = at_least(lo, hi, len(sources))
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


def _overlap_add(patches: np.ndarray, centres: np.ndarray, shape: tuple[int, int], wrap: bool) -> np.ndarray:
    """[H, W, 3] Gaussian-weighted mean of overlapping patches [N, 3, p, p]; zero where none lies."""
    h, w = shape
    size = patches.shape[-1]
    r = size // 2
    kernel = gaussian_window(size, OVERLAP_SD * size)
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


def gaussian_window(size: int, sd: float) -> np.ndarray:
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
