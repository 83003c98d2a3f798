"""Films of real places with the camera's poses, as DL3DV and Tanks and Temples lay them out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from ..core.errors import InputError
from ..core.files import PICTURE_SUFFIXES
from ..importing.colmap import find_colmap, read_colmap
from ..importing.posed import PosedSet
from ..importing.posed_set import with_pictures
from ..importing.trajectory_log import read_trajectory_log
from ..importing.transforms import TRANSFORMS_NAME, read_transforms

DATASETS = {"dl3dv": "DL3DV", "tanks-and-temples": "Tanks and Temples"}
LEAST_FRAMES = 3
MAX_FILES = 100_000
_DIGITS = re.compile(r"(\d+)")


def read_dataset(folder: Path, kind: str) -> PosedSet:
    """One scene of a data set: its pictures in order of time, with lenses and poses.

    DL3DV: `transforms.json` in the folder or in `nerfstudio/`, pictures as it names them or reduced in `images_2`,
    `images_4` or `images_8`. Tanks and Temples: a COLMAP text model, or one `*.log` with `intrinsics.txt` beside it,
    and pictures in the folder or in `images/`.

    Raises:
        InputError: another layout, a damaged file, pictures that are missing, or too few of them.
    """
    if kind not in DATASETS:
        raise InputError(f"unknown data set '{kind[:40]}'; expected one of: {', '.join(DATASETS)}")
    if not folder.is_dir():
        raise InputError(f"there is no such folder: {folder}")
    posed = _dl3dv(folder) if kind == "dl3dv" else _tanks_and_temples(folder)
    if len(posed.frames) < LEAST_FRAMES:
        raise InputError(f"the scene has {len(posed.frames)} pictures; expected at least {LEAST_FRAMES}: {folder}")
    return replace(posed, frames=tuple(sorted(posed.frames, key=lambda frame: _in_time(frame.name))))


def _in_time(name: str) -> list[tuple[int, str]]:
    """Names in the order of the numbers in them, so that 10 comes after 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in _DIGITS.split(name)]


def _dl3dv(folder: Path) -> PosedSet:
    for place in (folder, folder / "nerfstudio"):
        if (place / TRANSFORMS_NAME).is_file():
            return read_transforms(place / TRANSFORMS_NAME)
    raise InputError(f"this is no scene of DL3DV; expected {TRANSFORMS_NAME} in it or in nerfstudio/: {folder}")


def _tanks_and_temples(folder: Path) -> PosedSet:
    files = []
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            files.append(file)
        if len(files) > MAX_FILES:
            raise InputError(f"the folder holds more than {MAX_FILES} files; give one scene: {folder}")
    files.sort()
    model = find_colmap(folder)
    if model is not None:
        return with_pictures(read_colmap(model), folder, tuple(files))
    logs = [file for file in files if file.suffix.lower() == ".log"]
    if len(logs) != 1:
        raise InputError(
            f"this is no scene of Tanks and Temples: it holds {len(logs)} trajectories (*.log) and no COLMAP text "
            f"model (cameras.txt and images.txt); expected one of either: {folder}"
        )
    pictures = [file for file in files if file.suffix.lower() in PICTURE_SUFFIXES]
    usual = [file for file in pictures if file.parent in (folder / "images", folder / "image")]
    beside = usual or [file for file in pictures if file.parent in (folder, logs[0].parent)]
    return read_trajectory_log(logs[0], sorted(beside, key=lambda file: _in_time(file.name)))
