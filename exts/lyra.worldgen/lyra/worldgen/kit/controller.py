"""What the window shows and does, without Kit: one world at a time, worked on through a session.

idle ─begin→ running ─finished→ done
               │ └─error, death→ failed ─resume→ running
               └─cancel→ cancelling ─stopped→ cancelled ─resume→ running

Everything that begins work is refused while work is going on; from every resting state it begins anew. Whether the
work is done by a process here or by a server is the session's business.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from ..core.errors import WorldgenError
from ..session.commands import Command, Finish, Undo
from ..session.events import DoneEvent, Event, FrameEvent, LogEvent, Outcome, ProgressEvent
from ..session.session import Session
from .jobs import ExtendRequest, GenerateRequest, ImportRequest, extend_command, generate_command, import_command

_log = logging.getLogger(__name__)

LOG_LINES = 200
"""So many of the worker's last lines are kept."""
_LOADABLE = "world.usda"


class Phase(Enum):
    """Where the work stands."""

    IDLE = "idle"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True)
class KitState:
    """Everything the window needs to draw itself."""

    phase: Phase = Phase.IDLE
    fraction: float = 0.0
    """Of the whole command, 0..1; never falls while one runs."""
    message: str = "Choose a photo and press Generate."
    """One line for the user."""
    folder: str | None = None
    """The world that is worked on."""
    passed: bool | None = None
    """Verdict of the certificate that the last command led to; None when not all could be measured."""
    can_resume: bool = False
    """Whether the last command was stopped and can go on."""

    @property
    def busy(self) -> bool:
        return self.phase in {Phase.RUNNING, Phase.CANCELLING}


