"""glTF 2.0, guarded: everything that its JSON promises is compared with the bytes that are there before it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from .side_files import MAX_SIDE_FILES, side_file

MAX_JSON_BYTES = 64 * 2**20


def gltf_files(path: Path) -> tuple[Path, ...]:
    """A `.gltf` file and the buffers and pictures beside it that it names.

    Raises:
        InputError: it is no glTF, or names files elsewhere.
    """
    with open(path, "rb") as file:
        tree = parse_json(file.read(MAX_JSON_BYTES + 1), path)
    named = [entry.get("uri") for key in ("buffers", "images") for entry in records(tree, key, path)]
    uris = [uri for uri in named if isinstance(uri, str) and not uri.startswith("data:")]
    if len(uris) > MAX_SIDE_FILES:
        raise InputError(f"the file names {len(uris)} other files; expected at most {MAX_SIDE_FILES}: {path}")
    beside = [side_file(path, uri) for uri in uris]
    return path, *sorted({file for file in beside if file is not None} - {path})


def parse_json(raw: bytes, path: Path) -> dict[str, Any]:
    """The tree of a glTF file; raises `InputError`."""
    if len(raw) > MAX_JSON_BYTES:
        raise InputError(f"the JSON of the file has more than {MAX_JSON_BYTES >> 20} MiB: {path}")
    try:
        tree = json.loads(raw)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"the JSON of the file is damaged ({reason}): {path}") from error
    if not isinstance(tree, dict) or not isinstance(tree.get("asset"), dict):
        raise InputError(f"the file is no glTF, it has no 'asset': {path}")
    return tree


def records(tree: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    """One of the top-level lists of objects; raises `InputError` for anything else under its name."""
    found = tree.get(key, [])
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise InputError(f"'{key}' is no list of objects: {path}")
    return found
