"""How drives end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..rules import explore_step_limit, step_limit

if TYPE_CHECKING:
    from ..navigation.driven_env import DrivenEnv


def out_of_time(env: DrivenEnv) -> torch.Tensor:
    """[N] bool: the time that is allowed for the length of the drive, or for the floor to explore, is up."""
    cfg = env.cfg
    if env.coverage is None:
        limit = step_limit(env.book.way_m, time_limit_s=cfg.episode_length_s, pace_m_s=cfg.pace_m_s)
    else:
        limit = explore_step_limit(
            env.coverage.floor_m2,
            env.robot_spec,
            near_m=cfg.cover_near_m,
            time_limit_s=cfg.episode_length_s,
            sweep_share=cfg.sweep_share,
        )
    return env.episode_length_buf >= limit


def arrived(env: DrivenEnv) -> torch.Tensor:
    """[N] bool: the last stop is reached."""
    env.drive.measure()
    return env.drive.at_stop & (env.book.leg == env.book.options.stops - 1)


def touched(env: DrivenEnv) -> torch.Tensor:
    """[N] bool: the footprint reaches an obstacle of the map; the same on every physics engine."""
    env.drive.measure()
    return env.drive.touching
