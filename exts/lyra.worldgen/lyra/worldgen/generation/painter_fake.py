"""A painter for tests of everything around it: one colour, no ring, no time."""

from __future__ import annotations

import numpy as np

from ..core.config import WorldConfig
from ..core.progress import SupportsProgress
from ..core.views import Photo, PhotoGeometry
from .painter import PaintHint, RingPanorama


class PainterFake:
    """Fills what is unknown with the mean colour of what is known, or with grey."""

    name = "fake"
    weights_licence = "none"

    @classmethod
    def from_config(cls, config: WorldConfig) -> PainterFake:
        """It has no settings."""
        return cls()

    def prepare(
        self,
        photo: Photo,
        geometry: PhotoGeometry,
        *,
        seed: int,
        progress: SupportsProgress,
        ring: RingPanorama | None = None,
    ) -> None:
        """No ring."""

    def paint(self, hint: PaintHint, *, seed: int) -> np.ndarray:
        """Known pixels unchanged, every other one the mean of them."""
        out = hint.rgb_u8.copy()
        known = hint.known.astype(bool)
        out[~known] = np.round(out[known].mean(0)).astype(np.uint8) if known.any() else 128
        return out
