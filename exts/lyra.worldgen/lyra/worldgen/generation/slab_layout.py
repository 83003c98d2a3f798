"""Which photo column each column of the ring copies: a closed walk over the photo, found by dynamic programming.

The walk moves through the photo forwards, or backwards as a mirrored copy, and now and then jumps to a place that
looks like the one it leaves (a "video texture" of columns). What occurs once in the photo is dear to show again, so a
landmark stays single while what repeats anyway goes round. Elevation is kept, and with it horizon and floor line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LANDMARK_WEIGHT = 0.065
REPEAT_WEIGHT = 0.02
"""Cost per column for each time it was shown before."""
LANDMARK_REPEAT = 12.0
"""What occurs once in the photo tires this many times faster than what occurs everywhere."""
REPEAT_EVER_SHARE, REPEAT_RECENT_DEG = 0.5, 90.0
JUMP_COST = 0.15
NEAR_SAME_COST = 1.5
"""Landing close to where the walk already is, in the same direction: the viewer sees the same thing twice in a row."""
NEAR_MIRRORED_COST = 0.5
"""Landing close by but mirrored: a kaleidoscope."""
NEAR_SHARE = 0.12
JITTER = 0.5
"""Jump costs are scaled by 1..1+JITTER, so that seeds differ where it costs little."""
GEOMETRY_WEIGHT = 0.35
"""Cost of a jump per unit of |log| between the two boundary distances: the copied walls should meet."""
OBJECT_CUT_WEIGHT = 0.5
NARROW_WEIGHT = 0.03
COMFORTABLE_M = 2.5
"""A boundary nearer than this is avoided: a world must leave space to drive in."""
OBJECT_WEIGHT = 0.015


@dataclass(frozen=True, kw_only=True)
class SlabWalk:
    """The result: one entry per ring column right of the photo's sector."""

    column: np.ndarray
    """[L] int source column."""
    mirrored: np.ndarray
    """[L] bool."""


