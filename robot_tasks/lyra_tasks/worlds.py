"""World folder to records: what a navigation task needs to know about a world, and nothing of how it was made."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.grid import OccupancyGrid
from lyra.worldgen.core.world import load_world
from lyra.worldgen.sim.occupancy import load_ros_map

MAX_EPISODES_BYTES = 64 * 2**20
"""Largest episode file that is read [bytes]."""
MOST_NAMED = 8
"""Worlds that are left out and named."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class NavigationEpisode:
    """Drive from start to goal. Positions lie on the floor, world frame."""

    episode_id: int
    start_xy_m: tuple[float, float]
    start_yaw_rad: float
    goal_xy_m: tuple[float, float]
    floor_z_m: float
    geodesic_m: float
    """Length of the shortest collision-free path for the world's robot radius; the denominator of SPL."""
    difficulty: str
    waypoints_xy_m: tuple[tuple[float, float], ...]
    """Corners of that path, start and goal included."""


@dataclass(frozen=True, kw_only=True)
class NavigationWorld:
    """One world as a task sees it."""

    folder: Path
    usd_path: Path
    """Interface layer without a physics scene: simulators that train bring their own."""
    collision_path: Path
    """The colliders alone: what physics and lidar need, without pictures and splats."""
    verdict: str
    """What the certificate said; empty when the world was never certified."""
    map: OccupancyGrid
    episodes: tuple[NavigationEpisode, ...]
    robot_radius_m: float
    """Radius the episodes were planned for."""
    robot_height_m: float
    floor_z_m: float

    def starts_xy_yaw(self) -> np.ndarray:
        """[E, 3] start positions [m] and headings [rad]."""
        rows = [(*e.start_xy_m, e.start_yaw_rad) for e in self.episodes]
        return np.array(rows, float).reshape(-1, 3)

    def goals_xy_m(self) -> np.ndarray:
        """[E, 2]."""
        return np.array([e.goal_xy_m for e in self.episodes], float).reshape(-1, 2)

    def geodesics_m(self) -> np.ndarray:
        """[E]."""
        return np.array([e.geodesic_m for e in self.episodes], float)

    def with_difficulty(self, difficulty: str) -> tuple[NavigationEpisode, ...]:
        """Episodes of one difficulty bin, for curricula."""
        return tuple(e for e in self.episodes if e.difficulty == difficulty)


def load_navigation_world(folder: Path) -> NavigationWorld:
    """Read the navigation data of a finished world folder; only files that its manifest lists are opened.

    Raises:
        InputError: no world folder, navigation data missing or damaged, or an episode off the map's free space.
    """
    world = load_world(folder)
    space = _read_json(world.path("nav/free_space.json"))
    grid = load_ros_map(world.path("nav/map.yaml"))
    episodes = _read_episodes(world.path("nav/episodes.jsonl"))
    for episode in episodes:
        if not grid.free_at(np.array([episode.start_xy_m, episode.goal_xy_m])).all():
            raise InputError(
                f"episode {episode.episode_id} starts or ends off free space; generate the world again: {folder}"
            )
    return NavigationWorld(
        folder=Path(folder),
        usd_path=world.path("world.usda"),
        collision_path=world.path("payloads/collision.usdc"),
        verdict=world.verdict,
        map=grid,
        episodes=episodes,
        robot_radius_m=_number(space, "robot_radius_m", "nav/free_space.json"),
        robot_height_m=_number(space, "robot_height_m", "nav/free_space.json"),
        floor_z_m=_number(space, "floor_z_m", "nav/free_space.json"),
    )


def load_navigation_worlds(folders: Iterable[Path], *, certified_only: bool = True) -> list[NavigationWorld]:
    """Several worlds, in the order given; a warning in the log names those that are left out.

    Args:
        folders: world folders.
        certified_only: leave out worlds whose certificate did not pass.

    Raises:
        InputError: as `load_navigation_world`, or no world is left.
    """
    folders = list(folders)
    verdicts = [load_world(folder).verdict if certified_only else "passed" for folder in folders]
    kept = [folder for folder, verdict in zip(folders, verdicts, strict=True) if verdict == "passed"]
    if not kept:
        raise InputError(f"none of the {len(folders)} worlds passed its certificate; look at their certificate.html")
    if len(kept) < len(folders):
        out = [(f, v or "never certified") for f, v in zip(folders, verdicts, strict=True) if v != "passed"]
        named = ", ".join(f"{Path(*folder.parts[-2:])} ({verdict})" for folder, verdict in out[:MOST_NAMED])
        more = f" and {len(out) - MOST_NAMED} more" if len(out) > MOST_NAMED else ""
        _log.warning(
            "%d of %d worlds are taken; their certificates leave out %s%s", len(kept), len(folders), named, more
        )
    return [load_navigation_world(folder) for folder in kept]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot be read as JSON ({error}): {path}") from error
    if not isinstance(data, dict):
        raise InputError(f"holds a {type(data).__name__}; expected an object: {path}")
    return data


def _read_episodes(path: Path) -> tuple[NavigationEpisode, ...]:
    if path.stat().st_size > MAX_EPISODES_BYTES:
        raise InputError(f"is larger than {MAX_EPISODES_BYTES} bytes: {path}")
    episodes = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path}, line {number}"
            try:
                data = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"is no JSON ({error}): {where}") from error
            episodes.append(_episode(data, where))
    return tuple(episodes)


def _episode(data: Any, where: str) -> NavigationEpisode:
    if not isinstance(data, dict):
        raise InputError(f"is a {type(data).__name__}; expected an object: {where}")
    start, goal = _numbers(data, "start", 4, where), _numbers(data, "goal", 3, where)
    waypoints = data.get("waypoints")
    if not isinstance(waypoints, list):
        raise InputError(f"waypoints is {waypoints!r:.40}; expected a list of positions: {where}")
    return NavigationEpisode(
        episode_id=int(_number(data, "id", where)),
        start_xy_m=(start[0], start[1]),
        start_yaw_rad=start[3],
        goal_xy_m=(goal[0], goal[1]),
        floor_z_m=start[2],
        geodesic_m=_number(data, "geodesic_m", where),
        difficulty=str(data.get("difficulty", "")),
        waypoints_xy_m=tuple((x, y) for x, y in (_numbers({"waypoint": w}, "waypoint", 2, where) for w in waypoints)),
    )


def _number(data: dict[str, Any], key: str, where: str) -> float:
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e6:
        raise InputError(f"{key} is {value!r:.40}; expected a finite number: {where}")
    return float(value)


def _numbers(data: dict[str, Any], key: str, count: int, where: str) -> list[float]:
    values = data.get(key)
    if not isinstance(values, list) or len(values) != count:
        raise InputError(f"{key} is {values!r:.40}; expected {count} numbers: {where}")
    return [_number({key: value}, key, where) for value in values]
