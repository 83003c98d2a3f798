#!/usr/bin/env python3
"""Exploration of the rooms behind a photo, without painting: how the free area seen grows from place to place.

    .venv/bin/python tools/bench/bench_explore.py [PHOTO ...] [--seed 0] [--width 256] [--pictures DIR]

Each photo's geometry is estimated, further rooms are planned, and a robot looks around, picks the next place and walks
there until it has seen the target area or nothing new is in sight. Views take depth and labels from the proxy world.
Figures per photo:

    turn_m2          free area that a turn on the spot sees when the photo's room is the only one
    turn_rooms_m2    the same with all rooms there, so that one can look through open doors
    seen_m2          free area seen after each place of the exploration, the first is the turn
    ratio            the last of them over the larger of the two turns
    nearest_m        least distance of a camera, at a place or on the walk, to the mesh
    leaks            rays from random free points that hit nothing

One JSON object goes to stdout; the exit code is 1 if an area shrinks, a ratio is below 2, a camera comes nearer than
the robot's radius, or a ray escapes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.config import GeometryConfig
from lyra.worldgen.core.frames import transform_points
from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.core.raycast import Raycaster
from lyra.worldgen.core.views import PolarLayout
from lyra.worldgen.generation.frontier import (
    floor_hits,
    floor_sight_m,
    next_place,
    seen_area_m2,
    seen_floor,
    walk_between,
)
from lyra.worldgen.generation.geometry import estimate_geometry
from lyra.worldgen.generation.photo import load_photo
from lyra.worldgen.generation.proxy import clear_start, full_turn
from lyra.worldgen.generation.room_plan import plan_rooms
from lyra.worldgen.generation.rooms import RoomPlan, build_rooms_proxy, free_space_of_rooms
from lyra.worldgen.generation.trajectory import CLEARANCE_M, TILTED_VIEWS, TURN_VIEWS, WIDE_HFOV_RAD, FreeSpace, sweep

PHOTOS = Path(__file__).resolve().parents[2] / "tests" / "data" / "photos"
RATIO = 2.0
SPARE = 1.1
"""The robot explores a little farther than asked for."""
PLAN_RATIO = 4.0
"""Floor that is planned, per floor that a turn sees: a turn with open doors sees more, corners are never seen."""


@dataclass(frozen=True, kw_only=True)
class Robot:
    radius_m: float
    camera: PinholeCamera
    height_m: float

    @property
    def pixel_rad(self) -> float:
        return 1.0 / self.camera.fx_px


class World:
    """A planned world with what the robot has seen of it."""

    def __init__(self, plan: RoomPlan, robot: Robot) -> None:
        self.plan, self.robot = plan, robot
        self.mesh: TriMesh = build_rooms_proxy(plan)
        self.caster = Raycaster(self.mesh)
        self.space: FreeSpace = free_space_of_rooms(plan, clearance_m=max(CLEARANCE_M, robot.radius_m))
        self.hits = np.zeros(self.space.clearance_m.shape, np.int32)

    def look_around(self, place_xy_m: np.ndarray) -> float:
        """Take a full turn level and one tilted down; the free area seen so far [m2]."""
        level = np.arange(TURN_VIEWS) * 2 * np.pi / TURN_VIEWS
        tilted = np.arange(TILTED_VIEWS) * 2 * np.pi / TILTED_VIEWS
        poses = np.concatenate(
            [
                sweep(place_xy_m, self.robot.height_m, level, (0.0,)),
                sweep(place_xy_m, self.robot.height_m, tilted, (-np.radians(52),)),
            ]
        )
        for T in poses:
            image = self.caster.render(self.robot.camera, T)
            floor = image.hit & (image.labels(self.mesh) == Label.FLOOR)
            points = transform_points(T, self.robot.camera.unproject(np.where(image.hit, image.depth_z_m, 0)))[floor]
            self.hits += floor_hits(self.space, points[:, :2], eye_m=T[:3, 3], pixel_rad=self.robot.pixel_rad)
        return seen_area_m2(self.space, self.seen)

    @property
    def seen(self) -> np.ndarray:
        return seen_floor(self.space, self.hits)

    def nearest_m(self, ways_xy_m: np.ndarray) -> float:
        """Least distance to the mesh in any direction from camera positions [N, 2]."""
        directions = sphere(300)
        at = np.column_stack([ways_xy_m, np.full(len(ways_xy_m), self.robot.height_m)])
        t, _, _ = self.caster.cast(np.repeat(at, len(directions), 0), np.tile(directions, (len(at), 1)))
        return float(t.min())

    def leaks(self, count: int, rng: np.random.Generator) -> int:
        """Rays from random free points that hit nothing."""
        cells = np.argwhere(self.space.clearance_m > 0.05)
        at = self.space.cells_xy_m()[tuple(cells[rng.integers(0, len(cells), count)].T)]
        directions = rng.normal(size=(count, 3))
        t, _, _ = self.caster.cast(np.column_stack([at, rng.uniform(0.05, 2.0, count)]), directions)
        return int(np.count_nonzero(~np.isfinite(t)))


def sphere(count: int) -> np.ndarray:
    """[count, 3] directions spread evenly."""
    k = np.arange(count) + 0.5
    z, a = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    return np.stack([np.sqrt(1 - z * z) * np.cos(a), np.sqrt(1 - z * z) * np.sin(a), z], 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photos", nargs="*", type=Path, default=sorted(PHOTOS.glob("*.png")))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--width", type=int, default=256, help="of a view [px]")
    parser.add_argument("--radius", type=float, default=0.25, help="of the robot [m]")
    parser.add_argument("--places", type=int, default=40, help="most places to look around from")
    parser.add_argument("--pictures", type=Path, help="folder for one top view per photo")
    args = parser.parse_args()
    result = {photo.stem: explore(photo, args) for photo in args.photos}
    print(json.dumps(result, indent=2))
    return 0 if all(r["good"] for r in result.values()) else 1


def explore(photo: Path, args: argparse.Namespace) -> dict[str, object]:
    """All figures of one photo."""
    picture = load_photo(photo, long_side_px=GeometryConfig().working_long_side_px)
    geometry = estimate_geometry(picture, GeometryConfig())
    layout: PolarLayout = clear_start(full_turn(clear_start(geometry.layout), None))
    camera = PinholeCamera.from_hfov(args.width, args.width * 3 // 4, WIDE_HFOV_RAD)
    robot = Robot(radius_m=args.radius, camera=camera, height_m=layout.camera_height_m)
    sector = (float(geometry.layout.azimuth_rad[0]), float(geometry.layout.azimuth_rad[-1]))
    wanted = {"seed": args.seed, "robot_radius_m": args.radius, "manhattan_yaw_rad": geometry.manhattan_yaw_rad}
    alone = World(plan_rooms(layout, sector, count=1, **wanted), robot)
    turn_m2 = alone.look_around(np.zeros(2))
    started = time.perf_counter()
    world = World(plan_rooms(layout, sector, target_area_m2=PLAN_RATIO * turn_m2, **wanted), robot)
    planned_s = time.perf_counter() - started
    places, walks = [np.zeros(2)], []
    areas = [world.look_around(places[0])]
    target = RATIO * SPARE * max(turn_m2, areas[0])
    sight = floor_sight_m(robot.height_m, robot.pixel_rad)
    choosing_s = []
    while areas[-1] < target and len(places) < args.places:
        started = time.perf_counter()
        place = next_place(
            world.space, world.seen, here_xy_m=places[-1], robot_radius_m=args.radius, sight_m=sight,
            visited_xy_m=places,
        )  # fmt: skip
        choosing_s.append(time.perf_counter() - started)
        if place is None:
            break
        walks.append(walk_between(world.space, places[-1], place, robot_radius_m=args.radius))
        places.append(place)
        areas.append(world.look_around(place))
    ways = np.concatenate([np.array(places), *[densified(w, 0.1) for w in walks]])
    ratio = areas[-1] / max(turn_m2, areas[0])
    nearest, leaks = world.nearest_m(ways), world.leaks(20_000, np.random.default_rng(args.seed))
    cells = np.floor((np.array(places) - world.space.origin_xy_m) / 0.05).astype(int)
    reachable = bool(world.space.reachable[cells[:, 1], cells[:, 0]].all())
    if args.pictures:
        draw(args.pictures / f"{photo.stem}.png", world, places, walks, sector)
    return {
        "rooms": len(world.plan.rooms),
        "notes": list(world.plan.notes),
        "faces": world.mesh.face_count,
        "reachable_m2": round(seen_area_m2(world.space, world.space.reachable), 1),
        "turn_m2": round(turn_m2, 1),
        "turn_rooms_m2": round(areas[0], 1),
        "seen_m2": [round(a, 1) for a in areas],
        "ratio": round(ratio, 2),
        "rooms_visited": len(set(world.plan.room_of(np.array(places)).tolist()) - {-1}),
        "places_reachable": reachable,
        "nearest_m": round(nearest, 3),
        "leaks": leaks,
        "planning_s": round(planned_s, 2),
        "choosing_s": [round(s, 2) for s in choosing_s],
        "good": bool(
            np.all(np.diff(areas) >= 0) and ratio >= RATIO and nearest >= args.radius and leaks == 0 and reachable
        ),
    }


def densified(way_xy_m: np.ndarray, step_m: float) -> np.ndarray:
    """[N, 2] points on a polyline at most `step_m` apart."""
    pieces = [way_xy_m[:1]]
    for a, b in itertools.pairwise(way_xy_m):
        count = int(np.ceil(np.linalg.norm(b - a) / step_m))
        pieces.append(a + np.linspace(0, 1, count + 1)[1:, None] * (b - a))
    return np.concatenate(pieces)


def draw(path: Path, world: World, places: list[np.ndarray], walks: list[np.ndarray], sector: tuple[float, float]):
    """Top view: walls black, doors red, floor grey, seen floor green, places and walks blue, photo's sector orange."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    space = world.space
    rows, cols = space.reachable.shape
    picture = np.full((rows, cols, 3), 255, np.uint8)
    picture[space.clearance_m > 0] = 225
    picture[space.reachable] = 200
    picture[world.seen] = (205, 235, 205)
    picture[world.seen & space.reachable] = (150, 215, 150)
    figure, axes = plt.subplots(figsize=(9, 9))
    x, y = space.origin_xy_m
    axes.imshow(picture, origin="lower", extent=(x, x + cols * 0.05, y, y + rows * 0.05))
    for room in world.plan.rooms:
        outline = room.outline_world_m
        for i, door in enumerate(room.outline.door):
            axes.plot(*outline[[i, (i + 1) % len(outline)]].T, color="red" if door >= 0 else "black", linewidth=1.2)
    for door in world.plan.doors:
        for pair in ((0, 1), (2, 3)):
            axes.plot(*door.corners_xy_m[list(pair)].T, color="black", linewidth=1.2)
    for angle in sector:
        axes.plot([0, 2 * np.cos(angle)], [0, 2 * np.sin(angle)], color="orange")
    for walk in walks:
        axes.plot(*walk.T, color="tab:blue", linewidth=1)
    for k, place in enumerate(places):
        axes.plot(*place, "o", color="tab:blue", markersize=4)
        axes.annotate(str(k), place, textcoords="offset points", xytext=(3, 3), fontsize=8)
    axes.set_aspect("equal")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
