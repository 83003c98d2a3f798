"""Nearest-patch search and voting for the fine levels of the patch sampler, compiled.

Only imported by `patch_diffusion`, when something is painted. Every kernel works on a list of target pixels and reads
only what the previous round wrote, so the result depends neither on the order of the pixels nor on the number of
threads. Randomness is a hash of (seed, round, pixel, trial).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.compiled import compiled
from ..core.machine import map_threads

ANY_CODE = 255
"""Target code that accepts sources of every code."""


@compiled(fastmath=True, boundscheck=False)
def _hash(a, b, c, d):
    h = np.uint32(a) * np.uint32(0x9E3779B1) ^ np.uint32(b) * np.uint32(0x85EBCA77)
    h ^= np.uint32(c) * np.uint32(0xC2B2AE3D) ^ np.uint32(d) * np.uint32(0x27D4EB2F)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x2C1B3C6D)
    h ^= h >> np.uint32(12)
    h *= np.uint32(0x297A2D39)
    h ^= h >> np.uint32(15)
    return h


@compiled(fastmath=True, boundscheck=False)
def _distance(target, weight, source, y, x, sy, sx, size, limit):
    """Weighted squared distance of two patches; stops once it exceeds `limit`. `target` and `weight` are padded."""
    r = size // 2
    total = np.float32(0.0)
    for j in range(size):
        row = np.float32(0.0)
        for i in range(size):
            w = weight[y + j, x + i]
            for k in range(3):
                d = target[y + j, x + i, k] - source[sy + j - r, sx + i - r, k]
                row += w * d * d
        total += row
        if total > limit:
            return total
    return total


@compiled(fastmath=True, boundscheck=False)
def _search(
    begin, end, pixels, target, weight, prior, code, source, usable, source_prior, source_code, window,
    by_prior, field, found, cost, prior_weight, size, step, trials, seed, turn, wrap,
):  # fmt: skip
    """One round for pixels [begin, end): keep, take over from four neighbours, or try at random."""
    height, width = field.shape
    h, w = usable.shape
    for n in range(begin, end):
        y, x = pixels[n, 0], pixels[n, 1]
        wanted, own = code[y, x], prior[y, x]
        at = field[y, x]
        sy, sx = at // w, at % w
        d = own - source_prior[sy, sx]
        best = _distance(target, weight, source, y, x, sy, sx, size, np.float32(3e38)) + prior_weight * d * d
        for trial in range(4 + trials):
            if trial < 4:
                dy = -step if trial == 0 else (step if trial == 1 else 0)
                dx = -step if trial == 2 else (step if trial == 3 else 0)
                yy, xx = y + dy, x + dx
                if wrap:
                    xx = (xx + width) % width
                if yy < 0 or yy >= height or xx < 0 or xx >= width or field[yy, xx] < 0:
                    continue
                cy, cx = field[yy, xx] // w - dy, field[yy, xx] % w - dx
                if cy < 0 or cy >= h or cx < 0 or cx >= w:
                    continue
            else:
                bits = _hash(y * 65521 + x, trial, turn, seed)
                if trial - 4 < 2:
                    lo, hi = window[n, 0], window[n, 1]
                    pick = by_prior[lo + np.int64(bits % np.uint32(hi - lo))]
                    cy, cx = pick // w, pick % w
                else:
                    reach = 64 >> (2 * (trial - 6)) if trial - 6 < 3 else 1
                    cy = sy + np.int64(bits & np.uint32(0xFFFF)) * (2 * reach + 1) // 65536 - reach
                    cx = sx + np.int64(bits >> np.uint32(16)) * (2 * reach + 1) // 65536 - reach
                    if cy < 0 or cy >= h or cx < 0 or cx >= w:
                        continue
            if not usable[cy, cx] or (wanted != ANY_CODE and source_code[cy, cx] != wanted):
                continue
            d = own - source_prior[cy, cx]
            extra = prior_weight * d * d
            if extra >= best:
                continue
            total = _distance(target, weight, source, y, x, cy, cx, size, best - extra) + extra
            if total < best:
                best, sy, sx = total, cy, cx
        found[n] = sy * w + sx
        cost[n] = best


@compiled(fastmath=True, boundscheck=False)
def _vote(begin, end, pixels, source, field, cost, kernel, sharpness, wrap, out):
    """Blend what the patches around each pixel say about it, closest patches first."""
    height, width = field.shape
    w = source.shape[1]
    size = kernel.shape[0]
    r = size // 2
    for n in range(begin, end):
        y, x = pixels[n, 0], pixels[n, 1]
        lowest = np.float32(3e38)
        for j in range(max(0, y - r), min(height, y + r + 1)):
            for dx in range(-r, r + 1):
                i = (x + dx + width) % width if wrap else x + dx
                if i < 0 or i >= width:
                    continue
                if field[j, i] >= 0 and cost[j, i] < lowest:
                    lowest = cost[j, i]
        red, green, blue, total = np.float32(0), np.float32(0), np.float32(0), np.float32(1e-20)
        for j in range(max(0, y - r), min(height, y + r + 1)):
            for dx in range(-r, r + 1):
                i = (x + dx + width) % width if wrap else x + dx
                if i < 0 or i >= width or field[j, i] < 0:
                    continue
                a = kernel[y - j + r, r - dx] * np.exp(-(cost[j, i] - lowest) * sharpness)
                sy, sx = field[j, i] // w + y - j, field[j, i] % w - dx
                red += a * source[sy, sx, 0]
                green += a * source[sy, sx, 1]
                blue += a * source[sy, sx, 2]
                total += a
        out[n, 0], out[n, 1], out[n, 2] = red / total, green / total, blue / total


def in_threads(kernel: Callable[..., Any], count: int, threads: int, *args: Any) -> None:
    """Run `kernel(begin, end, *args)` over [0, count) in blocks; blocks never touch one another's output."""
    if threads < 2 or count < 2048:
        kernel(0, count, *args)
        return
    edges = np.linspace(0, count, 4 * threads + 1).astype(int)
    blocks = [(int(a), int(b)) for a, b in itertools.pairwise(edges)]
    for _ in map_threads(lambda block: kernel(*block, *args), blocks, threads=threads):
        pass


def search(count: int, threads: int, *args: Any) -> None:
    """See `_search`; `args` follow its parameters after `end`."""
    in_threads(_search, count, threads, *args)


def vote(count: int, threads: int, *args: Any) -> None:
    """See `_vote`; `args` follow its parameters after `end`."""
    in_threads(_vote, count, threads, *args)
