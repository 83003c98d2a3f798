"""The floor of a world as a driving robot meets it: obstacles, exact clearance, where it fits, how far goals are.

The ROS map says where the floor is, to a cell. Distances to obstacles come from the collider itself, so that the
clearance under a robot and the ranges of its lidar agree to millimetres and not to cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.grid import Cell, OccupancyGrid
from lyra.worldgen.core.mesh import TriMesh
from lyra.worldgen.core.optional import require
from lyra.worldgen.sim.episodes import PathPlanner, neighbour_graph
from lyra.worldgen.sim.occupancy import ANKLE_M, HEADROOM_M, FreeSpace, outline_points
from lyra.worldgen.sim.usd_read import read_colliders

from .worlds import NavigationWorld

OUTLINE_STEP_M = 0.01
"""Obstacles are sampled this densely; at a clearance of 0.2 m that is exact to 0.1 mm."""
MAX_FIELD_NODES = 60_000
"""Cells of one geodesic field; larger worlds get coarser cells."""


@dataclass(frozen=True, kw_only=True)
class DistanceFields:
    """Distances along the floor to some goals, on a grid that may be coarser than the map."""

    distance_m: np.ndarray
    """[G, rows, cols] float32; beyond where the robot fits it goes on growing, so that it can be interpolated."""
    cell_m: float
    origin_xy_m: tuple[float, float]
    """World position of the centre of cell [0, 0]."""

    def at(self, goal: int, xy_m: np.ndarray) -> np.ndarray:
        """[...] distance to one goal at positions [..., 2], interpolated; beyond the grid its border's values."""
        return interpolated(self.distance_m[goal], (np.asarray(xy_m, float) - self.origin_xy_m) / self.cell_m)


