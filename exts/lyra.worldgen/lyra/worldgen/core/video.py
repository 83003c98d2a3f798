"""Short films as MPEG-4 files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .errors import BackendError
from .optional import require


def write_video(path: Path, frames_rgb_u8: Iterable[np.ndarray], *, size_px: tuple[int, int], fps: float) -> None:
    """Encode frames [H, W, 3] aside and rename the file.

    Args:
        path: ends in `.mp4`.
        frames_rgb_u8: one after the other; they may be made while they are taken.
        size_px: width and height of every frame.
        fps: [Hz].

    Raises:
        DependencyError: OpenCV is missing.
        BackendError: this build of OpenCV has no encoder.
    """
    cv2 = require("cv2", extra="recon", package="opencv-python-headless")
    # OpenCV picks the container by the suffix.
    aside = path.with_name(f".{path.stem}.part{path.suffix}")
    writer = cv2.VideoWriter(str(aside), cv2.VideoWriter_fourcc(*"mp4v"), fps, size_px)
    try:
        if not writer.isOpened():
            raise BackendError("OpenCV cannot encode MPEG-4 here; install opencv-python-headless from its wheels")
        for rgb in frames_rgb_u8:
            writer.write(np.ascontiguousarray(rgb[..., ::-1]))
        writer.release()
        os.replace(aside, path)
    finally:
        writer.release()
        aside.unlink(missing_ok=True)
