"""The tab of looking: layers, and every look as the painter made it or as the splats show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError
from ..faces.contents import LAYERS
from .pictures import PAINTED, SOURCES, frame_count, frame_pose, picture

if TYPE_CHECKING:
    from .panels import Panels


class ViewPanel:
    """Widgets and what they do."""

    def __init__(self, panels: Panels) -> None:
        self._panels, self._desk, self._stage = panels, panels.desk, panels.stage
        gui = panels.server.gui
        self._layers = {name: gui.add_checkbox(name, False) for name in LAYERS}
        for name, box in self._layers.items():
            panels.on_change(box, lambda event, name=name: self._switch(name))
        self._splats = gui.add_markdown("")
        self._home = gui.add_button("Look from the photo's place")
        panels.on_click(self._home, self._go_home)
        with gui.add_folder("Painted video and splats"):
            self._source = gui.add_button_group("show", SOURCES)
            self._frame = gui.add_slider("look", 0, 1, 1, 0)
            self._image = gui.add_image(np.zeros((9, 16, 3), np.uint8), label="", visible=False)
            self._there = gui.add_button("Look from there")
        panels.on_click(self._source, lambda event: self._show(str(event.target.value)))
        panels.on_change(self._frame, lambda event: self._show(None))
        panels.on_click(self._there, self._go_there)
        self._shown = PAINTED

    def another_world(self) -> None:
        """Begin with what is worth looking at."""
        contents = self._desk.contents
        first = contents.default_layer() if contents is not None else ""
        for name, box in self._layers.items():
            box.value = name == first
            self._stage.switch(name, name == first)

    def another_state(self) -> None:
        """The world at hand has changed."""
        contents = self._desk.contents
        for name, box in self._layers.items():
            box.disabled = contents is None or not contents.has_layer(name)
        shown = [name for name, box in self._layers.items() if box.value and not box.disabled]
        if not shown and contents is not None and (first := contents.default_layer()):
            # What was shown has gone, as splats do when a world goes on.
            self._layers[first].value = True
            self._stage.switch(first, True)
        count = frame_count(contents) if contents is not None else 0
        self._frame.max = max(1, count - 1)
        self._frame.value = min(int(self._frame.value), max(0, count - 1))
        if self._shown != PAINTED and (contents is None or not contents.has_layer("splats")):
            self._shown = PAINTED
        if count:
            self._panels.attempt(lambda: self._show(None))
        else:
            self._image.visible = False

    def _switch(self, name: str) -> None:
        self._stage.switch(name, self._layers[name].value)

    def _show(self, source: str | None) -> None:
        contents = self._desk.contents
        if contents is None or not frame_count(contents):
            raise InputError("the world has no painted look yet; generate along a path first")
        self._shown = source or self._shown
        frame = int(self._frame.value)
        self._image.image = picture(contents, frame, self._shown)
        self._image.label = f"look {frame}, {self._shown}"
        self._image.visible = True

    def _go_home(self, event: Any) -> None:
        contents = self._desk.contents
        if contents is None:
            raise InputError("there is no world yet; upload a photo first")
        self._stage.look(contents.viewpoint[1], [event.client] if event.client is not None else None)

    def _go_there(self, event: Any) -> None:
        contents = self._desk.contents
        if contents is None or not frame_count(contents):
            raise InputError("the world has no painted look yet; generate along a path first")
        _, T_world_cam = frame_pose(contents, int(self._frame.value))
        self._stage.look(T_world_cam, [event.client] if event.client is not None else None)
