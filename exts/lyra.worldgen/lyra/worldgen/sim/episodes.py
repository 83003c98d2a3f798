"""Navigation episodes: seeded starts and goals in navigable space with the length and corners of the shortest path."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.optional import require
from .occupancy import FreeSpace, replace_text

DIFFICULTY = (("easy", 1.5, 3.0), ("medium", 3.0, 5.0), ("hard", 5.0, np.inf))
"""Name and range of the geodesic distance [m]: the usual bins of point-goal navigation."""
PER_SOURCE = 4
"""Episodes that share one distance field; they alternate between starting and ending there."""


@dataclass(frozen=True, kw_only=True)
class Episode:
    """Drive from start to goal."""

    index: int
    start_xy_m: tuple[float, float]
    start_yaw_rad: float
    goal_xy_m: tuple[float, float]
    geodesic_m: float
    """Length of the shortest path for the robot's radius."""
    difficulty: str
    waypoints_xy_m: tuple[tuple[float, float], ...]
    """Corners of that path, start and goal included."""
    clearance_m: float
    """Least distance to anything along the path."""

    def as_dict(self, floor_z_m: float) -> dict[str, Any]:
        straight = float(np.linalg.norm(np.subtract(self.goal_xy_m, self.start_xy_m)))
        return {
            "id": self.index,
            "start": [*self.start_xy_m, round(floor_z_m, 3), self.start_yaw_rad],
            "goal": [*self.goal_xy_m, round(floor_z_m, 3)],
            "geodesic_m": self.geodesic_m,
            "euclidean_m": round(straight, 3),
            "difficulty": self.difficulty,
            "clearance_m": self.clearance_m,
            "waypoints": [list(w) for w in self.waypoints_xy_m],
        }


class PathPlanner:
    """Shortest paths over the navigable cells: Dijkstra on 8 neighbours, then straightened corner to corner."""

    def __init__(self, space: FreeSpace) -> None:
        self.space = space
        self.cells = np.argwhere(space.navigable)
        """[K, 2] row and column of every node."""
        self._node, self._graph = neighbour_graph(space.navigable, space.grid.cell_m)

    def node_at(self, xy_m: np.ndarray) -> int:
        """The node of a position, -1 where the robot may not be."""
        return int(self.nodes_at(np.asarray(xy_m)[None])[0])

    def nodes_at(self, xy_m: np.ndarray) -> np.ndarray:
        """[N] nodes of positions [N, 2], -1 where the robot may not be."""
        grid = self.space.grid
        rc = grid.rowcol(np.asarray(xy_m))
        row, col = np.clip(rc, 0, np.array(grid.shape) - 1).T
        return np.where(grid.inside(rc), self._node[row, col], -1)

    def nearest(self, xy_m: np.ndarray) -> int:
        """The node nearest to a position, wherever that lies."""
        node = self.node_at(xy_m)
        if node >= 0:
            return node
        return int(np.linalg.norm(self.xy_m(np.arange(len(self.cells))) - xy_m, axis=1).argmin())

    def xy_m(self, nodes: np.ndarray) -> np.ndarray:
        """[..., 2] positions of nodes."""
        return self.space.grid.centre_xy_m(self.cells[nodes])

    def field(self, node: int) -> tuple[np.ndarray, np.ndarray]:
        """Grid distance [K] from a node to every node [m] (inf where unreachable) and the predecessor of each [K]."""
        graph = require("scipy.sparse.csgraph", extra="sim")
        distance, previous = graph.dijkstra(self._graph, directed=False, indices=node, return_predecessors=True)
        return distance, previous

    def path_xy_m(self, previous: np.ndarray, node: int) -> np.ndarray:
        """Corners [W, 2] of the straightened path from the field's source to a node."""
        nodes = [node]
        while previous[nodes[-1]] >= 0:
            nodes.append(int(previous[nodes[-1]]))
        return self._straightened(self.xy_m(np.array(nodes[::-1])))

    def sees(self, a_xy_m: np.ndarray, b_xy_m: np.ndarray) -> bool:
        """Whether the robot can drive straight between a and b; the same answer both ways."""
        grid = self.space.grid
        ends = (np.stack([a_xy_m, b_xy_m]) - grid.origin_xy_m) / grid.cell_m
        # Cut at every grid line; the middle of each piece names the cell that the piece lies in.
        cuts = [np.array([0.0, 1.0])]
        for p, q in ends.T:
            lines = np.arange(np.ceil(min(p, q)), np.floor(max(p, q)) + 1)
            if p != q:
                cuts.append((lines - p) / (q - p))
        t = np.unique(np.round(np.clip(np.concatenate(cuts), 0, 1), 9))
        middle = ends[0] + (ends[1] - ends[0]) * ((t[:-1] + t[1:]) / 2)[:, None]
        col, row = np.floor(middle).astype(int).T
        if not len(row) or min(row.min(), col.min()) < 0 or row.max() >= grid.shape[0] or col.max() >= grid.shape[1]:
            return False
        return bool(self.space.navigable[row, col].all())

    def _straightened(self, path_xy_m: np.ndarray) -> np.ndarray:
        """From every kept corner on to the farthest later point in sight, found by bisection, until nothing changes."""
        grid = self.space.grid
        shorter = path_xy_m
        for _ in range(3):
            kept = [0]
            while kept[-1] < len(path_xy_m) - 1:
                here, near, far = kept[-1], kept[-1] + 1, len(path_xy_m)
                while far - near > 1:
                    middle = (near + far) // 2
                    if self.sees(path_xy_m[here], path_xy_m[middle]):
                        near = middle
                    else:
                        far = middle
                kept.append(near)
            shorter = path_xy_m[kept]
            # Once more along the shorter path, through the cells it passes: it may leave it between its old corners.
            cells = grid.rowcol(densified(shorter, grid.cell_m))
            path_xy_m = grid.centre_xy_m(cells[np.r_[True, (np.diff(cells, axis=0) != 0).any(1)]])
        return shorter


