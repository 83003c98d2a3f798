"""One worker process that performs one command and speaks JSON lines, read without blocking the caller.

The worker is `lyra-worldgen work DIR` in its own Python, so that no caller holds torch, and killing it frees all that
it held; a world that a worker was killed in goes on where it was. A process for each command keeps that simple: what a
start costs is a second or two. Two threads read its pipes into one queue; `poll` empties it and drives cancellation.
Nothing here waits longer than `close` at shutdown.

The command goes to the worker's stdin, which then stays open: it ends when the caller ends, however it ends, and the
worker with it.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from .commands import Command, command_to_json
from .events import MAX_LINE_BYTES, ExitEvent, WorkerEvent, log_line, parse_line

MAX_EVENTS_PER_POLL = 500
"""The rest waits for the next call."""


class Job(Protocol):
    """A command at work somewhere; what a session needs of it."""

    def poll(self) -> list[WorkerEvent]:
        """New events in order, an `ExitEvent` the last of all; never blocks."""
        ...

    def cancel(self) -> None:
        """Ask it to end; returns at once. Repeated calls do nothing."""

    def close(self) -> None:
        """Let go of it now: no process and no thread stays."""


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


def own_launcher() -> list[str]:
    """This very installation, in the interpreter that runs now."""
    return [sys.executable, "-m", "lyra.worldgen"]


def work_command(launcher: Sequence[str], folder: Path, *, frames: bool = False) -> list[str]:
    """Command line of a worker for a world folder; with `frames` it shows what it paints."""
    return [*launcher, "work", str(folder), *(["--frames"] if frames else [])]


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

    def __init__(
        self,
        arguments: Sequence[str],
        command: Command | None = None,
        *,
        env: Mapping[str, str] | None = None,
        grace_s: float = 5.0,
    ) -> None:
        """Start the process.

        Args:
            arguments: program and arguments, see `work_command`; no shell is involved.
            command: what to do, told to the worker on its stdin.
            env: environment of the worker; the caller's when None.
            grace_s: time between asking the worker to end and ending it by force [s].

        Raises:
            OSError: the program cannot be started.
        """
        self._events: queue.SimpleQueue[WorkerEvent] = queue.SimpleQueue()
        self._grace_s = grace_s
        self._kill_at: float | None = None
        self._ended = False
        self._process = subprocess.Popen(
            list(arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if env is None else dict(env),
            # A group of its own: physics runs in a child of the worker and has to end with it.
            start_new_session=True,
        )
        process = self._process
        assert process.stdin and process.stdout and process.stderr, "all three pipes were asked for"
        self._stdin = process.stdin
        self._readers = [
            threading.Thread(target=self._read, args=(process.stdout, parse_line), daemon=True),
            threading.Thread(target=self._read, args=(process.stderr, log_line), daemon=True),
        ]
        for thread in self._readers:
            thread.start()
        self._waiter = threading.Thread(target=self._wait, daemon=True)
        self._waiter.start()
        if command is not None:
            try:
                self._stdin.write(json.dumps(command_to_json(command), allow_nan=False).encode() + b"\n")
                self._stdin.flush()
            except OSError:
                pass  # it has ended already and its last words say why

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> list[WorkerEvent]:
        """New events in order; ends the worker by force when its grace is over."""
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._kill_at = None
            self._signal(force=True)
        events: list[WorkerEvent] = []
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
        if sys.platform != "win32":
            # While it is not yet reaped nobody else can have its number: what it left behind ends with it.
            try:
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
                os.killpg(self._process.pid, signal.SIGKILL)
            except (ChildProcessError, ProcessLookupError, PermissionError):
                pass
        exit_code = self._process.wait()
        for thread in self._readers:
            # A grandchild that outlives the worker can hold a pipe open; it must not hold the job open.
            thread.join(self._grace_s)
        try:
            self._stdin.close()
        except OSError:
            pass
        self._ended = True
        self._events.put(ExitEvent(exit_code=exit_code))
