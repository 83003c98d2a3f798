"""From a photo to a finished world folder, stage by stage, resumable.

Each stage reads what the stages before it left in the folder, never what they held in memory, so a run that goes on
after a crash computes exactly what an undisturbed one does. A stage is skipped when `world.json` says that it finished
with the same inputs and its files are still what they were.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.chunks import FolderChunkStore
from ..core.config import RescaleConfig, WorldConfig, config_from_dict, with_late_sections, without_unsaid
from ..core.errors import BackendError, Cancelled, InputError, WorldgenError
from ..core.files import explain_os_error, sha256_bytes, sha256_json
from ..core.journey import Leg, leg_to_json
from ..core.manifest import FORMAT, VARY, Manifest, PhotoRecord, read_manifest
from ..core.progress import SILENT, Progress
from ..core.schema import differing_keys, resolved_dict
from ..core.views import Photo
from ..core.world import World
from ..core.world_writer import WorldWriter, existing_manifest, open_for_writing
from .path_files import OWN_NAMES, FileNames, PathFiles, is_path_part, read_path_files
from .stages import Stage, StageContext, Stages, default_stages

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

MAX_PHOTO_BYTES = 2**29
"""Largest photo file that is read [bytes]."""


def build_world(
    photo_path: Path,
    out: Path,
    config: WorldConfig | None = None,
    *,
    progress: Progress = SILENT,
    overwrite: bool = False,
    until: str = "",
    stages: Stages | None = None,
    photo_name: str = "",
    names: FileNames = OWN_NAMES,
) -> World:
    """Make the world of a photo, or finish one that was begun. A finished world is left as it is.

    `progress` sees the pipeline's stages by name, always with the whole build's progress in thousandths as `done` of
    `total`; the note says what the stage is busy with. A failed certificate is no error: look at `World.verdict`.

    Args:
        photo_path: a picture file.
        out: the world folder; missing, empty, or a world of the same photo and configuration.
        config: defaults when None.
        progress: told about milestones; may cancel.
        overwrite: make the world anew when the folder holds one already; other files in the folder stay.
        until: the last stage to run; the world stays unfinished. All when empty.
        stages: the real ones when None.
        photo_name: what the world calls the photo; the name of the file when empty.
        names: what it calls trajectory and captions.

    Raises:
        InputError: unusable photo or folder, or a folder with a world of other inputs.
        ConfigError: unknown back-end.
        DependencyError: a package that a stage needs is missing.
        BackendError: a model failed or ran out of memory.
        ConversionError: the geometry could not be written as USD.
        Cancelled: the user stopped; finished stages are kept for the next run.
    """
    stages = stages or default_stages()
    photo_path, out = Path(photo_path), Path(out)
    config, files = read_path_files(config or WorldConfig(), names)
    config = stages.resolve(config)
    before = existing_manifest(out)
    if before is not None and not overwrite and "rescale" in before.config and config.rescale == RescaleConfig():
        # Like its journey, the size that it was given since belongs to the world.
        config = replace(config, rescale=config_from_dict({"rescale": before.config["rescale"]}).rescale)
    photo_bytes = _read_photo_bytes(photo_path)
    manifest = Manifest(
        generator=generator_name(),
        photo=PhotoRecord(name=photo_name or photo_path.name, sha256=sha256_bytes(photo_bytes), size_px=(1, 1)),
        config=resolved_dict(config),
        plan=tuple(stage.name for stage in stages.items),
        journey=files.journey(config),
    )
    if before is not None and not overwrite and (world := finished_world(out, before, manifest, config, stages)):
        return world
    photo = replace(stages.read_photo(photo_path, config), name=manifest.photo.name)
    if photo.sha256 != manifest.photo.sha256:
        raise InputError(f"the photo changed while it was read; try again: {photo_path}")
    manifest = replace(manifest, photo=replace(manifest.photo, size_px=photo.original_size_px))
    check_stages(out, None if overwrite else before, config, stages)
    with open_for_writing(out) as writer:
        begin_or_go_on(writer, manifest, overwrite=overwrite)
        run = Run(writer, stages, config, photo, photo_bytes, progress, files)
        run.all(until)
        return writer.world


def finished_world(
    out: Path, before: Manifest, manifest: Manifest, config: WorldConfig, stages: Stages
) -> World | None:
    """The world in a folder if it is what a job would make, whole; None if something is left to do.

    Raises:
        InputError: the folder holds the world of another job.
    """
    _expect_same_job(before, manifest, out)
    world = World(folder=out, manifest=before)
    hashes = input_hashes(manifest.photo.sha256, config, stages, before.journey)
    current = all(name in before.stages and before.stages[name].inputs == h for name, h in hashes.items())
    if before.finished and current and world.check_files().ok:
        log.info("already finished: %s", out)
        return world
    return None


def check_stages(out: Path, before: Manifest | None, config: WorldConfig, stages: Stages) -> None:
    """Refuse, before anything is written, settings that stages cannot run with and a disk that is too full."""
    to_run = stages.items if before is None else _missing(before, stages)
    for stage in to_run:
        stage.check(config)
    _expect_room(out, sum(stage.room_mib(config) for stage in to_run))


def begin_or_go_on(writer: WorldWriter, manifest: Manifest, *, overwrite: bool) -> None:
    """Start the world of a job, or make sure that the one in the folder is the same job's."""
    if writer.is_new or overwrite:
        writer.start(manifest)
    else:
        _expect_same_job(writer.manifest, manifest, writer.folder)


