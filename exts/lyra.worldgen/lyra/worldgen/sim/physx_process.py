"""Runs a physics job in a process of its own: a crash, a hang or a missing package becomes a sentence."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InputError
from ..core.progress import SILENT, SupportsProgress
from .physx_job import PhysxJob, PhysxResult

PYTHON_VARIABLE = "LYRA_WORLDGEN_PHYSX_PYTHON"
"""Environment variable with the interpreter of the physics process, for PhysX that lives in another environment."""
INSTALL_HINT = "install it with: pip install 'lyra-worldgen[physx]'"
_POLL_S = 0.05
_PROGRESS = re.compile(rb"^progress (\d+) (\d+)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class PhysxOutcome:
    """A result, or why there is none."""

    result: PhysxResult | None
    problem: str = ""
    """One sentence for a person; empty when measured."""
    missing: bool = False
    """PhysX is not installed: nothing is wrong with the world."""


def run_physx_job(
    job: PhysxJob,
    workdir: Path,
    *,
    timeout_s: float,
    python: str | None = None,
    progress: SupportsProgress = SILENT,
) -> PhysxOutcome:
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
    python = python or os.environ.get(PYTHON_VARIABLE) or sys.executable
    job_path, result_path, log_path = workdir / "job.json", workdir / "result.json", workdir / "physx.log"
    job_path.write_text(job.dump(), encoding="utf-8")
    result_path.unlink(missing_ok=True)
    package_root = str(Path(__file__).resolve().parents[3])
    search_path = [*filter(None, [os.environ.get("PYTHONPATH")]), package_root]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(search_path), "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": ""}
    with open(log_path, "wb") as log:
        try:
            child = subprocess.Popen(
                [python, "-m", "lyra.worldgen.sim.physx_worker", str(job_path), str(result_path), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=workdir,
                start_new_session=os.name == "posix",
            )
        except OSError as error:
            return PhysxOutcome(result=None, problem=f"the interpreter cannot be started ({error.strerror}): {python}")
        try:
            code = _wait(child, log_path, timeout_s, progress)
        finally:
            _end(child)
    if code is None:
        return PhysxOutcome(result=None, problem=f"the physics process took longer than {timeout_s:g} s and was ended")
    if code == 3:
        return PhysxOutcome(result=None, problem=f"PhysX is not installed here; {INSTALL_HINT}", missing=True)
    if code != 0 or not result_path.is_file():
        return PhysxOutcome(result=None, problem=f"the physics process failed ({_exit_text(code)}): {_tail(log_path)}")
    try:
        return PhysxOutcome(result=PhysxResult.load(result_path))
    except (InputError, ValueError, KeyError, TypeError) as error:
        return PhysxOutcome(result=None, problem=f"the physics process answered nonsense ({error})")


def _wait(child: subprocess.Popen[bytes], log: Path, timeout_s: float, progress: SupportsProgress) -> int | None:
    """Exit code, or None after the timeout."""
    deadline = time.monotonic() + timeout_s
    last: tuple[int, int] = (0, 1)
    while True:
        try:
            return child.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            pass
        found = _PROGRESS.findall(log.read_bytes()[-4096:])
        now = (int(found[-1][0]), int(found[-1][1])) if found else last
        progress.step("physics", *now)
        last = now
        if time.monotonic() > deadline:
            return None


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the child's whole process group and reap it."""
    if os.name == "posix":
        with suppress(ProcessLookupError, PermissionError):
            # The group outlives its leader while grandchildren run, so this is asked even after a clean exit.
            os.killpg(child.pid, signal.SIGKILL)
    elif child.poll() is None:
        child.kill()
    child.wait()


def _exit_text(code: int) -> str:
    if code < 0:
        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"


def _tail(log: Path) -> str:
    """The last line that says something, short."""
    lines = [t for line in log.read_text(errors="replace").splitlines() if (t := line.strip())]
    lines = [line for line in lines if not line.startswith("progress ")]
    return lines[-1][:300] if lines else "no output"
