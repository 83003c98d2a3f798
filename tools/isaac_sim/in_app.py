"""Starts Isaac Sim for the scripts beside this file: our packages on its Python's path, errors as exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent


def use_checkout() -> None:
    """Make this checkout's packages importable; nothing is installed into the simulator's Python."""
    sys.path[:0] = [str(ROOT / "exts" / "lyra.worldgen"), str(ROOT / "robot_tasks")]


def run_in_app(settings: dict[str, Any], deed: Callable[[Any], None]) -> int:
    """Start the application, do something in it, and end it.

    Args:
        settings: of `SimulationApp`.
        deed: given the application.

    Returns:
        Exit code: 0, that of the `WorldgenError` that was raised, or 3 outside Isaac Sim's Python.
    """
    from lyra.worldgen.core.errors import WorldgenError

    try:
        from isaacsim import SimulationApp
    except ImportError:
        try:
            from omni.isaac.kit import SimulationApp
        except ImportError:
            print("error: this Python is not Isaac Sim's; use its python.sh", file=sys.stderr)
            return 3
    # With several GPUs at work Kit 110.1 crashes in MobilityGen, and no script here needs more than one.
    app = SimulationApp({"multi_gpu": False, "extra_args": ["--/renderer/multiGpu/enabled=false"], **settings})
    code = 0
    try:
        deed(app)
    except WorldgenError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        code = error.exit_code
    # Nothing that comes after it is sure to run.
    sys.stdout.flush()
    app.close()
    return code
