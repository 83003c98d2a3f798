"""Where a robot is put down in a world. Needs no Kit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InputError
from ..core.world import load_world

MAX_LINE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Spawn:
    """A place to stand, in the world's frame."""

    xy_m: tuple[float, float]
    yaw_rad: float
    floor_z_m: float


def spawn_of(folder: Path, episode: int = 0) -> Spawn:
    """Where an episode of a finished world begins; the start of its free space if it has no such episode.

    Raises:
        InputError: no world, or its navigation data are missing or damaged.
    """
    world = load_world(folder)
    path = world.path("nav/free_space.json")
    try:
        space = json.loads(path.read_bytes())
        x, y = space["start_xy_m"]
        start = Spawn(xy_m=(float(x), float(y)), yaw_rad=0.0, floor_z_m=float(space["floor_z_m"]))
    except (ValueError, RecursionError, KeyError, TypeError, OSError) as error:
        raise InputError(f"the world's free space cannot be read ({error}); finish the world again: {path}") from error
    episodes = world.path("nav/episodes.jsonl")
    try:
        with open(episodes, "rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b"")):
                if number == episode:
                    x, y, z, yaw = (float(v) for v in json.loads(line)["start"])
                    return Spawn(xy_m=(x, y), yaw_rad=yaw, floor_z_m=z)
    except (ValueError, RecursionError, KeyError, TypeError, OSError) as error:
        raise InputError(f"episode {episode} cannot be read ({error}); finish the world again: {episodes}") from error
    return start
