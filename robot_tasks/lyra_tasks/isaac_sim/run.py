"""What `tools/isaac_sim/drive.py` does once the application has started: episodes of one world, and their report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.progress import SILENT, SupportsProgress

from .. import rules
from ..evaluation_report import write_report
from ..ground import load_ground
from ..robots.diff_drive import SIZES, spec_of
from ..worlds import load_navigation_world
from .drive_loop import EpisodeDriver
from .nav_task import NavTask
from .pilots import load_pilot

DRIVES = {"point-goal": rules.POINT_GOAL, "patrol": rules.PATROL, "deliver": rules.DELIVER}


def build_parser() -> argparse.ArgumentParser:
    """The script's arguments; it leaves those that it does not know to Kit."""
    parser = argparse.ArgumentParser(
        prog="drive.py", description="Drive the certified episodes of a world in Isaac Sim.", allow_abbrev=False
    )
    parser.add_argument("world", type=Path, help="world folder")
    parser.add_argument("--policy", default="baseline", help="'baseline', 'random' or an exported policy (.onnx, .pt)")
    parser.add_argument("--task", default="point-goal", choices=sorted(DRIVES))
    parser.add_argument("--robot-size", default="medium", choices=sorted(SIZES))
    parser.add_argument("--episodes", type=int, default=0, help="only the first so many; 0: all")
    parser.add_argument("--out", type=Path, default=Path("isaac_sim_evaluation"), help="folder of the report")
    parser.add_argument("--seed", type=int, default=0, help="of the random policy")
    parser.add_argument("--gui", action="store_true", help="show the stage")
    return parser


def make_task(world: Path, *, task: str, robot_size: str) -> NavTask:
    """The drives of a world folder.

    Raises:
        InputError: the folder is no world, is damaged, has no episodes, or the robot does not fit.
    """
    spec, drive = spec_of(robot_size), DRIVES[task]
    ground = load_ground(load_navigation_world(world), robot_radius_m=spec.footprint_radius_m + drive.planning_margin_m)
    return NavTask(ground, spec, drive)


def run(args: argparse.Namespace, *, progress: SupportsProgress = SILENT) -> dict[str, Any]:
    """Drive in the running application and write the report.

    Args:
        args: see `build_parser`.
        progress: told before every drive; may cancel.

    Returns:
        The summary, as `lyra_tasks.evaluate` writes it.

    Raises:
        InputError: the world, the policy or an episode cannot be used.
        DependencyError: what runs the policy is not installed.
    """
    task = make_task(args.world, task=args.task, robot_size=args.robot_size)
    pilot = load_pilot(args.policy, seed=args.seed)
    if args.episodes < 0:
        raise InputError(f"--episodes is {args.episodes}; expected 0 for all, or how many")
    numbers = range(min(args.episodes or task.episode_count, task.episode_count))

    def make_driver(robot: Any) -> EpisodeDriver:
        return EpisodeDriver(task, robot, pilot, numbers, progress=progress)

    simulator = _drive(task, make_driver, gui=args.gui)
    summary = {
        "policy": args.policy if args.policy in ("baseline", "random") else Path(args.policy).name,
        "task": args.task,
        "physics": simulator,
        **task.metrics(),
    }
    paths = [d.trajectory for d in task.driven]
    write_report(args.out, summary, [task.ground], [paths], goal_radius_m=task.rules.goal_radius_m)
    return summary


def _drive(task: NavTask, make_driver: Any, *, gui: bool) -> str:
    """Drive by the newest interface that this application has; returns its name."""
    try:
        import isaacsim.core.experimental.utils.app  # noqa: F401 came with Isaac Sim 6
    except ImportError:
        from .base_task import drive_in_world

        drive_in_world(task, make_driver, gui=gui)
        return "omni.isaac.core" if "omni.isaac.core" in sys.modules else "isaacsim.core.api"
    from .driver import drive_in_isaac_sim

    drive_in_isaac_sim(task, make_driver, gui=gui)
    return "isaacsim.core.experimental"
