"""COLMAP reconstructions as text: `cameras.txt`, `images.txt` and, where there, `points3D.txt`.

Format: https://colmap.github.io/format.html
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.files import explain_os_error
from ..core.frames import invert_rigid, rigid, rotation_from_quat_wxyz
from .posed import MAX_FRAMES, MAX_POINTS, Lens, PosedFrame, PosedSet, rigid_pose

MAX_TEXT_BYTES = 2 << 30
"""`images.txt` lists every feature of every picture and is large; only its short lines are looked at."""
MAX_LINE = 4096
MAX_POINT_LINES = 5_000_000
_FOLDERS = (
    "",
    "sparse/0",
    "sparse",
    "colmap",
    "colmap/sparse/0",
    "colmap/sparse",
    "dense/sparse",
    "sparse/txt",
    "text",
)
# Number of parameters, which of them are fx, fy, cx, cy, and which are distortion in OpenCV's order (-1: zero).
_MODELS: dict[str, tuple[int, tuple[int, int, int, int], tuple[int, ...]]] = {
    "SIMPLE_PINHOLE": (3, (0, 0, 1, 2), ()),
    "PINHOLE": (4, (0, 1, 2, 3), ()),
    "SIMPLE_RADIAL": (4, (0, 0, 1, 2), (3,)),
    "RADIAL": (5, (0, 0, 1, 2), (3, 4)),
    "OPENCV": (8, (0, 1, 2, 3), (4, 5, 6, 7)),
    "FULL_OPENCV": (12, (0, 1, 2, 3), (4, 5, 6, 7, 8, 9, 10, 11)),
    "OPENCV_FISHEYE": (8, (0, 1, 2, 3), (4, 5, 6, 7)),
    "SIMPLE_RADIAL_FISHEYE": (4, (0, 0, 1, 2), (3, -1, -1, -1)),
    "RADIAL_FISHEYE": (5, (0, 0, 1, 2), (3, 4, -1, -1)),
}


def find_colmap(root: Path) -> Path | None:
    """The folder below `root` that holds the text model; None without one.

    Raises:
        InputError: there is a binary model only.
    """
    folders = [root / name for name in _FOLDERS]
    for folder in folders:
        if (folder / "cameras.txt").is_file() and (folder / "images.txt").is_file():
            return folder
    for folder in folders:
        if (folder / "cameras.bin").is_file() and (folder / "images.bin").is_file():
            raise InputError(
                "the COLMAP model is binary; write it as text beside it with: colmap model_converter --input_path "
                f"{folder.name or '.'} --output_path {folder.name or '.'} --output_type TXT: {folder}"
            )
    return None


def read_colmap(folder: Path) -> PosedSet:
    """Cameras, poses and sparse points of a text model; pictures are named, not found yet.

    Raises:
        InputError: a file is missing, too large, malformed, or holds a camera model that is not read.
    """
    cameras = _cameras(folder / "cameras.txt")
    frames = _images(folder / "images.txt", cameras)
    points = folder / "points3D.txt"
    return PosedSet(
        frames=tuple(sorted(frames, key=lambda frame: frame.name)),
        layout="colmap",
        path=folder / "images.txt",
        points=_points(points) if points.is_file() else np.zeros((0, 3)),
    )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and beginning of every line, comments left out; a line is never held longer than `MAX_LINE`."""
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise InputError(f"the file has more than {MAX_TEXT_BYTES >> 30} GiB: {path}")
        with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
            number = 0
            while line := file.readline(MAX_LINE):
                number += 1
                while not line.endswith("\n") and (rest := file.readline(MAX_LINE)):
                    if rest.endswith("\n"):
                        break
                if not line.startswith("#"):
                    yield number, line.strip()
    except OSError as error:
        raise InputError(f"the file cannot be read ({explain_os_error(error)}): {path}") from error


def _numbers(words: list[str], what: str, number: int, path: Path) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise InputError(f"line {number} holds no {what} ({str(error)[:80]}): {path}") from error
    if not all(math.isfinite(value) for value in values):
        raise InputError(f"line {number} holds a {what} that is not finite: {path}")
    return values


def _cameras(path: Path) -> dict[str, Lens]:
    found: dict[str, Lens] = {}
    for number, line in _lines(path):
        if not line:
            continue
        words = line.split()
        model = words[1] if len(words) > 1 else ""
        if model not in _MODELS:
            raise InputError(
                f"line {number} has the camera model '{model[:40]}'; expected one of {', '.join(_MODELS)}, or "
                f"undistort the pictures with: colmap image_undistorter: {path}"
            )
        count, (fx, fy, cx, cy), order = _MODELS[model]
        values = _numbers(words[2:], "camera", number, path)
        if len(values) != count + 2:
            raise InputError(f"line {number} has {len(values) - 2} parameters; {model} has {count}: {path}")
        if len(found) >= MAX_FRAMES:
            raise InputError(f"more than {MAX_FRAMES} cameras: {path}")
        p = values[2:]
        try:
            found[words[0]] = Lens(
                width_px=int(values[0]),
                height_px=int(values[1]),
                fx_px=p[fx],
                fy_px=p[fy],
                cx_px=p[cx],
                cy_px=p[cy],
                distortion=tuple(0.0 if i < 0 else p[i] for i in order),
                fisheye=model.endswith("FISHEYE"),
            )
        except InputError as error:
            raise InputError(f"line {number}: {error}: {path}") from error
    if not found:
        raise InputError(f"the file holds no camera: {path}")
    return found


def _images(path: Path, cameras: dict[str, Lens]) -> list[PosedFrame]:
    """Every other line is a picture; the ones between list its features and may be empty."""
    found: list[PosedFrame] = []
    features_next = False
    for number, line in _lines(path):
        words = line.split(maxsplit=9)
        if features_next:
            features_next = False
            # Some writers leave the line of features out altogether.
            if not (len(words) == 10 and words[8] in cameras and not _is_number(words[9].split()[0])):
                continue
        if not line:
            continue
        if len(words) < 10:
            raise InputError(f"line {number} is no picture; expected id, quaternion, translation, camera, name: {path}")
        if words[8] not in cameras:
            raise InputError(f"line {number} names the camera {words[8][:20]}, which cameras.txt does not hold: {path}")
        if len(found) >= MAX_FRAMES:
            raise InputError(f"more than {MAX_FRAMES} pictures: {path}")
        values = np.array(_numbers(words[1:8], "pose", number, path))
        if np.linalg.norm(values[:4]) < 1e-6:
            raise InputError(f"line {number} has a rotation of length zero: {path}")
        T_cam_file = rigid(rotation_from_quat_wxyz(values[:4]), values[4:])
        found.append(
            PosedFrame(
                name=words[9][:400],
                lens=cameras[words[8]],
                T_file_cam=invert_rigid(rigid_pose(T_cam_file, words[9], path)),
            )
        )
        features_next = True
    if not found:
        raise InputError(f"the file holds no picture: {path}")
    return found


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _points(path: Path) -> np.ndarray:
    """[N, 3] points, evenly thinned out to `MAX_POINTS`."""
    kept: list[list[float]] = []
    step = 1
    for count, (number, line) in enumerate(_lines(path)):
        if count >= MAX_POINT_LINES:
            break
        if not line or count % step:
            continue
        words = line.split(maxsplit=4)
        if len(words) < 4:
            raise InputError(f"line {number} is no point; expected id, x, y, z, ...: {path}")
        kept.append(_numbers(words[1:4], "point", number, path))
        if len(kept) >= MAX_POINTS:
            kept, step = kept[::2], step * 2
    return np.array(kept, float).reshape(-1, 3)
