"""Who makes the worlds: worker processes of this machine, through one small protocol that Ray speaks as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..core.errors import BackendError, DependencyError, InputError
from ..core.machine import core_count, free_memory_bytes
from ..session.commands import Generate
from ..session.events import EXIT_CANCELLED, ErrorEvent, ExitEvent, LogEvent, ProgressEvent, ResultEvent
from ..session.worker import WorkerJob, own_launcher, work_command
from .plan import BatchItem

MEMORY_BYTES = 2 * 2**30
"""What one world needs at its peak with the embedded painter."""


@dataclass(frozen=True, kw_only=True)
class Progressed:
    """A world goes on."""

    name: str
    stage: str
    fraction: float
    eta_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A world was made, or not."""

    name: str
    values: Mapping[str, Any] | None = None
    """The world for programs; None if it failed."""
    cause: str = ""
    """Why it failed."""
    final: bool = False
    """Trying again would end the same way: the photo or a setting is wrong, or something is not installed."""
    stored: bool = False
    """The worker has put the world into the store itself."""


class Pool(Protocol):
    """Makes worlds, several at a time. Used from one thread."""

    slots: int
    """How many at a time."""

    def start(self, item: BatchItem) -> None:
        """Begin a world."""

    def poll(self) -> list[Progressed | Ended]:
        """What has happened; never waits long. After `Ended` a slot is free again."""
        ...

    def close(self) -> None:
        """End everything that runs; nothing of it stays."""


def default_workers() -> int:
    """As many worlds at a time as cores and free memory allow."""
    free = free_memory_bytes()
    return max(1, min(core_count(), core_count() if free is None else int(free // MEMORY_BYTES)))


@dataclass
class _Running:
    job: WorkerJob
    result: ResultEvent | None = None
    error: str = ""
    last_text: str = ""
    stage: str = field(default="")


class LocalPool:
    """A process for each world, as a session has it: killing one costs nobody else anything."""

    def __init__(self, root: Path, *, slots: int | None = None, launcher: Sequence[str] | None = None) -> None:
        """
        Args:
            root: folder that holds the worlds' folders.
            slots: worlds at a time; by cores and memory when None.
            launcher: how to start `lyra-worldgen`; this installation when None.
        """
        self.slots = slots or default_workers()
        self._root = Path(root)
        self._launcher = list(launcher) if launcher is not None else own_launcher()
        self._running: dict[str, _Running] = {}

    @property
    def pids(self) -> dict[str, int]:
        """Process of each world that is being made."""
        return {name: running.job.pid for name, running in self._running.items()}

    def start(self, item: BatchItem) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        command = Generate(photo=item.photo.resolve(), config=item.config)
        try:
            job = WorkerJob(work_command(self._launcher, self._root / item.name), command)
        except OSError as error:
            raise BackendError(f"no worker can be started ({error}); is lyra.worldgen installed here?") from error
        self._running[item.name] = _Running(job)

    def poll(self) -> list[Progressed | Ended]:
        found: list[Progressed | Ended] = []
        for name, running in list(self._running.items()):
            for event in running.job.poll():
                match event:
                    case ProgressEvent():
                        found.append(
                            Progressed(name=name, stage=event.stage, fraction=event.fraction, eta_s=event.eta_s)
                        )
                    case ResultEvent():
                        running.result = event
                    case ErrorEvent():
                        running.error = event.message
                    case LogEvent():
                        running.last_text = event.text
                    case ExitEvent():
                        del self._running[name]
                        found.append(_ended(name, running, event.exit_code))
        return found

    def close(self) -> None:
        for running in self._running.values():
            running.job.cancel()
        for running in self._running.values():
            running.job.close()
        self._running.clear()


def _ended(name: str, running: _Running, exit_code: int) -> Ended:
    # 1 is a finished world that is not certified; whatever ended a worker after its result cannot take that back.
    if running.result is not None and exit_code in {0, 1}:
        return Ended(name=name, values=running.result.values)
    if exit_code in {InputError.exit_code, DependencyError.exit_code}:
        return Ended(name=name, cause=running.error or running.last_text or "the worker gave no reason", final=True)
    if exit_code == EXIT_CANCELLED or exit_code < 0:
        return Ended(name=name, cause=running.error or f"the worker was stopped (exit code {exit_code})")
    return Ended(name=name, cause=running.error or running.last_text or f"the worker ended with exit code {exit_code}")
