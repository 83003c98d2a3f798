"""Rewards. The reward manager multiplies by the step's duration: what happens once is divided by it here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ..navigation.driven_env import DrivenEnv


def towards_goal(env: DrivenEnv) -> torch.Tensor:
    """[N] speed along the floor towards the next stop [m/s]; summed over a drive: the metres gained."""
    env.drive.measure()
    return (env.drive.last_geodesic_m - env.drive.geodesic_m) / env.step_dt


def ended_by(env: DrivenEnv, term: str) -> torch.Tensor:
    """[N] 1 in total for a drive that the named termination ends."""
    return env.termination_manager.get_term(term).float() / env.step_dt


def reached_stop(env: DrivenEnv) -> torch.Tensor:
    """[N] 1 in total for every stop that is reached."""
    env.drive.measure()
    return env.drive.at_stop.float() / env.step_dt


def proximity(env: DrivenEnv, margin_m: float) -> torch.Tensor:
    """[N] 0 at a gap of `margin_m` between footprint and obstacles, 1 at none."""
    env.drive.measure()
    gap = env.drive.clearance_m - env.robot_spec.footprint_radius_m
    return (1.0 - gap / margin_m).clamp(0.0, 1.0)


def action_change(env: DrivenEnv) -> torch.Tensor:
    """[N] squared difference of this step's and the last step's action, each clipped to [-1, 1]."""
    now, last = env.action_manager.action.clamp(-1, 1), env.action_manager.prev_action.clamp(-1, 1)
    return (now - last).square().sum(dim=-1)


def time_used(env: DrivenEnv) -> torch.Tensor:
    """[N] 1: the seconds of a drive add up."""
    return torch.ones(env.num_envs, device=env.device)
