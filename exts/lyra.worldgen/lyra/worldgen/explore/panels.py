"""The buttons of the explorer: what is common to all tabs, and the news that they react to."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import InputError, WorldgenError
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
NOTICE_S = 12.0
Pointed = Callable[[np.ndarray, np.ndarray], None]
"""Takes origin [3] and direction [3] of the ray under a click, in the world."""


class Panels:
    """The panel of all tabs. Whatever a user does goes to the desk; whatever the desk says is shown."""

    def __init__(self, server: Any, desk: Desk, stage: Callable[[Callable[[str], None]], Stage]) -> None:
        """
        Args:
            server: a `viser.ViserServer`.
            desk: takes what the user asks for.
            stage: makes the 3D view, given what tells the user that something cannot be shown.
        """
        self.server, self.desk = server, desk
        self.stage = stage(lambda text: self.tell(text, bad=True))
        self._pointing: Callable[[Any], None] | None = None
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
        self.on_click(self._again, lambda event: desk.look_again())
        self.on_click(self._cancel, lambda event: desk.cancel())
        self.on_click(self._resume, lambda event: desk.resume())
        tabs = gui.add_tab_group()
        with tabs.add_tab("World"):
            self.world = WorldPanel(self)
        with tabs.add_tab("Path"):
            self.path = PathPanel(self)
        with tabs.add_tab("View"):
            self.view = ViewPanel(self)
        with tabs.add_tab("Drive"):
            self.drive = DrivePanel(self)
        self._painter = threading.Thread(target=self._show_frames, daemon=True, name="live frames")

    def begin(self) -> None:
        """Listen to the desk and open the first world, if there is one."""
        self.desk.subscribe(self._hear)
        self._painter.start()
        worlds = self.desk.shelf.worlds()
        if worlds:
            self.attempt(lambda: self.desk.open(worlds[0]))
        self._show_work()
        self.world.refresh()

    def close(self) -> None:
        self._closed.set()
        self._frame_there.set()
        self.path.close()
        self.view.close()
        self.stage.close()

    def on_click(self, button: Any, act: Callable[[Any], None]) -> None:
        """Have a button do something; what goes wrong is told to the user."""
        button.on_click(lambda event: self.attempt(lambda: act(event), event))

    def on_change(self, control: Any, act: Callable[[Any], None]) -> None:
        """The same for a control whose value a user changes; changes by the program are not heard."""

        def changed(event: Any) -> None:
            if event.client_id is not None:
                self.attempt(lambda: act(event), event)

        control.on_update(changed)

    def attempt(self, act: Callable[[], Any], event: Any = None) -> None:
        """Do something; what a user did wrong, or what went wrong, becomes a notification."""
        try:
            act()
        except WorldgenError as error:
            self.tell(str(error), bad=True, client=getattr(event, "client", None))
            self._show_work()
        except Exception as error:
            log.exception("the explorer failed")
            self.tell(f"Internal error: {type(error).__name__}: {error}", bad=True)

    def tell(self, text: str, *, bad: bool = False, client: Any = None) -> None:
        """A notification for one browser, or for all."""
        for each in [client] if client is not None else list(self.server.get_clients().values()):
            each.add_notification(
                "Not possible" if bad else "Lyra", text, color="red" if bad else "green", auto_close_seconds=NOTICE_S
            )

    def camera_of(self, event: Any) -> Any:
        """Camera of the browser that an event comes from; raises `InputError` when it has gone."""
        if event.client is None:
            raise InputError("the browser has gone")
        return event.client.camera

    def point_with(self, act: Pointed | None) -> None:
        """Have clicks into the 3D view do something from now on; None gives them back to nobody."""
        if self._pointing is not None:
            self.server.scene.remove_click_callback(self._pointing)
            self._pointing = None
        if act is None:
            return

        def pointed(event: Any) -> None:
            self.attempt(lambda: act(np.array(event.ray_origin), np.array(event.ray_direction)), event)

        self._pointing = pointed
        self.server.scene.on_click()(pointed)

    def release_pointers(self, but: Any = None) -> None:
        """Switch off whatever waits for clicks, except in one tab."""
        for panel in (self.path, self.drive):
            if panel is not but:
                panel.release_pointer()

    def _hear(self, news: News) -> None:
        if news.kind == "frame" and news.frame is not None:
            self._frame = news.frame.jpeg
            self._frame_there.set()
        elif news.kind == "notice":
            self.tell(news.text, bad=news.bad)
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