def finish_world(folder: Path, *, progress: Progress = SILENT, until: str = "", stages: Stages | None = None) -> World:
    """Run what an existing world lacks, from the photo that it keeps; damaged files are made again.

    Raises:
        InputError: no world, or one that does not hold its photo yet.
    """
    with open_world(Path(folder)) as writer:
        return go_on(writer, stages or stages_of(writer.manifest), progress=progress, until=until)


def stages_of(manifest: Manifest) -> Stages:
    """The product's stages for a world that exists: those of a photo, or those of an import."""
    if manifest.photo.imported:
        from .imports import import_stages

        return import_stages()
    return default_stages()


@contextmanager
def open_world(folder: Path) -> Iterator[WorldWriter]:
    """Become the writer of a folder that holds a world of its own; raises `InputError` if it holds none."""
    _expect_no_variant(read_manifest(folder), folder)
    with open_for_writing(folder) as writer:
        yield writer


def _expect_no_variant(manifest: Manifest, folder: Path) -> None:
    """A variant has nothing that could be made again or gone on with."""
    if manifest.base is not None:
        raise InputError(
            f"this is a variant of '{manifest.base.path}'; change that world and make its variants again: {folder}"
        )


def go_on(
    writer: WorldWriter,
    stages: Stages,
    *,
    progress: Progress,
    until: str = "",
    files: PathFiles | None = None,
) -> World:
    """Run what an open world lacks, with the configuration and the photo that it holds."""
    manifest = writer.manifest
    config = config_from_dict(manifest.config)
    photo, photo_bytes = (None, b"") if manifest.photo.imported else photo_of(writer.world, config, stages)
    run = Run(writer, stages, config, photo, photo_bytes, progress, files or PathFiles())
    run.all(until)
    return writer.world


def photo_of(world: World, config: WorldConfig, stages: Stages) -> tuple[Photo, bytes]:
    """The photo that a world keeps, decoded and as it is in the file; raises `InputError` if it is not there."""
    manifest = world.manifest
    understood = manifest.stages.get("understand")
    name = next((file for file in (understood.files if understood else ()) if file.startswith("photo.")), None)
    if name is None:
        raise InputError(
            f"the world does not hold its photo yet; finish it with: lyra-worldgen generate PHOTO: {world.folder}"
        )
    path = world.path(name)
    photo_bytes = _read_photo_bytes(path)
    photo = replace(stages.read_photo(path, config), name=manifest.photo.name)
    if photo.sha256 != manifest.photo.sha256:
        raise InputError(f"the photo in the world is damaged; generate it again with the original one: {path}")
    return photo, photo_bytes


def rerun_stage(
    folder: Path,
    name: str,
    *,
    progress: Progress = SILENT,
    stages: Stages | None = None,
    change: Callable[[WorldConfig], WorldConfig] = lambda config: config,
) -> World:
    """Run one late stage (`certify` or `preview`) of an existing world again with the world's own configuration.

    Args:
        folder: the world.
        name: of the stage.
        progress: told about milestones.
        stages: those of the world when None.
        change: what is different this time; the world keeps its configuration and counts as measured.

    Raises:
        InputError: no world, or an earlier stage has not finished or its files are damaged.
    """

    folder = Path(folder)
    manifest = read_manifest(folder)
    stages = stages or stages_of(manifest)
    with open_for_writing(folder) as writer:
        index = next(i for i, stage in enumerate(stages.items) if stage.name == name)
        for stage in stages.items[:index]:
            if stage.name not in writer.manifest.stages and stage.name in writer.manifest.plan:
                raise InputError(f"stage {stage.name} has not finished; {_how_to_finish(writer.manifest)}: {folder}")
        before = [s.name for s in stages.items[:index]] + [VARY]
        report = writer.world.check_files([name for name in before if name in writer.manifest.stages])
        for finding in report:
            raise InputError(f"{finding.message}; {_how_to_finish(writer.manifest)}: {folder}")
        config = config_from_dict(writer.manifest.config)
        run = Run(writer, stages, config, None, b"", progress, PathFiles())
        run.one(index, config=change(config))
        return writer.world


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


