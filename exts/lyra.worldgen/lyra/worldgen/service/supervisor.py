"""Runs the jobs that the database holds: one worker process at a time for each device, killed and begun again cleanly.

A worker that dies takes nothing with it but the chunk it was painting: its job waits again and goes on from there. A
server that dies takes its workers with it (their stdin ends); the next one puts their jobs back first, and makes sure
that the old processes are gone, because a world has one writer.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.config import load_config
from ..core.errors import InputError, WorldgenError
from ..core.world_writer import holder
from ..session.commands import Branch, Command, resumed, world_token
from ..session.events import ErrorEvent, ExitEvent, FrameEvent, LogEvent, ProgressEvent, ResultEvent
from ..session.service_words import command_from_request
from ..session.worker import WorkerJob, own_launcher, work_command, worker_environment
from .database import Database, Row
from .limits import ServiceConfig
from .uploads import SUFFIXES

log = logging.getLogger(__name__)

POLL_S = 0.05
LOOK_S = 0.5
"""How often a running job is asked for in the database, whether somebody cancelled it [s]."""
GRACE_S = 10.0
"""How long a worker may take to end when its server has died [s]; see `cli/work.py`."""
HELD = "is writing this world"
"""In the words of a worker that found another one still at work; it is tried again."""
PAUSE_S = 1.0
"""Pause after a worker that died, so that a broken installation does not spin [s]."""


@dataclass(frozen=True, kw_only=True)
class Live:
    """What a running job is at; kept in memory only."""

    fraction: float = 0.0
    stage: str = ""
    note: str = ""
    eta_s: float | None = None
    frame: bytes | None = None
    frame_number: int = 0
    changes: int = 0
    """Counts up, so that whoever looks on sees that something is new."""


class Supervisor:
    """The workers of a service."""

    def __init__(self, database: Database, config: ServiceConfig) -> None:
        self._database, self._config = database, config
        self._live: dict[str, Live] = {}
        self._stop = threading.Event()
        self._wake = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._busy: set[str] = set()
        self.finished: dict[str, int] = {}
        """How many jobs ended how since the server began."""

    @property
    def busy_workers(self) -> int:
        return len(self._busy)

    def start(self) -> None:
        """Put back what an earlier server left, then begin to work."""
        self._recover()
        for slot, device in enumerate(self._config.devices):
            thread = threading.Thread(target=self._work, args=(device,), name=f"worker {slot}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop the workers; their jobs wait for the next server."""
        self._stop.set()
        self.wake()
        for thread in self._threads:
            thread.join(self._config.grace_s + 10.0)

    def wake(self) -> None:
        """Say that there may be something new to do."""
        with self._wake:
            self._wake.notify_all()

    def live(self, job_id: str) -> Live:
        return self._live.get(job_id, Live())

    def _recover(self) -> None:
        for job in self._database.running():
            _end_process(job["worker_pid"], job["worker_began"])
            self._database.put_back(job["id"], "the server stopped")
        uploads, worlds = self._database.known_ids()
        for folder, known in ((self._config.uploads, uploads), (self._config.worlds, worlds)):
            folder.mkdir(parents=True, exist_ok=True)
            for entry in folder.iterdir():
                if entry.name.partition(".")[0] not in known:
                    log.info("removing what an interrupted request left: %s", entry.name)
                    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()

    def _work(self, device: str) -> None:
        while not self._stop.is_set():
            try:
                job = self._database.claim(self._config.quota)
                if job is None:
                    with self._wake:
                        self._wake.wait(LOOK_S)
                    continue
                self._busy.add(job["id"])
                try:
                    self._perform(job, device)
                finally:
                    self._busy.discard(job["id"])
                    self._live.pop(job["id"], None)
                    self.wake()
            except Exception:  # one job that cannot be handled must not take the worker's place down
                log.exception("a job could not be handled")
                self._stop.wait(PAUSE_S)

    def _perform(self, job: Row, device: str) -> None:
        database, folder = self._database, self._config.worlds / job["world"]
        try:
            command = command_of(job, self._config)
            if job["before"] is None:
                database.set_before(job["id"], world_token(folder))
            else:
                command = resumed(command, folder, job["before"])
        except (WorldgenError, OSError) as error:
            self._end(job, "failed", self._said(str(error), job), None, 0.0)
            return
        self._await_writer(Path(command.out) if isinstance(command, Branch) else folder)
        began = time.monotonic()
        progress_before = _traces(folder)
        environment = worker_environment(os.environ)
        if "PYTHONPATH" in os.environ:
            environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
        if device:
            environment["CUDA_VISIBLE_DEVICES"] = device
        arguments = work_command(self._config.launcher or own_launcher(), folder, frames=True)
        try:
            worker = WorkerJob(arguments, command, env=environment, grace_s=self._config.grace_s)
        except OSError as error:
            log.error("a worker cannot be started: %s", error)
            self._crashed(job, "no worker could be started", progressed=False, spent_s=0.0)
            self._stop.wait(PAUSE_S)
            return
        database.set_worker(job["id"], worker.pid, process_began(worker.pid))
        why, result, error, exit_code = self._follow(job, worker, began)
        worker.close()
        spent_s = time.monotonic() - began
        if job["target"] or result is not None:
            self._weigh(job)
        else:
            database.set_world_bytes(job["world"], _size(folder))
        if result is not None:
            self._end(job, "finished", "", {"passed": result.passed, **_public(result.values)}, spent_s)
        elif why == "cancelled":
            self._end(job, "cancelled", "cancelled; what is finished stays", None, spent_s)
        elif why == "late":
            self._end(job, "failed", f"it took longer than the {job['limit_s']:g} s that a job may run", None, spent_s)
        elif why == "stopping":
            database.put_back(job["id"], "the server stopped", spent_s=spent_s)
        elif error and exit_code not in (130, -signal.SIGTERM, -signal.SIGKILL) and HELD not in error:
            self._end(job, "failed", self._said(error, job), None, spent_s)
        else:
            progressed = _traces(folder) != progress_before
            text = f"the worker ended without an answer (exit code {exit_code})"
            self._crashed(job, text, progressed=progressed, spent_s=spent_s)

    def _follow(self, job: Row, worker: WorkerJob, began: float) -> tuple[str, ResultEvent | None, str, int]:
        """Listen to a worker until it has ended: why it was stopped, its result, its error, its exit code."""
        why, result, error = "", None, ""
        looked = time.monotonic()
        limit_s = max(1.0, job["limit_s"] - job["spent_s"])
        stage = ""
        while True:
            for event in worker.poll():
                live = self.live(job["id"])
                if isinstance(event, ProgressEvent):
                    if event.stage != stage:
                        stage = event.stage
                        self._database.note(job["id"], "stage", stage)
                    live = replace(
                        live,
                        fraction=max(live.fraction, event.fraction),
                        stage=event.stage,
                        note=event.note,
                        eta_s=event.eta_s,
                    )
                elif isinstance(event, FrameEvent):
                    live = replace(live, frame=event.jpeg, frame_number=live.frame_number + 1)
                elif isinstance(event, LogEvent):
                    log.debug("job %s: %s", job["id"], event.text)
                elif isinstance(event, ResultEvent):
                    result = event
                elif isinstance(event, ErrorEvent):
                    error = event.message
                elif isinstance(event, ExitEvent):
                    return why, result, error, event.exit_code
                self._live[job["id"]] = replace(live, changes=live.changes + 1)
            now = time.monotonic()
            if not why:
                if self._stop.is_set():
                    why = "stopping"
                elif now - began > limit_s:
                    why = "late"
                elif now - looked > LOOK_S:
                    looked = now
                    why = "cancelled" if self._database.cancel_asked(job["id"]) else ""
                if why:
                    worker.cancel()
            time.sleep(POLL_S)

    def _await_writer(self, folder: Path) -> None:
        """Let a worker that an earlier server started end: it stops by itself when that server has died."""
        give_up = time.monotonic() + GRACE_S + self._config.grace_s
        while holder(folder) and time.monotonic() < give_up and not self._stop.is_set():
            time.sleep(POLL_S)

    def _weigh(self, job: Row) -> None:
        for world in filter(None, (job["world"], job["target"])):
            self._database.set_world_bytes(world, _size(self._config.worlds / world))

    def _crashed(self, job: Row, text: str, *, progressed: bool, spent_s: float) -> None:
        crashes = self._config.limits.crashes
        log.warning("job %s: %s", job["id"], text)
        if not self._database.put_back_crashed(
            job["id"], text, progressed=progressed, max_crashes=crashes, spent_s=spent_s
        ):
            self.finished["failed"] = self.finished.get("failed", 0) + 1

    def _end(self, job: Row, state: str, message: str, result: Row | None, spent_s: float) -> None:
        if self._database.end(job["id"], state, message, result, spent_s):
            self.finished[state] = self.finished.get(state, 0) + 1

    def _said(self, message: str, job: Row) -> str:
        """A message without the places where the service keeps things."""
        for folder in (self._config.worlds / job["world"], self._config.data):
            for text in (str(folder.resolve()), str(folder)):
                message = message.replace(text, "")
        return message.rstrip(" :/")[:2000]


