"""A session's commands in the words of the service, both ways: what a client asks for, and what a server does of it.

Files are no part of the words: a client puts the ids of its uploads in place of paths, a server the paths of uploads in
place of ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..core.config import RescaleConfig, WorldConfig
from ..core.errors import InputError
from ..core.journey import POSE_SCALE
from ..core.schema import build_section
from .commands import Branch, Certify, Command, Extend, Finish, Generate, Import, Preview, Rescale, Undo

RESCALED_BY = ("factor", "camera_height_m", "measure", "known", "tag_size_m")
"""What the service takes of a `RescaleConfig`."""


def chosen_settings(command: Generate | Import) -> dict[str, Any]:
    """Settings of a command that differ from the defaults, as the service takes them; it refuses what it has not."""
    from ..core.schema import resolved_dict

    def changed(mine: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in mine.items():
            other = usual.get(name)
            if isinstance(value, Mapping) and isinstance(other, Mapping):
                if inner := changed(value, other):
                    found[name] = inner
            elif value != other:
                found[name] = value
        return found

    return changed(resolved_dict(command.config), resolved_dict(WorldConfig()))


def job_request(command: Command) -> dict[str, Any]:
    """A command on a world that exists, in the service's words."""
    if isinstance(command, Extend):
        asked = {name: getattr(command, name) for name in ("path", "prompt", "pose_scale", "chunks", "seed", "until")}
        asked["path"] = asked["path"] or None
        asked["captions"] = None if command.captions is None else str(command.captions)
        if asked["pose_scale"] == POSE_SCALE:
            asked["pose_scale"] = None
    elif isinstance(command, Undo):
        asked = {"chunks": command.chunks, "until": command.until}
    elif isinstance(command, Finish):
        asked = {"until": command.until}
    elif isinstance(command, Rescale):
        asked = {name: getattr(command.rescale, name) or None for name in RESCALED_BY} | {"until": command.until}
    elif isinstance(command, Certify | Preview):
        asked = {}
    else:
        raise InputError(f"the server knows no '{command.name}'")
    return {"command": command.name} | {name: value for name, value in asked.items() if value is not None}


def command_from_request(
    said: Mapping[str, Any],
    *,
    upload: Callable[[str], Path | None],
    configured: Callable[[Mapping[str, Any]], WorldConfig],
    branch: Path,
) -> Command:
    """What a server does of a request.

    Args:
        said: the request, checked against the service's schemas.
        upload: where the uploaded file of a kind lies that the request names; None if it names none.
        configured: the configuration with settings by key path; raises `ConfigError`.
        branch: folder of a second world.

    Raises:
        ConfigError: settings that cannot be.
        InputError: no such command.
    """
    kind, until = said["command"], said.get("until", "")
    names = {key: said.get(key, "") for key in ("trajectory_name", "captions_name")}
    if kind == "generate":
        settings = dict(said["settings"])
        if (trajectory := upload("trajectory")) is not None:
            settings["generation.path"] = str(trajectory)
        if (captions := upload("captions")) is not None:
            settings["generation.captions"] = str(captions)
        photo = upload("photo")
        assert photo is not None, "the request names a photo"
        return Generate(photo=photo, config=configured(settings), until=until, photo_name=said["photo_name"], **names)
    if kind == "import":
        scene = upload("scene")
        assert scene is not None, "the request names a scene"
        return Import(source=scene, config=configured(said["settings"]), until=until, source_name=said["source_name"])
    if kind == "extend":
        trajectory = upload("trajectory")
        return Extend(
            path=str(trajectory) if trajectory is not None else said.get("path") or "",
            prompt=said.get("prompt"),
            captions=upload("captions"),
            pose_scale=said.get("pose_scale"),
            chunks=said.get("chunks"),
            seed=said.get("seed"),
            until=until,
            **names,
        )
    if kind == "undo":
        return Undo(chunks=said["chunks"], until=until)
    if kind == "finish":
        return Finish(until=until)
    if kind == "rescale":
        values = {name: said[name] for name in RESCALED_BY if said.get(name) is not None}
        return Rescale(rescale=build_section(RescaleConfig, values), until=until)
    if kind == "certify":
        return Certify()
    if kind == "preview":
        return Preview()
    if kind == "branch":
        return Branch(out=branch, chunks=said.get("chunks"), until=until)
    raise InputError(f"unknown command '{kind}'")
