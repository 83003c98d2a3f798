"""Who makes the worlds: worker processes of this machine, through one small protocol that Ray speaks as well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..core.errors import BackendError, DependencyError, InputError
from ..core.machine import core_count, free_memory_bytes
from ..core.manifest import MANIFEST_NAME
from ..session.commands import Command, Generate, Vary
from ..session.events import EXIT_CANCELLED, ErrorEvent, ExitEvent, LogEvent, ProgressEvent, ResultEvent
from ..session.variation import variants_values
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
    begins: str
    """What a job is at until it tells more."""

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
    variants: Path | None = None
    """Their folder, where it is they that are made."""
    result: ResultEvent | None = None
    error: str = ""
    last_text: str = ""
    stage: str = field(default="")


class LocalPool:
    """A process for each world, as a session has it: killing one costs nobody else anything."""

    begins = "starting"

    def __init__(
        self,
        root: Path,
        *,
        slots: int | None = None,
        launcher: Sequence[str] | None = None,
        fetch: Callable[[str, Path], None] | None = None,
    ) -> None:
        """
        Args:
            root: folder that holds the worlds' folders.
            slots: worlds at a time; by cores and memory when None.
            launcher: how to start `lyra-worldgen`; this installation when None.
            fetch: brings a world that is to get variants, by name, to a folder where it no longer lies.
        """
        self._fetch = fetch
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
        folder = self._root / (item.base or item.name)
        if item.base and self._fetch is not None and not (folder / MANIFEST_NAME).is_file():
            self._fetch(item.base, folder)
        try:
            job = WorkerJob(work_command(self._launcher, folder), command_of(item, self._root))
        except OSError as error:
            raise BackendError(f"no worker can be started ({error}); is lyra.worldgen installed here?") from error
        self._running[item.name] = _Running(job, self._root.resolve() / item.name if item.base else None)

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


def command_of(item: BatchItem, root: Path) -> Command:
    """What a worker is told, where worlds lie in `root`."""
    if item.order is None:
        return Generate(photo=item.photo.resolve(), config=item.config)
    order = item.order
    return Vary(
        out=root.resolve() / item.name,
        ranges=dict(order.ranges),
        count=order.count,
        seed=order.seed,
        certify=order.certify,
        # Whatever lies there under this name was made by this batch, of an earlier file or world.
        overwrite=True,
    )


def _ended(name: str, running: _Running, exit_code: int) -> Ended:
    # 1 is a finished world that is not certified; whatever ended a worker after its result cannot take that back.
    if running.result is not None and exit_code in {0, 1}:
        values = dict(running.result.values)
        if running.variants is None:
            return Ended(name=name, values=values)
        try:
            told = variants_values(running.variants)
        except InputError as error:
            return Ended(name=name, cause=str(error))
        # Variants are bound by what binds their world.
        return Ended(name=name, values=told | {key: values.get(key) for key in ("licence", "research_only")})
    if exit_code in {InputError.exit_code, DependencyError.exit_code}:
        return Ended(name=name, cause=running.error or running.last_text or "the worker gave no reason", final=True)
    if exit_code == EXIT_CANCELLED or exit_code < 0:
        return Ended(name=name, cause=running.error or f"the worker was stopped (exit code {exit_code})")
    return Ended(name=name, cause=running.error or running.last_text or f"the worker ended with exit code {exit_code}")
