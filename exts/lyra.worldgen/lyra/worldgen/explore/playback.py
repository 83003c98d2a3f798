"""Runs through numbered frames by the clock, until the end or until its button is pressed again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

STOP = "Stop"


class Playback:
    """A button that starts and stops a run through frames."""

    def __init__(self, button: Any, frames_s: float) -> None:
        """
        Args:
            button: of viser; its label says what it starts.
            frames_s: pace [frames a second].
        """
        self._button, self._label, self._frames_s = button, str(button.label), frames_s
        self._playing = threading.Event()

    def toggle(self, first: int, count: int, show: Callable[[int], None]) -> None:
        """Show frames from `first` up to `count`, in the calling thread, or stop a run that another one makes."""
        if self._playing.is_set():
            self._playing.clear()
            return
        self._playing.set()
        self._button.label = STOP
        try:
            begun = time.monotonic()
            # By the clock: whoever is slow skips frames and keeps the pace.
            while self._playing.is_set() and (k := first + int((time.monotonic() - begun) * self._frames_s)) < count:
                show(k)
                time.sleep(1 / self._frames_s)
            if self._playing.is_set() and count:
                show(count - 1)
        finally:
            self._playing.clear()
            self._button.label = self._label

    def stop(self) -> None:
        self._playing.clear()
