"""How drives end; running out of time is Isaac Lab's own `time_out`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ..navigation.env import NavigationEnv


def arrived(env: NavigationEnv) -> torch.Tensor:
    """[N] bool: the last stop is reached."""
    env.drive.measure()
    return env.drive.at_stop & (env.book.leg == env.book.options.stops - 1)


def touched(env: NavigationEnv) -> torch.Tensor:
    """[N] bool: the footprint reaches an obstacle of the map; the same on every physics engine."""
    env.drive.measure()
    return env.drive.touching