def command_of(job: Row, config: ServiceConfig) -> Command:
    """The session's command for a job in the service's words; raises `ConfigError` for settings that cannot be."""
    said = job["command"]

    def upload(kind: str) -> Path | None:
        return None if said.get(kind) is None else upload_path(config, said[kind], SUFFIXES[kind])

    return command_from_request(
        said,
        upload=upload,
        configured=lambda settings: load_config(config.config_file, settings),
        branch=config.worlds / (job["target"] or ""),
    )


def upload_path(config: ServiceConfig, upload_id: str, suffix: str) -> Path:
    """Where an upload lies."""
    return config.uploads / f"{upload_id}{suffix}"


def process_began(pid: int) -> str | None:
    """When a process began, in the system's own words: with its number it names one process for good."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _end_process(pid: int | None, began: str | None) -> None:
    """End a worker that an earlier server started, with its children, and wait until it is gone."""
    if pid is None or began is None or process_began(pid) != began:
        return
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
    give_up = time.monotonic() + 10.0
    while process_began(pid) == began and time.monotonic() < give_up:
        if _is_zombie(pid):
            return
        time.sleep(0.02)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _traces(folder: Path) -> frozenset[str]:
    """What a world's folder says of finished stages and chunks, to see whether a worker got further."""
    try:
        from ..core.manifest import read_manifest

        return frozenset(read_manifest(folder).stages)
    except InputError:
        return frozenset()


def _size(folder: Path) -> int:
    """Room that a folder takes [bytes]."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def _public(values: Any) -> Row:
    """What is told about a world, without the place where the service keeps it."""
    return {name: value for name, value in dict(values).items() if name != "folder"}
