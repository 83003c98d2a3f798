"""A world goes on: extended by another path, taken back chunk by chunk, or branched into a second one.

A world is a photo, a configuration and a journey; nothing else remembers what was once explored and then undone. So a
world that was extended and undone again is, to the byte, the world that it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..core.chunks import chunk_stages
from ..core.config import GenerationConfig, config_from_dict
from ..core.errors import InputError
from ..core.journey import Leg, shortened
from ..core.manifest import Manifest, read_manifest, world_id
from ..core.progress import SILENT, Progress
from ..core.schema import resolved_dict
from ..core.world import World
from ..core.world_writer import WorldWriter, existing_manifest, open_for_writing
from .path_files import (
    OWN_NAMES,
    FileNames,
    PathFiles,
    base_leg,
    read_captions_file,
    read_path_files,
    read_trajectory_file,
)
from .run import go_on, open_world
from .stage import Stages
from .stages import default_stages


def extend_world(
    folder: Path,
    *,
    path: str = "",
    prompt: str | None = None,
    captions: Path | None = None,
    pose_scale: float | None = None,
    chunks: int | None = None,
    seed: int | None = None,
    progress: Progress = SILENT,
    until: str = "",
    stages: Stages | None = None,
    names: FileNames = OWN_NAMES,
) -> World:
    """Explore further. What the world knows stays as it is; new views join it, and the later stages run again.

    A world that was only understood begins its first path: it becomes, to the byte, the world that its photo makes with
    that path from the start.

    Args:
        folder: a world whose photo is understood.
        path: preset or trajectory file (`.npz`), beginning where the last path ended. Empty goes on with the path that
            was cut short by `undo_world`, or begins with the configuration's.
        prompt: for painters that read text; the configuration's when None.
        captions: JSON file of texts by frame.
        pose_scale: factor on a trajectory file's translations.
        chunks: at most so many.
        seed: in place of the world's own, so that what was undone is painted differently.
        progress: told about milestones; may cancel.
        until: the last stage to run.
        stages: the real ones when None.
        names: what the world calls trajectory and captions.

    Raises:
        ConfigError: unknown path.
        InputError: no world, nothing to go on with, or a file that makes no sense.
    """
    from ..generation.paths import parse_path

    stages = stages or default_stages()
    named, trajectories = read_trajectory_file(path, names)
    if named:
        parse_path(named)
    texts = read_captions_file(captions) if captions is not None else {}
    files = PathFiles(trajectories=trajectories)
    if chunks is not None and chunks < 1:
        raise InputError(f"chunks is {chunks}; expected at least 1")
    with open_world(Path(folder)) as writer:
        if _only_understood(writer.manifest):
            generation = config_from_dict(writer.manifest.config).generation
            asked = replace(
                generation,
                path=path or generation.path,
                prompt=generation.prompt if prompt is None else prompt,
                captions=generation.captions if captions is None else str(captions),
                pose_scale=generation.pose_scale if pose_scale is None else pose_scale,
            )
            files = _begin(writer, asked, stages, chunks=chunks, seed=seed, names=names)
            return go_on(writer, stages, progress=progress, until=until, files=files)
        _expect_explored(writer.manifest, writer.folder)
        legs = _legs(writer.manifest)
        if named:
            config = config_from_dict(writer.manifest.config).generation
            leg = Leg(
                path=named,
                prompt=config.prompt if prompt is None else prompt,
                captions=texts,
                pose_scale=_pose_scale(writer.manifest, named, pose_scale),
                chunks=chunks,
                seed=seed,
            )
            legs = (*legs, leg)
        else:
            legs = _gone_on(legs, folder, prompt=prompt, captions=texts, chunks=chunks, seed=seed)
        _set_journey(writer, legs)
        return go_on(writer, stages, progress=progress, until=until, files=files)


def _only_understood(manifest: Manifest) -> bool:
    return "understand" in manifest.stages and not chunk_stages(manifest.stages)


def _begin(
    writer: WorldWriter,
    generation: GenerationConfig,
    stages: Stages,
    *,
    chunks: int | None,
    seed: int | None,
    names: FileNames,
) -> PathFiles:
    """Write down how a world that was only understood is explored."""
    config = replace(config_from_dict(writer.manifest.config), generation=generation)
    config, files = read_path_files(config, names)
    for stage in stages.items:
        stage.check(config)
    journey = files.journey(config)
    if chunks is not None or seed is not None:
        first = journey[0] if journey else base_leg(config)
        journey = (replace(first, chunks=chunks, seed=seed),)
    writer.amend(config=resolved_dict(config), journey=journey)
    return files


def undo_world(
    folder: Path,
    *,
    chunks: int = 1,
    progress: Progress = SILENT,
    until: str = "",
    stages: Stages | None = None,
) -> World:
    """Take back the last chunks of a world; the later stages run again on what is left.

    Raises:
        InputError: no world, or it has no more chunks than that; the first one always stays.
    """
    stages = stages or default_stages()
    with open_world(Path(folder)) as writer:
        _expect_explored(writer.manifest, writer.folder)
        total = len(chunk_stages(writer.manifest.stages))
        if not 1 <= chunks < total:
            raise InputError(
                f"the world has {total} chunks and the first always stays; expected 1 to {total - 1} to undo, not "
                f"{chunks}: {folder}"
            )
        _set_journey(writer, _cut(writer.manifest, total - chunks))
        return go_on(writer, stages, progress=progress, until=until)


def branch_world(
    folder: Path,
    out: Path,
    *,
    chunks: int | None = None,
    progress: Progress = SILENT,
    until: str = "",
    stages: Stages | None = None,
) -> World:
    """A second world that shares the first chunks of this one and then goes its own way. The first stays as it is.

    Args:
        folder: the world to branch from.
        out: the new world's folder, missing or empty.
        chunks: how many chunks they share; all when None.
        progress: told about milestones; may cancel.
        until: the last stage to run.
        stages: the real ones when None.

    Raises:
        InputError: no world, a folder that holds something, or a chunk that does not exist.
    """
    stages = stages or default_stages()
    folder, out = Path(folder), Path(out)
    source = World(folder=folder, manifest=read_manifest(folder))
    _expect_explored(source.manifest, folder)
    numbered = chunk_stages(source.manifest.stages)
    keep = len(numbered) if chunks is None else chunks
    if not 1 <= keep <= len(numbered):
        raise InputError(f"the world has {len(numbered)} chunks; expected 1 to {len(numbered)}, not {keep}: {folder}")
    if existing_manifest(out) is not None:
        raise InputError(f"the output folder holds a world already; choose another one: {out}")
    late = {name for number, name in numbered if number >= keep}
    shared = [
        name
        for name in source.manifest.stages
        if name.partition("/")[0] in ("understand", "explore") and name != "explore" and name not in late
    ]
    for finding in source.check_files(shared):
        raise InputError(f"{finding.message}; repair it with: lyra-worldgen finish: {folder}")
    legs = _cut(source.manifest, keep)
    with open_for_writing(out) as writer:
        writer.copy(source, shared)
        _set_journey(writer, legs)
        return go_on(writer, stages, progress=progress, until=until)


def _pose_scale(manifest: Manifest, path: str, pose_scale: float | None) -> float:
    """Factor on a new leg's translations; a trajectory file is in metres, exploring works in the memory's units."""
    if pose_scale is None:
        pose_scale = config_from_dict(manifest.config).generation.pose_scale
    return pose_scale / manifest.metres_per_unit if "#" in path else pose_scale


def leg_counts(manifest: Manifest) -> list[int]:
    """How many finished chunks each leg of a world has."""
    counts = [0] * len(_legs(manifest))
    for _, name in chunk_stages(manifest.stages):
        leg = manifest.stages[name].facts.get("leg")
        if type(leg) is int and 0 <= leg < len(counts):
            counts[leg] += 1
    return counts


def _legs(manifest: Manifest) -> tuple[Leg, ...]:
    return manifest.journey or (base_leg(config_from_dict(manifest.config)),)


def _cut(manifest: Manifest, keep: int) -> tuple[Leg, ...]:
    """The legs of which the first `keep` chunks are left; a leg that is left whole is not marked as cut."""
    legs, counts = _legs(manifest), leg_counts(manifest)
    return shortened(legs, counts, keep)


def _gone_on(
    legs: tuple[Leg, ...],
    folder: Path,
    *,
    prompt: str | None,
    captions: dict[int, str],
    chunks: int | None,
    seed: int | None,
) -> tuple[Leg, ...]:
    """The journey whose last leg, cut short before, goes on."""
    last = legs[-1]
    if last.end is None:
        raise InputError(
            f"no path was cut short, so there is nothing to go on with; give a --path to explore further: {folder}"
        )
    if prompt is None and not captions and seed in (None, last.seed):
        return (*legs[:-1], replace(last, chunks=None if chunks is None else (last.chunks or 0) + chunks))
    other = replace(
        last,
        prompt=last.prompt if prompt is None else prompt,
        captions=captions or ({} if prompt is not None else last.captions),
        seed=last.seed if seed is None else seed,
        first=last.end,
        chunks=chunks,
    )
    return (*legs, other)


def beginnings(manifest: Manifest, legs: Sequence[Leg] | None = None) -> list[str]:
    """Ids of the worlds that the beginnings of a journey are, the manifest's own journey if none is given."""
    legs = _legs(manifest) if legs is None else legs
    return [world_id(manifest.photo.sha256, manifest.config, _said(manifest, legs[:n])) for n in range(1, len(legs))]


def _said(manifest: Manifest, legs: Sequence[Leg]) -> tuple[Leg, ...]:
    """The journey as a manifest states it: nothing where the configuration alone says it."""
    plain = base_leg(config_from_dict(manifest.config))
    return () if tuple(legs) == (plain,) else tuple(legs)


def _set_journey(writer: WorldWriter, legs: Sequence[Leg]) -> None:
    """Write the journey, and as parents the worlds that its beginnings are."""
    manifest = writer.manifest
    before = beginnings(manifest)
    others = [parent for parent in manifest.parents if parent not in before]
    writer.amend(journey=_said(manifest, legs), parents=(*others, *beginnings(manifest, legs)))


def _expect_explored(manifest: Manifest, folder: Path) -> None:
    if manifest.photo.imported:
        raise InputError(
            f"the world was imported from {manifest.photo.name}, so there is no exploration to extend, undo or branch; "
            f"only worlds of photos have one: {folder}"
        )
    if not chunk_stages(manifest.stages):
        raise InputError(
            f"the world has not been explored yet; finish it first with: lyra-worldgen generate PHOTO: {folder}"
        )
