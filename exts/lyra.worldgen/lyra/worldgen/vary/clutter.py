"""Things that stand on the floor: convex shapes made here, so nobody has rights in them (CC0-1.0).

A thing is a stump of a prism or pyramid. It stands on its lower face, which lies in the floor's plane, with its middle
over it, so it rests as it is placed. It keeps clear of walls, of other things, of where the photo was taken and, unless
it may block, of every episode's way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.config import SimulationConfig
from ..core.grid import OccupancyGrid
from ..core.mesh import Label, TriMesh, concatenate_meshes
from ..core.optional import require
from ..sim.episodes import Episode, densified
from ..sim.occupancy import MARGIN_M, FreeSpace, with_things
from .config import ClutterVariation
from .draw import stream

LICENCE = "CC0-1.0"
GAP_M = 0.03
"""Kept between things and whatever else there is."""
VIEW_M = 1.0
"""Kept free around where the photo was taken."""
MOST_SLENDER = 3.5
"""Height over the width of the foot; more slender things fall over when they are touched."""
LEAST_SHARE = 0.9
"""Of where a robot fits, at least so much must stay connected, or as much as was before."""
LEAST_LEFT = 0.5
"""Of the floor where a robot fits, at least so much must be left."""
TRIES = 40


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A stump over a regular polygon."""

    corners: int
    foot: float
    """Width of the foot, as a share of the whole."""
    head: float
    """Width of the upper face."""


SHAPES = {
    "crate": Shape(corners=4, foot=1.0, head=1.0),
    "barrel": Shape(corners=16, foot=1.0, head=1.0),
    "bin": Shape(corners=16, foot=0.75, head=1.0),
    "planter": Shape(corners=6, foot=0.8, head=1.0),
    "cone": Shape(corners=16, foot=1.0, head=0.2),
    "post": Shape(corners=8, foot=1.0, head=0.9),
}


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One thing on the floor, in the base's frame."""

    shape: str
    """Key of `SHAPES`."""
    xy_m: tuple[float, float]
    yaw_rad: float
    width_m: float
    """Across, at the widest."""
    height_m: float

    @property
    def radius_m(self) -> float:
        """Of a circle around it."""
        return self.width_m / 2

    def mesh(self, floor_z_m: float) -> TriMesh:
        """Its surface, faces outward; the first corners are the foot's, then the head's."""
        shape = SHAPES[self.shape]
        n = shape.corners
        angle = self.yaw_rad + np.arange(n) * 2 * np.pi / n
        ring = np.stack([np.cos(angle), np.sin(angle)], -1) * self.width_m / 2
        foot = np.c_[ring * shape.foot + self.xy_m, np.full(n, floor_z_m)]
        head = np.c_[ring * shape.head + self.xy_m, np.full(n, floor_z_m + self.height_m)]
        i, j = np.arange(n), (np.arange(n) + 1) % n
        fan = np.arange(1, n - 1)
        faces = np.concatenate(
            [
                np.stack([i, j, n + j], -1),
                np.stack([i, n + j, n + i], -1),
                np.stack([np.zeros_like(fan), fan + 1, fan], -1),
                np.stack([np.full_like(fan, n), n + fan, n + fan + 1], -1),
            ]
        )
        return TriMesh(
            vertices=np.concatenate([foot, head]),
            faces=faces.astype(np.int32),
            face_labels=np.full(len(faces), Label.OBJECT, np.uint8),
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "shape": self.shape,
            "xy_m": list(self.xy_m),
            "yaw_rad": self.yaw_rad,
            "width_m": self.width_m,
            "height_m": self.height_m,
        }


@dataclass(frozen=True, kw_only=True)
class Placed:
    """What was put where, and the map with it."""

    things: tuple[Thing, ...]
    space: FreeSpace


def place_clutter(
    count: int,
    cfg: ClutterVariation,
    grid: OccupancyGrid,
    episodes: Sequence[Episode],
    *,
    floor_z_m: float,
    robot: SimulationConfig,
    seed: int,
    index: int,
) -> Placed:
    """Put up to `count` things on the floor of a map; fewer where they would take too much of its room.

    Args:
        count: how many are wanted.
        cfg: sizes, and whether they may block.
        grid: the map.
        episodes: whose ways stay free.
        floor_z_m: height of the floor.
        robot: size of the robot.
        seed: of all variants.
        index: of this variant.
    """
    rng = stream(seed, index, "clutter things")
    before = with_things(grid, concatenate_meshes([]), floor_z_m, robot)
    # A way that touches the border of its cells was free by a rounding only.
    kept = () if cfg.blocking else tuple(episode for episode in episodes if way_is_free(before, episode))
    room = _Room(grid, kept, robot)
    things: list[Thing] = []
    for _ in range(count):
        thing = _place_one(rng, cfg, room, things)
        if thing is not None:
            things.append(thing)
    while True:
        space = with_things(grid, things_mesh(things, floor_z_m), floor_z_m, robot)
        if not things or _good(space, before, kept):
            return Placed(things=tuple(things), space=space)
        things.pop()


