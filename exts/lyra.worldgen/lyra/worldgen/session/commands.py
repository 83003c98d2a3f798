"""What can be done to a world, as values: every face says the same things, in its own process or to a worker.

A command is plain data, so that it can be queued, sent through a pipe and kept in a database; `perform` is the only
place that turns one into calls of `build`. Importing this module costs no scientific package: Kit does it.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..core.config import RescaleConfig, WorldConfig, config_from_dict
from ..core.errors import InputError
from ..core.progress import SILENT, Progress
from ..core.schema import build_section, resolved_dict

if TYPE_CHECKING:
    from ..core.world import World


@dataclass(frozen=True, kw_only=True)
class Command:
    """Base of the commands. Every one of them can be given again after a stop; see `resumed`."""

    name: ClassVar[str] = ""
    """What it is called in JSON."""

    def perform(self, folder: Path, progress: Progress = SILENT) -> World:
        """Do it to the world in `folder`, in this thread; the world that it leads to. Raises `WorldgenError`."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Generate(Command):
    """Make the world of a photo, or go on with one that was begun with the same photo and configuration."""

    name: ClassVar[str] = "generate"

    photo: Path
    """A picture file."""
    config: WorldConfig = field(default_factory=WorldConfig)
    overwrite: bool = False
    """Make it anew if the folder holds a world."""
    until: str = ""
    """Last stage to run; `understand` only seeds the world, so that a path can be chosen with its geometry known."""
    photo_name: str = ""
    """What the world calls the photo, when that is not the name of its file."""
    trajectory_name: str = ""
    captions_name: str = ""

    def perform(self, folder: Path, progress: Progress = SILENT) -> World:
        from ..build import build_world
        from ..build.path_files import FileNames

        return build_world(
            self.photo,
            folder,
            self.config,
            progress=progress,
            overwrite=self.overwrite,
            until=self.until,
            photo_name=self.photo_name,
            names=FileNames(trajectory=self.trajectory_name, captions=self.captions_name),
        )


@dataclass(frozen=True, kw_only=True)
class Import(Command):
    """Make a world of a file that another program made."""

    name: ClassVar[str] = "import"

    source: Path
    """Splats, a mesh, a panorama, or posed pictures."""
    config: WorldConfig = field(default_factory=WorldConfig)
    overwrite: bool = False
    until: str = ""
    source_name: str = ""
    """What the world calls the file, when that is not its name."""

    def perform(self, folder: Path, progress: Progress = SILENT) -> World:
        from ..build import import_world

        return import_world(
            self.source,
            folder,
            self.config,
            progress=progress,
            overwrite=self.overwrite,
            until=self.until,
            source_name=self.source_name,
        )


@dataclass(frozen=True, kw_only=True)
class Extend(Command):
    """Explore: the first path of a world that was only seeded, another one of a world that was explored."""

    name: ClassVar[str] = "extend"

    path: str = ""
    """Preset with its options, or a trajectory file; empty goes on with a path that was cut short, or takes the one
    that the world's configuration names."""
    prompt: str | None = None
    """For painters that read text; the configuration's when None."""
    captions: Path | None = None
    """JSON file of texts by frame."""
    pose_scale: float | None = None
    """Factor on the translations of a trajectory file."""
    chunks: int | None = None
    """At most so many; all of the path when None."""
    seed: int | None = None
    """In place of the world's own, so that what was undone is painted differently."""
    until: str = ""
    """Last stage to run; `explore` shows new frames soonest."""
    trajectory_name: str = ""
    """What the world calls the trajectory file, when that is not its name."""
    captions_name: str = ""

    def perform(self, folder: Path, progress: Progress = SILENT) -> World:
        from ..build import extend_world
        from ..build.path_files import FileNames

        return extend_world(
            folder,
            path=self.path,
            prompt=self.prompt,
            captions=self.captions,
            pose_scale=self.pose_scale,
            chunks=self.chunks,
            seed=self.seed,
            progress=progress,
            until=self.until,
            names=FileNames(trajectory=self.trajectory_name, captions=self.captions_name),
        )


@dataclass(frozen=True, kw_only=True)
class Undo(Command):
    """Take back the last chunks."""

    name: ClassVar[str] = "undo"

    chunks: int = 1
    until: str = ""

    def perform(self, folder: Path, progress: Progress = SILENT) -> World:
        from ..build import undo_world

        return undo_world(folder, chunks=self.chunks, progress=progress, until=self.until)


@dataclass(frozen=True, kw_only=True)
class Branch(Command):
    """Begin a second world from the first chunks of this one; leads to that world."""

    name: ClassVar[str] = "branch"

    out: Path
    """Its folder, missing or empty."""
    chunks: int | None = None
    """How many chunks they share; all when None."""
    until: str = ""

    def perform(self, folder: Path, progress: Progress = SILENT) -> World:
        from ..build import branch_world

        return branch_world(folder, self.out, chunks=self.chunks, progress=progress, until=self.until)


@dataclass(frozen=True, kw_only=True)
class Finish(Command):
    """Run what a world lacks and repair damaged files; `until="reconstruct"` stops at splats and mesh."""

    name: ClassVar[str] = "finish"

    until: str = ""

    def perform(self, folder: Path, progress: Progress = SILENT) -> World:
        from ..build import finish_world

        return finish_world(folder, progress=progress, until=self.until)


@dataclass(frozen=True, kw_only=True)
class Rescale(Command):
    """Give a world its true size."""

    name: ClassVar[str] = "rescale"

    rescale: RescaleConfig = field(default_factory=RescaleConfig)
    """All that is known beyond what the world was generated with; the default brings back the first size."""
    until: str = ""

    def perform(self, folder: Path, progress: Progress = SILENT) -> World:
        from ..build import rescale_world

        return rescale_world(folder, self.rescale, progress=progress, until=self.until)


