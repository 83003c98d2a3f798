"""One photo in, a sim-ready world out.

The public names load when they are first used, so importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .core.version import __version__ as __version__

_PUBLIC = {
    "GenerationConfig": "core.config",
    "Photo": "core.views",
    "Report": "core.report",
    "World": "core.world",
    "WorldPipeline": "generation.pipeline",
    "WorldgenError": "core.errors",
    "build_colliders": "sim.collision",
    "build_occupancy": "sim.occupancy",
    "build_world": "build",
    "load_world": "core.world",
}
"""Public name: the module that holds it."""

__all__ = [
    "GenerationConfig",
    "Photo",
    "Report",
    "World",
    "WorldPipeline",
    "WorldgenError",
    "build_colliders",
    "build_occupancy",
    "build_world",
    "load_world",
]

if TYPE_CHECKING:
    from .build import build_world as build_world
    from .core.config import GenerationConfig as GenerationConfig
    from .core.errors import WorldgenError as WorldgenError
    from .core.report import Report as Report
    from .core.views import Photo as Photo
    from .core.world import World as World
    from .core.world import load_world as load_world
    from .generation.pipeline import WorldPipeline as WorldPipeline
    from .sim.collision import build_colliders as build_colliders
    from .sim.occupancy import build_occupancy as build_occupancy


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