def things_mesh(things: Sequence[Thing], floor_z_m: float) -> TriMesh:
    """All of them as one mesh, which may be empty."""
    return concatenate_meshes([thing.mesh(floor_z_m) for thing in things])


class _Room:
    """Where a thing may stand."""

    def __init__(self, grid: OccupancyGrid, episodes: Sequence[Episode], robot: SimulationConfig) -> None:
        ndimage = require("scipy.ndimage", extra="sim", package="scipy")
        self.grid = grid
        # Half a cell less: distance to a blocked cell's border.
        clear = ndimage.distance_transform_edt(np.pad(grid.free, 1))[1:-1, 1:-1] - 0.5
        self.clearance_m = np.maximum(clear, 0.0) * grid.cell_m
        way = np.zeros(grid.shape, bool)
        for episode in episodes:
            cells = grid.rowcol(densified(np.array(episode.waypoints_xy_m, float), grid.cell_m / 2))
            way[tuple(cells[grid.inside(cells)].T)] = True
        self.way_m = np.full(grid.shape, np.inf)
        if way.any():
            self.way_m = ndimage.distance_transform_edt(~way) * grid.cell_m
        # A path lies anywhere in its cells, and a thing's border anywhere in its own.
        self.robot_m = robot.robot_radius_m + MARGIN_M + 1.5 * grid.cell_m

    def cells_for(self, radius_m: float, things: Sequence[Thing]) -> np.ndarray:
        """[K, 2] cells in whose middle a thing of a radius may stand."""
        good = (self.clearance_m >= radius_m + GAP_M) & (self.way_m >= radius_m + self.robot_m)
        cells = np.argwhere(good)
        if not len(cells):
            return cells
        xy = self.grid.centre_xy_m(cells)
        apart = np.linalg.norm(xy, axis=1) >= radius_m + VIEW_M
        for thing in things:
            apart &= np.linalg.norm(xy - thing.xy_m, axis=1) >= radius_m + thing.radius_m + GAP_M
        return cells[apart]


def _place_one(rng: np.random.Generator, cfg: ClutterVariation, room: _Room, things: Sequence[Thing]) -> Thing | None:
    """A thing of drawn shape and size where there is room for it; smaller ones are tried where there is none."""
    for _ in range(TRIES):
        name = sorted(SHAPES)[int(rng.integers(len(SHAPES)))]
        width = round(float(rng.uniform(*cfg.width_m)), 4)
        slender = MOST_SLENDER * width * SHAPES[name].foot
        height = round(float(min(rng.uniform(*cfg.height_m), max(slender, cfg.height_m[0]))), 4)
        cells = room.cells_for(width / 2, things)
        if not len(cells):
            continue
        x, y = room.grid.centre_xy_m(cells[int(rng.integers(len(cells)))])
        return Thing(
            shape=name,
            xy_m=(round(float(x), 4), round(float(y), 4)),
            yaw_rad=round(float(rng.uniform(0, 2 * np.pi)), 4),
            width_m=width,
            height_m=height,
        )
    return None


def _good(space: FreeSpace, before: FreeSpace, episodes: Sequence[Episode]) -> bool:
    """Whether a robot has room, and every episode its way."""
    if space.navigable.sum() < LEAST_LEFT * before.navigable.sum():
        return False
    share = "largest_connected_share"
    if space.stats[share] < min(LEAST_SHARE, before.stats[share]):
        return False
    return all(way_is_free(space, episode) for episode in episodes)


def way_is_free(space: FreeSpace, episode: Episode) -> bool:
    """Whether the robot's centre may be in every cell of an episode's way."""
    cells = space.grid.rowcol(densified(np.array(episode.waypoints_xy_m, float), space.grid.cell_m / 2))
    return bool(space.grid.inside(cells).all()) and bool(space.navigable[tuple(cells.T)].all())
