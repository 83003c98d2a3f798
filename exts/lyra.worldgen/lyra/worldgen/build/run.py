"""From a photo to a finished world folder, stage by stage, resumable.

Each stage reads what the stages before it left in the folder, never what they held in memory, so a run that goes on
after a crash computes exactly what an undisturbed one does. A stage is skipped when `world.json` says that it finished
with the same inputs and its files are still what they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ..core.config import RescaleConfig, WorldConfig, config_from_dict
from ..core.errors import InputError
from ..core.files import sha256_bytes
from ..core.manifest import VARY, Manifest, PhotoRecord, read_manifest
from ..core.progress import SILENT, Progress
from ..core.schema import resolved_dict
from ..core.version import generator_name
from ..core.views import Photo
from ..core.world import World
from ..core.world_writer import WorldWriter, existing_manifest, open_for_writing
from .imports import import_stages
from .job import begin_or_go_on, check_stages, expect_no_variant, finished_world, read_photo_bytes
from .path_files import OWN_NAMES, FileNames, PathFiles, read_path_files
from .stage import Stages
from .stage_run import Run
from .stages import default_stages


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
    photo_bytes = read_photo_bytes(photo_path)
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
        return import_stages()
    return default_stages()


@contextmanager
def open_world(folder: Path) -> Iterator[WorldWriter]:
    """Become the writer of a folder that holds a world of its own; raises `InputError` if it holds none."""
    expect_no_variant(read_manifest(folder), folder)
    with open_for_writing(folder) as writer:
        yield writer


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
    photo_bytes = read_photo_bytes(path)
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


def _how_to_finish(manifest: Manifest) -> str:
    if manifest.base is not None:
        return "make the variant again"
    if manifest.photo.imported:
        return f"run lyra-worldgen import with {manifest.photo.name} again"
    return "run lyra-worldgen generate with its photo again"
