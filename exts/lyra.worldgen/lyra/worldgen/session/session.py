"""One world folder that somebody works on, with commands one after another and events for whoever looks on.

photo → seed → path → generate → look → undo → extend → reconstruct → certify → load: each step is a command
(`commands`) that `run` performs in this thread and `start` in a worker process. The command line runs, so that Ctrl-C
and errors are those of its own process; everything that has to stay responsive starts. Both lead to the same bytes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import InputError, WorldgenError
from ..core.progress import SILENT, Progress
from .commands import Command, resumed, world_token
from .events import (
    EXIT_CANCELLED,
    DoneEvent,
    ErrorEvent,
    Event,
    ExitEvent,
    FrameEvent,
    LogEvent,
    Outcome,
    ProgressEvent,
    ResultEvent,
    WorkerEvent,
)
from .worker import Job, WorkerJob, own_launcher, work_command

if TYPE_CHECKING:
    import numpy as np

    from ..core.world import World

log = logging.getLogger(__name__)

POLL_S = 0.05
"""How often a session looks at its worker while it waits or delivers in the background [s]."""


@dataclass(frozen=True, kw_only=True)
class SessionState:
    """Where a session stands; everything that a face needs to draw itself."""

    command: Command | None = None
    """What is being done; None at rest."""
    cancelling: bool = False
    """The worker was asked to stop and has not stopped yet."""
    fraction: float = 0.0
    """Of the command, 0..1; never falls."""
    stage: str = ""
    note: str = ""
    eta_s: float | None = None
    """Seconds left, if that can be told."""
    done: DoneEvent | None = None
    """How the last command ended; None before the first and while one runs."""

    @property
    def busy(self) -> bool:
        return self.command is not None


class Session:
    """A world folder, one command at a time. The folder's lock keeps other sessions and processes out while it works.

    ```python
    session = Session(Path("worlds/kitchen"), background=True)
    session.subscribe(print)                                         # ProgressEvent, LogEvent, FrameEvent, DoneEvent
    session.start(Generate(photo=Path("kitchen.jpg"), until="understand"))   # seed: geometry known, nothing painted
    session.wait()
    session.start(Extend(path="forward", until="explore"))           # generate along a path, frames as they come
    session.wait()
    session.start(Undo(until="explore")); session.wait()             # take a chunk back
    session.start(Finish()); session.wait()                          # reconstruct, simulate, certify, preview
    world = session.load()                                           # manifest, views, mesh, splats, files
    session.close()
    ```

    A worker can be cancelled or killed at any moment: finished chunks and stages stay, and `resume` goes on with what
    was stopped. Use it from one thread; `cancel` may come from any.
    """

    def __init__(
        self,
        folder: Path,
        *,
        launcher: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        frames: bool = True,
        background: bool = False,
        grace_s: float = 5.0,
        launch: Callable[[Command], Job] | None = None,
    ) -> None:
        """Nothing is read or started yet.

        Args:
            folder: the world's, which may not exist yet.
            launcher: how to start `lyra-worldgen`, see `worker.find_launcher`; this installation when None.
            env: environment of workers; the caller's when None.
            frames: whether workers send what they paint.
            background: deliver events from a thread of the session's own. Otherwise `poll` and `wait` deliver them in
                the thread that calls.
            grace_s: how long a cancelled worker may take before it is killed [s].
            launch: puts a command to work in place of a worker process, see `remote.RemoteJob`; may raise `OSError`.
        """
        self.folder = Path(folder)
        self._launcher = list(launcher) if launcher is not None else own_launcher()
        self._env, self._frames, self._background, self._grace_s = env, frames, background, grace_s
        self._launch = launch or self._start_worker
        self._listeners: list[Callable[[Event], None]] = []
        self._state = SessionState()
        self._job: Job | None = None
        self._result: ResultEvent | None = None
        self._error: str | None = None
        self._last_text = ""
        self._stopped: tuple[Command, str] | None = None
        self._cancel = threading.Event()
        self._lock = threading.RLock()
        self._rest = threading.Event()
        self._rest.set()

    @property
    def state(self) -> SessionState:
        return self._state

    @property
    def resumable(self) -> bool:
        """Whether the last started command was stopped or failed and can go on."""
        done = self._state.done
        return self._stopped is not None and done is not None and done.outcome is not Outcome.FINISHED

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Have a function called with every event; returns what ends that. What it raises is logged."""
        self._listeners.append(listener)

        def leave() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return leave

    def holder(self) -> str:
        """Which process writes to the folder now, as `PID on HOST`; empty if none does."""
        from ..core.world_writer import holder

        return holder(self.folder)

    def load(self) -> World:
        """The world as it is now, also half-made or in the making; raises `InputError` if there is none."""
        from ..core.world import load_world

        return load_world(self.folder)

    def run(self, command: Command, progress: Progress = SILENT) -> World:
        """Perform a command in this thread; events reach subscribers, too.

        Raises:
            InputError: a command runs already, another process writes to the folder, or the command makes no sense.
            Cancelled: `cancel` was called, or `progress` says so; what is finished stays.
            WorldgenError: see the functions of `build`.
        """
        self._begin(command)
        try:
            world = command.perform(self.folder, _Told(progress, self))
        except BaseException as error:
            code = error.exit_code if isinstance(error, WorldgenError) else 1
            code = EXIT_CANCELLED if isinstance(error, KeyboardInterrupt) else code
            outcome = Outcome.CANCELLED if code == EXIT_CANCELLED else Outcome.FAILED
            self._finish(DoneEvent(outcome=outcome, exit_code=code, message=str(error)))
            raise
        from .summary import world_values

        values = world_values(world)
        self._finish(
            DoneEvent(
                outcome=Outcome.FINISHED,
                exit_code=0,
                folder=values["folder"],
                passed=values["passed"],
                values=values,
            )
        )
        return world

    def start(self, command: Command) -> None:
        """Perform a command in a worker process; returns at once. A `DoneEvent` says how it ended.

        Raises:
            InputError: a command runs already.
            OSError: the worker cannot be started.
        """
        before = world_token(self.folder)
        rest = self._state
        self._begin(command)
        try:
            self._job = self._launch(command)
        except BaseException:
            # What was stopped before can still be resumed.
            self._state = rest
            self._rest.set()
            raise
        self._stopped = (command, before)
        if self._background:
            threading.Thread(target=self._deliver, daemon=True, name=f"session {self.folder.name}").start()

    def resume(self) -> bool:
        """Start what is left of the last started command, if it was stopped or failed; False if there is nothing.

        Raises:
            InputError: a command runs already, or the world is damaged.
        """
        if self._stopped is None or not self.resumable:
            return False
        command, before = self._stopped
        self.start(resumed(command, self.folder, before))
        self._stopped = (command, before)
        return True

    def cancel(self) -> None:
        """Ask the running command to stop; does nothing at rest. What is finished stays, see `resume`."""
        self._cancel.set()
        with self._lock:
            if self._job is not None and self._state.busy:
                self._state = replace(self._state, cancelling=True)
                self._job.cancel()

    def poll(self) -> None:
        """Take in what the worker said since the last call and tell the subscribers; cheap, for a frame loop."""
        with self._lock:
            for event in self._job.poll() if self._job is not None else ():
                self._take(event)

    def wait(self, timeout_s: float | None = None) -> DoneEvent | None:
        """Wait until the running command has ended; how it did, or None when time is over or nothing ever ran."""
        give_up = None if timeout_s is None else time.monotonic() + timeout_s
        while self._state.busy and (give_up is None or time.monotonic() < give_up):
            if not self._background:
                self.poll()
            self._rest.wait(POLL_S)
        return self._state.done

    def close(self) -> None:
        """End a running worker by force and forget the subscribers. What is finished stays in the folder."""
        with self._lock:
            job, self._job = self._job, None
            if job is not None:
                job.close()
                self._finish(DoneEvent(outcome=Outcome.CANCELLED, exit_code=EXIT_CANCELLED, message="closed"))
            self._listeners.clear()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def tell(self, event: Event) -> None:
        """Tell the subscribers."""
        if isinstance(event, ProgressEvent):
            # Stages estimate their own length; a bar that runs backwards would only confuse.
            fraction = max(self._state.fraction, event.fraction)
            self._state = replace(self._state, fraction=fraction, stage=event.stage, note=event.note, eta_s=event.eta_s)
            event = replace(event, fraction=fraction)
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:  # one face that fails must neither end the work nor keep others from hearing of it
                log.exception("a subscriber of the session failed")

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called since the command began."""
        return self._cancel.is_set()

    @property
    def listened_to(self) -> bool:
        """Whether anybody has subscribed."""
        return bool(self._listeners)

    def _start_worker(self, command: Command) -> WorkerJob:
        arguments = work_command(self._launcher, self.folder, frames=self._frames)
        return WorkerJob(arguments, command, env=self._env, grace_s=self._grace_s)

    def _begin(self, command: Command) -> None:
        with self._lock:
            if self._state.busy:
                running = self._state.command.name if self._state.command else ""
                raise InputError(f"'{running}' is still running; wait for it or cancel it: {self.folder}")
            self._cancel.clear()
            self._rest.clear()
            self._result, self._error, self._last_text = None, None, ""
            self._state = SessionState(command=command)

    def _deliver(self) -> None:
        while self._state.busy:
            self.poll()
            self._rest.wait(POLL_S)

    def _take(self, event: WorkerEvent) -> None:
        if isinstance(event, ResultEvent):
            self._result = event
        elif isinstance(event, ErrorEvent):
            self._error = event.message
        elif isinstance(event, ExitEvent):
            job, self._job = self._job, None
            if job is not None:
                job.close()
            self._finish(self._ending(event.exit_code))
        else:
            if isinstance(event, LogEvent):
                self._last_text = event.text
            self.tell(event)

    def _ending(self, exit_code: int) -> DoneEvent:
        if (result := self._result) is not None:
            return DoneEvent(
                outcome=Outcome.FINISHED,
                exit_code=exit_code,
                folder=result.folder,
                passed=result.passed,
                values=result.values,
            )
        if self._state.cancelling or exit_code == EXIT_CANCELLED:
            return DoneEvent(
                outcome=Outcome.CANCELLED, exit_code=EXIT_CANCELLED, message="cancelled; what is finished stays"
            )
        reason = self._error or self._last_text or "no reason was given"
        return DoneEvent(outcome=Outcome.FAILED, exit_code=exit_code, message=reason)

    def _finish(self, done: DoneEvent) -> None:
        fraction = 1.0 if done.outcome is Outcome.FINISHED else self._state.fraction
        self._state = SessionState(fraction=fraction, stage=self._state.stage, done=done)
        self.tell(done)
        self._rest.set()


class _Told(Progress):
    """Progress of a command that runs in this thread: for the caller and for the session's subscribers."""

    def __init__(self, outer: Progress, session: Session) -> None:
        self._outer, self._session = outer, session

    @property
    def wants_frames(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._outer.wants_frames or self._session.listened_to

    def keep_going(self) -> bool:
        return self._outer.keep_going() and not self._session.cancelled

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        self._outer.update(stage, done, total, note)
        fraction = min(1.0, done / total) if total > 0 else 0.0
        self._session.tell(ProgressEvent(stage=stage, fraction=fraction, note=note))

    def frame(self, chunk: int, number: int, rgb_u8: np.ndarray) -> None:
        if self._outer.wants_frames:
            self._outer.frame(chunk, number, rgb_u8)
        if self._session.listened_to:
            from .frames import frame_jpeg

            self._session.tell(FrameEvent(chunk=chunk, frame=number, jpeg=frame_jpeg(rgb_u8)))
