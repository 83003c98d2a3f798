"""What each environment has to drive: a start and one or more stops, drawn at random or taken from certified episodes.

Frame `w` is the simulation's (`atlas`). Draws are hashes of (seed, environment, number of the drive): they depend on
nothing else, not on other environments, on who was reset together with whom, or on the physics engine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch  # noqa: TID253 this module is about tensors

from .atlas import Atlas, Places, choose_places, sampled
from .clutter import ClutterBook
from .hashed import hashed_uniform
from .packed_grids import PackedGrids
from .rules import episode_goal, repeated_leg

RANDOM, EPISODES = "random", "episodes"
SOURCES = (RANDOM, EPISODES)
STRIDE_M = 0.25
"""Between two places of a route."""
PROBE_M = 0.1
"""How far around a place the distance field is felt for its slope."""
ARRIVED_M = 1.5 * STRIDE_M


@dataclass(frozen=True, kw_only=True)
class CourseOptions:
    """How drives are drawn."""

    source: str
    """One of `SOURCES`; with `episodes` the environments of a world share out its episodes and begin again."""
    stops: int
    """Positions to reach, one after the other."""
    revisits: bool = False
    """Every third stop is the one before the last one again."""
    min_geodesic_m: float
    """Shortest drive to the first stop, where the world allows it."""
    goals: int
    """Size of each world's pool of goals."""
    starts: int
    """Size of each world's pool of starts."""
    seed: int