class WorldgenController:
    """Begins and cancels work and hands finished worlds over. Use from one thread."""

    def __init__(
        self,
        open_session: Callable[[Path], Session],
        *,
        on_change: Callable[[KitState], None] = lambda state: None,
        on_world: Callable[[str], None] = lambda folder: None,
        on_frame: Callable[[bytes], None] = lambda jpeg: None,
    ) -> None:
        """
        Args:
            open_session: the session of a world folder, see `jobs.open_session`.
            on_change: called with the new state after every change, from within the calls below.
            on_world: called with the folder of each world that a command has led to, if it can be loaded; what it
                raises is shown to the user.
            on_frame: called with each picture that was painted, as JPEG.
        """
        self._open_session = open_session
        self._on_change, self._on_world, self._on_frame = on_change, on_world, on_frame
        self._session: Session | None = None
        self._leave: Callable[[], None] = lambda: None
        self._closed = False
        self._state = KitState()
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        """The worker's last lines, oldest first."""

    @property
    def state(self) -> KitState:
        return self._state

    def generate(self, request: GenerateRequest) -> bool:
        """Begin a world; False, with the reason in `state.message`, if that cannot be. So are all calls below."""
        return self._make(_problem_with(request), lambda: generate_command(request), request.out)

    def import_file(self, request: ImportRequest) -> bool:
        """Make a world of a scan, a mesh, splats, a panorama or posed pictures."""
        return self._make(_problem_with_file(request), lambda: import_command(request), request.out)

    def extend(self, request: ExtendRequest) -> bool:
        """Explore the world further."""
        try:
            return self._begin(extend_command(request))
        except WorldgenError as error:
            return not self._refuses() and self._fail(str(error))

    def undo(self, chunks: int = 1) -> bool:
        """Take back what was painted last."""
        return self._begin(Undo(chunks=chunks, until="explore"))

    def finish(self) -> bool:
        """Make whatever the world still lacks."""
        return self._begin(Finish())

    def resume(self) -> bool:
        """Go on with what was cancelled, has failed, or whose worker died."""
        if self._refuses() or self._session is None:
            return False
        try:
            if not self._session.resume():
                return False
        except (OSError, WorldgenError) as error:
            return self._fail(str(error))
        self._started()
        return True

    def choose(self, folder: str) -> bool:
        """Work on another world that exists."""
        if self._refuses():
            return False
        if not (Path(folder) / "world.json").is_file():
            return self._fail(f"This folder holds no world: {folder}")
        session = self._enter(Path(folder))
        self._set(KitState(message=f"World: {folder}", folder=folder, can_resume=session.resumable))
        return True

    def load(self) -> bool:
        """Put the world on the stage again; also while it is worked on, as it is by now."""
        folder = self._state.folder
        if self._closed or folder is None:
            return False
        if not (Path(folder) / _LOADABLE).is_file():
            self._set(replace(self._state, message=f"The world has no {_LOADABLE} yet; press Finish: {folder}"))
            return False
        return self._deliver(folder)

    def cancel(self) -> None:
        """Ask the running command to end; does nothing otherwise."""
        if self._session is not None and self._state.phase is Phase.RUNNING:
            self._session.cancel()
            self._set(replace(self._state, phase=Phase.CANCELLING, message="Cancelling ..."))

    def poll(self) -> None:
        """Take in what happened since the last call; cheap, call once per frame."""
        if self._session is not None:
            self._session.poll()

    def close(self) -> None:
        """End running work by force and forget everything, for shutdown and reload: the world stays as far as it is."""
        self._closed = True
        self._drop_session()
        self._on_change = self._on_frame = self._on_world = lambda _: None

    def _refuses(self) -> bool:
        return self._closed or self._state.busy

    def _make(self, problem: str | None, command: Callable[[], Command], out: str) -> bool:
        if self._refuses():
            return False
        if problem:
            return self._fail(problem)
        try:
            asked = command()
        except WorldgenError as error:
            return self._fail(str(error))
        return self._begin(asked, Path(out))

    def _begin(self, command: Command, folder: Path | None = None) -> bool:
        if self._refuses():
            return False
        if folder is not None:
            self._enter(folder)
        if self._session is None:
            return self._fail("Choose a world first, or generate one.")
        try:
            self._session.start(command)
        except (OSError, WorldgenError) as error:
            return self._fail(str(error))
        self._started()
        return True

    def _started(self) -> None:
        assert self._session is not None, "a command was started"
        self.log.clear()
        self._set(KitState(phase=Phase.RUNNING, message="Starting ...", folder=str(self._session.folder)))

    def _enter(self, folder: Path) -> Session:
        """The session of a folder, and no other one any more."""
        if self._session is not None and self._session.folder == folder:
            return self._session
        self._drop_session()
        session = self._session = self._open_session(folder)
        self._leave = session.subscribe(self._take)
        return session

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        # First of all: closing is an event, too, and nobody is there any more to hear it.
        self._leave()
        self._leave = lambda: None
        if session is not None:
            session.close()

    def _take(self, event: Event) -> None:
        if isinstance(event, ProgressEvent):
            if self._state.phase is Phase.RUNNING:
                self._set(replace(self._state, fraction=event.fraction, message=_progress_line(event)))
        elif isinstance(event, FrameEvent):
            self._on_frame(event.jpeg)
        elif isinstance(event, LogEvent):
            self.log.append(event.text)
            _log.info("worker: %s", event.text)
        elif isinstance(event, DoneEvent):
            self._finish(event)

    def _finish(self, done: DoneEvent) -> None:
        if done.outcome is Outcome.CANCELLED:
            self._rest(Phase.CANCELLED, "Cancelled; what is finished stays. Resume goes on where it stopped.")
        elif done.outcome is Outcome.FAILED:
            self._rest(Phase.FAILED, f"Failed (exit code {done.exit_code}): {done.message}")
        else:
            folder = done.folder or self._state.folder or ""
            loadable = (Path(folder) / _LOADABLE).is_file()
            verdict = {True: "certified", False: "NOT certified, see certificate.html", None: "not fully measured"}
            told = verdict[done.passed] if loadable else "not finished yet"
            self._set(
                KitState(
                    phase=Phase.DONE, fraction=1.0, message=f"Done, {told}: {folder}", folder=folder, passed=done.passed
                )
            )
            if loadable:
                self._deliver(folder)

    def _rest(self, phase: Phase, message: str) -> None:
        self._set(replace(self._state, phase=phase, message=message, can_resume=True))

    def _deliver(self, folder: str) -> bool:
        try:
            self._on_world(folder)
        except Exception as error:
            # The world is finished either way; a stage that refuses it must not lose it or take Kit's frame loop down.
            _log.exception("the world could not be put on the stage")
            self._set(replace(self._state, message=f"Not loaded: {error}. World: {folder}"))
            return False
        return True

    def _fail(self, message: str) -> bool:
        """A call that cannot be: what could be resumed still can."""
        session = self._session
        folder = None if session is None else str(session.folder)
        can_resume = session is not None and session.resumable
        self._set(KitState(phase=Phase.FAILED, message=message, folder=folder, can_resume=can_resume))
        return False

    def _set(self, state: KitState) -> None:
        if state != self._state:
            self._state = state
            self._on_change(state)


def _problem_with(request: GenerateRequest) -> str | None:
    """Why a request cannot work, as a line for the user; the worker checks the rest."""
    if not request.photo.strip():
        return "Choose a photo first."
    if not Path(request.photo).is_file():
        return f"There is no such photo: {request.photo}"
    return _problem_with_rest(request)


def _problem_with_file(request: ImportRequest) -> str | None:
    if not request.source.strip():
        return "Choose a scan or a mesh first."
    if not Path(request.source).exists():
        return f"There is no such file: {request.source}"
    return _problem_with_rest(request)


def _problem_with_rest(request: GenerateRequest | ImportRequest) -> str | None:
    if not request.out.strip():
        return "Choose an output folder first."
    if request.seed < 0:
        return f"The seed is {request.seed}; it has to be 0 or larger."
    if request.camera_height_m is not None and not request.camera_height_m > 0:
        return f"The camera height is {request.camera_height_m} m; it has to be larger than 0."
    return None


def _progress_line(event: ProgressEvent) -> str:
    line = f"{event.stage}: {100 * event.fraction:.0f} %"
    if event.eta_s is not None:
        line += f", {_duration(event.eta_s)} left"
    return f"{line} ({event.note})" if event.note else line


def _duration(seconds: float) -> str:
    whole = max(0, round(seconds))
    return f"{whole} s" if whole < 90 else f"{round(whole / 60)} min"
