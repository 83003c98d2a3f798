"""Photos that come through the browser: read as every photo is, and kept until the world has its own copy."""

from __future__ import annotations

import re
from pathlib import Path

from ..core.errors import InputError
from ..generation.photo import decode_photo

MAX_UPLOAD_BYTES = 64 * 2**20
"""Photos of a phone have a tenth of this."""
_TRIAL_PX = 64


def keep_photo(data: bytes, name: str, folder: Path) -> Path:
    """Write a photo that was uploaded, if it is one, under a name that leads nowhere else.

    Args:
        data: the file's bytes.
        name: what the browser calls it.
        folder: exists; takes the file.

    Raises:
        InputError: empty, too large, no picture, damaged, or a size that no photo has; the message names the photo.
    """
    plain = (
        re.sub(r"[^A-Za-z0-9 ._()+-]+", "_", name.replace("\\", "/").rpartition("/")[2]).lstrip(". ")[:80] or "photo"
    )
    if not data:
        raise InputError(f"photo file is empty; choose another one: {plain}")
    if len(data) > MAX_UPLOAD_BYTES:
        raise InputError(f"photo has {len(data) >> 20} MiB; at most {MAX_UPLOAD_BYTES >> 20} are taken: {plain}")
    decode_photo(data, Path(plain), long_side_px=_TRIAL_PX)
    path = folder / plain
    path.write_bytes(data)
    return path