class CourseBook:
    """The current drive of every environment, and the fields that say how far it is."""

    def __init__(self, atlas: Atlas, options: CourseOptions, *, env_count: int, device: str) -> None:
        assert options.source in SOURCES, options.source
        self.atlas, self.options = atlas, options
        pools = [self._pool(k) for k in range(len(atlas))]
        self.device = device
        self.world = torch.tensor(atlas.world_of(env_count), dtype=torch.long, device=device)
        """[N] world of each environment."""
        self.env_offset_w = torch.tensor(atlas.env_offsets_m(env_count), dtype=torch.float32, device=device)
        """[N, 3] origin of each environment's world."""
        self._env_offset_xy_w = self.env_offset_w[:, :2].contiguous()
        self.fields = PackedGrids(
            [p.fields.distance_m for p in pools],
            [p.fields.cell_m for p in pools],
            np.array([p.fields.origin_xy_m for p in pools]),
            device=device,
        )
        grids = [g.grid for g in atlas.grounds]
        self.clearances = PackedGrids(
            [g.clearance_m[None] for g in atlas.grounds],
            [g.cell_m for g in grids],
            np.array([g.centre_xy_m(np.zeros(2)) for g in grids]),
            device=device,
        )
        self.goals_xy_m = tuple(p.goals_xy_m for p in pools)
        """[G, 2] every world's pool of goals, in its own frame."""
        self._goals = _stacked([p.goals_xy_m for p in pools], device)
        self._starts = _stacked([p.starts_xy_m for p in pools], device)
        self._goal_count = torch.tensor([len(p.goals_xy_m) for p in pools], device=device)
        self._distance = _padded([p.start_distance_m for p in pools], torch.inf, device)
        self._yaws = _padded([g.world.starts_xy_yaw()[None, :, 2] for g in atlas.grounds], 0.0, device)[:, 0]
        self.clutter: ClutterBook | None = None
        """What stands about besides the world, if anything; placed anew with every drive."""
        self.limit_m = torch.inf
        """Longest drive to the first stop that is drawn, for curricula."""
        self.drives = torch.zeros(env_count, dtype=torch.long, device=device)
        """[N] how many drives each environment has begun."""
        self.goal_id = torch.zeros(env_count, options.stops, dtype=torch.long, device=device)
        """[N, L] number of each stop in its world's pool; with `episodes` the number of the episode."""
        self.leg = torch.zeros(env_count, dtype=torch.long, device=device)
        """[N] the stop that comes next; `go_on` changes it."""
        self.way_m = torch.zeros(env_count, device=device)
        """[N] length of each drive along the floor, from its start over all stops."""
        self.start_xy_w = torch.zeros(env_count, 2, device=device)
        self.start_yaw = torch.zeros(env_count, device=device)
        self._own_fields, self._own_clearance = self.fields.chosen(self.world), self.clearances.chosen(self.world)
        self._next_id = self.goal_id[:, 0]
        self.goal_xy_w = self.stop_xy_w(self.leg)
        """[N, 2] the next stop."""

    def _pool(self, k: int) -> Places:
        ground, options = self.atlas.grounds[k], self.options
        if options.source == RANDOM:
            return choose_places(ground, goals=options.goals, starts=options.starts, seed=options.seed, key=k)
        goals, starts = ground.world.goals_xy_m(), ground.world.starts_xy_yaw()[:, :2]
        fields = ground.fields_to(goals)
        return Places(
            goals_xy_m=goals,
            fields=fields,
            starts_xy_m=starts,
            start_distance_m=sampled(fields, starts).astype(np.float32),
        )

    def stop_xy_w(self, leg: torch.Tensor) -> torch.Tensor:
        """[N, 2] position of stop `leg` [N]."""
        goal = self.goal_id.gather(1, leg.unsqueeze(1)).squeeze(1)
        return self.goal_at_m(self.world, goal) + self._env_offset_xy_w

    def goal_at_m(self, world: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
        """[n, 2] goals [n] of the pools of worlds [n], in their own frames."""
        return self._goals[world, goal]

    def clearance_m(self, xy_w: torch.Tensor) -> torch.Tensor:
        """[..., N] clearance at each environment's own positions [..., N, 2], from all that stands there."""
        clearance = self._own_clearance.at(xy_w - self._env_offset_xy_w)
        return clearance if self.clutter is None else torch.minimum(clearance, self.clutter.distance_m(xy_w))

    def geodesic_m(self, xy_w: torch.Tensor) -> torch.Tensor:
        """[..., N] distance along the floor from positions [..., N, 2] to each environment's next stop."""
        return self._own_fields.at(xy_w - self._env_offset_xy_w, self._next_id)

    def go_on(self, which: torch.Tensor) -> None:
        """Environments [N] bool head for the stop after their next one."""
        self.leg += which
        self._head_for_next()

    def _head_for_next(self) -> None:
        self._next_id = self.goal_id.gather(1, self.leg.unsqueeze(1)).squeeze(1)
        self.goal_xy_w = self.stop_xy_w(self.leg)

    def rewind(self) -> None:
        """Begin with the first drive again, as a new book would."""
        self.drives.zero_()

    def begin(self, env_ids: torch.Tensor) -> None:
        """Draw the next drive of environments [n]."""
        if self.options.source == EPISODES:
            self._begin_episode(env_ids)
        else:
            self._begin_random(env_ids)
        self.way_m[env_ids] = self._way_m(env_ids)
        self.leg[env_ids] = 0
        self.drives[env_ids] += 1
        self._head_for_next()
        if self.clutter is not None:
            route, whole = self.routes(env_ids)
            self.clutter.place(
                env_ids,
                world=self.world[env_ids],
                drive=self.drives[env_ids],
                offset_xy_w=self._env_offset_xy_w[env_ids],
                route=route,
                whole=whole,
            )

    def routes(self, env_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Places [n, P, 2] along the ways of environments [n] from start over all stops, world frame, and whether each
        way was followed to its end [n]."""
        k = self.world[env_ids]
        fields = self.fields.chosen(k)
        shifts = self.env_offset_w.new_tensor([(PROBE_M, 0), (-PROBE_M, 0), (0, PROBE_M), (0, -PROBE_M)]).unsqueeze(1)
        here = self.start_xy_w[env_ids] - self.env_offset_w[env_ids, :2]
        whole = torch.ones(len(env_ids), dtype=torch.bool, device=here.device)
        places = [here]
        for leg in range(self.options.stops):
            goal_id = self.goal_id[env_ids, leg]
            goal = self.goal_at_m(k, goal_id)
            left = fields.at(here, goal_id)
            for _ in range(int(1.3 * float(left.max()) / STRIDE_M) + 4):
                way = goal - here
                far = way.norm(dim=-1, keepdim=True)
                east, west, north, south = fields.at(here + shifts, goal_id)
                slope = torch.stack([west - east, south - north], -1)
                slope = slope / slope.norm(dim=-1, keepdim=True).clamp(min=1e-6)
                # Close to the stop the field's slope is that of its cells.
                near = far < ARRIVED_M
                step = torch.where(near, way, slope * STRIDE_M)
                here = here + step
                places.append(here)
                if bool(near.all()):
                    break
            whole &= (goal - here).norm(dim=-1) < STRIDE_M
        return torch.stack(places, 1), whole

    def _way_m(self, env_ids: torch.Tensor) -> torch.Tensor:
        """[n] from the start to the first stop, then from each to the next."""
        k = self.world[env_ids]
        here = self.start_xy_w[env_ids] - self._env_offset_xy_w[env_ids]
        way = torch.zeros(len(env_ids), device=self.device)
        for leg in range(self.options.stops):
            goal = self.goal_id[env_ids, leg]
            way += self.fields.at(k, here, goal)
            here = self._goals[k, goal]
        return way

    def _begin_episode(self, env_ids: torch.Tensor) -> None:
        k, worlds = self.world[env_ids], len(self.atlas)
        # Environment i is number i // K of its world, which has so many of them:
        peers = (len(self.world) - k + worlds - 1) // worlds
        number = (env_ids // worlds + self.drives[env_ids] * peers) % self._goal_count[k]
        for leg in range(self.options.stops):
            # Further stops are the goals of the episodes that follow.
            goal = episode_goal(number, leg, revisits=self.options.revisits, count=self._goal_count[k])
            self.goal_id[env_ids, leg] = goal
        self.start_xy_w[env_ids] = self._starts[k, number] + self._env_offset_xy_w[env_ids]
        self.start_yaw[env_ids] = self._yaws[k, number]

    def _begin_random(self, env_ids: torch.Tensor) -> None:
        k, drive, options = self.world[env_ids], self.drives[env_ids], self.options

        def uniform(salt: int) -> torch.Tensor:
            return hashed_uniform(options.seed, env_ids, drive, salt)

        count = self._goal_count[k]
        for leg in range(options.stops):
            like = repeated_leg(leg, options.revisits)
            goal = (uniform(like) * count).long()
            if like < leg:
                goal = self.goal_id[env_ids, like]
            elif leg:
                # A stop that follows itself would be reached at once.
                goal = torch.where(goal == self.goal_id[env_ids, leg - 1], (goal + 1) % count, goal)
            self.goal_id[env_ids, leg] = goal
        distance = self._distance[k, self.goal_id[env_ids, 0]]
        wanted = (distance >= options.min_geodesic_m) & (distance <= max(self.limit_m, options.min_geodesic_m + 0.5))
        # Where no start is right, the one that is least wrong.
        error = (options.min_geodesic_m - distance).clamp(min=0.0) + (distance - self.limit_m).clamp(min=0.0)
        nearest = torch.zeros_like(wanted).scatter_(1, error.argmin(1, keepdim=True), True)
        wanted = torch.where(wanted.any(1, keepdim=True), wanted, nearest)
        place = wanted.cumsum(1)
        rank = (uniform(101) * place[:, -1]).long() + 1
        start = (place >= rank.unsqueeze(1)).to(torch.uint8).argmax(1)
        self.start_xy_w[env_ids] = self._starts[k, start] + self._env_offset_xy_w[env_ids]
        self.start_yaw[env_ids] = (uniform(102) * 2 - 1) * torch.pi


def _padded(arrays: list[np.ndarray], fill: float, device: str) -> torch.Tensor:
    """[K, A, B] float32 of arrays [a, b], the rest filled."""
    shape = np.array([a.shape for a in arrays]).max(0)
    out = np.full((len(arrays), *shape), fill, np.float32)
    for k, array in enumerate(arrays):
        out[k, : array.shape[0], : array.shape[1]] = array
    return torch.tensor(out, device=device)


def _stacked(points: list[np.ndarray], device: str) -> torch.Tensor:
    """[K, P, 2] float32 of positions [p, 2]; short lists repeat from their beginning."""
    most = max(len(p) for p in points)
    return torch.tensor(np.stack([p[np.arange(most) % len(p)] for p in points]), dtype=torch.float32, device=device)
