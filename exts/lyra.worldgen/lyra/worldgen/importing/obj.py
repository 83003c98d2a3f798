"""Wavefront OBJ with its material files and pictures, guarded: only what lies beside it is read."""

from __future__ import annotations

import re
from pathlib import Path

from ..core.errors import InputError
from .side_files import MAX_SIDE_FILES, side_file

MAX_MTL_BYTES = 16 * 2**20
_LIBRARY = re.compile(rb"^[ \t]*mtllib[ \t]+([^\r\n]+)", re.M)
_PICTURE = re.compile(r"^[ \t]*map_Kd[ \t]+(?:-\S+[ \t]+\S+[ \t]+)*([^\r\n]+)", re.M | re.I)
_SCAN_BYTES = 1 << 20


def obj_files(path: Path) -> tuple[Path, ...]:
    """An `.obj` file, its material files and the colour pictures that these name, as far as they are there.

    Raises:
        InputError: it names files elsewhere, or too many.
    """
    libraries: set[Path] = set()
    pictures: set[Path] = set()
    for name in _library_names(path):
        library = side_file(path, name, quoted=False)
        if library is None:
            continue
        libraries.add(library)
        if library.stat().st_size > MAX_MTL_BYTES:
            raise InputError(f"the material file has more than {MAX_MTL_BYTES >> 20} MiB: {library}")
        for picture in _PICTURE.findall(library.read_text(encoding="utf-8", errors="replace")):
            found = side_file(library, picture, quoted=False)
            if found is not None:
                pictures.add(found)
    if len(libraries) + len(pictures) > MAX_SIDE_FILES:
        raise InputError(f"the file names more than {MAX_SIDE_FILES} other files: {path}")
    return path, *sorted((libraries | pictures) - {path})


def _library_names(path: Path) -> list[str]:
    names: list[str] = []
    tail = b""
    with open(path, "rb") as file:
        while block := file.read(_SCAN_BYTES):
            text = tail + block
            cut = text.rfind(b"\n") + 1
            names += [match.decode("utf-8", "replace").strip() for match in _LIBRARY.findall(text[:cut])]
            tail = text[cut:][-4096:]
            if len(names) > MAX_SIDE_FILES:
                raise InputError(f"the file names more than {MAX_SIDE_FILES} material files: {path}")
    names += [match.decode("utf-8", "replace").strip() for match in _LIBRARY.findall(tail)]
    return list(dict.fromkeys(names))
