"""Free space of the occupancy map: clearance, where the robot's centre may be, spread-out samples, routes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.grid import Cell, OccupancyGrid
from ..core.optional import require

_CLEAR_M = 0.5
"""Routes keep this far from obstacles where there is room [m]."""
_STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))


@dataclass(frozen=True, kw_only=True)
class FreeSpace:
    """Clearances of a map for one robot radius."""

    grid: OccupancyGrid
    robot_radius_m: float
    clearance_m: np.ndarray
    """[rows, cols] distance from a free cell's centre to the border of the nearest cell that is not free; else 0."""
    component: np.ndarray
    """[rows, cols] bool: the largest connected set of cells where the robot's centre fits."""
    connected_share: float
    """Its part of all cells where the robot's centre fits."""
    connected_area_m2: float
    """Free floor that is connected to it without leaving free cells."""

    @property
    def free_area_m2(self) -> float:
        return float(self.grid.free.sum()) * self.grid.cell_m**2

    def fits(self, margin_m: float = 0.0) -> np.ndarray:
        """[rows, cols] bool: the robot's centre fits with that much to spare."""
        return self.clearance_m >= self.robot_radius_m + margin_m

    def spread(self, count: int, allowed: np.ndarray, *, seed: int) -> np.ndarray:
        """Up to `count` cell centres [K, 2] world, far from one another, among `allowed` [rows, cols] bool."""
        cells = np.argwhere(allowed)
        if not len(cells) or count < 1:
            return np.zeros((0, 2))
        rng = np.random.default_rng(seed)
        # A few thousand candidates are plenty; farthest-point sampling costs candidates times count.
        cells = cells[np.sort(rng.permutation(len(cells))[: max(4000, count)])]
        points = self.grid.centre_xy_m(cells)
        chosen = [int(rng.integers(len(points)))]
        distance = np.linalg.norm(points - points[chosen[0]], axis=1)
        while len(chosen) < min(count, len(points)):
            chosen.append(int(np.argmax(distance)))
            distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
        return points[chosen]

    def anywhere(self, count: int, allowed: np.ndarray, *, seed: int) -> np.ndarray:
        """Up to `count` cell centres [K, 2] world, uniformly drawn without repetition among `allowed`."""
        cells = np.argwhere(allowed)
        rng = np.random.default_rng(seed)
        return self.grid.centre_xy_m(cells[np.sort(rng.permutation(len(cells))[:count])]).reshape(-1, 2)

    def edge_cells(self) -> np.ndarray:
        """[rows, cols] bool: occupied cells beside free ones, so the surface itself and not a thing's inside."""
        ndimage = require("scipy.ndimage", extra="sim", package="scipy")
        near = ndimage.binary_dilation(self.grid.free, np.ones((3, 3), bool))
        return near & (self.grid.cells == Cell.OCCUPIED)


def analyse(grid: OccupancyGrid, robot_radius_m: float) -> FreeSpace:
    """Clearance and connectivity of a map."""
    ndimage = require("scipy.ndimage", extra="sim", package="scipy")
    # Outside the map nothing is known, so its rim counts as an obstacle.
    padded = np.pad(grid.free, 1)
    clearance = ndimage.distance_transform_edt(padded)[1:-1, 1:-1] * grid.cell_m
    clearance = np.maximum(clearance - 0.5 * grid.cell_m, 0.0) * grid.free
    fits = clearance >= robot_radius_m
    labels, count = ndimage.label(fits, np.ones((3, 3), bool))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    component = labels == 1 + int(np.argmax(sizes)) if count else np.zeros(grid.shape, bool)
    share = float(sizes.max() / sizes.sum()) if count else 0.0
    floor_labels, _ = ndimage.label(grid.free)
    joined = np.unique(floor_labels[component])
    area = float(np.isin(floor_labels, joined[joined > 0]).sum()) * grid.cell_m**2
    return FreeSpace(
        grid=grid,
        robot_radius_m=robot_radius_m,
        clearance_m=clearance,
        component=component,
        connected_share=share,
        connected_area_m2=area,
    )


