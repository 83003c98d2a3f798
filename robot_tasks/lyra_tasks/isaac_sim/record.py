"""MobilityGen recordings of a world without a window, in Isaac Sim 6. Not verified inside Isaac Sim.

`tools/isaac_sim/record.py` starts the application; `replay_directory.py`, which comes with Isaac Sim, renders what was
recorded.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from lyra.worldgen.core.errors import DependencyError, InputError

from ..worlds import load_navigation_world
from .mobility_gen import ROBOT_RADIUS_M, SCENARIOS, readiness

EXTENSIONS = ("isaacsim.replicator.experimental.mobility_gen", "isaacsim.replicator.mobility_gen.examples")


def build_parser() -> argparse.ArgumentParser:
    """The script's arguments; it leaves those that it does not know to Kit."""
    parser = argparse.ArgumentParser(
        prog="record.py", description="Record MobilityGen trajectories in a world.", allow_abbrev=False
    )
    parser.add_argument("world", type=Path, help="world folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--robot", default="CarterRobot", choices=sorted(ROBOT_RADIUS_M))
    parser.add_argument("--scenario", default=SCENARIOS[0], choices=SCENARIOS)
    parser.add_argument("--steps", type=int, default=3000, help="of physics, 5 ms each")
    return parser


def check(args: argparse.Namespace) -> tuple[Path, Path]:
    """Scene and map to record in, before a simulator is started.

    Raises:
        InputError: no world, or MobilityGen cannot use it with this robot.
    """
    world = load_navigation_world(args.world)
    problems = readiness(world, args.robot).problems
    if problems:
        raise InputError(f"MobilityGen cannot use this world with {args.robot}: {'; '.join(problems)}: {args.world}")
    if args.steps < 1:
        raise InputError(f"--steps is {args.steps}; expected at least 1")
    return world.usd_path.resolve(), (world.folder / "nav" / "map.yaml").resolve()


def record(app: Any, args: argparse.Namespace) -> list[Path]:
    """Drive and record in the running application.

    Args:
        app: the `SimulationApp`.
        args: see `build_parser`.

    Returns:
        Folders of the recordings, one for every drive that was begun.

    Raises:
        InputError: see `check`.
        DependencyError: this application has no MobilityGen that can be scripted.
    """
    scene, map_yaml = check(args)
    try:
        import isaacsim.core.experimental.utils.app as app_utils
        import isaacsim.core.experimental.utils.stage as stage_utils
        from isaacsim.core.simulation_manager import SimulationManager

        for name in EXTENSIONS:
            app_utils.enable_extension(name)
        app.update()
        from isaacsim.replicator.experimental.mobility_gen import (
            ROBOTS,
            OccupancyMap,
            RecordingSession,
            collect_input,
        )
        from isaacsim.replicator.experimental.mobility_gen import SCENARIOS as KNOWN_SCENARIOS
    except ImportError as error:
        raise DependencyError(
            f"this needs MobilityGen of Isaac Sim 6 ({error}); in older releases open its window and give it "
            f"{scene} and {map_yaml}"
        ) from error
    args.out.mkdir(parents=True, exist_ok=True)
    before = set(args.out.iterdir())
    with tempfile.TemporaryDirectory() as cache:
        cached = app.run_coroutine(collect_input(scene.as_posix(), cache))
        stage_utils.open_stage(cached)
        app.update()
        session, robot = RecordingSession(), ROBOTS.get(args.robot)
        session.build(
            robot,
            KNOWN_SCENARIOS.get(args.scenario),
            OccupancyMap.from_ros_yaml(map_yaml.as_posix()),
            scene_usd=scene.as_posix(),
            cached_stage_path=cached,
            recordings_dir=args.out.resolve().as_posix(),
            add_ground_plane=True,
        )
        session.initialize()
        app.update()
        session.reset()
        session.enable_recording()
        for _ in range(args.steps):
            # The timeline stands still: physics moves on here and nowhere else.
            SimulationManager.step(steps=1)
            app.update()
            session.step(robot.physics_dt)
        session.disable_recording()
        session.close()
    return sorted(set(args.out.iterdir()) - before)