@dataclass(frozen=True, kw_only=True)
class Ground:
    """One world's floor for a robot of one size."""

    world: NavigationWorld
    colliders: TriMesh
    """Everything that collides, world frame."""
    clearance_m: np.ndarray
    """[rows, cols] float32 distance of each map cell's centre to the nearest obstacle or end of the floor, 0 off it."""
    robot_radius_m: float
    """Kept from obstacles by paths, starts and goals."""

    @property
    def grid(self) -> OccupancyGrid:
        return self.world.map

    @cached_property
    def navigable(self) -> np.ndarray:
        """[rows, cols] bool: the robot's centre may be here; the part that holds the episodes, else the largest."""
        ndimage = require("scipy.ndimage", extra="tasks")
        parts, count = ndimage.label(self.clearance_m >= self.robot_radius_m)
        if not count:
            raise InputError(f"a robot of {self.robot_radius_m} m does not fit into the world: {self.world.folder}")
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        sizes[0] = 0
        rowcol = self.grid.rowcol(self.world.starts_xy_yaw()[:, :2])
        held = parts[tuple(rowcol[self.grid.inside(rowcol)].T)]
        votes = np.bincount(held[held > 0], minlength=count + 1)
        return parts == (votes.argmax() if votes.any() else sizes.argmax())

    @cached_property
    def planner(self) -> PathPlanner:
        """Shortest paths for this robot."""
        start = self.grid.centre_xy_m(np.argwhere(self.navigable)[0])
        return PathPlanner(
            FreeSpace(
                grid=self.grid,
                clearance_m=self.clearance_m,
                navigable=self.navigable,
                start_xy_m=(float(start[0]), float(start[1])),
                floor_z_m=self.world.floor_z_m,
                stats={},
            )
        )

    def cells_xy_m(self, clearance_m: float) -> np.ndarray:
        """[K, 2] centres of navigable cells with at least that clearance, in row order; all of them if none has it."""
        chosen = np.argwhere(self.navigable & (self.clearance_m >= clearance_m))
        return self.grid.centre_xy_m(chosen if len(chosen) else np.argwhere(self.navigable))

    def clearance_at(self, xy_m: np.ndarray) -> np.ndarray:
        """[...] clearance [m] at positions [..., 2], interpolated; 0 off the map."""
        cell = (np.asarray(xy_m, float) - self.grid.origin_xy_m) / self.grid.cell_m - 0.5
        rows, cols = self.grid.shape
        inside = (cell >= 0).all(-1) & (cell[..., 0] <= cols - 1) & (cell[..., 1] <= rows - 1)
        return np.where(inside, interpolated(self.clearance_m, cell), 0.0)

    def fields_to(self, goals_xy_m: np.ndarray, *, strain: np.ndarray | None = None) -> DistanceFields:
        """Distance fields to goals [G, 2].

        Args:
            goals_xy_m: where the fields are zero.
            strain: [rows, cols] of the map, by how much a metre there counts for more than a metre; None: nowhere.

        Raises:
            InputError: a goal lies where the robot does not fit.
        """
        ndimage = require("scipy.ndimage", extra="tasks")
        graph = require("scipy.sparse.csgraph", extra="tasks")
        step = max(1, int(np.ceil(np.sqrt(self.navigable.sum() / MAX_FIELD_NODES))))
        mask = self.navigable[step // 2 :: step, step // 2 :: step]
        cell = self.grid.cell_m * step
        first = self.grid.centre_xy_m(np.array([step // 2, step // 2]))
        goals = np.asarray(goals_xy_m, float).reshape(-1, 2)
        nodes, steps = neighbour_graph(mask, cell)
        if strain is not None:
            cells = strain[step // 2 :: step, step // 2 :: step][mask]
            a, b = steps.nonzero()
            steps.data *= 1 + (cells[a] + cells[b]) / 2
        seat = np.clip(np.rint((goals - first) / cell).astype(int)[:, ::-1], 0, np.array(mask.shape) - 1)
        _, nearest = ndimage.distance_transform_edt(~mask, return_indices=True)
        sources = nodes[tuple(nearest[:, seat[:, 0], seat[:, 1]])]
        off = np.linalg.norm(np.argwhere(mask)[sources] - seat, axis=1) * cell
        if (off > 3 * cell).any():
            bad = goals[int(off.argmax())].round(2).tolist()
            raise InputError(f"goal {bad} lies where a robot of {self.robot_radius_m} m does not fit")
        distance = graph.dijkstra(steps, directed=False, indices=sources)
        # What the coarser grid has cut off counts as farther than everything else.
        distance[~np.isfinite(distance)] = distance[np.isfinite(distance)].max() + 1.0
        beyond = np.linalg.norm(np.indices(mask.shape) - nearest, axis=0) * cell
        fields = distance[:, nodes[tuple(nearest)]] + beyond
        return DistanceFields(
            distance_m=fields.astype(np.float32), cell_m=cell, origin_xy_m=(float(first[0]), float(first[1]))
        )


def interpolated(values: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """[...] bilinear values of a grid [rows, cols] at (column, row) [..., 2], cell centres being whole numbers.

    Beyond the outermost centres a grid goes on with its border's values.
    """
    rows, cols = values.shape
    col = np.clip(np.floor(cell[..., 0]).astype(int), 0, cols - 2)
    row = np.clip(np.floor(cell[..., 1]).astype(int), 0, rows - 2)
    u, v = np.clip(cell[..., 0] - col, 0, 1), np.clip(cell[..., 1] - row, 0, 1)
    low = (1 - u) * values[row, col] + u * values[row, col + 1]
    high = (1 - u) * values[row + 1, col] + u * values[row + 1, col + 1]
    return (1 - v) * low + v * high


def load_ground(world: NavigationWorld, *, robot_radius_m: float) -> Ground:
    """Read a world's colliders and measure the clearance of its map.

    Args:
        world: as `load_navigation_world` reads it.
        robot_radius_m: what paths, starts and goals keep from obstacles.

    Raises:
        InputError: the colliders cannot be read, or the robot does not fit anywhere.
    """
    colliders = read_colliders(world.collision_path).mesh
    low = world.floor_z_m + ANKLE_M
    high = world.floor_z_m + world.robot_height_m + HEADROOM_M
    ground = Ground(
        world=world,
        colliders=colliders,
        clearance_m=clearance_from(world.map, colliders, low_m=low, high_m=high),
        robot_radius_m=robot_radius_m,
    )
    assert ground.navigable.any(), "navigable raises when it is empty"
    return ground


def clearance_from(grid: OccupancyGrid, colliders: TriMesh, *, low_m: float, high_m: float) -> np.ndarray:
    """[rows, cols] float32 distance [m] of free cells' centres to colliders between two heights, or to unknown cells.

    Unknown cells bound free floor only where it ends without an obstacle. Cells that are not free have no clearance.
    """
    ndimage = require("scipy.ndimage", extra="tasks")
    spatial = require("scipy.spatial", extra="tasks")
    free = np.argwhere(grid.free)
    clearance = np.zeros(grid.shape, np.float32)
    if not len(free):
        return clearance
    unknown = np.pad(grid.cells == Cell.UNKNOWN, 1, constant_values=True)
    edge = (ndimage.distance_transform_edt(~unknown)[1:-1, 1:-1] - 0.5) * grid.cell_m
    triangles = colliders.triangles()
    z = triangles[:, :, 2]
    points = outline_points(triangles[(z.max(1) > low_m) & (z.min(1) < high_m)], low_m, high_m, OUTLINE_STEP_M)
    nearest = edge[tuple(free.T)]
    points = points[(points[:, 2] > low_m - 1e-6) & (points[:, 2] < high_m + 1e-6)]
    if len(points):
        planar = np.unique(np.round(points[:, :2], 4), axis=0)
        # Outlines are lines of points: without fitting its boxes to them the tree answers in a third of the time.
        tree = spatial.cKDTree(planar, balanced_tree=False, compact_nodes=False)
        nearest = np.minimum(nearest, tree.query(grid.centre_xy_m(free))[0])
    clearance[tuple(free.T)] = nearest
    return clearance
