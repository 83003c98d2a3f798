"""One pass over the stages of a world: what is done is skipped, what fails says what helps."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.chunks import FolderChunkStore
from ..core.config import WorldConfig
from ..core.errors import BackendError, Cancelled, InputError, WorldgenError
from ..core.files import explain_os_error
from ..core.manifest import PhotoRecord
from ..core.progress import Progress
from ..core.views import Photo
from ..core.world_writer import WorldWriter
from .job import input_hashes
from .path_files import PathFiles, is_path_part
from .stage import Stage, StageContext, Stages

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)


class Run:
    """One pass over the stages of one open world."""

    def __init__(
        self,
        writer: WorldWriter,
        stages: Stages,
        config: WorldConfig,
        photo: Photo | None,
        photo_bytes: bytes,
        progress: Progress,
        files: PathFiles,
    ) -> None:
        self._writer, self._stages, self._config = writer, stages, config
        self._photo, self._photo_bytes = photo, photo_bytes
        self._progress = progress
        self._files = files
        manifest = writer.manifest
        self._inputs = input_hashes(manifest.photo.sha256, config, stages, manifest.journey)
        self._chunk_inputs = input_hashes(manifest.photo.sha256, config, stages)

    def all(self, until: str = "") -> None:
        items = self._stages.items
        if until:
            names = [stage.name for stage in items]
            if until not in names:
                raise InputError(f"there is no stage '{until}'; expected one of: {', '.join(names)}")
            items = items[: names.index(until) + 1]
        total = sum(stage.work for stage in items)
        before = 0.0
        for index, stage in enumerate(items):
            if not self._writer.is_done(stage.name, self._inputs[stage.name]):
                # What later stages made rests on files that are about to be replaced.
                late = {later.name for later in self._stages.items[index + 1 :]}
                made = [n for n in self._writer.manifest.stages if n.partition("/")[0] in late and not is_path_part(n)]
                self._writer.drop_stages(made)
                self.one(index, (before / total, (before + stage.work) / total))
            if not index:
                # Whoever goes on with a world that was only begun has the world alone.
                self._keep_files()
            before += stage.work
            self._progress.update(stage.name, round(1000 * before / total), 1000)

    def one(self, index: int, span: tuple[float, float] = (0.0, 1.0), *, config: WorldConfig | None = None) -> None:
        stage, writer = self._stages.items[index], self._writer
        inputs = self._inputs[stage.name]
        log.info("stage %s", stage.name)
        progress = _StageProgress(self._progress, stage.name, span)
        progress.step(stage.name, 0, 1)
        chunks = self._chunks_of(stage)
        with (
            _explained(stage.name, writer.folder),
            writer.stage(stage.name, inputs=inputs, in_place=stage.in_place) as notes,
        ):
            stage.run(
                StageContext(
                    notes=notes,
                    manifest=writer.manifest,
                    config=config or self._config,
                    photo=self._photo or _photo_by_name(writer.manifest.photo),
                    photo_bytes=self._photo_bytes,
                    progress=progress,
                    chunks=chunks,
                )
            )
            for name in stage.outputs:
                if not any((folder / name).is_file() for folder in (notes.folder, notes.world)):
                    raise BackendError(f"stage {stage.name} did not write {name}; run again with -v for its log")

    def _chunks_of(self, stage: Stage) -> FolderChunkStore:
        return FolderChunkStore(self._writer, stage=stage.name, inputs=self._chunk_inputs[stage.name])

    def _keep_files(self) -> None:
        """Have the world keep the files that its paths name."""
        for stage in self._stages.items:
            if stage.chunked:
                self._files.keep_in(self._chunks_of(stage), self._writer, stage.name)


class _StageProgress(Progress):
    """Maps what happens inside one stage onto the whole build's bar, which never runs backwards."""

    def __init__(self, outer: Progress, stage: str, span: tuple[float, float]) -> None:
        self._outer, self._stage, self._span = outer, stage, span
        self._inner = 0.0
        self._starts: dict[str, float] = {}

    @property
    def wants_frames(self) -> bool:
        return self._outer.wants_frames

    def keep_going(self) -> bool:
        return self._outer.keep_going()

    def frame(self, chunk: int, number: int, rgb_u8: np.ndarray) -> None:
        self._outer.frame(chunk, number, rgb_u8)

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        start = self._starts.setdefault(stage, self._inner)
        # The loop named like the stage fills it. How many other loops there will be is unknown: each takes half of
        # what is left.
        share = 1.0 if stage == self._stage else 0.5
        if total > 0:
            self._inner = max(self._inner, start + share * (1.0 - start) * min(1.0, done / total))
        low, high = self._span
        text = note or (f"{stage} {done}/{total}" if stage != self._stage or total > 1 else "")
        self._outer.update(self._stage, round(1000 * (low + (high - low) * self._inner)), 1000, text)


@contextmanager
def _explained(stage: str, folder: Path) -> Iterator[None]:
    """Give errors of a stage the class and the words that help; a full disk hides behind many other failures."""
    try:
        yield
    except (Cancelled, KeyboardInterrupt):
        raise
    except MemoryError as error:
        raise BackendError(
            f"stage {stage} ran out of memory; close other programs or lower view_long_side_px and texture_px"
        ) from error
    except Exception as error:
        if _caused_by_full_disk(error) or _is_full(folder):
            raise InputError(
                f"the disk is full; free some space and run the same command again, it goes on with stage {stage}: "
                f"{folder}"
            ) from error
        if isinstance(error, OSError) and not isinstance(error, WorldgenError):
            raise InputError(f"stage {stage} cannot read or write ({explain_os_error(error)}): {folder}") from error
        error.add_note(f"in stage {stage} of {folder}")
        raise


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < 2**20
    except OSError:  # the folder itself has gone
        return False


def _caused_by_full_disk(error: BaseException | None) -> bool:
    full = (errno.ENOSPC, errno.EDQUOT)
    while error is not None:
        if isinstance(error, OSError) and error.errno in full:
            return True
        if any(os.strerror(number) in str(error) for number in full):  # libraries that only pass the words on
            return True
        error = error.__cause__ or error.__context__
    return False


def _photo_by_name(record: PhotoRecord) -> Photo:
    """Stands for the photo in late stages, which do not look at it."""
    import numpy as np

    return Photo(
        rgb_u8=np.zeros((1, 1, 3), np.uint8), name=record.name, sha256=record.sha256, original_size_px=record.size_px
    )
