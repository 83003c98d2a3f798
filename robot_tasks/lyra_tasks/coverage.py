"""How much of its world's floor every robot has seen from near by: the state of exploration tasks, without a simulator.

The floor that can be reached is sampled by cells. A cell is covered once it lies within `near_m` of the robot and a
planar lidar sees past it. Frame `w` is the simulation's (`atlas`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch  # noqa: TID253 this module is about tensors

from lyra.worldgen.core.optional import require

from .atlas import Atlas
from .ground import Ground

RAYS = 90
"""Directions in which visibility is felt; at 2 m they are 14 cm apart."""
CELL_M = 0.2


@dataclass(frozen=True, kw_only=True)
class CoverageOptions:
    """What counts."""

    near_m: float
    """A cell is covered from at most this far away."""
    sight_m: float
    """How far the robot sees what is still to be covered."""
    share: float
    """Share of the cells at which a world counts as explored."""


def floor_cells(ground: Ground, cell_m: float = CELL_M) -> np.ndarray:
    """[C, 2] centres of about square pieces of floor in free space that hangs together with where the robot may be."""
    ndimage = require("scipy.ndimage", extra="tasks")
    grid = ground.grid
    step = max(1, round(cell_m / grid.cell_m))
    parts, _ = ndimage.label(grid.free)
    row, col = np.argwhere(ground.navigable)[0]
    reachable = parts == parts[row, col]
    rows, cols = (np.arange(step // 2, size, step) for size in grid.shape)
    chosen = np.argwhere(reachable[np.ix_(rows, cols)])
    return grid.centre_xy_m(np.stack([rows[chosen[:, 0]], cols[chosen[:, 1]]], -1))


class CoverageBook:
    """What every environment has covered since it was reset."""

    def __init__(self, atlas: Atlas, options: CoverageOptions, *, env_count: int, device: str) -> None:
        assert 0 < options.near_m <= options.sight_m and 0 < options.share <= 1, options
        self.options = options
        cells = [floor_cells(g) for g in atlas.grounds]
        most = max(len(c) for c in cells)
        table = np.zeros((len(cells), most, 2), np.float32)
        real = np.zeros((len(cells), most), bool)
        for k, xy in enumerate(cells):
            table[k, : len(xy)], real[k, : len(xy)] = xy, True
        world = torch.tensor(atlas.world_of(env_count), dtype=torch.long, device=device)
        offset = torch.tensor(atlas.env_offsets_m(env_count)[:, None, :2], dtype=torch.float32, device=device)
        self.cells_w = torch.tensor(table, device=device)[world] + offset
        """[N, C, 2] floor of each environment's world."""
        self.real = torch.tensor(real, device=device)[world]
        """[N, C] bool: worlds with less floor are filled up with cells that do not exist."""
        self.floor_m2 = self.real.sum(1) * CELL_M**2
        """[N] of each environment's world that can be reached."""
        self.covered = torch.zeros_like(self.real)
        """[N, C] bool."""
        self.gained_m2 = torch.zeros(env_count, device=device)
        """[N] covered by the last look, nothing by the first one after a reset."""
        self._cell_m2 = CELL_M**2
        self._fresh = torch.ones(env_count, dtype=torch.bool, device=device)
        self._bearing = torch.zeros_like(self.real, dtype=torch.float32)
        """[N, C] direction of each cell in turns, counter-clockwise from the robot's back."""
        self._distance_m = torch.full_like(self.real, torch.inf, dtype=torch.float32)
        self._seen = torch.zeros_like(self.real)

    def reset(self, env_ids: torch.Tensor) -> None:
        """Nothing is covered in environments [n]."""
        self.covered[env_ids] = False
        self._fresh[env_ids] = True

    def look(self, xy_w: torch.Tensor, yaw: torch.Tensor, ranges_m: torch.Tensor) -> None:
        """Cover what is near and in sight.

        Args:
            xy_w: [N, 2] robots.
            yaw: [N].
            ranges_m: [N, R] distance to the first obstacle, counter-clockwise, the first ray pointing backwards.
        """
        way = self.cells_w - xy_w.unsqueeze(1)
        cos, sin = yaw.cos().unsqueeze(1), yaw.sin().unsqueeze(1)
        ahead, left = cos * way[..., 0] + sin * way[..., 1], cos * way[..., 1] - sin * way[..., 0]
        self._bearing = torch.atan2(left, ahead) / (2 * torch.pi) + 0.5
        self._distance_m = torch.where(self.real, (ahead.square() + left.square()).sqrt(), torch.inf)
        rays = ranges_m.shape[1]
        first = (self._bearing * rays).floor().long() % rays
        # Between two rays the nearer obstacle counts: nothing is covered through a wall.
        free = torch.minimum(ranges_m.gather(1, first), ranges_m.gather(1, (first + 1) % rays))
        self._seen = self.real & (self._distance_m < free) & (self._distance_m < self.options.sight_m)
        new = self._seen & (self._distance_m < self.options.near_m) & ~self.covered
        self.covered |= new
        self.gained_m2 = torch.where(self._fresh, 0.0, new.sum(1) * self._cell_m2)
        self._fresh = torch.zeros_like(self._fresh)

    @property
    def share(self) -> torch.Tensor:
        """[N] covered part of the floor."""
        return self.covered.sum(1) / self.real.sum(1)

    @property
    def explored(self) -> torch.Tensor:
        """[N] bool: enough is covered."""
        return self.share >= self.options.share

    def left_in_sight(self, sectors: int) -> torch.Tensor:
        """[N, sectors] floor in sight that is still to be covered, by direction; what a robot with a lidar can know.

        Each is the area of its cells over that of a sector of floor out to `sight_m`, at most 1. Directions go
        counter-clockwise, the first one beginning at the robot's back.
        """
        return self._by_direction(self._seen & ~self.covered, torch.ones_like(self._distance_m), sectors)

    def left_anywhere(self, sectors: int, scale_m: float) -> torch.Tensor:
        """[N, sectors] the same over the whole world, walls or not, weighted by exp(-distance / scale): privileged."""
        weight = (-self._distance_m / scale_m).exp()
        return self._by_direction(self.real & ~self.covered, weight, sectors)

    def _by_direction(self, which: torch.Tensor, weight: torch.Tensor, sectors: int) -> torch.Tensor:
        sector = (self._bearing * sectors).floor().long().clamp(0, sectors - 1)
        found = torch.zeros(len(which), sectors, device=which.device)
        found.scatter_add_(1, sector, torch.where(which, weight, 0.0) * self._cell_m2)
        return (found / (torch.pi * self.options.sight_m**2 / sectors)).clamp(max=1.0)
