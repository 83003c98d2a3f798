"""Robots by name: `env.robot=omni` beside `env.robot_size=small`."""

from __future__ import annotations

from typing import Protocol

from lyra.worldgen.core.errors import ConfigError

from ..rules import Limits
from . import diff_drive, omni
from .served import SERVED

EMBEDDED = {"diff_drive": diff_drive.SIZES, "omni": omni.SIZES}
"""Robots that need no download: their sizes."""


class RobotSpec(Limits, Protocol):
    """What a task has to know of any robot; lengths in metres, speeds of its base."""

    @property
    def grips(self) -> str: ...
    @property
    def base_body(self) -> str: ...
    @property
    def footprint_radius_m(self) -> float: ...
    @property
    def hull_m(self) -> tuple[float, float, float]: ...
    @property
    def hull_z_m(self) -> float: ...
    @property
    def lidar_height_m(self) -> float: ...


def robot_of(name: str, size: str) -> RobotSpec:
    """The robot of that name; embedded ones have sizes. Raises `ConfigError` that lists the names."""
    if name in SERVED:
        return SERVED[name]
    if name not in EMBEDDED:
        raise ConfigError(f"env.robot '{name}' is unknown; expected one of: {', '.join((*EMBEDDED, *SERVED))}")
    sizes = EMBEDDED[name]
    if size not in sizes:
        raise ConfigError(f"robot size '{size}' is unknown; expected one of: {', '.join(sizes)}")
    return sizes[size]
