"""Is a world ready for MobilityGen, and for which of its robots? Needs no simulator.

python -m lyra_tasks.isaac_sim.mobility_gen WORLD [--robot CarterRobot] [--ros-map FOLDER]

MobilityGen opens a world folder as it is: the scene is `world.usda`, the map `nav/map.yaml`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lyra.worldgen.core.errors import InputError, WorldgenError
from lyra.worldgen.core.grid import Cell, OccupancyGrid
from lyra.worldgen.core.optional import require
from lyra.worldgen.sim.occupancy import write_ros_map

from ..worlds import NavigationWorld, load_navigation_world

ROBOT_RADIUS_M = {"JetbotRobot": 0.25, "CarterRobot": 0.55, "SpotRobot": 1.0, "H1Robot": 1.0}
"""MobilityGen's robots and by how much it dilates obstacles for each of them."""
SCENARIOS = ("RandomPathFollowingScenario", "RandomAccelerationScenario")
"""Scenarios that need nobody at the controls."""
FLOOR_TOLERANCE_M = 0.01
"""MobilityGen puts robots down above z = 0 and adds a plane there."""
LEAST_AREA_M2 = 1.0
"""Connected room that a robot's middle needs to go anywhere."""


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """What MobilityGen will find."""

    robot: str
    radius_m: float
    area_m2: float
    """Where the robot's middle may be."""
    largest_m2: float
    """Of that, the largest connected part."""
    problems: tuple[str, ...]
    """Empty when the world is ready."""


def dilated_free(grid: OccupancyGrid, radius_m: float) -> np.ndarray:
    """[rows, cols] bool: free cells whose centre is farther than a radius, in whole cells, from every occupied one's.

    As MobilityGen dilates: unknown cells stay closed and grow no further.
    """
    ndimage = require("scipy.ndimage", extra="tasks")
    occupied = grid.cells == Cell.OCCUPIED
    if not occupied.any():
        return grid.free
    return grid.free & (ndimage.distance_transform_edt(~occupied) > int(radius_m / grid.cell_m))


def readiness(world: NavigationWorld, robot: str) -> Readiness:
    """Judge a world for one of MobilityGen's robots.

    Raises:
        InputError: the robot is unknown.
    """
    if robot not in ROBOT_RADIUS_M:
        raise InputError(f"robot '{robot}' is unknown; expected one of: {', '.join(ROBOT_RADIUS_M)}")
    ndimage = require("scipy.ndimage", extra="tasks")
    radius, cell = ROBOT_RADIUS_M[robot], world.map.cell_m
    free = dilated_free(world.map, radius)
    parts, count = ndimage.label(free)
    largest = float(np.bincount(parts.ravel(), minlength=count + 1)[1:].max(initial=0)) * cell**2
    problems = []
    if abs(world.floor_z_m) > FLOOR_TOLERANCE_M:
        problems.append(f"the floor lies at z = {world.floor_z_m:.3f} m; MobilityGen expects 0")
    if radius < cell:
        problems.append(f"cells of {cell} m are larger than the robot's radius of {radius} m")
    if largest < LEAST_AREA_M2:
        problems.append(f"a robot of radius {radius} m has {largest:.2f} m² in one piece; expected {LEAST_AREA_M2} m²")
    return Readiness(
        robot=robot,
        radius_m=radius,
        area_m2=round(float(free.sum()) * cell**2, 3),
        largest_m2=round(largest, 3),
        problems=tuple(problems),
    )


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m lyra_tasks.isaac_sim.mobility_gen",
        description="Say whether MobilityGen can use a world. Exit code 1 if no robot that was asked for can.",
    )
    parser.add_argument("world", type=Path, help="world folder")
    parser.add_argument("--robot", action="append", choices=sorted(ROBOT_RADIUS_M), help="only these (default: all)")
    parser.add_argument("--ros-map", type=Path, metavar="FOLDER", help="write map.yaml and map.pgm for ROS there")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = build_parser().parse_args(arguments)
    try:
        world = load_navigation_world(args.world)
        found = [readiness(world, robot) for robot in args.robot or ROBOT_RADIUS_M]
        if args.ros_map is not None:
            write_ros_map(args.ros_map, world.map, picture="map.pgm")
    except WorldgenError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    report = {
        "scene": str(world.usd_path),
        "map": str(world.folder / "nav" / "map.yaml"),
        "robots": [asdict(r) for r in found],
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    return 0 if any(not r.problems for r in found) else 1


if __name__ == "__main__":
    sys.exit(main())
