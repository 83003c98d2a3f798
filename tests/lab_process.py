"""Starting Isaac Lab in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent


def run_lab(*arguments: object, cwd: Path, timeout_s: float = 900) -> str:
    """Output of a Python process; its last lines are shown if it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "LYRA_TASKS_CACHE": str(cwd / "robots")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    process = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout_s,
        check=False,
    )
    assert process.returncode == 0, f"exit code {process.returncode}\n" + process.stdout[-4000:]
    return process.stdout
