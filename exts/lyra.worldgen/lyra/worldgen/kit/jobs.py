"""What the form asks for, as a command for a worker process of the session: Kit's interpreter never holds our torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..core.config import GeometryConfig, ScaleConfig, WorldConfig
from ..session.commands import GIVEN_HEIGHT_SIGMA, Generate


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """What the form asks for."""

    photo: str
    """Path of the photo."""
    out: str
    """Folder that becomes the world."""
    seed: int = 0
    camera_height_m: float | None = None
    """Height of the camera above the floor [m]; None leaves it to the configuration."""


def generate_command(request: GenerateRequest) -> Generate:
    """The command that the worker performs; raises `ConfigError` for values out of range."""
    config = WorldConfig(seed=request.seed)
    # The height that the form proposes is a guess; one that somebody typed was measured.
    if request.camera_height_m is not None and request.camera_height_m != GeometryConfig.camera_height_m:
        config = replace(
            config,
            geometry=GeometryConfig(camera_height_m=request.camera_height_m),
            scale=ScaleConfig(camera_height_sigma=GIVEN_HEIGHT_SIGMA),
        )
    return Generate(photo=Path(request.photo), config=config)
