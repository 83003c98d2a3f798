"""The panel of the explorer: its tabs, what lies above them, and the news that they react to."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from .controls import Controls
from .desk import Desk, News
from .panel_drive import DrivePanel
from .panel_path import PathPanel
from .panel_view import ViewPanel
from .panel_world import WorldPanel
from .readout import plain
from .stage import Stage

log = logging.getLogger(__name__)

FRAME_EVERY_S = 0.2
"""Painted frames are shown at most this often."""


class Panels:
    """The panel of all tabs. Whatever a user does goes to the desk; whatever the desk says is shown."""

    def __init__(self, server: Any, desk: Desk, stage: Callable[[Callable[[str], None]], Stage]) -> None:
        """
        Args:
            server: a `viser.ViserServer`.
            desk: takes what the user asks for.
            stage: makes the 3D view, given what tells the user that something cannot be shown.
        """
        self.desk = desk
        self._controls = controls = Controls(server, refused=self._show_work)
        self.stage = stage(lambda text: controls.tell(text, bad=True))
        self._frame: bytes | None = None
        self._frame_there = threading.Event()
        self._closed = threading.Event()
        self._folder: Any = None
        self._looked = False
        gui = server.gui
        gui.configure_theme(show_logo=False, show_share_button=False, dark_mode=False, control_width="medium")
        self._status = gui.add_markdown("")
        self._bar = gui.add_progress_bar(0.0, visible=False, animated=True)
        self._live = gui.add_image(np.zeros((9, 16, 3), np.uint8), label="being painted", visible=False)
        self._cancel = gui.add_button("Cancel", color="red", visible=False)
        self._resume = gui.add_button("Resume", visible=False)
        self._again = gui.add_button("Look again", visible=False, hint="take the world as it is now")
        controls.on_click(self._again, lambda event: desk.look_again())
        controls.on_click(self._cancel, lambda event: desk.cancel())
        controls.on_click(self._resume, lambda event: desk.resume())
        tabs = gui.add_tab_group()
        with tabs.add_tab("World"):
            self.world = WorldPanel(controls, desk)
        with tabs.add_tab("Path"):
            self.path = PathPanel(controls, desk, self.stage, self.world)
        with tabs.add_tab("View"):
            self.view = ViewPanel(controls, desk, self.stage)
        with tabs.add_tab("Drive"):
            self.drive = DrivePanel(controls, desk, self.stage, self.world)
        self._painter = threading.Thread(target=self._show_frames, daemon=True, name="live frames")

    def begin(self) -> None:
        """Listen to the desk and open the first world, if there is one."""
        self.desk.subscribe(self._hear)
        self._painter.start()
        worlds = self.desk.shelf.worlds()
        if worlds:
            self._controls.attempt(lambda: self.desk.open(worlds[0]))
        self._show_work()
        self.world.refresh()

    def close(self) -> None:
        self._closed.set()
        self._frame_there.set()
        self.path.close()
        self.view.close()
        self.stage.close()

    def _hear(self, news: News) -> None:
        if news.kind == "frame" and news.frame is not None:
            self._frame = news.frame.jpeg
            self._frame_there.set()
        elif news.kind == "notice":
            self._controls.tell(news.text, bad=news.bad)
            self._show_work()
        elif news.kind == "work":
            self._show_work()
        elif news.kind == "world":
            self._show_world()

    def _show_world(self) -> None:
        contents = self.desk.contents
        if self.desk.folder != self._folder:
            self._folder, self._looked = self.desk.folder, False
            self.view.another_world()
        if contents is not None and not self._looked:
            # A world that was only just begun has no place to look from until its photo is understood.
            self._looked = True
            T_world_cam = contents.viewpoint[1]
            self.stage.begin_looking(T_world_cam)
            self.stage.look(T_world_cam)
        self.stage.take(contents)
        self.view.another_state()
        for panel in (self.world, self.path, self.drive):
            panel.refresh()
        self._show_work()

    def _show_work(self) -> None:
        state = self.desk.state
        self._bar.visible = self._cancel.visible = state.busy
        self._cancel.disabled = state.cancelling
        stopped = state.done is not None and not state.busy and state.done.exit_code != 0
        self._resume.visible = stopped and state.done is not None and state.done.folder is None
        if state.busy:
            self._bar.value = 100.0 * state.fraction
            eta = f", {state.eta_s:.0f} s left" if state.eta_s is not None and state.fraction < 1 else ""
            doing = state.stage or (state.command.name if state.command else "")
            note = f": {state.note}" if state.note else ""
            self._status.content = (
                f"**{'stopping' if state.cancelling else doing}** {100 * state.fraction:.0f} %{eta}{note}"
            )
        else:
            self._live.visible = False
            name = plain(self.desk.folder.name) if self.desk.folder else "no world yet"
            self._status.content = f"**{name}**"
            if writer := self.desk.other_writer:
                # Until somebody looks again: nobody tells when the other one ends.
                self._again.visible = True
                self._status.content += (
                    f"\n\n**Locked:** process {writer} writes to it. You can look, but not change it."
                )
            else:
                self._again.visible = False

    def _show_frames(self) -> None:
        from PIL import Image

        while not self._closed.is_set():
            self._frame_there.wait()
            self._frame_there.clear()
            jpeg, self._frame = self._frame, None
            if jpeg is None:
                continue
            try:
                with Image.open(io.BytesIO(jpeg)) as picture:
                    self._live.image = np.asarray(picture.convert("RGB"))
                self._live.visible = self.desk.state.busy
            except Exception:  # a frame that cannot be shown is no reason to stop showing
                log.exception("a painted frame cannot be shown")
            self._closed.wait(FRAME_EVERY_S)
