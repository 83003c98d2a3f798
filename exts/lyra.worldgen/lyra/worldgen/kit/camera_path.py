"""Key poses of the viewport's camera, kept until they are the camera path of a world. Needs no Kit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import InputError
from ..core.world import load_world

if TYPE_CHECKING:
    from ..faces.camera_path import PathDraft


class PathRecorder:
    """Key poses for one world at a time; the first one is always where its exploration has arrived."""

    def __init__(self) -> None:
        self._folder = ""
        self._draft: PathDraft | None = None

    @property
    def count(self) -> int:
        """Key poses so far."""
        return 0 if self._draft is None else len(self._draft.keys)

    def add(self, folder: str, T_world_cam: np.ndarray) -> None:
        """Append where the camera is now; raises `InputError` for a world that cannot be read."""
        self._of(folder).add(T_world_cam)

    def record(self, folder: str, T_world_cam: np.ndarray) -> bool:
        """Append where the camera is now if it has moved or turned far enough; whether it had."""
        return self._of(folder).record(T_world_cam)

    def drop_last(self) -> None:
        """Forget the last key pose."""
        if self._draft is not None and self._draft.keys:
            self._draft.keys.pop()

    def clear(self) -> None:
        self._draft = None

    def poses(self) -> np.ndarray:
        """[N, 4, 4] `T_world_cam` from where the path begins, empty without key poses: for drawing it."""
        if self._draft is None or not self._draft.keys:
            return np.zeros((0, 4, 4))
        return np.stack([self._draft.T_world_begin, *self._draft.keys])

    def save(self, path: Path) -> Path:
        """Write the file that `--path FILE --pose-scale 1` reads.

        Raises:
            InputError: there is no key pose, or the path leads nowhere.
        """
        if self._draft is None:
            raise InputError("the path has no key pose yet; move the viewport's camera and add one")
        from ..faces.contents import Contents

        camera, _ = Contents(load_world(Path(self._folder)), points=0, splats=0).viewpoint
        path.parent.mkdir(parents=True, exist_ok=True)
        return self._draft.save(path, camera)

    def _of(self, folder: str) -> PathDraft:
        if self._draft is None or self._folder != folder:
            from ..faces.camera_path import PathDraft
            from ..faces.contents import Contents

            begin = Contents(load_world(Path(folder)), points=0, splats=0).T_world_begin
            self._draft, self._folder = PathDraft(begin), folder
        return self._draft


def next_file(folder: str) -> Path:
    """Where the next path of a world is kept: beside its folder, so that the world's own content stays what it is."""
    world, number = Path(folder), 1
    while (path := world.with_name(f"{world.name}-path-{number}.npz")).exists():
        number += 1
    return path
