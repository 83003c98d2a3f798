"""Finds the environment that holds Isaac Lab and the robot tasks, and runs their commands there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import BackendError, ConfigError, DependencyError, InputError, WorldgenError

VARIABLE = "LYRA_TASKS_PYTHON"
"""Environment variable that names the interpreter."""
MODULE = "lyra_tasks.evaluate"
CHECKOUT = Path(__file__).resolve().parents[5]
_ERRORS: dict[int, type[WorldgenError]] = {2: InputError, 3: DependencyError}


def tasks_python(environment: Mapping[str, str] = os.environ, checkout: Path = CHECKOUT) -> Path:
    """The interpreter that robot tasks run in: the one that is named, else `.venv-lab` of this checkout.

    Raises:
        ConfigError: the one that is named does not exist.
        DependencyError: there is none.
    """
    named = environment.get(VARIABLE)
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"{VARIABLE} names no interpreter: {named}")
        return Path(named)
    python = checkout / ".venv-lab" / "bin" / "python"
    if not python.is_file():
        raise DependencyError(
            "policies are evaluated in Isaac Lab, whose environment (Python 3.12) is not here; tools/test.sh makes "
            f"it as .venv-lab, or name its Python in {VARIABLE}"
        )
    return python


def evaluate_policy(arguments: Sequence[str]) -> dict[str, Any]:
    """Run `python -m lyra_tasks.evaluate` in that environment; its messages go to stderr as they come.

    Args:
        arguments: of that command.

    Returns:
        What it printed: the summary without its episodes.

    Raises:
        InputError: the interpreter that is named does not exist, or the command refused its arguments.
        DependencyError: there is no such environment, or something is missing in it.
        BackendError: the command failed otherwise; in all cases its reason is on stderr.
    """
    python = tasks_python()
    paths = [str(CHECKOUT / "exts" / "lyra.worldgen"), str(CHECKOUT / "robot_tasks"), os.environ.get("PYTHONPATH")]
    # Isaac Lab's own messages share stdout with the result.
    done = subprocess.run(
        [str(python), "-m", MODULE, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.stderr.write(done.stdout[-2000:])
        kind = _ERRORS.get(done.returncode, BackendError)
        raise kind(f"{MODULE} failed with exit code {done.returncode}; the lines above say why. Python: {python}")
    return _last_object(done.stdout)


def _last_object(text: str) -> dict[str, Any]:
    """The JSON object that a text ends with."""
    start = text.rfind("\n{\n") + 1 if "\n{\n" in text else text.find("{")
    try:
        found = json.loads(text[start:]) if start >= 0 else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BackendError(f"{MODULE} printed no result; its output ends with: {text[-300:]!r}")
    return found
