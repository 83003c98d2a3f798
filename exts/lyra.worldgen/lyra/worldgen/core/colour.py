"""An edit of colours that is stated once and applied by whoever shows them, so that no array of colours is copied.

The edit is affine and by channel, on display-referred sRGB values in 0..1: light that is dimmer or warmer, exposure,
white balance and haze are such edits as far as a picture without shading can show them. Splats take it exactly, because
their harmonics are linear in their colours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .sh import SH_C0
from .splats import GaussianCloud

DISPLAY_GAMMA = 2.2
"""Display values go with the light to the power of one over this; a factor of the light becomes a factor of them."""


@dataclass(frozen=True, kw_only=True)
class ColourEdit:
    """New value = gain times old value plus offset, for red, green and blue, clipped where a picture is shown."""

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def changes(self) -> bool:
        """Whether it does anything."""
        return self != ColourEdit()

    def of_picture(self, rgb_u8: np.ndarray) -> np.ndarray:
        """A picture [..., 3] uint8 with the edit."""
        if not self.changes:
            return rgb_u8
        steps = np.arange(256)[:, None] * np.array(self.gain) + 255 * np.array(self.offset)
        table = np.clip(np.rint(steps), 0, 255).astype(np.uint8)
        return np.stack([table[rgb_u8[..., k], k] for k in range(3)], -1)

    def of_splats(self, splats: GaussianCloud) -> GaussianCloud:
        """Splats with the edit, seen from any side."""
        if not self.changes:
            return splats
        gain, offset = np.array(self.gain), np.array(self.offset)
        sh = splats.sh.astype(np.float64) * gain
        # What is shown is 0.5 plus the harmonics, so half of the gain and the offset go into the constant one.
        sh[:, 0] += (0.5 * gain + offset - 0.5) / SH_C0
        return replace(splats, sh=sh.astype(np.float32))


def display_gain(light: np.ndarray | tuple[float, ...]) -> np.ndarray:
    """What factors [3] of the light do to display values."""
    return np.asarray(light, float) ** (1 / DISPLAY_GAMMA)
