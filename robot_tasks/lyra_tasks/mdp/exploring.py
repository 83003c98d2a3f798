"""Terms of exploration tasks: what is covered, what is left, when it is enough. See `coverage`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ..coverage import CoverageBook
    from ..navigation.driven_env import DrivenEnv


def left_in_sight(env: DrivenEnv, sectors: int) -> torch.Tensor:
    """[N, sectors] floor in sight that is still to be covered, by direction from the robot's back."""
    return _coverage(env).left_in_sight(sectors)


def covered_share(env: DrivenEnv) -> torch.Tensor:
    """[N, 1] covered part of the floor, as a share of what is asked for."""
    book = _coverage(env)
    return (book.share / book.options.share).clamp(max=1.0).unsqueeze(-1)


def left_anywhere(env: DrivenEnv, sectors: int, scale_m: float) -> torch.Tensor:
    """[N, sectors] privileged: what is left in the whole world, weighted by distance."""
    return _coverage(env).left_anywhere(sectors, scale_m)


def newly_covered(env: DrivenEnv) -> torch.Tensor:
    """[N] floor covered per second [m²/s]; summed over a drive: the square metres that it has covered."""
    return _coverage(env).gained_m2 / env.step_dt


def explored(env: DrivenEnv) -> torch.Tensor:
    """[N] bool: enough of the floor is covered."""
    return _coverage(env).explored


def _coverage(env: DrivenEnv) -> CoverageBook:
    env.drive.measure()
    assert env.coverage is not None, "the task sets cover_near_m"
    return env.coverage