def slab_walk(
    strip: np.ndarray,
    length: int,
    *,
    column_deg: float,
    seed: int,
    boundary_m: np.ndarray | None = None,
    object_share: np.ndarray | None = None,
    place_cost: np.ndarray | None = None,
    jump_scale: np.ndarray | None = None,
    min_run_deg: float = 26.0,
    window_deg: float = 6.0,
) -> SlabWalk:
    """Walk from the photo's right edge round to its left edge.

    Args:
        strip: [h, w, 3] float in 0..1, coarse and without gaps.
        length: columns to fill.
        column_deg: azimuth of one column [deg].
        seed: varies the jumps.
        boundary_m: [w] distance of the boundary behind each column [m].
        object_share: [w] share 0..1 of rows that show standing objects.
        place_cost: [length, w] cost of showing a column at a place of the ring.
        jump_scale: [length] factor on the cost of jumping there: below 1 where a jump shows less.
        min_run_deg: shortest run between two jumps [deg]; runs are shorter only if the photo itself is.
        window_deg: width of what is compared at a jump [deg].
    """
    w = strip.shape[1]
    if length < 1:
        return SlabWalk(column=np.zeros(0, np.int64), mirrored=np.zeros(0, bool))
    if w < 8:
        # Too narrow to choose anything: back and forth.
        phase = np.arange(length) % (2 * w)
        return SlabWalk(column=np.where(phase < w, w - 1 - phase, phase - w), mirrored=phase < w)
    rng = np.random.default_rng(seed)
    window = int(np.clip(round(window_deg / column_deg), 2, max(2, w // 3)))
    min_run = int(np.clip(round(min_run_deg / column_deg), 2, max(2, min(w - 2, int(0.45 * w), length // 2))))
    jump = _jump_costs(strip, window)
    unique = uniqueness(strip, window)
    stay = LANDMARK_WEIGHT * unique
    if boundary_m is not None:
        log_m = np.log(np.clip(boundary_m, 0.2, 1e3))
        difference = np.minimum(np.abs(log_m[:, None] - log_m[None]), 2.0)
        jump = jump + GEOMETRY_WEIGHT * np.tile(difference, (2, 2))
        stay = stay + NARROW_WEIGHT * np.clip(np.log(COMFORTABLE_M) - log_m, 0.0, 2.0)
    if object_share is not None:
        cut = OBJECT_CUT_WEIGHT * np.tile(object_share, 2)
        jump = jump + cut[:, None] + cut[None]
        stay = stay + OBJECT_WEIGHT * object_share
    # Plan to the end, keep the first run, count what it shows, plan again: a single plan cannot know its own repeats.
    shown: list[np.ndarray] = [np.arange(w)]
    states = np.zeros(0, np.int64)
    while len(states) < length:
        spread = REPEAT_WEIGHT * _blurred(_weariness(np.concatenate(shown), w, column_deg), 0.5 * window)
        spread = spread * (1 + LANDMARK_REPEAT * unique)
        last = int(states[-1]) if len(states) else w - 1
        at = len(states)
        plan = _cheapest_walk(
            jump,
            np.tile(stay + spread, 2),
            length - at,
            min_run,
            rng,
            start=last,
            place=None if place_cost is None else np.tile(place_cost[at:], (1, 2)),
            jump_scale=np.ones(length - at) if jump_scale is None else jump_scale[at:],
        )
        following = _next_state(w)
        jumps = np.flatnonzero(plan[1:] != following[plan[:-1]]) + 1
        keep = int(jumps[0]) if len(jumps) else len(plan)
        if length - len(states) - keep < 2 * min_run:
            keep = len(plan)
        states = np.concatenate([states, plan[:keep]])
        shown.append(plan[:keep] % w)
    return SlabWalk(column=states % w, mirrored=states >= w)


def _weariness(shown: np.ndarray, w: int, column_deg: float) -> np.ndarray:
    """[w] how often each column was shown, the recent past counting more."""
    age_deg = (len(shown) - 1 - np.arange(len(shown))) * column_deg
    weight = REPEAT_EVER_SHARE + (1 - REPEAT_EVER_SHARE) * np.exp(-age_deg / REPEAT_RECENT_DEG)
    return np.bincount(shown, weights=weight, minlength=w)


def uniqueness(strip: np.ndarray, window: int) -> np.ndarray:
    """[w] 0..1: how unlike every other part of the strip the surroundings of a column are."""
    h, w, _ = strip.shape
    padded = np.pad(strip, ((0, 0), (window, window), (0, 0)), mode="symmetric")
    centred = np.stack([padded[:, c + window - window // 2 :][:, :window].reshape(-1) for c in range(w)])
    mirrored = centred.reshape(w, h, window, 3)[:, :, ::-1].reshape(w, -1)
    distance = np.minimum(_rms(centred, centred), _rms(centred, mirrored))
    index = np.arange(w)
    distance[np.abs(index[:, None] - index[None]) <= max(3, int(0.2 * w))] = np.inf
    nearest = distance.min(1)
    nearest = np.where(np.isfinite(nearest), nearest, 0.0)
    smooth = _blurred(nearest, max(1.0, window / 2))
    return (smooth - smooth.min()) / (np.ptp(smooth) + 1e-6)


def _jump_costs(strip: np.ndarray, window: int) -> np.ndarray:
    """[2w, 2w] cost of showing state b where the continuation of state a was due; states w.. are mirrored."""
    w = strip.shape[1]
    padded = np.pad(strip, ((0, 0), (window, window), (0, 0)), mode="symmetric")
    ahead = [padded[:, c + window :][:, :window].reshape(-1) for c in range(w)]
    back = [padded[:, c + 1 : c + window + 1][:, ::-1].reshape(-1) for c in range(w)]
    looks = np.stack(ahead + back)
    due = _next_state(w)
    due = np.where(due >= 0, due, np.arange(2 * w))
    cost = _rms(looks[due], looks) + JUMP_COST
    column = np.arange(2 * w) % w
    near = np.abs(column[:, None] - column[None]) < NEAR_SHARE * w
    same_way = (np.arange(2 * w)[:, None] < w) == (np.arange(2 * w)[None] < w)
    return cost + near * np.where(same_way, NEAR_SAME_COST, NEAR_MIRRORED_COST)


def _next_state(w: int) -> np.ndarray:
    following = np.full(2 * w, -1)
    following[: w - 1] = np.arange(1, w)
    following[w + 1 :] = np.arange(w, 2 * w - 1)
    return following


def _cheapest_walk(
    jump: np.ndarray,
    stay: np.ndarray,
    length: int,
    min_run: int,
    rng: np.random.Generator,
    *,
    start: int,
    place: np.ndarray | None,
    jump_scale: np.ndarray,
) -> np.ndarray:
    """[length] states of the cheapest walk that follows state `start` and ends before the photo's first column.

    Viterbi over (state, columns since the last jump, capped at `min_run - 1`).
    """
    n = len(stay)
    following = _next_state(n // 2)
    movers = np.flatnonzero(following >= 0)
    targets = following[movers]
    jump = jump.astype(np.float32)
    cost = np.full((n, min_run), np.inf, np.float32)
    cost[start, -1] = 0.0
    came_from = np.zeros((length, n, min_run), np.int32)
    for t in range(length):
        new = np.full((n, min_run), np.inf, np.float32)
        origin = came_from[t]
        new[targets, 1:] = cost[movers, :-1]
        origin[targets, 1:] = movers[:, None] * min_run + np.arange(min_run - 1)
        longer = cost[movers, -1]
        better = longer < new[targets, -1]
        new[targets[better], -1] = longer[better]
        origin[targets[better], -1] = movers[better] * min_run + min_run - 1
        landing = cost[:, -1:] + np.float32(jump_scale[t]) * jump * (1 + JITTER * rng.random((n, n), dtype=np.float32))
        best = landing.argmin(0)
        new[:, 0] = landing[best, np.arange(n)]
        origin[:, 0] = best * min_run + min_run - 1
        cost = new + (stay if place is None else stay + place[t])[:, None].astype(np.float32)
    # The photo's first column follows; a last run that is much too short is discouraged, not forbidden.
    final = cost + jump[:, :1] + np.where(np.arange(min_run) < min_run // 2, 0.5, 0.0)[None]
    at = int(final.argmin())
    states = np.zeros(length, np.int64)
    for t in range(length - 1, -1, -1):
        states[t] = at // min_run
        at = int(came_from[t].reshape(-1)[at])
    return states


def _rms(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[n, m] root mean square difference between the rows of `a` [n, d] and `b` [m, d]."""
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * (a @ b.T)
    return np.sqrt(np.maximum(squared, 0) / a.shape[1])


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    """[w] Gaussian blur with replicated ends."""
    radius = max(1, int(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    padded = np.pad(values, radius, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")
