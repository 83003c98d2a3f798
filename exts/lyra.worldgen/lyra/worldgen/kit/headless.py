"""What `tools/isaac_sim/load_world.py` does once the application has started. Not verified inside Isaac Sim."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..core.errors import InputError

MOST_UPDATES_PER_S = 1000
"""A simulation whose clock does not move ends after so many updates for each second that was asked for."""


def build_parser() -> argparse.ArgumentParser:
    """The script's arguments; it leaves those that it does not know to Kit."""
    parser = argparse.ArgumentParser(
        prog="load_world.py", description="Put a world on a stage in Isaac Sim.", allow_abbrev=False
    )
    parser.add_argument("world", type=Path, help="world folder")
    parser.add_argument("--representation", default="mesh", choices=("mesh", "splats", "both"))
    parser.add_argument("--no-physics", action="store_true", help="leave the colliders out")
    parser.add_argument("--robot", action="store_true", help="put the embedded robot where the first episode begins")
    parser.add_argument("--seconds", type=float, default=0.0, help="let physics run for so long [s]")
    parser.add_argument("--save", type=Path, help="write the stage to this file")
    parser.add_argument("--gui", action="store_true", help="show the stage")
    return parser


def load(app: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Put a world on a new stage of the running application.

    Args:
        app: the `SimulationApp`.
        args: see `build_parser`.

    Returns:
        What stands where; JSON values.

    Raises:
        InputError: no world, or an argument that makes no sense.
        DependencyError: `lyra_tasks` is missing.
    """
    import omni.timeline
    import omni.usd
    from pxr import UsdGeom

    from .jobs import Showing
    from .stage import load_world, open_stage

    if not args.seconds >= 0:
        raise InputError(f"--seconds is {args.seconds}; expected 0 or more")
    omni.usd.get_context().new_stage()
    app.update()
    stage = open_stage()
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    showing = Showing(representation=args.representation, physics=not args.no_physics)
    said: dict[str, Any] = {"world": load_world(str(args.world), "/World/Lyra", showing)}
    if args.robot:
        from .task_run import put_robot

        said["robot"] = put_robot(str(args.world), Path(__file__).resolve().parents[3])
    app.update()
    if args.seconds > 0:
        timeline = omni.timeline.get_timeline_interface()
        timeline.play()
        for _ in range(int(args.seconds * MOST_UPDATES_PER_S) + 100):
            app.update()
            if timeline.get_current_time() >= args.seconds:
                break
        said["simulated_s"] = timeline.get_current_time()
        timeline.stop()
    if args.save is not None:
        args.save.parent.mkdir(parents=True, exist_ok=True)
        if not stage.GetRootLayer().Export(args.save.resolve().as_posix()):
            raise InputError(f"the stage cannot be written: {args.save}")
        said["saved"] = str(args.save)
    return said
