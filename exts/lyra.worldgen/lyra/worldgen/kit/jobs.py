"""One worker process that speaks JSON lines, read without blocking the caller.

The worker is `lyra-worldgen generate ... --json-lines` in its own Python: Kit's interpreter never holds our torch.
Two threads read its pipes into one queue; `poll`, called once per frame on the main thread, empties the queue and
drives cancellation. Nothing here waits longer than `close` at shutdown.

Lines on the worker's stdout are objects with an `event`:
`{"event": "progress", "stage": str, "done": int, "total": int, "fraction": 0..1, "eta_s": float | null}`,
`{"event": "result", "folder": str, "passed": bool | null, ...}`,
`{"event": "error", "message": str, "exit_code": int}`. Anything else, and all of stderr, is log text.
"""

from __future__ import annotations

import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..core.config import GeometryConfig

MAX_LINE_BYTES = 1 << 20
"""Longer lines are cut: a worker that floods one line must not fill Kit's memory."""
MAX_EVENTS_PER_POLL = 500
"""The rest waits for the next frame."""


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """What the form asks for."""

    photo: str
    """Path of the photo."""
    out: str
    """Folder that becomes the world."""
    seed: int = 0
    camera_height_m: float | None = None
    """Height of the camera above the floor [m]; None leaves it to the configuration."""


@dataclass(frozen=True, kw_only=True)
class ProgressEvent:
    """A milestone."""

    stage: str
    fraction: float
    """Of the whole job, 0..1."""
    eta_s: float | None
    """Seconds left, if the worker can tell."""


@dataclass(frozen=True, kw_only=True)
class LogEvent:
    """A line of text."""

    text: str


@dataclass(frozen=True, kw_only=True)
class ResultEvent:
    """The world is finished."""

    folder: str
    passed: bool | None
    """Verdict of the certificate; None when not all could be measured."""


@dataclass(frozen=True, kw_only=True)
class ErrorEvent:
    """The worker says why it gives up."""

    message: str


@dataclass(frozen=True, kw_only=True)
class ExitEvent:
    """The process has ended and its pipes are drained; always the last event."""

    exit_code: int


JobEvent = ProgressEvent | LogEvent | ResultEvent | ErrorEvent | ExitEvent


def generate_command(launcher: Sequence[str], request: GenerateRequest) -> list[str]:
    """Command line of the worker.

    Args:
        launcher: how to start the command-line tool, see `find_launcher`.
        request: what to generate.
    """
    command = [*launcher, "generate", request.photo, "--out", request.out, "--seed", str(request.seed)]
    # The height that the form proposes is a guess; one that somebody typed was measured.
    if request.camera_height_m not in (None, GeometryConfig.camera_height_m):
        command += ["--camera-height", repr(float(request.camera_height_m))]
    return [*command, "--json-lines"]


def find_launcher(setting: str, near: Path | None, path: str | None = None) -> list[str]:
    """How to start `lyra-worldgen` in its own Python, or an empty list if no installation is found.

    Args:
        setting: the user's choice: a Python interpreter or the `lyra-worldgen` program; empty means look for it.
        near: the extension's folder; a `.venv` in one of the folders above it is what `tools/quickstart.sh` makes.
        path: search path for programs; the process's own when None.
    """
    if setting:
        name = Path(setting).name.lower()
        return [setting, "-m", "lyra.worldgen"] if name.startswith("python") else [setting]
    scripts, suffix = ("Scripts", ".exe") if sys.platform == "win32" else ("bin", "")
    for folder in near.resolve().parents if near else ():
        python = folder / ".venv" / scripts / f"python{suffix}"
        if python.is_file():
            return [str(python), "-m", "lyra.worldgen"]
    for folder in (path if path is not None else os.environ.get("PATH", "")).split(os.pathsep):
        program = Path(folder, f"lyra-worldgen{suffix}")
        if folder and program.is_file() and os.access(program, os.X_OK):
            return [str(program)]
    return []


def worker_environment(base: Mapping[str, str]) -> dict[str, str]:
    """Kit's environment without what would make another Python load Kit's modules and libraries."""
    env = {k: v for k, v in base.items() if k not in {"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP"}}
    roots = [base[k] for k in ("CARB_APP_PATH", "ISAAC_PATH", "EXP_PATH") if base.get(k)]
    if roots and env.get("LD_LIBRARY_PATH"):
        kept = [p for p in env["LD_LIBRARY_PATH"].split(os.pathsep) if not any(_below(p, root) for root in roots)]
        env["LD_LIBRARY_PATH"] = os.pathsep.join(kept)
    env["PYTHONUNBUFFERED"] = "1"
    env["PYTHONIOENCODING"] = "utf-8"
    return env


