"""Trajectory and caption files that a journey names: read once, then kept by the world under their hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..core.chunks import FolderChunkStore
from ..core.config import WorldConfig
from ..core.errors import ConfigError, InputError
from ..core.files import explain_os_error, sha256_bytes
from ..core.journey import Leg
from ..core.world_writer import WorldWriter

MAX_TRAJECTORY_BYTES = 2**26
_HASH_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class FileNames:
    """What a world calls the files that its journey names, where that is not what they are called here."""

    trajectory: str = ""
    captions: str = ""


OWN_NAMES = FileNames()
"""Files are called what they are called."""


@dataclass(frozen=True, kw_only=True)
class PathFiles:
    """What was read from files that only this machine has."""

    trajectories: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    """Arrays by hash."""
    captions: Mapping[int, str] = field(default_factory=dict)

    def journey(self, config: WorldConfig) -> tuple[Leg, ...]:
        """The journey of a new world; empty when the configuration alone says it."""
        return (replace(base_leg(config), captions=self.captions),) if self.captions else ()

    def keep_in(self, chunks: FolderChunkStore, writer: WorldWriter, stage: str) -> None:
        """Put trajectories into the world and drop those that no leg names any more."""
        legs = (Leg(path=_path_of(writer)), *writer.manifest.journey)
        named = {f"{stage}/path-{leg.path.rpartition('#')[2]}" for leg in legs if "#" in leg.path}
        old = [name for name in writer.manifest.stages if is_path_part(name) and name not in named]
        writer.drop_stages(old)
        for digest, arrays in self.trajectories.items():
            if f"{stage}/path-{digest}" in named and chunks.load_arrays(f"path-{digest}", digest) is None:
                chunks.save_arrays(f"path-{digest}", digest, arrays)


def is_path_part(name: str) -> bool:
    """Whether a part of a stage is a trajectory that was given, which nothing but the world itself can replace."""
    return name.partition("/")[2].startswith("path-")


def base_leg(config: WorldConfig) -> Leg:
    """The exploration that the configuration asks for."""
    generation = config.generation
    return Leg(path=generation.path, prompt=generation.prompt, pose_scale=generation.pose_scale)


def read_path_files(config: WorldConfig, names: FileNames = OWN_NAMES) -> tuple[WorldConfig, PathFiles]:
    """Read the files that a configuration names; in the result they are named by file name and hash.

    Raises:
        InputError: a file cannot be read or makes no sense.
        ConfigError: unknown path, or captions without frames to hold for.
    """
    from ..generation.paths import EXPLORE, TURNS, parse_path

    generation = config.generation
    path, trajectories = read_trajectory_file(generation.path, names)
    name = parse_path(path).name
    if name == EXPLORE and "radius=" not in path:
        path += f"{',' if ':' in path else ':'}radius={config.simulation.robot_radius_m:g}"
    captions: Mapping[int, str] = {}
    named = generation.captions
    if named and "#" not in named:
        captions = read_captions_file(Path(named))
        digest = sha256_bytes(repr(sorted(captions.items())).encode())
        named = f"{names.captions or Path(named).name}#{digest[:_HASH_DIGITS]}"
        if name in TURNS:
            raise ConfigError(f"captions hold for frames of a walk; the path '{path}' is none, give it a prompt")
    generation = replace(generation, path=path, captions=named)
    return replace(config, generation=generation), PathFiles(trajectories=trajectories, captions=captions)


def read_trajectory_file(path: str, names: FileNames = OWN_NAMES) -> tuple[str, dict[str, Mapping[str, np.ndarray]]]:
    """A `--path` with its file, if it names one, read: the path as the world keeps it, and arrays by hash."""
    if not path.lower().endswith(".npz"):
        return path, {}
    from ..generation.trajectory_files import read_trajectory

    file = Path(path)
    try:
        if file.is_file() and file.stat().st_size > MAX_TRAJECTORY_BYTES:
            raise InputError(f"the trajectory has more than {MAX_TRAJECTORY_BYTES // 2**20} MiB: {file}")
        digest = sha256_bytes(file.read_bytes())[:_HASH_DIGITS]
    except OSError as error:
        raise InputError(f"the trajectory cannot be read ({explain_os_error(error)}): {file}") from error
    trajectory = read_trajectory(file)
    arrays = {
        "w2c": trajectory.w2c,
        "intrinsics": trajectory.intrinsics,
        "image_height": np.array([trajectory.size_hw[0]]),
        "image_width": np.array([trajectory.size_hw[1]]),
    }
    return f"{names.trajectory or file.name}#{digest}", {digest: arrays}


def read_captions_file(path: Path) -> dict[int, str]:
    """Captions by frame; raises `InputError`."""
    from ..generation.trajectory_files import MAX_FRAMES, load_captions

    return load_captions(path, MAX_FRAMES)


def _path_of(writer: WorldWriter) -> str:
    generation = writer.manifest.config.get("generation")
    path = generation.get("path") if isinstance(generation, dict) else None
    return path if isinstance(path, str) else ""
