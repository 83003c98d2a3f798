"""What an explorer can be told when it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..core.config import WorldConfig


@dataclass(frozen=True, kw_only=True)
class ExplorerOptions:
    """For server and desk alike."""

    config: WorldConfig = field(default_factory=WorldConfig)
    """Settings of new worlds."""
    points: int = 200_000
    """Most points that browsers are sent."""
    splats: int = 1_000_000
    """Most splats that browsers are sent."""
    launcher: Sequence[str] | None = None
    """What starts a worker, see `Session`."""
