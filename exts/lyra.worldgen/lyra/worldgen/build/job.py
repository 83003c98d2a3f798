"""What is to be made: the inputs that decide each stage, and whether a folder and its disk take the job."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from ..core.config import WorldConfig, value_at, with_late_sections, without_unsaid
from ..core.errors import InputError
from ..core.files import explain_os_error, sha256_json
from ..core.journey import Leg, leg_to_json
from ..core.manifest import FORMAT, Manifest
from ..core.schema import differing_keys, resolved_dict
from ..core.world import World
from ..core.world_writer import WorldWriter
from .stage import Stage, Stages

log = logging.getLogger(__name__)

MAX_PHOTO_BYTES = 2**29
"""Largest photo file that is read [bytes]."""


def check_stages(out: Path, before: Manifest | None, config: WorldConfig, stages: Stages) -> None:
    """Refuse, before anything is written, settings that stages cannot run with and a disk that is too full."""
    to_run = stages.items if before is None else _missing(before, stages)
    for stage in to_run:
        stage.check(config)
    _expect_room(out, sum(stage.room_mib(config) for stage in to_run))


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


def expect_same_job(old: Manifest, new: Manifest, folder: Path) -> None:
    """Refuse to continue or replace another job's world; raises `InputError` that says what differs."""
    expect_no_variant(old, folder)
    state = "a finished" if old.finished else "an unfinished"
    advice = "choose another --out, or pass --overwrite to make it anew"
    if (old.photo.sha256, old.photo.kind) != (new.photo.sha256, new.photo.kind):
        what = f"another {'file' if old.photo.imported else 'photo'} ({old.photo.name})"
        raise InputError(f"the output folder holds {state} world of {what}; {advice}: {folder}")
    if keys := differing_keys(with_late_sections(old.config), new.config):
        first = keys[0]
        values = f"{first} was {value_at(old.config, first)!r}, now {value_at(new.config, first)!r}"
        more = f", and {len(keys) - 1} more" if len(keys) > 1 else ""
        raise InputError(
            f"the output folder holds {state} world made with other settings ({values}{more}); {advice}: {folder}"
        )


def _expect_room(out: Path, need_mib: float) -> None:
    place = next(path for path in (out, *out.absolute().parents) if path.exists())
    usage = shutil.disk_usage(place)
    free_mib = usage.free / 2**20
    if usage.total and free_mib < need_mib:  # a total of 0 says that the file system does not count
        raise InputError(
            f"only {free_mib:.0f} MiB are free on the disk, the world needs up to {need_mib:.0f} MiB; free some space "
            f"or choose another folder: {out}"
        )


def read_photo_bytes(path: Path) -> bytes:
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


def finished_world(
    out: Path, before: Manifest, manifest: Manifest, config: WorldConfig, stages: Stages
) -> World | None:
    """The world in a folder if it is what a job would make, whole; None if something is left to do.

    Raises:
        InputError: the folder holds the world of another job.
    """
    expect_same_job(before, manifest, out)
    world = World(folder=out, manifest=before)
    hashes = input_hashes(manifest.photo.sha256, config, stages, before.journey)
    current = all(name in before.stages and before.stages[name].inputs == h for name, h in hashes.items())
    if before.finished and current and world.check_files().ok:
        log.info("already finished: %s", out)
        return world
    return None


def begin_or_go_on(writer: WorldWriter, manifest: Manifest, *, overwrite: bool) -> None:
    """Start the world of a job, or make sure that the one in the folder is the same job's."""
    if writer.is_new or overwrite:
        writer.start(manifest)
    else:
        expect_same_job(writer.manifest, manifest, writer.folder)


def expect_no_variant(manifest: Manifest, folder: Path) -> None:
    """A variant has nothing that could be made again or gone on with."""
    if manifest.base is not None:
        raise InputError(
            f"this is a variant of '{manifest.base.path}'; change that world and make its variants again: {folder}"
        )
