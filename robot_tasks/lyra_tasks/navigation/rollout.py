"""Driving all certified episodes of all worlds once, by whatever turns observations into actions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..courses import EPISODES
from ..evaluation import COLLISION, GOAL, TIMEOUT, EpisodeOutcome
from ..pursuit import PurePursuit, plan
from ..trajectory_picture import Trajectory
from .env import NavigationEnv
from .navigation_env_cfg import NavigationEnvCfg

Act = Callable[[dict[str, torch.Tensor]], torch.Tensor]
"""Observations by group to actions [N, A]."""


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """What came of every episode."""

    outcomes: tuple[EpisodeOutcome, ...]
    """By world and episode."""
    trajectories: tuple[tuple[Trajectory, ...], ...]
    """By world, in the order of its episodes."""
    steps: int
    """Steps of the environment that it took."""


def configure_evaluation(cfg: NavigationEnvCfg) -> None:
    """Change a task's configuration in place: certified episodes, no noise, no curriculum."""
    cfg.course_source = EPISODES
    cfg.curriculum = None
    cfg.observations.policy.enable_corruption = False


def drive_episodes(env: NavigationEnv, act: Act) -> Rollout:
    """Every certified episode of every world, once; the same environment and policy give the same result.

    Args:
        env: made from a configuration that `configure_evaluation` has changed.
        act: the driver.
    """
    assert env.book.options.source == EPISODES, "configure_evaluation was not called"
    atlas, book, drive, worlds = env.atlas, env.book, env.drive, len(env.atlas)
    peers = [len(range(k, env.num_envs, worlds)) for k in range(worlds)]
    left = np.array(
        [len(range(i // worlds, _episodes_of(env, i % worlds), peers[i % worlds])) for i in range(env.num_envs)]
    )
    paths: list[list[tuple[float, float]]] = [[] for _ in range(env.num_envs)]
    found: dict[tuple[int, int], tuple[EpisodeOutcome, Trajectory]] = {}
    driving = False

    def finish(ids: torch.Tensor) -> None:
        if not driving:
            return
        terms = {GOAL: "arrived", COLLISION: "touched"}
        ended = {name: env.termination_manager.get_term(term) for name, term in terms.items()}
        for i in ids.tolist():
            if left[i] > 0:
                left[i] -= 1
                k, number = i % worlds, int(book.goal_id[i, 0])
                ending = next((name for name in (GOAL, COLLISION) if bool(ended[name][i])), TIMEOUT)
                found[k, number] = _outcome(env, i, k, number, ending, paths[i])
            paths[i] = []

    env.on_finish = finish
    try:
        book.rewind()
        with torch.inference_mode():
            observations = env.reset()[0]
            driving = True
            steps = 0
            # Each episode ends by time at the latest.
            for _ in range(int(left.max()) * (env.max_episode_length + 1)):
                if not (left > 0).any():
                    break
                xy = (drive.xy_w - book.env_offset_w[:, :2]).cpu().numpy()
                for i in np.flatnonzero(left > 0):
                    paths[i].append((float(xy[i, 0]), float(xy[i, 1])))
                observations = env.step(act(observations).to(env.device))[0]
                steps += 1
    finally:
        env.on_finish = None
    keys = [(k, n) for k in range(worlds) for n in range(len(atlas.grounds[k].world.episodes)) if (k, n) in found]
    return Rollout(
        outcomes=tuple(found[key][0] for key in keys),
        trajectories=tuple(tuple(found[key][1] for key in keys if key[0] == k) for k in range(worlds)),
        steps=steps,
    )


def _episodes_of(env: NavigationEnv, k: int) -> int:
    return len(env.atlas.grounds[k].world.episodes)


def _outcome(
    env: NavigationEnv, i: int, k: int, number: int, ending: str, path: list[tuple[float, float]]
) -> tuple[EpisodeOutcome, Trajectory]:
    world, drive = env.atlas.grounds[k].world, env.drive
    episode = world.episodes[number]
    last = (drive.xy_w[i] - env.book.env_offset_w[i, :2]).tolist()
    outcome = EpisodeOutcome(
        world=world.folder.name,
        episode_id=episode.episode_id,
        difficulty=episode.difficulty,
        ending=ending,
        shortest_m=round(_shortest_m(env, k, env.book.goal_id[i].tolist()), 4),
        path_m=round(float(drive.path_m[i]), 4),
        time_s=round(float(env.episode_length_buf[i]) * env.step_dt, 4),
        collisions=int(drive.touches[i]),
        goal_distance_m=round(float(drive.goal_distance_m[i]), 4),
    )
    trajectory = Trajectory(path_xy_m=np.array([*path, last]), goal_xy_m=episode.goal_xy_m, ending=ending)
    return outcome, trajectory


def _shortest_m(env: NavigationEnv, k: int, numbers: list[int]) -> float:
    """Length of the shortest path over all stops [m]: the episode's own, then from each stop to the next."""
    ground = env.atlas.grounds[k]
    goals = ground.world.goals_xy_m()
    length = ground.world.episodes[numbers[0]].geodesic_m
    for a, b in itertools.pairwise(numbers):
        path = plan(ground, goals[a], goals[b], footprint_radius_m=env.robot_spec.footprint_radius_m)
        assert path is not None, "goals of one world's episodes are connected"
        length += float(np.linalg.norm(np.diff(path.points_xy_m, axis=0), axis=1).sum())
    # A stop is reached at its rim: to its middle no path that ends there would ever be too long.
    return max(length - env.cfg.goal_radius_m * len(numbers), 0.0)


class ScriptedDriver:
    """The baseline: shortest paths and pure pursuit, in the same environment and by the same actions as a policy."""

    def __init__(self, env: NavigationEnv) -> None:
        self._env = env
        self._pursuit = PurePursuit(env.num_envs)
        self._drive = np.full(env.num_envs, -1)
        self._leg = np.full(env.num_envs, -1)

    def __call__(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        env, book = self._env, self._env.book
        env.drive.measure()
        offset = book.env_offset_w[:, :2].cpu().numpy()
        xy = env.drive.xy_w.cpu().numpy() - offset
        drives, legs = book.drives.cpu().numpy(), book.leg.cpu().numpy()
        goals = book.goal_xy_w.cpu().numpy() - offset
        for i in np.flatnonzero((drives != self._drive) | (legs != self._leg)):
            ground = env.atlas.grounds[i % len(env.atlas)]
            radius = env.robot_spec.footprint_radius_m
            self._pursuit.follow(int(i), plan(ground, xy[i], goals[i], footprint_radius_m=radius))
        self._drive, self._leg = drives.copy(), legs.copy()
        return torch.from_numpy(self._pursuit.act(xy, env.drive.yaw.cpu().numpy()))


class RandomDriver:
    """Uniform random actions from a seed: the floor that learning has to leave."""

    def __init__(self, env: NavigationEnv, *, seed: int) -> None:
        self._shape = (env.num_envs, env.action_manager.total_action_dim)
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.rand(self._shape, generator=self._generator) * 2 - 1
