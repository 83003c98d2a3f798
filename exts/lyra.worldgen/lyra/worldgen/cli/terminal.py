"""What the terminal shows while a command works: a bar, plain lines, or JSON lines for another program."""

from __future__ import annotations

import base64
import json
import logging
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from ..core.progress import Progress
from ..session.frames import frame_jpeg

if TYPE_CHECKING:
    import numpy as np

BAR_CELLS = 24
REDRAW_S = 0.1
MIN_GROWN = 0.05
"""Progress that a run must have made before its speed says anything; the first percent pay for imports."""
PLAIN_LINE_S = 10.0
"""Longest silence of a run whose output is no terminal [s]."""


class Eta:
    """Seconds left, from how fast the fraction has grown since the work began."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start: tuple[float, float] | None = None

    def update(self, fraction: float) -> float | None:
        """Take in a fraction 0..1; the seconds left [s], or None while nothing can be said."""
        now = self._clock()
        if self._start is None:
            # A run that goes on after a stop begins with what was done before, which says nothing about the speed.
            self._start = (now, fraction)
        began, first = self._start
        grown = fraction - first
        if grown < MIN_GROWN or now - began < 1.0:
            return None
        return (now - began) / grown * (1.0 - fraction)


class TerminalProgress(Progress):
    """One line that is redrawn on a terminal, with what `below` holds under it; elsewhere a line for each stage and now
    and then between."""

    def __init__(self, stream: IO[str], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._clock = clock
        self._eta = Eta(clock)
        self._began = clock()
        self._last_draw = -REDRAW_S
        self._last_stage = ""
        self._drawn_lines = 0
        self.below: tuple[str, ...] = ()
        """Lines that stand under the bar of a terminal, as many as its height allows."""

    @property
    def live(self) -> bool:
        """Whether this is a terminal, where lines can be drawn again."""
        return self._live

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        fraction = min(1.0, done / total) if total > 0 else 0.0
        eta_s = self._eta.update(fraction)
        now = self._clock()
        finished = fraction >= 1.0
        pause = REDRAW_S if self._live else PLAIN_LINE_S
        if stage == self._last_stage and now - self._last_draw < pause and not finished:
            return
        self._last_stage, self._last_draw = stage, now
        left = "" if finished or eta_s is None else f", about {duration(eta_s)} left"
        tail = f"{duration(now - self._began)}{left}"
        if self._live:
            cells = round(fraction * BAR_CELLS)
            line = f"{stage:<12}{'█' * cells}{'·' * (BAR_CELLS - cells)} {100 * fraction:3.0f} %  {tail}"
            line += f"  {note}" if note else ""
            size = shutil.get_terminal_size()
            width, most = max(20, size.columns - 1), max(0, size.lines - 2)
            hidden = len(self.below) - most
            below = self.below if hidden <= 0 else (*self.below[: most - 1], f"    ... and {hidden + 1} more")[:most]
            lines = [text[:width] for text in (line, *below)]
            self._stream.write(self._home() + "\n".join(lines))
            self._drawn_lines = len(lines)
        else:
            self._stream.write(f"{100 * fraction:3.0f} %  {stage}, {tail}{f'  ({note})' if note else ''}\n")
        self._stream.flush()

    def clear(self) -> None:
        """Remove what was drawn, before something else is written."""
        if self._drawn_lines:
            self._stream.write(self._home())
            self._stream.flush()
            self._drawn_lines = 0

    def _home(self) -> str:
        """Moves to the beginning of what was drawn and removes it."""
        up = self._drawn_lines - 1
        return f"\r\x1b[{up}A\x1b[J" if up > 0 else "\r\x1b[K"


class JsonLinesProgress(Progress):
    """One JSON object a line."""

    def __init__(self, stream: IO[str], *, frames: bool = False) -> None:
        self._stream = stream
        self._eta = Eta()
        self.wants_frames = frames

    def frame(self, chunk: int, number: int, rgb_u8: np.ndarray) -> None:
        jpeg = base64.b64encode(frame_jpeg(rgb_u8)).decode()
        self.event("frame", chunk=chunk, frame=number, jpeg=jpeg)

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        fraction = min(1.0, done / total) if total > 0 else 0.0
        eta_s = self._eta.update(fraction)
        self.event(
            "progress",
            stage=stage,
            done=done,
            total=total,
            fraction=round(fraction, 4),
            eta_s=None if eta_s is None else round(eta_s, 1),
            note=note,
        )

    def event(self, event: str, **values: Any) -> None:
        """Write one event."""
        self._stream.write(json.dumps({"event": event, **values}, allow_nan=False) + "\n")
        self._stream.flush()


class Console:
    """Where a command speaks: result on stdout, everything else on stderr."""

    def __init__(
        self, *, json_output: bool = False, json_lines: bool = False, frames: bool = False, verbosity: int = 0
    ) -> None:
        self.json_output = json_output
        self.verbosity = verbosity
        self._lines = JsonLinesProgress(sys.stdout, frames=frames) if json_lines else None
        self._bar = None if json_lines else TerminalProgress(sys.stderr)

    @property
    def progress(self) -> Progress:
        progress = self._lines or self._bar
        assert progress is not None, "one of the two is always there"
        return progress

    def board(self, lines: tuple[str, ...]) -> bool:
        """Show lines under the bar from its next drawing on; False where nothing is drawn twice."""
        if self._bar is None or not self._bar.live:
            return False
        self._bar.below = lines
        return True

    def note(self, text: str) -> None:
        """One line for the person in front of the terminal."""
        self._write(sys.stderr, text)

    def result(self, summary: str, values: dict[str, Any]) -> None:
        """The outcome: JSON for programs, a summary for people."""
        if self._lines is not None:
            self._lines.event("result", **values)
        elif self.json_output:
            self._write(sys.stdout, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False))
        else:
            self._write(sys.stdout, summary)

    def error(self, message: str, exit_code: int) -> None:
        """Why the command gives up, in one line."""
        text = " ".join(message.split())
        if self._lines is not None:
            self._lines.event("error", message=text, exit_code=exit_code)
        self.note(f"error: {text}" if exit_code != 130 else text)

    def clear(self) -> None:
        if self._bar is not None:
            self._bar.clear()

    def _write(self, stream: IO[str], text: str) -> None:
        self.clear()
        stream.write(text + "\n")
        stream.flush()

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Send what the library logs to stderr, as much as was asked for, while the block runs."""
        handler = _ClearingHandler(self)
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        root, ours = logging.getLogger(), logging.getLogger("lyra")
        before = (root.level, ours.level)
        root.addHandler(handler)
        root.setLevel(logging.INFO if self.verbosity else logging.ERROR)
        ours.setLevel({0: logging.WARNING, 1: logging.INFO}.get(self.verbosity, logging.DEBUG))
        try:
            # Other packages' deprecation warnings are for their authors: with -v they appear in the log.
            with warnings.catch_warnings():
                if not self.verbosity:
                    warnings.simplefilter("ignore")
                yield
        finally:
            self.clear()
            root.removeHandler(handler)
            root.setLevel(before[0])
            ours.setLevel(before[1])


class _ClearingHandler(logging.Handler):
    """Writes log lines to stderr without tearing the bar."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._console.note(self.format(record))
        except Exception:  # logging must never end the work
            self.handleError(record)


def duration(seconds: float) -> str:
    """A time span as people say it."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows of text in aligned columns; the last column is not padded."""
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    )