def _how_to_finish(manifest: Manifest) -> str:
    if manifest.base is not None:
        return "make the variant again"
    if manifest.photo.imported:
        return f"run lyra-worldgen import with {manifest.photo.name} again"
    return "run lyra-worldgen generate with its photo again"


def input_hashes(
    photo_sha256: str, config: WorldConfig, stages: Stages, journey: tuple[Leg, ...] = ()
) -> dict[str, str]:
    """For each stage the hash of everything that decides its result, the stage before it included."""
    resolved = resolved_dict(config)
    said = without_unsaid(resolved)
    hashes: dict[str, str] = {}
    previous = ""
    for stage in stages.items:
        decides: dict[str, Any] = {
            "format": FORMAT,
            "stage": stage.name,
            "revision": stage.revision,
            "photo": photo_sha256,
            "seed": config.seed,
            "config": {
                name: said.get(name, resolved[name])
                for name in (*stage.sections, *_of_painter(stage, config), *_said(stage, said))
            },
            "previous": previous,
        }
        if stage.chunked and journey:
            decides["journey"] = [leg_to_json(leg) for leg in journey]
        hashes[stage.name] = previous = sha256_json(decides)
    return hashes


def _said(stage: Stage, said: dict[str, Any]) -> tuple[str, ...]:
    """Late sections of a stage that say something; those that say nothing leave its hash what it always was."""
    return tuple(name for name in stage.late_sections if name in said)


def _of_painter(stage: Stage, config: WorldConfig) -> tuple[str, ...]:
    return tuple(name for name in stage.painter_sections if name == config.generation.painter)


def _missing(manifest: Manifest, stages: Stages) -> tuple[Stage, ...]:
    return tuple(stage for stage in stages.items if stage.name not in manifest.stages)


def _expect_same_job(old: Manifest, new: Manifest, folder: Path) -> None:
    """Refuse to continue or replace another job's world; raises `InputError` that says what differs."""
    _expect_no_variant(old, folder)
    state = "a finished" if old.finished else "an unfinished"
    advice = "choose another --out, or pass --overwrite to make it anew"
    if (old.photo.sha256, old.photo.kind) != (new.photo.sha256, new.photo.kind):
        what = f"another {'file' if old.photo.imported else 'photo'} ({old.photo.name})"
        raise InputError(f"the output folder holds {state} world of {what}; {advice}: {folder}")
    if keys := differing_keys(with_late_sections(old.config), new.config):
        first = keys[0]
        values = f"{first} was {_at(old.config, first)!r}, now {_at(new.config, first)!r}"
        more = f", and {len(keys) - 1} more" if len(keys) > 1 else ""
        raise InputError(
            f"the output folder holds {state} world made with other settings ({values}{more}); {advice}: {folder}"
        )


def _at(config: dict[str, Any], key_path: str) -> Any:
    value: Any = config
    for part in key_path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _expect_room(out: Path, need_mib: float) -> None:
    place = next(path for path in (out, *out.absolute().parents) if path.exists())
    usage = shutil.disk_usage(place)
    free_mib = usage.free / 2**20
    if usage.total and free_mib < need_mib:  # a total of 0 says that the file system does not count
        raise InputError(
            f"only {free_mib:.0f} MiB are free on the disk, the world needs up to {need_mib:.0f} MiB; free some space "
            f"or choose another folder: {out}"
        )


def _read_photo_bytes(path: Path) -> bytes:
    """The photo's bytes; raises `InputError` for what cannot be a photo file."""
    try:
        if path.is_dir():
            raise InputError(f"the photo is a folder; give the path of one picture file: {path}")
        if path.exists() and not path.is_file():
            raise InputError(f"the photo is no regular file; give the path of one picture file: {path}")
        with open(path, "rb") as file:
            data = file.read(MAX_PHOTO_BYTES + 1)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"the photo does not exist; check the path: {path}") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        reason = explain_os_error(error) if isinstance(error, OSError) else str(error)
        raise InputError(f"the photo cannot be read ({reason}): {path}") from error
    if len(data) > MAX_PHOTO_BYTES:
        raise InputError(f"the photo has more than {MAX_PHOTO_BYTES // 2**20} MiB; give a smaller file: {path}")
    if not data:
        raise InputError(f"the photo is an empty file; give a picture file: {path}")
    return data


def _photo_by_name(record: PhotoRecord) -> Photo:
    """Stands for the photo in late stages, which do not look at it."""
    import numpy as np

    return Photo(
        rgb_u8=np.zeros((1, 1, 3), np.uint8), name=record.name, sha256=record.sha256, original_size_px=record.size_px
    )


def generator_name() -> str:
    """Name and version of this program."""
    from .. import __version__

    return f"lyra.worldgen {__version__}"
