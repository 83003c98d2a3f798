"""Things that stand about, in other places on every drive: posts, bins and boxes beside the way, without a simulator.

They are no bodies of the physics engine. The task's clearance includes them, so that whoever touches one has touched
something and the drive is over, as with walls; lidars and depth cameras see them. They never stand in the way: a
corridor along the route of the drive stays free. Frame `w` is the simulation's (`atlas`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch  # noqa: TID253 this module is about tensors

from .atlas import Atlas
from .hashed import hashed_uniform

CANDIDATES = 24
"""Places that are looked at for every thing; of those that leave the way free the nearest to it is taken."""
BETWEEN_M = 0.02
"""A straight way is closer to a thing than its ends and middle are, by this much at most."""
SALT = 1000


@dataclass(frozen=True, kw_only=True)
class Shape:
    """An upright thing on the floor: a box, or a cylinder if it has a radius."""

    half_m: tuple[float, float] = (0.0, 0.0)
    radius_m: float = 0.0
    height_m: float

    @property
    def reach_m(self) -> float:
        """Radius of the circle around it."""
        return float(np.hypot(*self.half_m)) + self.radius_m


SHAPES = (
    Shape(radius_m=0.06, height_m=1.1),
    Shape(radius_m=0.14, height_m=0.5),
    Shape(radius_m=0.20, height_m=0.8),
    Shape(half_m=(0.15, 0.10), height_m=0.4),
    Shape(half_m=(0.18, 0.12), height_m=0.6),
    Shape(half_m=(0.10, 0.10), height_m=1.2),
)
"""What there is; every thing is one of these, drawn for every drive."""


@dataclass(frozen=True, kw_only=True)
class ClutterOptions:
    """How much stands about."""

    count: int
    """Most things of a drive; where there is no room, fewer."""
    passage_m: float
    """Kept from everything by a corridor's middle: the robot's radius and some more."""
    seed: int


class ClutterBook:
    """What stands about in every environment.

    Args:
        atlas: the worlds that it stands in.
        options: how much.
        env_count: number of environments.
        device: of the tensors.
    """

    def __init__(self, atlas: Atlas, options: ClutterOptions, *, env_count: int, device: str) -> None:
        self.options = options
        envs, count = env_count, options.count
        self.xy_w = torch.zeros(envs, count, 2, device=device)
        """[N, M, 2] middles."""
        self.yaw = torch.zeros(envs, count, device=device)
        """[N, M]."""
        self.there = torch.zeros(envs, count, dtype=torch.bool, device=device)
        """[N, M] false where no room was left."""
        self.half_m = torch.zeros(envs, count, 2, device=device)
        """[N, M, 2] of boxes, zero for cylinders."""
        self.radius_m = torch.zeros(envs, count, device=device)
        """[N, M] of cylinders, zero for boxes."""
        self.height_m = torch.zeros(envs, count, device=device)
        """[N, M] above the floor."""
        self._half = torch.tensor([s.half_m for s in SHAPES], device=device)
        self._radius = torch.tensor([s.radius_m for s in SHAPES], device=device)
        self._height = torch.tensor([s.height_m for s in SHAPES], device=device)
        self._reach = torch.tensor([s.reach_m for s in SHAPES], device=device)
        largest = max(s.reach_m for s in SHAPES)
        places = [g.cells_xy_m(largest) for g in atlas.grounds]
        self._place_count = torch.tensor([len(p) for p in places], device=device)
        most = max(len(p) for p in places)
        # World frame, filled up by repetition.
        table = np.stack([p[np.arange(most) % len(p)] for p in places])
        self._places = torch.tensor(table, dtype=torch.float32, device=device)

    def distance_m(self, xy_w: torch.Tensor) -> torch.Tensor:
        """[..., N] from positions [..., N, 2] to the nearest thing of each environment, negative inside, infinite where
        there is none."""
        way = xy_w.unsqueeze(-2) - self.xy_w
        cos, sin = self.yaw.cos(), self.yaw.sin()
        ahead = cos * way[..., 0] + sin * way[..., 1]
        left = cos * way[..., 1] - sin * way[..., 0]
        beyond = torch.stack([ahead.abs(), left.abs()], -1) - self.half_m
        outside, inside = beyond.clamp(min=0.0).norm(dim=-1), beyond.amax(-1).clamp(max=0.0)
        apart = outside + inside - self.radius_m
        return torch.where(self.there, apart, torch.inf).amin(-1)

    def place(
        self,
        env_ids: torch.Tensor,
        *,
        world: torch.Tensor,
        drive: torch.Tensor,
        offset_xy_w: torch.Tensor,
        route: torch.Tensor,
        whole: torch.Tensor,
    ) -> None:
        """Put things beside the routes of drives that have just begun.

        Args:
            env_ids: [n] environments.
            world: [n] the world of each.
            drive: [n] number of each drive, for the draws.
            offset_xy_w: [n, 2] origin of each world.
            route: [n, P, 2] places along each way, world frame.
            whole: [n] bool, whether the route leads to the end; nothing stands where it does not.
        """
        options = self.options
        dense = torch.cat([route, (route[:, :-1] + route[:, 1:]) / 2], 1)
        self.there[env_ids] = False
        rows = torch.arange(len(env_ids), device=route.device)
        # One draw for every thing and candidate, and the last two for a thing's shape and heading.
        draws = torch.arange(CANDIDATES + 2, device=route.device)
        envs = env_ids.unsqueeze(-1).expand(-1, len(draws))
        numbers = drive.unsqueeze(-1) * len(draws) + draws
        for thing in range(options.count):
            uniform = hashed_uniform(options.seed, envs, numbers, SALT + thing)
            shape = (uniform[:, -1] * len(SHAPES)).long()
            reach = self._reach[shape]
            number = uniform[:, :CANDIDATES] * self._place_count[world].unsqueeze(-1)
            candidates = self._places[world.unsqueeze(-1), number.long()]
            way = torch.cdist(candidates, dense).amin(-1) - BETWEEN_M
            free = way >= (reach + options.passage_m).unsqueeze(-1)
            others = self.xy_w[env_ids] - offset_xy_w.unsqueeze(1)
            apart = torch.cdist(candidates, others) >= (reach.unsqueeze(-1) + self._reach_of(env_ids)).unsqueeze(1)
            free &= (apart | ~self.there[env_ids].unsqueeze(1)).all(-1) & whole.unsqueeze(-1)
            chosen = torch.where(free, way, torch.inf).argmin(-1)
            self.xy_w[env_ids, thing] = candidates[rows, chosen] + offset_xy_w
            self.yaw[env_ids, thing] = uniform[:, -2] * torch.pi
            self.half_m[env_ids, thing], self.radius_m[env_ids, thing] = self._half[shape], self._radius[shape]
            self.height_m[env_ids, thing] = self._height[shape]
            self.there[env_ids, thing] = free[rows, chosen]

    def _reach_of(self, env_ids: torch.Tensor) -> torch.Tensor:
        """[n, M] radius of the circle around each thing."""
        return self.half_m[env_ids].norm(dim=-1) + self.radius_m[env_ids]
