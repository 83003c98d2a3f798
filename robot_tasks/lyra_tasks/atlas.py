"""Several worlds side by side in one simulation, and the places that robots start from and drive to in them.

Frames: `world` is a world's own frame; `atlas` is the simulation's. It holds S places for K worlds, S a multiple of K:
place s shows world s % K, moved by `offsets_m[s]` so that its floor lies at z = 0. Environment i lives in place i % S,
so in world i % K. Most often S is K; more places are copies, for engines that get slow where many robots overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lyra.worldgen.core.errors import InputError

from .ground import DistanceFields, Ground, load_ground
from .world_list import find_world_folders
from .worlds import NavigationWorld, load_navigation_worlds

GAP_M = 10.0
"""Between the maps of neighbouring worlds, so that no lidar looks into another one."""
MOST_COPIES = 16
CLUTTER_M = 0.1
"""Random starts and goals keep this much more from obstacles than paths do, where there is room."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where drives of one world begin and end, world frame."""

    goals_xy_m: np.ndarray
    """[G, 2] where random drives may end."""
    fields: DistanceFields
    """Distance to each of them."""
    starts_xy_m: np.ndarray
    """[S, 2] where random drives may begin."""
    start_distance_m: np.ndarray
    """[G, S] float32 distance along the floor from each start to each goal."""


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """Worlds with their places in one simulation."""

    grounds: tuple[Ground, ...]
    offsets_m: np.ndarray
    """[S, 3] `atlas` position of the origin of the world in each place."""

    def __len__(self) -> int:
        return len(self.grounds)

    def world_of(self, env_count: int) -> np.ndarray:
        """[env_count] the world of each environment."""
        return np.arange(env_count) % len(self.grounds)

    def env_offsets_m(self, env_count: int) -> np.ndarray:
        """[env_count, 3] `atlas` position of the origin of each environment's world."""
        return self.offsets_m[np.arange(env_count) % len(self.offsets_m)]

    def prim_path(self, s: int) -> str:
        """Where the simulation holds what is in place s."""
        copy, k = divmod(s, len(self.grounds))
        return f"/World/worlds/world_{k}" + (f"_copy_{copy}" if copy else "")

    def with_room(self, env_count: int, floor_per_robot_m2: float) -> Atlas:
        """The same worlds, with as many copies of each as give every robot so much free floor on average.

        Args:
            env_count: robots, one an environment.
            floor_per_robot_m2: 0 for one copy of each world.
        """
        floor_m2 = sum(np.count_nonzero(g.navigable) * g.grid.cell_m**2 for g in self.grounds)
        copies = int(np.clip(np.ceil(env_count * floor_per_robot_m2 / floor_m2), 1, MOST_COPIES))
        worlds = [ground.world for ground in self.grounds] * copies
        return replace(self, offsets_m=place_side_by_side(worlds))

    def with_first_episodes(self, most: int) -> Atlas:
        """The same worlds with at most so many of their episodes each, the first ones: all difficulties take turns."""
        grounds = [replace(g, world=replace(g.world, episodes=g.world.episodes[:most])) for g in self.grounds]
        return replace(self, grounds=tuple(grounds))


def place_side_by_side(worlds: Sequence[NavigationWorld], *, gap_m: float = GAP_M) -> np.ndarray:
    """Positions [K, 3] of worlds on a square grid: their maps keep a gap, their floors lie at z = 0.

    Positions are multiples of half a metre, which single precision holds exactly.
    """
    sizes = np.array([np.array(w.map.shape[::-1]) * w.map.cell_m for w in worlds])
    centres = np.array([w.map.origin_xy_m for w in worlds]) + sizes / 2
    pitch = sizes.max(0) + gap_m
    columns = int(np.ceil(np.sqrt(len(worlds))))
    k = np.arange(len(worlds))
    # The first world stays where it is: one world alone has its own coordinates.
    seat = np.stack([k % columns, k // columns], -1) * pitch + np.where(k[:, None] > 0, centres[0] - centres, 0.0)
    floors = np.array([w.floor_z_m for w in worlds])
    return np.c_[np.round(seat * 2) / 2, -floors] + 0.0  # no minus zeros


def load_atlas(where: str, *, robot_radius_m: float, certified_only: bool = True, at_most: int | None = None) -> Atlas:
    """Worlds that a text names, placed side by side.

    Args:
        where: see `find_world_folders`.
        robot_radius_m: what paths, starts and goals keep from obstacles.
        certified_only: leave out worlds whose certificate did not pass.
        at_most: take only the first so many.

    Raises:
        InputError: no world is left, one is damaged, or the robot does not fit into one.
    """
    folders: list[Path] = find_world_folders(where)
    worlds = load_navigation_worlds(folders, certified_only=certified_only)[:at_most]
    return Atlas(
        grounds=tuple(load_ground(world, robot_radius_m=robot_radius_m) for world in worlds),
        offsets_m=place_side_by_side(worlds),
    )


def choose_places(ground: Ground, *, goals: int, starts: int, seed: int, key: int = 0) -> Places:
    """Seeded goals and starts in free space with their distances, the pool that random drives draw from.

    Args:
        ground: the world.
        goals: how many goals, fewer if the world has fewer cells.
        starts: how many starts, fewer if the world has fewer cells.
        seed: decides both.
        key: number of the world, so that equal worlds get other places.

    Raises:
        InputError: the world has no room for a start apart from its goal.
    """
    cells = ground.cells_xy_m(ground.robot_radius_m + CLUTTER_M)
    if len(cells) < 2:
        raise InputError(f"has room for {len(cells)} positions of the robot; expected some: {ground.world.folder}")
    rng = np.random.default_rng([seed, key, 0x676F616C])
    goals_xy = cells[np.sort(rng.choice(len(cells), min(goals, len(cells)), replace=False))]
    starts_xy = cells[np.sort(rng.choice(len(cells), min(starts, len(cells)), replace=False))]
    fields = ground.fields_to(goals_xy)
    return Places(
        goals_xy_m=goals_xy,
        fields=fields,
        starts_xy_m=starts_xy,
        start_distance_m=sampled(fields, starts_xy).astype(np.float32),
    )


def sampled(fields: DistanceFields, xy_m: np.ndarray) -> np.ndarray:
    """[G, N] every field at positions [N, 2], by the nearest cell."""
    cell = np.rint((np.asarray(xy_m, float) - fields.origin_xy_m) / fields.cell_m).astype(int)
    rows, cols = fields.distance_m.shape[1:]
    return fields.distance_m[:, np.clip(cell[:, 1], 0, rows - 1), np.clip(cell[:, 0], 0, cols - 1)]
