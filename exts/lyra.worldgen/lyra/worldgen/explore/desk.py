"""What somebody can do in the explorer, without a browser: commands to the session, and news for whoever draws.

Every method may be called from any thread, one runs at a time. What a user did wrong is raised as `WorldgenError`
before anything happens; what goes wrong later arrives as news.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.errors import InputError, WorldgenError
from ..faces.camera_path import PathDraft
from ..faces.contents import Contents
from ..session import (
    Command,
    DoneEvent,
    Event,
    Extend,
    Finish,
    FrameEvent,
    Generate,
    Outcome,
    ProgressEvent,
    Rescale,
    Session,
    SessionState,
    Undo,
)
from .measure import Ruler, rescale_by
from .options import ExplorerOptions
from .robot_drive import RobotDrive
from .shelf import Shelf
from .uploads import keep_photo

log = logging.getLogger(__name__)

POSE_SCALE = 1.0
"""A path that is drawn in the world is in metres already."""
PATH_FILE = "path.npz"
GOALS = {
    "frames, soonest": "explore",
    "splats and mesh": "reconstruct",
    "a certified world": "",
}
"""How far a step is carried: last stage by what a user wants to see."""


@dataclass(frozen=True, kw_only=True)
class News:
    """Something that happened."""

    kind: str
    """`world`: another world, or it changed; `work`: state of the session; `frame`: just painted; `notice`: words."""
    text: str = ""
    bad: bool = False
    frame: FrameEvent | None = None


class Desk:
    """One world at a time, its session, and what is being prepared for it."""

    def __init__(self, shelf: Shelf, scratch: Path, options: ExplorerOptions) -> None:
        """
        Args:
            shelf: where worlds are.
            scratch: folder for photos and paths on their way to a worker; exists.
            options: settings of new worlds, how much is shown, what starts workers.
        """
        self.shelf, self.config = shelf, options.config
        self._scratch, self._options = scratch, options
        self._lock = threading.RLock()
        self._listeners: list[Callable[[News], None]] = []
        self.session: Session | None = None
        self.contents: Contents | None = None
        self.draft = PathDraft(np.eye(4))
        self.ruler = Ruler()
        self.robot: RobotDrive | None = None
        self._along_draft = False

    def subscribe(self, listener: Callable[[News], None]) -> None:
        """Have a function called with all news, from any thread; it must not call back into the desk."""
        self._listeners.append(listener)

    @property
    def state(self) -> SessionState:
        return self.session.state if self.session is not None else SessionState()

    @property
    def folder(self) -> Path | None:
        """Of the world at hand."""
        return self.session.folder if self.session is not None else None

    @property
    def other_writer(self) -> str:
        """Which process writes to the world at hand and is none of ours, as `PID on HOST`; empty if none does."""
        session = self.session
        return "" if session is None or session.state.busy else session.holder()

    def open(self, folder: Path) -> None:
        """Take a world; raises `InputError` while a command runs, or for a folder that holds none."""
        with self._lock:
            self._expect_rest()
            if folder not in self.shelf.worlds():
                raise InputError(f"this is no world of the folder that was opened: {folder}")
            self._take(folder)

    def look_again(self) -> None:
        """Take the world at hand as it is now, after somebody else has changed it; raises `InputError`."""
        with self._lock:
            self._expect_rest()
            self._take(self._expect_session().folder)

    def generate(
        self,
        photo: bytes,
        name: str,
        *,
        painter: str = "auto",
        seed: int = 0,
        prompt: str = "",
        until: str = "understand",
    ) -> Path:
        """Begin the world of an uploaded photo; its folder.

        Raises:
            InputError: no photo, no room for a world, or a command runs.
            ConfigError: a setting that is not allowed.
        """
        with self._lock:
            self._expect_rest()
            kept = keep_photo(photo, name, self._scratch)
            config = replace(
                self.config, seed=seed, generation=replace(self.config.generation, painter=painter, prompt=prompt)
            )
            folder = self.shelf.room_for(kept.name)
            self._take(folder)
            self._start(Generate(photo=kept, config=config, until=until))
            return folder

    def extend(
        self,
        path: str = "",
        *,
        prompt: str | None = None,
        seed: int | None = None,
        chunks: int | None = None,
        until: str = "",
    ) -> None:
        """Explore along a named path, or go on with one that was cut short; raises `InputError`."""
        with self._lock:
            self._start(Extend(path=path, prompt=prompt, seed=seed, chunks=chunks, until=until))

    def extend_along_draft(
        self, *, prompt: str | None = None, seed: int | None = None, chunks: int | None = None, until: str = ""
    ) -> None:
        """Explore along the path that was authored; raises `InputError` when it has no key pose."""
        with self._lock:
            path = self.draft.save(self._scratch / PATH_FILE, self._expect_world().viewpoint[0])
            command = Extend(
                path=str(path), prompt=prompt, seed=seed, chunks=chunks, pose_scale=POSE_SCALE, until=until
            )
            self._start(command)
            self._along_draft = True

    def undo(self, chunks: int = 1, *, until: str = "") -> None:
        """Take back the last chunks; raises `InputError`."""
        with self._lock:
            self._start(Undo(chunks=chunks, until=until))

    def finish(self, *, until: str = "") -> None:
        """Run what the world lacks; raises `InputError`."""
        with self._lock:
            self._start(Finish(until=until))

    def rescale(self, true_length: str, *, until: str = "") -> None:
        """Give the world the size that makes the ruler's distance what it is in reality.

        Raises:
            InputError: nothing is measured, or a command runs.
            ConfigError: no length, or a factor that no world has.
        """
        with self._lock:
            metres_per_unit = self._expect_world().world.manifest.metres_per_unit
            # Frames have no size; what has one begins with splats and mesh.
            until = "reconstruct" if until == "explore" else until
            self._start(Rescale(rescale=rescale_by(self.ruler, true_length, metres_per_unit), until=until))
            self.ruler = Ruler()

    def cancel(self) -> None:
        """Stop the running command; what is finished stays."""
        if self.session is not None:
            self.session.cancel()

    def resume(self) -> None:
        """Go on with the command that was stopped; raises `InputError` if there is none."""
        with self._lock:
            session = self._expect_session()
            if not session.resume():
                raise InputError("nothing was stopped, so there is nothing to go on with")
            self._tell(News(kind="work"))

    def place_robot(self, xy_m: tuple[float, float] | None = None) -> RobotDrive:
        """Put the robot somewhere, or where it fits; raises `InputError`."""
        with self._lock:
            if self.robot is None:
                self.robot = RobotDrive(self._expect_world().space)
            if xy_m is None:
                self.robot.place_anywhere()
            else:
                self.robot.place(xy_m)
            return self.robot

    def close(self) -> None:
        """End a running worker; what is finished of the world stays."""
        with self._lock:
            if self.session is not None:
                self.session.close()

    def _take(self, folder: Path) -> None:
        if self.session is not None:
            self.session.close()
        self.session = Session(folder, launcher=self._options.launcher, background=True)
        self.session.subscribe(self._hear)
        self.draft = PathDraft(np.eye(4))
        self._reload()
        if holder := self.other_writer:
            text = f"Process {holder} writes to this world now; you can look, but not change it."
            self._tell(News(kind="notice", text=text, bad=True))

    def _start(self, command: Command) -> None:
        session = self._expect_session()
        if holder := self.other_writer:
            raise InputError(f"process {holder} writes to this world; wait for it, or stop it: {session.folder}")
        try:
            session.start(command)
        except OSError as error:
            raise InputError(f"the worker cannot be started: {error.strerror or error}") from error
        self._along_draft = False
        self._tell(News(kind="work"))

    def _hear(self, event: Event) -> None:
        if isinstance(event, FrameEvent):
            self._tell(News(kind="frame", frame=event))
        elif isinstance(event, ProgressEvent):
            self._tell(News(kind="work"))
        elif isinstance(event, DoneEvent):
            if self._along_draft and event.outcome is Outcome.FINISHED:
                self.draft.clear()
            self._reload()
            self._tell(_ending(event))

    def _reload(self) -> None:
        """Look at the folder anew; the session's thread does it after a command."""
        session = self._expect_session()
        self.contents, self.ruler, self.robot = None, Ruler(), None
        try:
            world = session.load()
            contents = Contents(world, points=self._options.points, splats=self._options.splats)
            if world.has("memory/geometry.npz") or world.has("memory/explored.npz"):
                self.draft.begin_at(contents.T_world_begin)
            self.contents = contents
        except WorldgenError as error:
            if self.shelf.worlds() and session.folder in self.shelf.worlds():
                self._tell(News(kind="notice", text=str(error), bad=True))
        self._tell(News(kind="world"))

    def _expect_session(self) -> Session:
        if self.session is None:
            raise InputError("there is no world yet; upload a photo first")
        return self.session

    def _expect_world(self) -> Contents:
        self._expect_session()
        if self.contents is None:
            raise InputError("the world has no geometry yet; upload a photo first, or wait for it")
        return self.contents

    def _expect_rest(self) -> None:
        if (command := self.state.command) is not None:
            raise InputError(f"'{command.name}' is still running; wait for it or cancel it")

    def _tell(self, news: News) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(news)
            except Exception:  # whoever draws must not stop the work
                log.exception("a face of the explorer failed")


def _ending(done: DoneEvent) -> News:
    """How a command ended, in words."""
    if done.outcome is Outcome.FAILED:
        return News(kind="notice", text=done.message, bad=True)
    if done.outcome is Outcome.CANCELLED:
        return News(kind="notice", text="Stopped; what is finished stays. Resume goes on from there.")
    return News(kind="notice", text="Done.")
