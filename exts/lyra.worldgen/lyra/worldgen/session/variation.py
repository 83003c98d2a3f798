"""Variants as a command asks for them: ranges as plain data, and what a finished folder of variants says of itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import InputError

LIST_NAME = "variants.json"
"""The list in a folder of variants; written before certificates and again after the last one."""
MAX_LIST_BYTES = 64 * 2**20


def resolved_ranges(path: Path | None, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All ranges of a file with single ones replaced, as JSON values; those of `mild.yaml` without a file.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not allowed.
    """
    from ..core.schema import resolved_dict
    from ..vary import load_vary_config

    return json.loads(json.dumps(resolved_dict(load_vary_config(path, overrides))))


def read_list(folder: Path) -> dict[str, Any]:
    """`variants.json` of a folder; raises `InputError` if it is absent or makes no sense."""
    path = Path(folder) / LIST_NAME
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            raise InputError(f"the list is larger than {MAX_LIST_BYTES} bytes: {path}")
        plain = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"the list of variants cannot be read ({error}): {path}") from error
    rows = plain.get("worlds") if isinstance(plain, dict) else None
    if not isinstance(rows, list) or not all(isinstance(r, dict) and isinstance(r.get("folder"), str) for r in rows):
        raise InputError(f"the list of variants makes no sense; make them again: {path}")
    return plain


def variants_values(folder: Path) -> dict[str, Any]:
    """How many variants a folder holds and what their certificates say; JSON values, named as those of a world.

    `verdicts` has the verdict of each by the name of its folder, empty where none was measured.
    """
    verdicts = {str(row["folder"]): str(row.get("verdict") or "") for row in read_list(folder)["worlds"]}
    counts = Counter(verdicts.values())
    measured = counts["passed"] + counts["failed"] == len(verdicts)
    return {
        "folder": str(Path(folder).resolve()),
        "variants": len(verdicts),
        "certified": counts["passed"],
        "verdicts": verdicts,
        "passed": False if counts["failed"] else True if measured else None,
    }
