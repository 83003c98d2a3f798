"""A film of a training step, some of whose frames the network has painted over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .clips import Clip

if TYPE_CHECKING:
    pass


class Footage:
    """A film of which some frames were painted over.

    Args:
        clip: the film; never changed.
    """

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self._painted: dict[int, np.ndarray] = {}

    @property
    def painted_frames(self) -> list[int]:
        return sorted(self._painted)

    @property
    def untouched(self) -> bool:
        """Whether nothing was painted over."""
        return not self._painted

    def frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """[3, N, H, W] float32 in -1..1."""
        frames = self.clip.frames(np.asarray(indices, np.int64))
        for place, index in enumerate(indices):
            if (painted := self._painted.get(int(index))) is not None:
                frames[:, place] = painted
        return frames

    def frame(self, index: int) -> np.ndarray:
        """[3, H, W] float32 in -1..1."""
        return self.frames([index])[:, 0]

    def painted_over(self, indices: np.ndarray, frames: np.ndarray) -> Footage:
        """A film with [3, N, H, W] at these frames; where a frame is named twice the last one stays."""
        result = Footage(self.clip)
        result._painted = self._painted | {int(index): frames[:, place] for place, index in enumerate(indices)}
        return result
