"""Runs a physics engine in a process of its own: a crash, a hang or a missing package becomes a sentence."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from ..core.errors import DependencyError
from ..core.progress import SILENT, SupportsProgress

R = TypeVar("R")
_POLL_S = 0.05
_PROGRESS = re.compile(rb"^progress (\d+) (\d+)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class ChildEnd:
    """How a child process ended."""

    problem: str = ""
    """One sentence for a person; empty when it wrote its result."""
    missing: bool = False
    """What it needs is not installed."""


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[R]):
    """A result of an engine, or why there is none."""

    result: R | None
    problem: str = ""
    """One sentence for a person; empty when measured."""
    missing: bool = False
    """The engine is not installed: nothing is wrong with the world."""


def run_child(
    module: str,
    job_text: str,
    result_path: Path,
    *,
    name: str,
    install_hint: str,
    timeout_s: float,
    python: str = sys.executable,
    progress: SupportsProgress = SILENT,
) -> ChildEnd:
    """Run `python -m MODULE JOB RESULT PARENT_PID` and see it gone when this returns.

    Args:
        module: of this package; it exits with 0 when the result is written and with 3 when a package is missing.
        job_text: what it reads.
        result_path: what it writes; job and log come to lie beside it.
        name: of the engine, for sentences and for the log.
        install_hint: how to get it.
        timeout_s: the child and everything it started are killed after this long [s].
        python: interpreter.
        progress: told about `physics` steps; cancelling kills the child.

    Raises:
        Cancelled: through `progress`.
    """
    workdir = result_path.parent
    job_path, log_path = result_path.with_suffix(".job.json"), result_path.with_suffix(".log")
    job_path.write_text(job_text, encoding="utf-8")
    result_path.unlink(missing_ok=True)
    package_root = str(Path(__file__).resolve().parents[3])
    search_path = [*filter(None, [os.environ.get("PYTHONPATH")]), package_root]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(search_path), "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": ""}
    # Engines leave folders among the system's temporary files when they crash, are killed or leave without clean-up.
    with (
        tempfile.TemporaryDirectory(prefix="lyra-physics-", ignore_cleanup_errors=True) as temporary,
        open(log_path, "wb") as log,
    ):
        env |= dict.fromkeys(("TMPDIR", "TMP", "TEMP"), temporary)
        try:
            child = subprocess.Popen(
                [python, "-m", module, str(job_path), str(result_path), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=workdir,
                start_new_session=os.name == "posix",
            )
        except OSError as error:
            return ChildEnd(problem=f"the interpreter cannot be started ({error.strerror}): {python}")
        try:
            code = _wait(child, log_path, timeout_s, progress)
        finally:
            _end(child)
    if code is None:
        return ChildEnd(problem=f"the physics process took longer than {timeout_s:g} s and was ended")
    if code == DependencyError.exit_code:
        return ChildEnd(problem=f"{name} is not installed here; {install_hint}", missing=True)
    if code != 0 or not result_path.is_file():
        return ChildEnd(problem=f"the physics process failed ({_exit_text(code)}): {_tail(log_path)}")
    return ChildEnd()


def die_with_parent(parent_pid: int) -> None:
    """Ask Linux to end this process when its parent dies, even by SIGKILL."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent_pid:  # it died before the request was made
            raise SystemExit("the parent is gone already")


def print_progress(done: int, total: int) -> None:
    """A line that `run_child` understands."""
    sys.stdout.write(f"progress {done} {total}\n")
    sys.stdout.flush()


def installed(*distributions: str) -> dict[str, str]:
    """Versions of installed packages; missing ones are left out."""
    from importlib import metadata

    found = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def peak_mib() -> int:
    """Most memory that this process ever held [MiB]; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0
    import resource

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


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
