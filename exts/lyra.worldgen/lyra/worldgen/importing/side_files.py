"""Files that a mesh file names: only plain ones in its own folder or below, never a link, a drive or the network."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from ..core.errors import InputError

MAX_SIDE_FILES = 256
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def side_file(main: Path, uri: str, *, quoted: bool = True) -> Path | None:
    """Where the file lies that `main` names by `uri`; None if there is none.

    Args:
        main: the file that names it.
        uri: as written there.
        quoted: whether `%20` and its like stand for other characters, as in URIs.

    Raises:
        InputError: it leads out of the folder of `main`, to a link, or to the network.
    """
    text = (unquote(uri) if quoted else uri).replace("\\", "/").strip()
    parts = PurePosixPath(text).parts
    if not text or "\x00" in text or len(text) > 400 or _SCHEME.match(text) or text.startswith("/") or ".." in parts:
        raise InputError(
            f"the file names '{uri[:80]}', which does not lie beside it; put everything into one folder: {main}"
        )
    root = main.resolve().parent
    path = root / text
    if not path.resolve().is_relative_to(root):
        raise InputError(f"the file names '{uri[:80]}', which leads out of its folder; copy it into it: {main}")
    return path if path.is_file() else None
