"""Map, free space and episodes of a variant whose floor or layout differs from its base's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..core.grid import OccupancyGrid
from ..sim.episodes import Episode, densified, sample_episodes, write_navigation
from ..sim.occupancy import FreeSpace, write_ros_map
from .base import Base
from .clutter import Placed, way_is_free
from .draw import stream


def write_variant_navigation(
    folder: Path, base: Base, placed: Placed, *, mirrored: bool, anew: bool, seed: int, index: int
) -> None:
    """`map.yaml`, `map.png`, `episodes.jsonl` and `free_space.json`.

    Args:
        folder: `nav` of the variant.
        base: whose episodes stay, with clearances measured anew: what was put on the floor keeps out of their ways, and
            no way gets shorter by it.
        placed: the map with things.
        mirrored: whether y becomes -y.
        anew: draw episodes anew, because things may stand in the way.
        seed: of all variants.
        index: of this variant.
    """
    space = placed.space
    if anew and placed.things:
        again = int(stream(seed, index, "episodes").integers(2**31))
        episodes = sample_episodes(space, count=len(base.episodes), seed=again)
    else:
        episodes = [_measured(episode, space) for episode in base.episodes if _still_free(episode, space)]
    if mirrored:
        space, episodes = mirrored_space(space), [mirrored_episode(episode) for episode in episodes]
    write_ros_map(folder, space.grid)
    write_navigation(folder, space, episodes)


def mirrored_space(space: FreeSpace) -> FreeSpace:
    """The mirror image of a map, y becoming -y."""
    rows = space.grid.shape[0]
    x, y = space.grid.origin_xy_m
    grid = OccupancyGrid(
        cells=np.ascontiguousarray(space.grid.cells[::-1]),
        cell_m=space.grid.cell_m,
        origin_xy_m=(x, round(-(y + rows * space.grid.cell_m), 9)),
    )
    return replace(
        space,
        grid=grid,
        clearance_m=np.ascontiguousarray(space.clearance_m[::-1]),
        navigable=np.ascontiguousarray(space.navigable[::-1]),
        start_xy_m=(space.start_xy_m[0], 0.0 - space.start_xy_m[1]),
    )


def mirrored_episode(episode: Episode) -> Episode:
    """The mirror image of an episode."""

    def moved(xy_m: tuple[float, float]) -> tuple[float, float]:
        return xy_m[0], 0.0 - xy_m[1]

    return replace(
        episode,
        start_xy_m=moved(episode.start_xy_m),
        goal_xy_m=moved(episode.goal_xy_m),
        start_yaw_rad=0.0 - episode.start_yaw_rad,
        waypoints_xy_m=tuple(moved(xy) for xy in episode.waypoints_xy_m),
    )


def _still_free(episode: Episode, space: FreeSpace) -> bool:
    """Every episode was free when things were placed, but those whose way touches cells by a rounding only."""
    ends = np.array([episode.start_xy_m, episode.goal_xy_m])
    return way_is_free(space, episode) or bool(space.grid.free_at(ends).all())


def _measured(episode: Episode, space: FreeSpace) -> Episode:
    cells = space.grid.rowcol(densified(np.array(episode.waypoints_xy_m, float), space.grid.cell_m))
    cells = cells[space.grid.inside(cells)]
    return replace(episode, clearance_m=round(float(space.clearance_m[tuple(cells.T)].min()), 3))
