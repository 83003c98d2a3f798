"""Runs a PhysX job in a process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..core.errors import InputError
from ..core.progress import SILENT, SupportsProgress
from .child_process import Outcome, run_child
from .physx_job import PhysxJob, PhysxResult

PYTHON_VARIABLE = "LYRA_WORLDGEN_PHYSX_PYTHON"
"""Environment variable with the interpreter of the physics process, for PhysX that lives in another environment."""
INSTALL_HINT = "install it with: pip install 'lyra-worldgen[physx]'"


def run_physx_job(
    job: PhysxJob,
    workdir: Path,
    *,
    timeout_s: float,
    python: str | None = None,
    progress: SupportsProgress = SILENT,
) -> Outcome[PhysxResult]:
    """Measure `job` in a child process that is gone when this returns.

    Args:
        job: what to measure.
        workdir: an existing folder for the job, the log and the result.
        timeout_s: the child and everything it started are killed after this long [s].
        python: interpreter; the variable `LYRA_WORLDGEN_PHYSX_PYTHON` or this interpreter when None.
        progress: told about `physics` steps; cancelling kills the child.

    Raises:
        Cancelled: through `progress`.
    """
    result_path = workdir / "physx.json"
    end = run_child(
        "lyra.worldgen.sim.physx_worker",
        job.dump(),
        result_path,
        name="PhysX",
        install_hint=INSTALL_HINT,
        timeout_s=timeout_s,
        python=python or os.environ.get(PYTHON_VARIABLE) or sys.executable,
        progress=progress,
    )
    if end.problem:
        return Outcome(result=None, problem=end.problem, missing=end.missing)
    try:
        return Outcome(result=PhysxResult.load(result_path))
    except (InputError, ValueError, KeyError, TypeError) as error:
        return Outcome(result=None, problem=f"the physics process answered nonsense ({error})")
