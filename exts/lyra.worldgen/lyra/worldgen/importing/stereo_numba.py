"""Compiled loops of the multi-view stereo: smoothing of a matching volume; imported only when depth is measured."""

from __future__ import annotations

import numpy as np

from ..core.compiled import compiled


@compiled()
def _step(before, lowest_before, cost, jump, small, after):
    """One pixel further along a path: the cheapest way to each plane; returns the lowest cost."""
    d = len(cost)
    lowest = np.float32(1e9)
    ceiling = lowest_before + jump
    for i in range(d):
        best = min(before[i], ceiling)
        if i > 0:
            best = min(best, before[i - 1] + small)
        if i + 1 < d:
            best = min(best, before[i + 1] + small)
        value = cost[i] + best - lowest_before
        after[i] = value
        lowest = min(lowest, value)
    return lowest


@compiled()
def smooth_volume(cost, grey, small, large, least, total):
    """Semi-global sums of costs along eight directions (Hirschmueller, 2008).

    Args:
        cost: [H, W, D] float32 matching cost.
        grey: [H, W] float32 picture, 0..255; where it changes, depth may jump more cheaply.
        small, large: float32 cost of a step by one plane, and of any larger one where the picture is plain.
        least: float32 cost of any larger step at the strongest edge.
        total: [H, W, D] float32 zeros, receives the sums.
    """
    h, w, d = cost.shape
    nothing = np.zeros(d, np.float32)
    for sign in (1, -1):
        above = np.zeros((2, 3, w, d), np.float32)
        above_low = np.zeros((2, 3, w), np.float32)
        beside = np.zeros((2, d), np.float32)
        for r in range(h):
            y = r if sign > 0 else h - 1 - r
            now, old = r % 2, (r + 1) % 2
            beside_low = np.float32(0.0)
            for c in range(w):
                x = c if sign > 0 else w - 1 - c
                if c > 0:
                    change = abs(grey[y, x] - grey[y, x - sign])
                    jump = max(large / (np.float32(1.0) + np.float32(0.1) * change), least)
                    beside_low = _step(beside[(c + 1) % 2], beside_low, cost[y, x], jump, small, beside[c % 2])
                else:
                    beside_low = _step(nothing, np.float32(0.0), cost[y, x], np.float32(0.0), small, beside[0])
                total[y, x] += beside[c % 2]
                for k in range(3):
                    px = x + (k - 1) * sign
                    if r > 0 and 0 <= px < w:
                        change = abs(grey[y, x] - grey[y - sign, px])
                        jump = max(large / (np.float32(1.0) + np.float32(0.1) * change), least)
                        above_low[now, k, x] = _step(
                            above[old, k, px], above_low[old, k, px], cost[y, x], jump, small, above[now, k, x]
                        )
                    else:
                        above_low[now, k, x] = _step(
                            nothing, np.float32(0.0), cost[y, x], np.float32(0.0), small, above[now, k, x]
                        )
                    total[y, x] += above[now, k, x]


@compiled()
def pick_planes(total, cost, winner, offset, best_cost):
    """The cheapest plane of every pixel, and where between its neighbours a parabola has its minimum.

    Args:
        total: [H, W, D] float32 smoothed costs.
        cost: [H, W, D] float32 raw costs.
        winner: [H, W] int32, receives the plane.
        offset: [H, W] float32 zeros, receives the place of the minimum, -0.5..0.5 planes.
        best_cost: [H, W] float32, receives the raw cost of the winner.
    """
    h, w, d = total.shape
    half = np.float32(0.5)
    for y in range(h):
        for x in range(w):
            best = 0
            for i in range(1, d):
                if total[y, x, i] < total[y, x, best]:
                    best = i
            winner[y, x] = best
            best_cost[y, x] = cost[y, x, best]
            if 0 < best < d - 1:
                a, b = total[y, x, best - 1], total[y, x, best + 1]
                bend = a - 2 * total[y, x, best] + b
                if bend > 1e-9:
                    offset[y, x] = min(max(half * (a - b) / bend, -half), half)
