"""Driving all certified episodes of all worlds once, by whatever turns observations into actions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..courses import EPISODES
from ..evaluation import COLLISION, GOAL, TIMEOUT, EpisodeOutcome
from ..explorer import Explorer
from ..exported import OnnxPolicy
from ..pursuit import PurePursuit, course_length_m, plan
from ..rules import for_robot
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
    """Change a task's configuration in place: certified episodes, no noise, nothing random unless
    `randomisation.in_evaluation` asks for it, no curriculum."""
    cfg.course_source = EPISODES
    cfg.curriculum = None
    cfg.observations.policy.enable_corruption = False
    if cfg.observations.camera is not None:
        cfg.observations.camera.enable_corruption = False
    cfg.randomisation.enabled = cfg.randomisation.enabled and cfg.randomisation.in_evaluation


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
            while (left > 0).any():  # each episode ends by time at the latest
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
    coverage, goal_xy_m = env.coverage, None
    shortest_m = None
    if coverage is None:
        goal_xy_m = episode.goal_xy_m
        shortest_m = course_length_m(
            env.atlas.grounds[k],
            env.book.goal_id[i].tolist(),
            footprint_radius_m=env.robot_spec.footprint_radius_m,
            goal_radius_m=env.cfg.goal_radius_m,
        )
    outcome = EpisodeOutcome.of_drive(
        episode,
        world=world.folder.name,
        ending=ending,
        collisions=int(drive.touches[i]),
        shortest_m=shortest_m,
        path_m=float(drive.path_m[i]),
        time_s=float(env.episode_length_buf[i]) * env.step_dt,
        goal_distance_m=float(drive.goal_distance_m[i]),
        coverage=None if coverage is None else float(coverage.share[i]),
    )
    trajectory = Trajectory(path_xy_m=np.array([*path, last]), goal_xy_m=goal_xy_m, ending=ending)
    return outcome, trajectory


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
        return for_robot(torch.from_numpy(self._pursuit.act(xy, env.drive.yaw.cpu().numpy())), env.robot_spec)


class ScriptedExplorer:
    """The baseline of exploration tasks: from place to place with much uncovered floor near by."""

    def __init__(self, env: NavigationEnv) -> None:
        assert env.coverage is not None, "only exploration tasks have floor to cover"
        self._env, self._coverage = env, env.coverage
        self._pursuit = PurePursuit(env.num_envs)
        radius = env.robot_spec.footprint_radius_m
        self._explorer = Explorer(env.num_envs, near_m=env.coverage.options.near_m, footprint_radius_m=radius)
        self._drive = np.full(env.num_envs, -1)
        self._cells = (env.coverage.cells_w - env.book.env_offset_w[:, None, :2]).cpu().numpy()

    def __call__(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        env = self._env
        env.drive.measure()
        xy = env.drive.xy_w.cpu().numpy() - env.book.env_offset_w[:, :2].cpu().numpy()
        yaw, drives = env.drive.yaw.cpu().numpy(), env.book.drives.cpu().numpy()
        left = (self._coverage.real & ~self._coverage.covered).cpu().numpy()
        for i in range(env.num_envs):
            if drives[i] != self._drive[i]:
                self._explorer.forget(i)
            pieces = self._cells[i][left[i]]
            if self._explorer.wants_new_way(i, xy[i], pieces):
                ground = env.atlas.grounds[i % len(env.atlas)]
                self._pursuit.follow(i, self._explorer.way(i, ground, xy[i], float(yaw[i]), pieces))
        self._drive = drives.copy()
        return for_robot(torch.from_numpy(self._pursuit.act(xy, yaw)), env.robot_spec)


class ExportedDriver:
    """A policy in ONNX."""

    def __init__(self, policy: OnnxPolicy) -> None:
        self._policy = policy

    def __call__(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        told = {name: observations[name].cpu().numpy() for name in self._policy.pictures}
        return torch.from_numpy(self._policy.actions(observations["policy"].cpu().numpy(), **told))


class ComparedDriver:
    """Drives by a policy and asks its exported copy the same."""

    def __init__(self, act: Act, exported: OnnxPolicy) -> None:
        self._act, self._exported = act, ExportedDriver(exported)
        self.difference = 0.0
        """Largest difference of an action so far."""

    def __call__(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        actions = self._act(observations)
        apart = (self._exported(observations) - actions.cpu()).abs().max()
        self.difference = float(np.maximum(self.difference, apart))  # NaN stays NaN
        return actions


class RandomDriver:
    """Uniform random actions from a seed: the floor that learning has to leave."""

    def __init__(self, env: NavigationEnv, *, seed: int) -> None:
        self._shape = (env.num_envs, env.action_manager.total_action_dim)
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.rand(self._shape, generator=self._generator) * 2 - 1
