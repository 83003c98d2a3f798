"""Stand-ins of the recorded chunk inputs: their layout, length of history and encoder."""

from __future__ import annotations

import numpy as np

from lyra.worldgen.generation.context_layout import ContextLayout

LAYOUT = ContextLayout.parse("f1k1f1s2f1s1f4k4f2k2f1k1_g4")
HISTORY = 33


def toy_encoder(video: np.ndarray) -> np.ndarray:
    """The recording's stand-in for a video encoder: 8x8 means of every fourth frame."""
    frames = video[:, ::4]
    c, t, h, w = frames.shape
    small = frames.reshape(c, t, h // 8, 8, w // 8, 8).mean((3, 5))
    return np.stack([small[k % 3] * (k + 1) / 16 for k in range(16)]).astype(np.float32)
