"""The tab of looking: layers, and the painted video, every frame of which the splats show, too."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import InputError, WorldgenError
from ..faces.contents import LAYERS
from .controls import Controls
from .desk import Desk
from .playback import Playback
from .reel import Reel, splat_picture
from .stage import Stage

PAINTED, SPLATS = "painted", "splats"
FRAMES_S = 8.0
"""Pace of the video, for browsers over a network."""


class ViewPanel:
    """Widgets and what they do."""

    def __init__(self, controls: Controls, desk: Desk, stage: Stage) -> None:
        self._controls, self._desk, self._stage = controls, desk, stage
        self._reel: Reel | None = None
        gui = controls.server.gui
        self._layers = {name: gui.add_checkbox(name, False) for name in LAYERS}
        for name, box in self._layers.items():
            controls.on_change(box, lambda event, name=name: self._switch(name))
        self._home = gui.add_button("Look from the photo's place")
        controls.on_click(self._home, self._go_home)
        with gui.add_folder("Painted video and splats"):
            self._source = gui.add_button_group("show", (PAINTED, SPLATS))
            self._frame = gui.add_slider("frame", 0, 1, 1, 0)
            self._image = gui.add_image(np.zeros((9, 16, 3), np.uint8), label="", visible=False)
            self._play = gui.add_button("Play")
            self._there = gui.add_button("Look from there")
        self._playback = Playback(self._play, FRAMES_S)
        controls.on_click(self._source, lambda event: self._show_as(str(event.target.value)))
        controls.on_change(self._frame, lambda event: self._show(int(self._frame.value)))
        controls.on_click(self._play, lambda event: self._run())
        controls.on_click(self._there, self._go_there)
        self._shown = PAINTED

    def another_world(self) -> None:
        """Begin with what is worth looking at."""
        self._playback.stop()
        contents = self._desk.contents
        first = contents.default_layer() if contents is not None else ""
        for name, box in self._layers.items():
            box.value = name == first
            self._stage.switch(name, name == first)

    def another_state(self) -> None:
        """The world at hand has changed."""
        self._playback.stop()
        contents = self._desk.contents
        for name, box in self._layers.items():
            box.disabled = contents is None or not contents.has_layer(name)
        shown = [name for name, box in self._layers.items() if box.value and not box.disabled]
        if not shown and contents is not None and (first := contents.default_layer()):
            # What was shown has gone, as splats do when a world goes on.
            self._layers[first].value = True
            self._stage.switch(first, True)
        self._reel = None
        try:
            self._reel = Reel(contents.world) if contents is not None else None
        except WorldgenError as error:
            self._controls.tell(str(error), bad=True)
        count = len(self._reel) if self._reel is not None else 0
        self._frame.max = max(1, count - 1)
        self._frame.value = min(int(self._frame.value), max(0, count - 1))
        if self._shown != PAINTED and (contents is None or not contents.has_layer("splats")):
            self._shown = PAINTED
        if count:
            self._controls.attempt(lambda: self._show(int(self._frame.value)))
        else:
            self._image.visible = False

    def close(self) -> None:
        self._playback.stop()

    def _switch(self, name: str) -> None:
        self._stage.switch(name, self._layers[name].value)

    def _expect_reel(self) -> Reel:
        if self._reel is None or not len(self._reel):
            raise InputError("the world has no painted frame yet; generate along a path first")
        return self._reel

    def _show_as(self, source: str) -> None:
        contents = self._desk.contents
        if source == SPLATS and contents is not None and not contents.has_layer("splats"):
            raise InputError("the world has no splats now; finish it, or go on to splats and mesh")
        self._shown = source
        self._show(int(self._frame.value))

    def _show(self, number: int) -> None:
        reel, contents = self._expect_reel(), self._desk.contents
        frame = reel.frame(number)
        if self._shown == SPLATS and contents is not None:
            self._image.image = splat_picture(contents.cloud, frame)
        else:
            self._image.image = frame.rgb_u8
        self._image.label = f"{number + 1} of {len(reel)} ({frame.text}), {self._shown}"
        self._image.visible = True

    def _run(self) -> None:
        def show(number: int) -> None:
            self._frame.value = number
            self._show(number)

        count = len(self._expect_reel())
        at = int(self._frame.value)
        self._playback.toggle(at if at < count - 1 else 0, count, show)

    def _go_home(self, event: Any) -> None:
        contents = self._desk.contents
        if contents is None:
            raise InputError("there is no world yet; upload a photo first")
        self._stage.look(contents.viewpoint[1], [event.client] if event.client is not None else None)

    def _go_there(self, event: Any) -> None:
        frame = self._expect_reel().frame(int(self._frame.value))
        self._stage.look(frame.T_world_cam, [event.client] if event.client is not None else None)
