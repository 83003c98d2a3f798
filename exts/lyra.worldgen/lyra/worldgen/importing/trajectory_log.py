"""Camera trajectories as Tanks and Temples publishes them: `*.log`, five lines a picture, camera to world.

Format: https://www.tanksandtemples.org/tutorial/ (three numbers, of which the first counts pictures; then four rows of
a matrix, OpenCV axes). The file says nothing about the lens, so an `intrinsics.txt` beside it has to.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.files import explain_os_error
from .posed import MAX_FRAMES, Lens, PosedFrame, PosedSet, rigid_pose
from .posed_pictures import picture_size

MAX_LOG_BYTES = 64 << 20
INTRINSICS_NAME = "intrinsics.txt"
_LINES = 5


def read_trajectory_log(path: Path, pictures: list[Path]) -> PosedSet:
    """Poses of a log file for the pictures that belong to it, in the same order.

    Args:
        path: the log file; `intrinsics.txt` lies beside it and holds a matrix of 3x3 or 4x4 in pixels of the pictures.
        pictures: in order of time.

    Raises:
        InputError: the log is damaged, counts other pictures, or nothing says what the lens is.
    """
    lines = [line.split() for line in _text(path).splitlines() if line.strip()]
    if not lines or len(lines) % _LINES or len(lines) // _LINES > MAX_FRAMES:
        raise InputError(f"the log has {len(lines)} lines; expected {_LINES} for each picture: {path}")
    count = len(lines) // _LINES
    if count != len(pictures):
        raise InputError(f"the log holds {count} poses for {len(pictures)} pictures; give one for each: {path}")
    lens = _lens(path.with_name(INTRINSICS_NAME), pictures[0])
    frames = []
    for k in range(count):
        of_frame = lines[_LINES * k : _LINES * (k + 1)]
        head = _numbers(of_frame[0], 3, f"line {_LINES * k + 1}", path)
        if head[0] != k:
            raise InputError(f"line {_LINES * k + 1} counts picture {head[0]:g}; expected {k}: {path}")
        T = np.array([_numbers(row, 4, f"line {_LINES * k + 2 + i}", path) for i, row in enumerate(of_frame[1:])])
        if np.abs(T[3] - [0, 0, 0, 1]).max() > 1e-6:
            raise InputError(f"the pose of picture {k} does not end with the row 0 0 0 1: {path}")
        frames.append(
            PosedFrame(
                name=pictures[k].name,
                lens=lens,
                T_file_cam=rigid_pose(T, pictures[k].name, path),
                picture=pictures[k],
            )
        )
    return PosedSet(frames=tuple(frames), layout="log", path=path)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_LOG_BYTES:
            raise InputError(f"the file has more than {MAX_LOG_BYTES >> 20} MiB: {path}")
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"the file cannot be read ({explain_os_error(error)}): {path}") from error


def _numbers(words: list[str], count: int, what: str, path: Path) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != count or not all(map(math.isfinite, values)):
        raise InputError(f"{what} holds no {count} finite numbers: {path}")
    return values


def _lens(path: Path, picture: Path) -> Lens:
    if not path.is_file():
        raise InputError(
            f"nothing says what lens the log's pictures have; put {INTRINSICS_NAME} beside it (fx 0 cx, 0 fy cy, 0 0 1 "
            f"in pixels), or give a COLMAP text model: {path}"
        )
    words = _text(path).split()
    if len(words) not in (9, 16):
        raise InputError(f"the file holds {len(words)} numbers; expected a matrix of 3x3 or 4x4: {path}")
    side = 3 if len(words) == 9 else 4
    K = np.array(_numbers(words, len(words), "the file", path)).reshape(side, side)
    width, height = picture_size(picture)
    try:
        return Lens(width_px=width, height_px=height, fx_px=K[0, 0], fy_px=K[1, 1], cx_px=K[0, 2], cy_px=K[1, 2])
    except InputError as error:
        raise InputError(f"{error}: {path}") from error