@dataclass(frozen=True, kw_only=True)
class Certify(Command):
    """Measure a world again."""

    name: ClassVar[str] = "certify"

    newton: bool = False
    """Drop bodies in Newton, too."""

    def perform(self, folder: Path, progress: Progress = SILENT) -> World:
        from ..build import rerun_stage

        def more(config: WorldConfig) -> WorldConfig:
            return replace(config, certificate=replace(config.certificate, newton=True)) if self.newton else config

        return rerun_stage(folder, "certify", progress=progress, change=more)


@dataclass(frozen=True, kw_only=True)
class Preview(Command):
    """Draw contact sheet and film again."""

    name: ClassVar[str] = "preview"

    def perform(self, folder: Path, progress: Progress = SILENT) -> World:
        from ..build import rerun_stage

        return rerun_stage(folder, "preview", progress=progress)


@dataclass(frozen=True, kw_only=True)
class Vary(Command):
    """Make variants of the world, which is only read; leads to that world."""

    name: ClassVar[str] = "vary"

    out: Path
    """Folder of the variants, beside the world's."""
    ranges: dict[str, Any]
    """All ranges as plain values, see `variation.resolved_ranges`."""
    count: int = 8
    seed: int = 0
    certify: bool = True
    """Measure each in PhysX."""
    overwrite: bool = False
    """Replace variants of another world, seed or ranges that lie in `out`."""

    def perform(self, folder: Path, progress: Progress = SILENT) -> World:
        from ..core.world import load_world
        from ..vary import vary_world
        from ..vary.config import vary_config_from_dict

        vary_world(
            folder,
            self.out,
            count=self.count,
            seed=self.seed,
            cfg=vary_config_from_dict(self.ranges),
            certify=self.certify,
            overwrite=self.overwrite,
            progress=progress,
        )
        return load_world(folder)


COMMANDS: dict[str, type[Command]] = {
    kind.name: kind for kind in (Generate, Import, Extend, Undo, Branch, Finish, Rescale, Certify, Preview, Vary)
}
"""Every command by its name."""
GIVEN_HEIGHT_SIGMA = 0.03
"""Relative doubt of a camera height that somebody gave: it was measured, roughly."""


def command_to_json(command: Command) -> dict[str, Any]:
    """JSON value of a command; `command_from_json` reads it back."""
    values: dict[str, Any] = {"command": command.name}
    for entry in dataclasses.fields(command):
        value = getattr(command, entry.name)
        if isinstance(value, WorldConfig | RescaleConfig):
            value = resolved_dict(value)
        values[entry.name] = str(value) if isinstance(value, Path) else value
    return values


def command_from_json(data: Any) -> Command:
    """Read a command.

    Raises:
        InputError: no such command, or a value that makes no sense; the message names it.
        ConfigError: a configuration that is not allowed.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"the command is a {type(data).__name__}; expected an object")
    kind = COMMANDS.get(str(data.get("command")))
    if kind is None:
        raise InputError(f"unknown command '{str(data.get('command'))[:60]}'; expected one of: {', '.join(COMMANDS)}")
    known = {entry.name: entry for entry in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for name, value in data.items():
        if name == "command":
            continue
        if name not in known:
            raise InputError(f"{kind.name} has no '{str(name)[:60]}'; expected some of: {', '.join(sorted(known))}")
        values[name] = _read(f"{kind.name}.{name}", str(known[name].type), value)
    missing = [
        name
        for name, entry in known.items()
        if name not in values and entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InputError(f"{kind.name} needs '{missing[0]}'")
    return kind(**values)


def _read(where: str, declared: str, value: Any) -> Any:
    """A value of a command's field, whose declared type is given as text."""
    if value is None and declared.endswith("| None"):
        return None
    name = declared.removesuffix(" | None")
    if name == "WorldConfig" and isinstance(value, Mapping):
        return config_from_dict(value)
    if name == "RescaleConfig" and isinstance(value, Mapping):
        return build_section(RescaleConfig, value)
    if name == "dict[str, Any]" and isinstance(value, Mapping):
        return dict(value)
    if name in ("str", "Path") and isinstance(value, str) and "\0" not in value:
        return Path(value) if name == "Path" else value
    if name == "bool" and isinstance(value, bool):
        return value
    if name == "int" and type(value) is int:
        return value
    if name == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise InputError(f"{where} is {str(value)[:60]!r}; expected {declared}")


def world_token(folder: Path) -> str:
    """Which world is in a folder and whether its exploration has begun, empty if there is none: for `resumed`.

    Raises:
        InputError: the world is damaged, or the folder holds something else.
    """
    from ..core.chunks import chunk_stages
    from ..core.world_writer import existing_manifest

    manifest = existing_manifest(folder)
    if manifest is None:
        return ""
    return f"{manifest.id}{'+' if chunk_stages(manifest.stages) else ''}"


def resumed(command: Command, folder: Path, before: str) -> Command:
    """What is left to do of a command that was stopped, by a cancellation or a kill.

    A world's id follows from its photo, configuration and journey. `Extend` and `Undo` change the journey first of
    all, in one step, and then work; given a second time they would go a second step. So once the token has changed,
    only finishing is left. Everything else can simply be given again.

    Args:
        command: what was asked for.
        folder: the world's; nobody else may have written to it since.
        before: `world_token` of the folder before the command began.

    Raises:
        InputError: the world is damaged.
    """
    if isinstance(command, Extend | Undo) and before and world_token(folder) != before:
        return Finish(until=command.until)
    if isinstance(command, Branch):
        # A copy that was cut off looks like a world of its own.
        shutil.rmtree(command.out, ignore_errors=True)
    return command
