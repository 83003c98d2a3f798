"""Painted frames as small pictures, for looking at them while the work goes on."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

LONG_SIDE_PX = 640
QUALITY = 80
"""Together they keep a frame far below the longest line that a worker may write."""


def frame_jpeg(rgb_u8: np.ndarray) -> bytes:
    """JPEG of a frame [H, W, 3], made smaller if it is large."""
    from PIL import Image

    picture = Image.fromarray(rgb_u8)
    picture.thumbnail((LONG_SIDE_PX, LONG_SIDE_PX))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=QUALITY)
    return data.getvalue()
