"""What a variant says about the world that it was made from: where it lies, which it is, and what it does not lend.

A variant's folder holds only what differs. Everything else is read from its base, which is found by a relative path and
recognised by its id and the hash of its content, so a text in a manifest can name no other place's files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import InputError

MAX_PATH = 1000
MAX_UPS = 16
"""Most steps upwards from a variant to what it shares with its base."""
_HEX = re.compile(r"[0-9a-f]+\Z")


@dataclass(frozen=True, kw_only=True)
class BaseRecord:
    """The key `base` of a variant's `world.json`."""

    path: str
    """From the variant's folder to its base's, relative, with forward slashes."""
    id: str
    """Of the base."""
    sha256: str
    """`Manifest.content_sha256` of the base."""
    hidden: tuple[str, ...] = ()
    """Files that are not lent, because they do not show the variant: names, or beginnings of names that end with a
    slash, a dot or a star."""
    mirrored: bool = False
    """Whether the variant is the base's mirror image, y becoming -y."""

    def lends(self, name: str) -> bool:
        """Whether the base's file of that name stands for the variant's."""
        return not any(name == h or (h[-1] in "/.*" and name.startswith(h.rstrip("*"))) for h in self.hidden)


def expect_base_path(path: object) -> str:
    """A relative way to another folder: some steps up, then at least one name. Raises `InputError` for others."""
    text = path if isinstance(path, str) else ""
    parts = PurePosixPath(text).parts
    ups = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    bad = (
        not text
        or len(text) > MAX_PATH
        or text != "/".join(parts)
        or text.startswith(("/", "~"))
        or ups > MAX_UPS
        or ups == len(parts)
        or ".." in parts[ups:]
        or re.search(r'[\\:*?"<>|\x00-\x1f]', text) is not None
    )
    if bad:
        raise InputError(
            f"base.path is {str(path)[:80]!r}; expected a relative path to another world, such as '../../kitchen'"
        )
    return text


def base_folder(folder: Path, record: BaseRecord) -> Path:
    """Where a variant's base lies. Raises `InputError` if that is the variant's own folder or lies in it."""
    # Resolved first: a variant that is reached through a link has its base where it really lies.
    own = Path(folder).resolve()
    base = (own / expect_base_path(record.path)).resolve()
    if base.is_relative_to(own):
        raise InputError(f"base.path is '{record.path}', which is the variant itself: {folder}")
    return base


def base_to_json(record: BaseRecord) -> dict[str, Any]:
    """JSON value; `base_from_json` reads it back."""
    return {
        "path": record.path,
        "id": record.id,
        "sha256": record.sha256,
        "mirrored": record.mirrored,
        "hidden": list(record.hidden),
    }


def base_from_json(data: Any) -> BaseRecord:
    """Check and read the key `base`; raises `InputError` that names what is wrong."""
    if not isinstance(data, dict):
        raise InputError(f"base is a {type(data).__name__}; expected a mapping")
    for key, digits in (("id", 16), ("sha256", 64)):
        value = data.get(key)
        if not (isinstance(value, str) and len(value) == digits and _HEX.match(value)):
            raise InputError(f"base.{key} is {str(value)[:70]!r}; expected {digits} hexadecimal digits")
    hidden, mirrored = data.get("hidden", []), data.get("mirrored", False)
    if not isinstance(hidden, list) or not all(isinstance(name, str) and name for name in hidden):
        raise InputError("base.hidden is no list of names")
    if type(mirrored) is not bool:
        raise InputError(f"base.mirrored is {str(mirrored)[:40]!r}; expected true or false")
    return BaseRecord(
        path=expect_base_path(data.get("path")),
        id=data["id"],
        sha256=data["sha256"],
        hidden=tuple(hidden),
        mirrored=mirrored,
    )