def neighbour_graph(mask: np.ndarray, cell_m: float) -> tuple[np.ndarray, Any]:
    """Who can step to whom on a grid: 8 neighbours, and no cutting of corners.

    Args:
        mask: [rows, cols] bool, where one may be; K cells.
        cell_m: size of a cell.

    Returns:
        The number of every cell's node, [rows, cols] int64, -1 where there is none; and a SciPy sparse matrix [K, K] of
        step lengths [m], each step once, for undirected searches.
    """
    sparse = require("scipy.sparse", extra="sim")
    node = np.full(mask.shape, -1, np.int64)
    node[mask] = np.arange(int(mask.sum()))
    padded = np.pad(node, 1, constant_values=-1)

    def shifted(dr: int, dc: int) -> np.ndarray:
        return padded[1 + dr : padded.shape[0] - 1 + dr, 1 + dc : padded.shape[1] - 1 + dc]

    rows, cols, lengths = [], [], []
    for dr, dc in ((0, 1), (1, 0), (1, 1), (1, -1)):
        linked = (node >= 0) & (shifted(dr, dc) >= 0)
        if dr and dc:
            # Both cells beside a diagonal must be passable.
            linked &= (shifted(dr, 0) >= 0) & (shifted(0, dc) >= 0)
        rows.append(node[linked])
        cols.append(shifted(dr, dc)[linked])
        lengths.append(np.full(int(linked.sum()), np.hypot(dr, dc) * cell_m))
    n = int(mask.sum())
    graph = sparse.csr_matrix((np.concatenate(lengths), (np.concatenate(rows), np.concatenate(cols))), shape=(n, n))
    return node, graph


def densified(path_xy_m: np.ndarray, step_m: float) -> np.ndarray:
    """The polyline with points every `step_m`, so that straightening can leave it between its corners."""
    pieces = [path_xy_m[:1]]
    for a, b in itertools.pairwise(path_xy_m):
        n = max(1, int(np.ceil(np.linalg.norm(b - a) / step_m)))
        pieces.append(a + (b - a) * (np.arange(1, n + 1) / n)[:, None])
    return np.concatenate(pieces)


def sample_episodes(space: FreeSpace, *, count: int, seed: int) -> list[Episode]:
    """Seeded episodes, spread evenly over the difficulty bins that this world has room for.

    Fewer than `count`, or none, when there is too little room; the caller reports that.
    """
    if count < 1 or int(space.navigable.sum()) < 2:
        return []
    planner = PathPlanner(space)
    rng = np.random.default_rng([seed, 0x6E6176])
    episodes: list[Episode] = []
    wanted = dict.fromkeys((name for name, _, _ in DIFFICULTY), 0)
    for _ in range(4 * -(-count // PER_SOURCE)):
        if len(episodes) >= count:
            break
        source = int(rng.integers(len(planner.cells)))
        distance, previous = planner.field(source)
        for k in range(min(PER_SOURCE, count - len(episodes))):
            # The emptiest bin that can be filled from here.
            for _, near, far in sorted(DIFFICULTY, key=lambda d: (wanted[d[0]], d[1])):
                # Grid distance exceeds the straightened one by up to 8 %; bins are checked again below.
                pool = np.flatnonzero((distance >= near * 1.02) & (distance < far))
                if not len(pool):
                    continue
                path = planner.path_xy_m(previous, int(pool[rng.integers(len(pool))]))
                episode = _episode(len(episodes), path if k % 2 == 0 else path[::-1], space, rng)
                if episode is not None:
                    wanted[episode.difficulty] += 1
                    episodes.append(episode)
                break
    return episodes


def _episode(index: int, path_xy_m: np.ndarray, space: FreeSpace, rng: np.random.Generator) -> Episode | None:
    length = float(np.linalg.norm(np.diff(path_xy_m, axis=0), axis=1).sum())
    names = [name for name, near, far in DIFFICULTY if near <= length < far]
    if not names:
        return None
    rc = space.grid.rowcol(densified(path_xy_m, space.grid.cell_m))
    points = [(round(float(x), 3), round(float(y), 3)) for x, y in path_xy_m]
    return Episode(
        index=index,
        start_xy_m=points[0],
        start_yaw_rad=round(float(rng.uniform(-np.pi, np.pi)), 4),
        goal_xy_m=points[-1],
        geodesic_m=round(length, 3),
        difficulty=names[0],
        waypoints_xy_m=tuple(points),
        clearance_m=round(float(space.clearance_m[rc[:, 0], rc[:, 1]].min()), 3),
    )


def write_navigation(folder: Path, space: FreeSpace, episodes: list[Episode]) -> list[str]:
    """`episodes.jsonl` and `free_space.json`; returns the file names."""
    lines = [json.dumps(e.as_dict(space.floor_z_m), separators=(",", ":")) for e in episodes]
    replace_text(folder / "episodes.jsonl", "".join(line + "\n" for line in lines))
    bins = {name: sum(e.difficulty == name for e in episodes) for name, _, _ in DIFFICULTY}
    summary = {
        **space.stats,
        "floor_z_m": round(space.floor_z_m, 4),
        "start_xy_m": [round(x, 3) for x in space.start_xy_m],
        "episodes": len(episodes),
        "episodes_by_difficulty": bins,
    }
    replace_text(folder / "free_space.json", json.dumps(summary, indent=2) + "\n")
    return ["episodes.jsonl", "free_space.json"]
