"""From what a user types to world folders: one folder, a folder of folders, a pattern, or a list in a file."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.manifest import MANIFEST_NAME, WORLD_LIST_NAME

MAX_LIST_BYTES = 16 * 2**20
"""Largest list file that is read [bytes]."""
MAX_WORLDS = 4096
"""Most worlds that one list may name."""


def find_world_folders(where: str) -> list[Path]:
    """World folders that a text names; the order decides which environment gets which world.

    Args:
        where: a world folder; a batch, with the variants of its worlds; a folder with world folders in it; a pattern
            such as `worlds/*`; or a file that lists folders, relative to itself: JSON (a list, or an object with a list
            `worlds`, of paths or of objects with `folder`) or text with one path a line, `#` starting a comment;
            paths may be patterns.

    Returns:
        Folders with a `world.json`, sorted by name, or in the order of the list.

    Raises:
        InputError: there is no world, a listed folder is none, or the list cannot be read.
    """
    if not where:
        raise InputError("no worlds are named; set env.worlds to a world folder, a pattern or a list of folders")
    path = Path(where).expanduser()
    if path.is_file() and path.name != MANIFEST_NAME:
        return _listed(path)
    if path.name == MANIFEST_NAME:
        path = path.parent
    if (path / MANIFEST_NAME).is_file():
        return [path]
    if (path / WORLD_LIST_NAME).is_file():
        return _listed(path / WORLD_LIST_NAME)
    folders = _worlds([path / name for name in _children(path)] if path.is_dir() else glob.glob(str(path)))
    if not folders:
        raise InputError(
            "holds no world; expected a folder with world.json, a folder of such folders, a batch, a pattern or a list "
            f"file: {where}"
        )
    return _bounded(folders, where)


def _children(folder: Path) -> list[str]:
    try:
        return [p.name for p in folder.iterdir()]
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}): {folder}") from error


def _listed(path: Path) -> list[Path]:
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            raise InputError(f"is larger than {MAX_LIST_BYTES} bytes: {path}")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as a list of worlds ({error}): {path}") from error
    names = _from_json(text, path) if path.suffix == ".json" else _from_lines(text)
    listed = [path.parent / Path(name).expanduser() for name in names]
    folders = list(dict.fromkeys(folder for entry in listed for folder in _named(entry)))
    if not folders:
        raise InputError(f"lists no world: {path}")
    return _bounded(folders, str(path))


def _named(entry: Path) -> list[Path]:
    """The world that a list names, or all that its pattern matches."""
    if (entry / MANIFEST_NAME).is_file():
        return [entry]
    if glob.has_magic(str(entry)) and (found := _worlds(glob.glob(str(entry)))):
        return found
    what = "which matches no world" if glob.has_magic(str(entry)) else f"which has no {MANIFEST_NAME}"
    raise InputError(f"lists '{entry.name}', {what}: {entry}")


def _worlds(found: Iterable[str | Path]) -> list[Path]:
    """Those that are worlds, sorted by name."""
    return sorted(p for p in map(Path, found) if (p / MANIFEST_NAME).is_file())


def _from_lines(text: str) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def _from_json(text: str, path: Path) -> list[str]:
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"is no JSON ({error}): {path}") from error
    rows = data.get("worlds") if isinstance(data, dict) else data
    names = [row.get("folder") if isinstance(row, dict) else row for row in rows] if isinstance(rows, list) else [None]
    for name in names:
        if not isinstance(name, str) or not name:
            raise InputError(f"lists {name!r:.40}; expected paths of world folders, or objects with 'folder': {path}")
    return [str(name) for name in names]


def _bounded(folders: list[Path], where: str) -> list[Path]:
    if len(folders) > MAX_WORLDS:
        raise InputError(f"names {len(folders)} worlds; expected at most {MAX_WORLDS}: {where}")
    return folders
