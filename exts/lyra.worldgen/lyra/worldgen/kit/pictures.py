"""Pictures as the window's widgets take them. Needs no Kit."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

MOST_PX = 64_000_000
PREVIEW_LONG_SIDE_PX = 512


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """A small picture."""

    rgba: bytes
    """Rows from the top, four bytes a pixel."""
    width_px: int
    height_px: int


def preview_pixels(source: bytes | Path) -> Pixels | None:
    """A picture file, or its content, reduced for a preview; None for anything that cannot be shown."""
    try:
        from PIL import Image, ImageOps

        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            if picture.width * picture.height > MOST_PX:
                return None
            picture.draft("RGB", (2 * PREVIEW_LONG_SIDE_PX, 2 * PREVIEW_LONG_SIDE_PX))
            upright = ImageOps.exif_transpose(picture)
            upright.thumbnail((PREVIEW_LONG_SIDE_PX, PREVIEW_LONG_SIDE_PX))
            small = upright.convert("RGBA")
    except Exception:  # Pillow raises many classes for damaged files, and Kit may come without it
        return None
    return Pixels(rgba=small.tobytes(), width_px=small.width, height_px=small.height)
