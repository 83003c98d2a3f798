"""The list of worlds at the bottom of the window. Main thread only."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from pathlib import Path

import omni.ui as ui

from .worlds import WorldCard, list_worlds

_COLOURS = {"passed": 0xFF55BB55, "failed": 0xFF4444DD}
"""By verdict, in the order alpha, blue, green, red."""


class WorldList:
    """All worlds of a folder, with their verdicts and certificates."""

    def __init__(self, root: str, opened: Callable[[str], None]) -> None:
        """Build into the container that is open.

        Args:
            root: folder whose worlds are listed.
            opened: told the folder of the world that somebody chooses.
        """
        self._root, self._opened = root, opened
        self._cards: list[WorldCard] = []
        with ui.HStack(height=24, spacing=4):
            ui.Label("Worlds", width=60)
            self._place = ui.Label(root)
            ui.Button("Refresh", width=80, clicked_fn=self.refresh)
        self._frame = ui.Frame(height=0)
        self._frame.set_build_fn(self._build)

    def refresh(self) -> None:
        """Look at the folder again."""
        self._cards = list_worlds(Path(self._root))
        self._frame.rebuild()

    def destroy(self) -> None:
        """Release the frame."""
        self._frame.clear()

    def _build(self) -> None:
        with ui.VStack(spacing=2, height=0):
            for card in self._cards:
                with ui.HStack(height=24, spacing=4):
                    ui.Button(
                        card.name,
                        width=160,
                        enabled=card.readable,
                        clicked_fn=lambda folder=card.folder: self._opened(folder),
                    )
                    ui.Label(card.text, style={"color": _COLOURS.get(card.verdict, 0xFFCCCCCC)}, elided_text=True)
                    if card.certificate:
                        ui.Button(
                            "Certificate",
                            width=90,
                            clicked_fn=lambda page=card.certificate: webbrowser.open(Path(page).as_uri()),
                        )
