"""Replace and remove folders of variants and styles: what their records name goes, what lies beside it stays."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import InputError
from ..core.files import naming
from ..core.manifest import MANIFEST_NAME, safe_name
from ..core.world import load_world
from ..core.world_writer import open_for_writing


@contextmanager
def made_aside(folder: Path, record: str) -> Iterator[Path]:
    """A folder to fill, which becomes `folder` when nothing went wrong; what the caller left there stays beside it.

    Args:
        folder: what it will be.
        record: the file that says what was written.
    """
    # As deep as its final place, so that relative paths hold.
    partial = folder.with_name(f".{folder.name}.partial")
    with naming("write", folder):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            if not folder.exists():
                os.replace(partial, folder)
                return
            # The record goes first: whoever is stopped here is found to lack files, and what came is known as ours.
            files = [path for path in sorted(partial.rglob("*")) if path.is_file() and path != partial / record]
            for path in (partial / record, *files):
                target = folder / path.relative_to(partial)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def is_variant(folder: Path) -> bool:
    """Whether a folder is a variant, whole or not, and so may be removed as one."""
    if folder.is_symlink() or not (folder / MANIFEST_NAME).is_file():
        return False
    try:
        return load_world(folder).manifest.base is not None
    except InputError:
        return False


def remove_variant(folder: Path) -> None:
    """Remove the files of a variant, and its folder if nothing else lies there.

    Raises:
        InputError: another process writes to it, or a file cannot be removed.
    """
    with naming("remove", folder):
        with open_for_writing(folder) as writer:
            writer.drop_stages(list(writer.manifest.stages))
            writer.abandon()
        with contextlib.suppress(OSError):
            folder.rmdir()


def remove_files(folder: Path, names: Iterable[object], record: str) -> None:
    """Remove files straight in a folder, then the record that names them, then the folder if nothing else lies there.

    Args:
        folder: where they lie.
        names: as the record states them; nothing is removed if one leads elsewhere.
        record: the file with the names.

    Raises:
        InputError: such a name, or a file that cannot be removed.
    """
    paths = [folder / safe_name(name, record) for name in names]
    if elsewhere := [path for path in paths if path.parent != folder]:
        raise InputError(f"{record} names a file that is not beside it; remove the folder: {elsewhere[0]}")
    with naming("remove", folder):
        for path in (*paths, folder / record):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()
