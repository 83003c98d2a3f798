"""Curricula."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .events import env_indices

if TYPE_CHECKING:
    from ..navigation.driven_env import DrivenEnv


def widen_geodesic_limit(
    env: DrivenEnv,
    env_ids: torch.Tensor | slice | None,
    first_m: float,
    last_m: float,
    good_rate: float,
    poor_rate: float,
    growth: float,
    memory: float,
) -> float:
    """Let drives grow longer as they succeed, and shorter again where that was too much.

    Args:
        env: the task.
        env_ids: environments that are about to be reset.
        first_m: longest drive to the first stop at the beginning [m].
        last_m: longest drive that is ever drawn [m].
        good_rate: the limit grows while the share of drives that arrive is above this.
        poor_rate: and shrinks while it is below this.
        growth: factor of the limit for `memory` drives.
        memory: number of drives that the running share is about.

    Returns:
        The limit [m], for the log.
    """
    book = env.book
    if book.limit_m == torch.inf:
        book.limit_m = first_m
        env.arrival_rate = 0.0
    if env.common_step_counter == 0:
        return book.limit_m
    ids = env_indices(env, env_ids)
    share = min(len(ids) / memory, 1.0)
    arrivals = float(env.termination_manager.get_term("arrived")[ids].float().mean())
    env.arrival_rate += share * (arrivals - env.arrival_rate)
    if env.arrival_rate > good_rate:
        book.limit_m = min(book.limit_m * growth**share, last_m)
    elif env.arrival_rate < poor_rate:
        book.limit_m = max(book.limit_m / growth**share, first_m)
    return book.limit_m
