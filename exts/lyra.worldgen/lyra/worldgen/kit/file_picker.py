"""Kit's own file dialog, one at a time. Main thread only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


class FilePicker:
    """Asks for a file."""

    def __init__(self) -> None:
        self._dialog: Any = None

    def ask(self, title: str, picked: Callable[[str], None]) -> None:
        """Open the dialog; `picked` is called with the path if one is chosen."""
        try:
            from omni.kit.window.filepicker import FilePickerDialog
        except ImportError:  # an app without the file picker: the path can be typed
            return
        self.close()

        def choose(filename: str, dirname: str) -> None:
            self.close()
            picked(str(Path(dirname or ".") / filename))

        self._dialog = FilePickerDialog(
            title,
            allow_multi_selection=False,
            apply_button_label="Select",
            click_apply_handler=choose,
            click_cancel_handler=lambda filename, dirname: self.close(),
        )

    def close(self) -> None:
        """Release the dialog; safe to call twice."""
        if self._dialog is not None:
            self._dialog.hide()
            self._dialog.destroy()
            self._dialog = None
