"""What a session tells while it works, and the JSON lines that a worker says it in.

Lines on a worker's stdout are objects with an `event`:
`{"event": "progress", "stage": str, "done": int, "total": int, "fraction": 0..1, "eta_s": float | null, "note": str}`,
`{"event": "frame", "chunk": int, "frame": int, "jpeg": base64}`,
`{"event": "result", "folder": str, "passed": bool | null, ...}`,
`{"event": "error", "message": str, "exit_code": int}`. Anything else, and all of stderr, is log text.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MAX_LINE_BYTES = 1 << 20
"""Longer lines are cut: a worker that floods one line must not fill the memory of whoever listens."""
EXIT_CANCELLED = 130


@dataclass(frozen=True, kw_only=True)
class ProgressEvent:
    """A milestone."""

    stage: str
    fraction: float
    """Of the whole command, 0..1."""
    eta_s: float | None = None
    """Seconds left, if the worker can tell."""
    note: str = ""
    """What the stage is busy with."""


@dataclass(frozen=True, kw_only=True)
class LogEvent:
    """A line of text."""

    text: str


@dataclass(frozen=True, kw_only=True)
class FrameEvent:
    """A picture that was just painted."""

    chunk: int
    frame: int
    """Its number in the chunk; frames come in the order in which they are painted."""
    jpeg: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class ResultEvent:
    """The command led to a world."""

    folder: str
    passed: bool | None
    """Verdict of the certificate; None when not all could be measured."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The world for programs, see `summary.world_values`."""


@dataclass(frozen=True, kw_only=True)
class ErrorEvent:
    """The worker says why it gives up."""

    message: str


@dataclass(frozen=True, kw_only=True)
class ExitEvent:
    """The process has ended and its pipes are drained; a worker's last event."""

    exit_code: int


class Outcome(StrEnum):
    """How a command ended."""

    FINISHED = "finished"
    """It led to a world, certified or not."""
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True)
class DoneEvent:
    """A command has ended; a session's last event of it."""

    outcome: Outcome
    exit_code: int
    message: str = ""
    """Why it failed."""
    folder: str | None = None
    """The world that it led to."""
    passed: bool | None = None
    """Verdict of its certificate; None when not all was measured."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The world for programs."""


WorkerEvent = ProgressEvent | LogEvent | FrameEvent | ResultEvent | ErrorEvent | ExitEvent
Event = ProgressEvent | LogEvent | FrameEvent | DoneEvent


def parse_line(line: bytes) -> WorkerEvent | None:
    """Event of one line of the worker's stdout; text that is no event becomes log, blank lines nothing."""
    text = line.decode("utf-8", errors="replace").strip()
    if not text:
        return None
    try:
        record = json.loads(text) if text.startswith("{") else None
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        return LogEvent(text=text)
    kind = record.get("event")
    if kind == "progress":
        return ProgressEvent(
            stage=str(record.get("stage", "")),
            fraction=min(max(_number(record.get("fraction")) or 0.0, 0.0), 1.0),
            eta_s=_number(record.get("eta_s")),
            note=str(record.get("note") or ""),
        )
    if kind == "frame" and (frame := _frame(record)) is not None:
        return frame
    if kind == "result" and isinstance(record.get("folder"), str):
        passed = record.get("passed")
        values = {name: value for name, value in record.items() if name != "event"}
        return ResultEvent(folder=record["folder"], passed=passed if isinstance(passed, bool) else None, values=values)
    if kind == "error":
        return ErrorEvent(message=str(record.get("message") or "the worker gave no reason"))
    return LogEvent(text=text)


def log_line(line: bytes) -> LogEvent | None:
    """A line of the worker's stderr."""
    text = line.decode("utf-8", errors="replace").strip()
    return LogEvent(text=text) if text else None


def _frame(record: Mapping[str, Any]) -> FrameEvent | None:
    chunk, number, jpeg = record.get("chunk"), record.get("frame"), record.get("jpeg")
    if type(chunk) is not int or type(number) is not int or not isinstance(jpeg, str):
        return None
    try:
        return FrameEvent(chunk=chunk, frame=number, jpeg=base64.b64decode(jpeg, validate=True))
    except ValueError:
        return None


def _number(value: object) -> float | None:
    """A finite float, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
