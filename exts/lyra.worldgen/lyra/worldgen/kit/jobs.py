"""What the form asks for, as commands of a session, and where a session's work is done. Needs no Kit.

Kit's interpreter never holds our torch: the work is done by a process of another Python, or by a server.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.annotations import UNITS_M
from ..core.config import GeometryConfig, ScaleConfig, WorldConfig, config_from_dict
from ..core.errors import ConfigError
from ..session.commands import GIVEN_HEIGHT_SIGMA, Command, Extend, Generate, Import
from ..session.session import Session
from ..session.worker import Job, WorkerJob, find_launcher, work_command, worker_environment

QUALITIES: Mapping[str, Mapping[str, Mapping[str, int]]] = {
    "standard": {},
    "draft": {
        "geometry": {"working_long_side_px": 448},
        "generation": {"view_long_side_px": 256},
        "reconstruction": {"texture_px": 1024, "splat_budget": 150_000},
        "simulation": {"rest_faces": 4000, "episode_count": 20},
        "certificate": {"drops": 8, "drive_episodes": 1},
    },
    "fine": {
        "geometry": {"working_long_side_px": 1024},
        "generation": {"view_long_side_px": 768},
        "reconstruction": {"texture_px": 8192, "splat_budget": 2_000_000},
    },
}
"""Settings of each quality that the form offers; the rest stays as it is."""
PAINTERS = ("auto", "patch", "inpaint", "lyra2")
IMPORTED_SECTIONS = ("reconstruction", "simulation", "certificate")
"""What a quality says about a world that comes from a file."""
UPS = ("auto", "z-up", "y-up", "x-up", "z-down", "y-down", "x-down")
UNITS = ("auto", *UNITS_M)
"""Which way is up in a file and how long one of its units is, as the form offers it."""
PATHS = ("auto", "turn", "forward", "loop", "explore", "out-and-back", "spin")
"""Paths that the form proposes; any other may be typed, a trajectory file (.npz) included."""


REPRESENTATIONS = ("mesh", "splats", "both")
"""What may be shown of a world; each is a variant of its interface layer."""


@dataclass(frozen=True, kw_only=True)
class Showing:
    """How a world is put on a stage."""

    representation: str = "mesh"
    """One of `REPRESENTATIONS`."""
    physics: bool = True
    """Whether its colliders take part, with a physics scene if the stage has none."""


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """A world to begin."""

    photo: str
    """Path of the photo."""
    out: str
    """Folder that becomes the world."""
    seed: int = 0
    camera_height_m: float | None = None
    """Height of the camera above the floor [m]; None leaves it to the configuration."""
    path: str = "auto"
    """Preset with its options, or a trajectory file."""
    prompt: str = ""
    """For painters that read text."""
    painter: str = "auto"
    quality: str = "standard"
    """One of `QUALITIES`."""
    seed_only: bool = False
    """Only understand the photo, so that a camera path can be chosen with its geometry known."""


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """A world to make of what another program made."""

    source: str
    """Splats, a mesh, a panorama, or a folder of posed pictures."""
    out: str
    """Folder that becomes the world."""
    seed: int = 0
    up: str = "auto"
    """One of `UPS`."""
    units: str = "auto"
    """One of `UNITS`."""
    camera_height_m: float | None = None
    """Height above the floor that a panorama was taken from [m]; None leaves it to the configuration."""
    quality: str = "standard"
    """One of `QUALITIES`."""


@dataclass(frozen=True, kw_only=True)
class ExtendRequest:
    """More of a world that exists."""

    path: str
    """Preset with its options, or a trajectory file; empty goes on with a path that was cut short."""
    prompt: str = ""
    seed: int | None = None
    """In place of the world's own."""
    pose_scale: float | None = None
    """Factor on a trajectory's translations; 1 for one in metres."""
    explore_only: bool = False
    """Leave reconstruction and certificate for later."""


def generate_command(request: GenerateRequest) -> Generate:
    """The command that a session performs; raises `ConfigError` for values out of range."""
    config = config_from_dict({"seed": request.seed, **_settings_of(request.quality)})
    generation = replace(config.generation, path=request.path or "auto", prompt=request.prompt, painter=request.painter)
    config = replace(config, generation=generation)
    # The height that the form proposes is a guess; one that somebody typed was measured.
    if request.camera_height_m is not None and request.camera_height_m != GeometryConfig.camera_height_m:
        config = replace(
            config,
            geometry=replace(config.geometry, camera_height_m=request.camera_height_m),
            scale=ScaleConfig(camera_height_sigma=GIVEN_HEIGHT_SIGMA),
        )
    return Generate(photo=Path(request.photo), config=config, until="understand" if request.seed_only else "")


def import_command(request: ImportRequest) -> Import:
    """The command that a session performs; raises `ConfigError` for values out of range."""
    settings = {name: values for name, values in _settings_of(request.quality).items() if name in IMPORTED_SECTIONS}
    source = {"up": request.up, "units": request.units}
    config = config_from_dict({"seed": request.seed, "source": source, **settings})
    if request.camera_height_m is not None:
        config = replace(config, geometry=replace(config.geometry, camera_height_m=request.camera_height_m))
    return Import(source=Path(request.source), config=config)


def _settings_of(quality: str) -> Mapping[str, Mapping[str, int]]:
    if quality not in QUALITIES:
        raise ConfigError(f"there is no quality '{quality}'; expected one of: {', '.join(QUALITIES)}")
    return QUALITIES[quality]


def extend_command(request: ExtendRequest) -> Extend:
    """The command that a session performs; raises `ConfigError` for a seed that cannot be."""
    if request.seed is not None:
        WorldConfig(seed=request.seed)
    return Extend(
        path=request.path,
        prompt=request.prompt or None,
        seed=request.seed,
        pose_scale=request.pose_scale,
        until="explore" if request.explore_only else "",
    )


@dataclass(frozen=True, kw_only=True)
class WorkPlace:
    """Where worlds are made."""

    launcher: str = ""
    """Python interpreter or `lyra-worldgen` program of the generator; empty means look for it."""
    server: str = ""
    """Address of a server of `lyra-worldgen serve` that works in its place; empty for this machine."""
    token: str = ""
    """The user's token on that server."""


def open_session(folder: Path, place: WorkPlace, *, near: Path | None, env: Mapping[str, str] | None = None) -> Session:
    """The session of a world folder; nothing is started yet, and what is missing is told when something is.

    Args:
        folder: the world's, which may not exist yet.
        place: where the work is done.
        near: the extension's folder, where to look for an installation.
        env: this process's environment when None.
    """
    env = dict(os.environ) if env is None else env

    def launch(command: Command) -> Job:
        if place.server.strip():
            # Not at start-up: it brings the standard library's HTTP and e-mail packages.
            from ..session.remote import RemoteJob
            from ..session.service_client import ServiceClient

            return RemoteJob(ServiceClient(place.server, place.token), folder, command)
        launcher = find_launcher(place.launcher, near, env.get("PATH"))
        if not launcher:
            raise FileNotFoundError(
                "no lyra-worldgen installation found; run tools/quickstart.sh once, set /exts/lyra.worldgen/launcher "
                "to its Python, or /exts/lyra.worldgen/server to a server"
            )
        return WorkerJob(work_command(launcher, folder, frames=True), command, env=worker_environment(env))

    return Session(folder, launch=launch)
