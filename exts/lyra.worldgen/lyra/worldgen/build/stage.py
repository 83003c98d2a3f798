"""What a stage of the build is, what it gets, and the build as a list of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..core.chunks import FolderChunkStore
from ..core.config import GenerationConfig, WorldConfig
from ..core.manifest import Manifest
from ..core.progress import Progress
from ..core.views import Photo
from ..core.world_writer import StageNotes

VIEWS_PX = GenerationConfig.view_long_side_px
"""Long side of views that `Stage.disk_mib` is for."""


@dataclass(frozen=True, kw_only=True)
class StageContext:
    """What a stage gets."""

    notes: StageNotes
    """Where its files and its facts go, and where the files of earlier stages lie."""
    manifest: Manifest
    """Of the world as it stands before the stage."""
    config: WorldConfig
    photo: Photo
    photo_bytes: bytes
    progress: Progress
    chunks: FolderChunkStore
    """Finished chunks of this stage."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of the build."""

    name: str
    run: Callable[[StageContext], None]
    sections: tuple[str, ...] = ()
    """Sections of the configuration that change the result."""
    painter_sections: tuple[str, ...] = ()
    """Sections that change it only where the painter is called like them."""
    late_sections: tuple[str, ...] = ()
    """Sections that change the result only where they say something; worlds from before they existed stay finished."""
    work: float = 1.0
    """Share of the whole build's time, in any unit."""
    disk_mib: float = 1.0
    """Room that its files take at most [MiB]; of a chunked stage, whose files are views, with views of `VIEWS_PX`."""
    outputs: tuple[str, ...] = ()
    """Files without which it has failed."""
    in_place: tuple[str, ...] = ()
    """Files that it writes into the world folder itself."""
    chunked: bool = False
    """Whether the journey decides it, chunk by chunk; each chunk outlives the stage, so that it can be undone."""
    check: Callable[[WorldConfig], None] = field(default=lambda config: None)
    """Refuses, before anything is written, a configuration that it could not run with."""
    revision: int = 1
    """Counted up when the same inputs lead to another result."""

    def room_mib(self, config: WorldConfig) -> float:
        """Room that its files take at most with a configuration [MiB]."""
        return self.disk_mib * ((config.generation.view_long_side_px / VIEWS_PX) ** 2 if self.chunked else 1.0)


@dataclass(frozen=True, kw_only=True)
class Stages:
    """The whole build as a value, so that a test can put its own stages in."""

    read_photo: Callable[[Path, WorldConfig], Photo]
    resolve: Callable[[WorldConfig], WorldConfig]
    """Replaces every `auto` by what this machine can run."""
    items: tuple[Stage, ...] = field(default_factory=tuple)
