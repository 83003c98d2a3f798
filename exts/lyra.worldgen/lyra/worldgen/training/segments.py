"""Which frames one training step sees: the segment, what it may remember, what is drawn of that (our notes, 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.errors import InputError
from ..generation.context_layout import FRAMES_PER_LATENT, ContextLayout
from ..generation.retrieval import CachedPoints, visible_cells

MEMORY_STRIDE = 8
"""Every frame whose number is a multiple of this may be remembered, except the first."""
KEPT_AWAY = 16
"""Frames this close to the new ones are never remembered."""
MAX_SEGMENT = 13
"""Later segments are not drawn."""
LEAST_WEIGHT = 0.02
"""What an unseen frame weighs in the draw, relative to the one seen most."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A window of a film: the first frame repeated, then all frames up to the end of the segment."""

    number: int
    window: np.ndarray
    """[frames] int64 frame of the film that stands at each place."""
    new_frames: int

    @classmethod
    def of(cls, number: int, layout: ContextLayout) -> Segment:
        """Segment `number` of a film; the repeated first frame fills the context of a film that has just begun."""
        repeated = FRAMES_PER_LATENT * (layout.context_latents - 1)
        last = (number + 1) * layout.new_frames
        window = np.concatenate([np.zeros(repeated, np.int64), np.arange(last + 1)])
        return cls(number=number, window=window, new_frames=layout.new_frames)

    @property
    def history_frames(self) -> int:
        return len(self.window) - self.new_frames

    @property
    def first_new(self) -> int:
        """First frame of the film that is to be generated."""
        return int(self.window[self.history_frames])

    @property
    def last_new(self) -> int:
        return int(self.window[-1])

    @property
    def last_history(self) -> int:
        return int(self.window[self.history_frames - 1])


def segment_count(frames: int, layout: ContextLayout) -> int:
    """How many segments of a film of `frames` frames may be drawn: each has another one after it.

    Raises:
        InputError: the film is too short for a segment and the next.
    """
    count = min((frames - 1) // layout.new_frames - 1, MAX_SEGMENT)
    if count < 1:
        raise InputError(
            f"a film has {frames} frames; the layout needs at least {2 * layout.new_frames + 1} (data.frames)"
        )
    return count


def draw_segment(rng: np.random.Generator, frames: int, layout: ContextLayout) -> Segment:
    """A segment, each with the same probability."""
    return Segment.of(int(rng.integers(segment_count(frames, layout))), layout)


def remembered_frames(segment: Segment, frames: int) -> list[int]:
    """Frames of a film of `frames` frames that a step may retrieve, later ones included."""
    low, high = segment.first_new - KEPT_AWAY, segment.last_new + KEPT_AWAY
    return [
        i for i in range(MEMORY_STRIDE, frames, MEMORY_STRIDE) if not low <= i <= high and i != segment.last_history
    ]


def draw_views(
    rng: np.random.Generator,
    memory: Sequence[CachedPoints],
    target_w2c: np.ndarray,
    K_px: np.ndarray,
    size_hw: tuple[int, int],
    *,
    count: int,
) -> list[int]:
    """Frames drawn without replacement by how much of the target they show, the first draw last; empty if none does."""
    if not memory or count <= 0:
        return []
    cells = visible_cells(list(memory), target_w2c, K_px, size_hw).astype(np.float64)
    if not cells.any():
        return []
    weights = cells + LEAST_WEIGHT * cells.max()
    picks = rng.choice(len(memory), min(count, len(memory)), replace=False, p=weights / weights.sum())
    return [memory[i].view_id for i in picks[::-1]]


def drop_views(rng: np.random.Generator, picks: list[int], *, rate: float) -> list[int]:
    """With probability `rate`, one to all of the picks leave; those that stay keep their order."""
    if not picks or rng.random() >= rate:
        return picks
    gone = set(rng.choice(len(picks), int(rng.integers(1, len(picks) + 1)), replace=False).tolist())
    return [pick for i, pick in enumerate(picks) if i not in gone]