class RoutePlanner:
    """Shortest routes for the robot's centre that prefer the middle of free space."""

    def __init__(self, space: FreeSpace) -> None:
        sparse = require("scipy.sparse", extra="sim", package="scipy")
        self._space = space
        allowed = space.fits(0.25 * space.grid.cell_m)
        self._allowed = allowed
        index = np.full(allowed.shape, -1)
        self._cells = np.argwhere(allowed)
        index[allowed] = np.arange(len(self._cells))
        self._index = index
        price = 1 + 2 * np.clip((_CLEAR_M - space.clearance_m) / _CLEAR_M, 0, 1)
        rows, cols, costs = [], [], []
        for dr, dc in _STEPS:
            a = index[: allowed.shape[0] - dr, max(0, -dc) : allowed.shape[1] - max(0, dc)]
            b = index[dr:, max(0, dc) : allowed.shape[1] + min(0, dc)]
            both = (a >= 0) & (b >= 0)
            i, j = a[both], b[both]
            p = price[tuple(self._cells[i].T)] + price[tuple(self._cells[j].T)]
            rows.append(i)
            cols.append(j)
            costs.append(0.5 * p * np.hypot(dr, dc) * space.grid.cell_m)
        n = len(self._cells)
        self._graph = sparse.csr_matrix(
            (np.concatenate(costs), (np.concatenate(rows), np.concatenate(cols))), shape=(n, n)
        )

    def route(self, start_xy_m: tuple[float, float], goal_xy_m: tuple[float, float]) -> np.ndarray | None:
        """Corners of a route [K, 2] from start to goal, both included; None when there is none."""
        csgraph = require("scipy.sparse.csgraph", extra="sim", package="scipy")
        a, b = self._node(start_xy_m), self._node(goal_xy_m)
        if a is None or b is None:
            return None
        _, previous = csgraph.dijkstra(self._graph, directed=False, indices=b, return_predecessors=True)
        if a != b and previous[a] < 0:
            return None
        chain = [a]
        while chain[-1] != b:
            chain.append(int(previous[chain[-1]]))
        points = self._space.grid.centre_xy_m(self._cells[chain])
        points = np.concatenate([[start_xy_m], points, [goal_xy_m]])
        return self._straighten(points)

    def _node(self, xy_m: tuple[float, float]) -> int | None:
        """The nearest allowed cell within a robot's radius."""
        if not len(self._cells):
            return None
        distance = np.linalg.norm(self._space.grid.centre_xy_m(self._cells) - xy_m, axis=1)
        best = int(np.argmin(distance))
        return best if distance[best] <= self._space.robot_radius_m else None

    def _straighten(self, points: np.ndarray) -> np.ndarray:
        """Leave out points between which the robot can go straight, at most two metres at a time."""
        reach = max(1, round(2.0 / self._space.grid.cell_m))
        kept, at = [0], 0
        while at < len(points) - 1:
            nxt = min(at + reach, len(points) - 1)
            while nxt > at + 1 and not self._straight(points[at], points[nxt]):
                nxt -= max(1, (nxt - at) // 4)
            at = nxt
            kept.append(at)
        return points[kept]

    def _straight(self, a: np.ndarray, b: np.ndarray) -> bool:
        steps = max(2, int(np.ceil(np.linalg.norm(b - a) / (0.5 * self._space.grid.cell_m))) + 1)
        cells = self._space.grid.rowcol(a + np.linspace(0, 1, steps)[:, None] * (b - a))
        if not self._space.grid.inside(cells).all():
            return False
        wide = np.minimum(self._space.clearance_m[tuple(cells.T)], _CLEAR_M)
        # A short cut may not squeeze closer to things than the planned way between the same ends did.
        return bool(wide.min() >= min(_CLEAR_M, self._space.robot_radius_m + 0.1)) and bool(
            self._allowed[tuple(cells.T)].all()
        )