def _below(path: str, root: str) -> bool:
    return Path(path) == Path(root) or Path(root) in Path(path).parents


class WorkerJob:
    """A started worker. Call `poll` regularly from one thread; it never blocks."""

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str] | None = None, grace_s: float = 5.0) -> None:
        """Start the process.

        Args:
            command: program and arguments; no shell is involved.
            env: environment of the worker; the caller's when None.
            grace_s: time between asking the worker to end and ending it by force [s].

        Raises:
            OSError: the program cannot be started.
        """
        self._events: queue.SimpleQueue[JobEvent] = queue.SimpleQueue()
        self._grace_s = grace_s
        self._kill_at: float | None = None
        self._ended = False
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if env is None else dict(env),
            # A group of its own: physics runs in a child of the worker and has to end with it.
            start_new_session=True,
        )
        assert self._process.stdout is not None and self._process.stderr is not None, "both pipes were asked for"
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, parse_line), daemon=True),
            threading.Thread(target=self._read, args=(self._process.stderr, _log_line), daemon=True),
        ]
        for thread in self._readers:
            thread.start()
        self._waiter = threading.Thread(target=self._wait, daemon=True)
        self._waiter.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> list[JobEvent]:
        """New events in order; ends the worker by force when its grace is over."""
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._kill_at = None
            self._signal(force=True)
        events: list[JobEvent] = []
        while len(events) < MAX_EVENTS_PER_POLL:
            try:
                events.append(self._events.get_nowait())
            except queue.Empty:
                break
        return events

    def cancel(self) -> None:
        """Ask the worker to end; it is ended by force after the grace. Returns at once; repeated calls do nothing."""
        if self._kill_at is None and not self._ended:
            self._kill_at = time.monotonic() + self._grace_s
            self._signal(force=False)

    def close(self, timeout_s: float = 2.0) -> None:
        """End the worker by force and wait shortly for its threads: for shutdown."""
        if not self._ended:
            self._signal(force=True)
        self._waiter.join(timeout_s)

    def _signal(self, *, force: bool) -> None:
        if self._process.poll() is not None and not force:
            return
        try:
            if sys.platform == "win32":
                self._process.kill() if force else self._process.terminate()
            else:
                # The session's id is the worker's; children stay reachable through it after the worker has gone.
                os.killpg(self._process.pid, signal.SIGKILL if force else signal.SIGTERM)
        except (ProcessLookupError, PermissionError):
            pass  # ended in between

    def _read(self, pipe: IO[bytes], parse: Any) -> None:
        with pipe:
            while line := pipe.readline(MAX_LINE_BYTES):
                event = parse(line)
                if event is not None:
                    self._events.put(event)

    def _wait(self) -> None:
        exit_code = self._process.wait()
        for thread in self._readers:
            # A grandchild that outlives the worker can hold a pipe open; it must not hold the job open.
            thread.join(self._grace_s)
        self._ended = True
        self._events.put(ExitEvent(exit_code=exit_code))


def parse_line(line: bytes) -> JobEvent | None:
    """Event of one line of the worker's stdout; text that is no event becomes log, blank lines nothing."""
    text = line.decode("utf-8", errors="replace").strip()
    if not text:
        return None
    try:
        record = json.loads(text) if text.startswith("{") else None
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        return LogEvent(text=text)
    kind = record.get("event")
    if kind == "progress":
        return ProgressEvent(
            stage=str(record.get("stage", "")),
            fraction=min(max(_number(record.get("fraction")) or 0.0, 0.0), 1.0),
            eta_s=_number(record.get("eta_s")),
        )
    if kind == "result" and isinstance(record.get("folder"), str):
        passed = record.get("passed")
        return ResultEvent(folder=record["folder"], passed=passed if isinstance(passed, bool) else None)
    if kind == "error":
        return ErrorEvent(message=str(record.get("message") or "the worker gave no reason"))
    return LogEvent(text=text)


def _log_line(line: bytes) -> JobEvent | None:
    text = line.decode("utf-8", errors="replace").strip()
    return LogEvent(text=text) if text else None


def _number(value: object) -> float | None:
    """A finite float, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
