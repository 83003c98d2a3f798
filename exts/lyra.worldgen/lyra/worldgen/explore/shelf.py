"""Which worlds a folder holds, and where the next one goes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InputError
from ..core.manifest import MANIFEST_NAME
from ..core.world_writer import existing_manifest

_MAX_NAME = 60


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """One world folder, or a folder of worlds."""

    folder: Path
    many: bool
    """Whether worlds are folders inside `folder`. Otherwise `folder` is the world, or will be."""

    def worlds(self) -> list[Path]:
        """Folders of the worlds that exist, sorted by name."""
        if not self.many:
            return [self.folder] if (self.folder / MANIFEST_NAME).is_file() else []
        return _worlds_in(self.folder)

    def room_for(self, photo_name: str) -> Path:
        """Folder for the world of a photo; raises `InputError` when the only place is taken."""
        if not self.many:
            if existing_manifest(self.folder) is not None:
                raise InputError(
                    f"this folder holds a world already; open a folder of worlds to add one: {self.folder}"
                )
            return self.folder
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(photo_name).stem).strip("-")[:_MAX_NAME] or "world"
        name, number = stem, 2
        while (self.folder / name).exists():
            name, number = f"{stem}-{number}", number + 1
        return self.folder / name


def open_shelf(folder: Path) -> Shelf:
    """What a folder is: a world, a place for one, or a folder of worlds.

    Raises:
        InputError: a file, a folder with other things in it and no world, or a damaged world.
    """
    folder = Path(folder)
    if folder.is_dir() and not (folder / MANIFEST_NAME).is_file() and _worlds_in(folder):
        return Shelf(folder=folder, many=True)
    existing_manifest(folder)
    return Shelf(folder=folder, many=False)


def _worlds_in(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if (entry / MANIFEST_NAME).is_file())
    except OSError as error:
        raise InputError(f"the folder of worlds cannot be read ({error.strerror}): {folder}") from error
