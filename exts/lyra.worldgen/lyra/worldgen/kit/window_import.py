"""The part of the window that makes worlds of files of other programs. Main thread only."""

from __future__ import annotations

from collections.abc import Callable

import omni.ui as ui

from ..core.files import PICTURE_SUFFIXES, SCENE_SUFFIXES
from .file_picker import FilePicker
from .jobs import UNITS, UPS


class ImportForm:
    """A file, which way is up in it, how long its units are, and the button."""

    def __init__(self, picker: FilePicker, label_width: int, begin: Callable[[], None]) -> None:
        """Build into the container that is open.

        Args:
            picker: asks for the file.
            label_width: as in the rest of the form.
            begin: pressed.
        """
        self._file = ui.SimpleStringModel("")
        with ui.HStack(height=24, spacing=4):
            ui.Label("Scan or mesh", width=label_width)
            field = ui.StringField(
                model=self._file, tooltip="Splats, a mesh, a panorama, or a folder of posed pictures"
            )
            field.set_accept_drop_fn(lambda path: is_scene(path) or path.lower().endswith(PICTURE_SUFFIXES))
            field.set_drop_fn(lambda event: self.take(str(event.mime_data)))
            ui.Button("Find", width=40, clicked_fn=lambda: picker.ask("Choose a scan or a mesh", self.take))
            ui.Label("Up", width=24)
            self._up = ui.ComboBox(0, *UPS)
            ui.Label("Units", width=40)
            self._units = ui.ComboBox(0, *UNITS)
            self.button = ui.Button("Import", width=80, clicked_fn=begin)

    @property
    def source(self) -> str:
        return self._file.get_value_as_string()

    @property
    def up(self) -> str:
        """One of `UPS`."""
        return UPS[self._up.model.get_item_value_model().get_value_as_int()]

    @property
    def units(self) -> str:
        """One of `UNITS`."""
        return UNITS[self._units.model.get_item_value_model().get_value_as_int()]

    def take(self, path: str) -> None:
        """Show a file that somebody chose or dropped."""
        self._file.set_value(path)


def is_scene(path: str) -> bool:
    """Whether a file is called like splats or a mesh."""
    return path.lower().endswith(SCENE_SUFFIXES)
