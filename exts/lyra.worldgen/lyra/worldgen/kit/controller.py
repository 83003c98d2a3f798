"""What the window shows and does, without Kit: one job at a time as a small state machine.

idle ─start→ running ─result→ done
               │ └─error, early exit→ failed
               └─cancel→ cancelling ─exit→ cancelled

`start` is refused while a job runs; from every resting state it begins anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Protocol

from ..core.errors import ConfigError
from ..session.events import ErrorEvent, ExitEvent, LogEvent, ProgressEvent, ResultEvent, WorkerEvent
from .jobs import GenerateRequest

_log = logging.getLogger(__name__)


class Phase(Enum):
    """Where the job stands."""

    IDLE = "idle"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True)
class JobState:
    """Everything the window needs to draw itself."""

    phase: Phase = Phase.IDLE
    fraction: float = 0.0
    """Of the whole job, 0..1; never falls while a job runs."""
    message: str = "Choose a photo and press Generate."
    """One line for the user."""
    folder: str | None = None
    """The finished world."""
    passed: bool | None = None
    """Verdict of the certificate; None before the end or when not all could be measured."""

    @property
    def busy(self) -> bool:
        return self.phase in {Phase.RUNNING, Phase.CANCELLING}


class Job(Protocol):
    """What the controller needs of a worker; `session.worker.WorkerJob` is the real one."""

    def poll(self) -> list[WorkerEvent]: ...
    def cancel(self) -> None: ...
    def close(self) -> None: ...


class WorldgenController:
    """Runs one generation job and hands the finished world over. Use from one thread."""

    def __init__(
        self,
        launch: Callable[[GenerateRequest], Job],
        *,
        on_change: Callable[[JobState], None] = lambda state: None,
        on_world: Callable[[str], None] = lambda folder: None,
    ) -> None:
        """
        Args:
            launch: starts a worker; may raise `OSError`.
            on_change: called with the new state after every change, from within `start`, `cancel` and `poll`.
            on_world: called once with the folder of each finished world; what it raises is shown to the user.
        """
        self._launch = launch
        self._on_change = on_change
        self._on_world = on_world
        self._job: Job | None = None
        self._state = JobState()
        self._result: ResultEvent | None = None
        self._error: str | None = None
        self._last_text = ""

    @property
    def state(self) -> JobState:
        return self._state

    def start(self, request: GenerateRequest) -> bool:
        """Start a job; False, with the reason in `state.message`, if it cannot start or one is running."""
        if self._state.busy:
            return False
        problem = _problem_with(request)
        if problem is None:
            try:
                self._job = self._launch(request)
            except (OSError, ConfigError) as error:
                problem = f"The generator cannot be started: {error}"
        if problem is not None:
            self._set(JobState(phase=Phase.FAILED, message=problem))
            return False
        self._result, self._error, self._last_text = None, None, ""
        self._set(JobState(phase=Phase.RUNNING, message="Starting ..."))
        return True

    def cancel(self) -> None:
        """Ask the running job to end; does nothing otherwise."""
        if self._job is not None and self._state.phase is Phase.RUNNING:
            self._job.cancel()
            self._set(replace(self._state, phase=Phase.CANCELLING, message="Cancelling ..."))

    def poll(self) -> None:
        """Take in what the worker said since the last call; cheap, call once per frame."""
        for event in self._job.poll() if self._job is not None else ():
            self._take(event)

    def close(self) -> None:
        """End a running job by force and forget it: for shutdown."""
        if self._job is not None:
            self._job.close()
            self._job = None

    def _take(self, event: WorkerEvent) -> None:
        if isinstance(event, ProgressEvent):
            if self._state.phase is Phase.RUNNING:
                # Stages estimate their own length; a bar that runs backwards would only confuse.
                fraction = max(self._state.fraction, event.fraction)
                self._set(replace(self._state, fraction=fraction, message=_progress_line(event, fraction)))
        elif isinstance(event, LogEvent):
            self._last_text = event.text
            _log.info("worker: %s", event.text)
        elif isinstance(event, ResultEvent):
            self._result = event
        elif isinstance(event, ErrorEvent):
            self._error = event.message
        elif isinstance(event, ExitEvent):
            self._finish(event.exit_code)

    def _finish(self, exit_code: int) -> None:
        job, self._job = self._job, None
        if job is not None:
            job.close()
        if self._state.phase is Phase.CANCELLING and self._result is None:
            message = "Cancelled. Generate again with the same folder to go on where it stopped."
            self._set(replace(self._state, phase=Phase.CANCELLED, message=message))
        elif self._result is None:
            reason = self._error or self._last_text or "no reason was given"
            self._set(replace(self._state, phase=Phase.FAILED, message=f"Failed (exit code {exit_code}): {reason}"))
        else:
            self._deliver(self._result)

    def _deliver(self, result: ResultEvent) -> None:
        verdict = {True: "certified", False: "NOT certified, see certificate.html", None: "not fully measured"}
        self._set(
            JobState(
                phase=Phase.DONE,
                fraction=1.0,
                message=f"Done, {verdict[result.passed]}: {result.folder}",
                folder=result.folder,
                passed=result.passed,
            )
        )
        try:
            self._on_world(result.folder)
        except Exception as error:
            # The world is finished either way; a stage that refuses it must not lose it or take Kit's frame loop down.
            _log.exception("the finished world could not be put on the stage")
            self._set(replace(self._state, message=f"Finished, but not loaded: {error}. World: {result.folder}"))

    def _set(self, state: JobState) -> None:
        if state != self._state:
            self._state = state
            self._on_change(state)


def _problem_with(request: GenerateRequest) -> str | None:
    """Why a request cannot work, as a line for the user; the worker checks the rest."""
    if not request.photo.strip():
        return "Choose a photo first."
    if not Path(request.photo).is_file():
        return f"There is no such photo: {request.photo}"
    if not request.out.strip():
        return "Choose an output folder first."
    if request.seed < 0:
        return f"The seed is {request.seed}; it has to be 0 or larger."
    if request.camera_height_m is not None and not request.camera_height_m > 0:
        return f"The camera height is {request.camera_height_m} m; it has to be larger than 0."
    return None


def _progress_line(event: ProgressEvent, fraction: float) -> str:
    line = f"{event.stage}: {100 * fraction:.0f} %"
    return line if event.eta_s is None else f"{line}, {_duration(event.eta_s)} left"


def _duration(seconds: float) -> str:
    whole = max(0, round(seconds))
    return f"{whole} s" if whole < 90 else f"{round(whole / 60)} min"
