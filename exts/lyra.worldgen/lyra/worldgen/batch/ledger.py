"""`manifest.jsonl`: what happened to every world of a batch, a line an event, only ever appended to.

Each line carries a checksum of itself. A line that was cut by a crash or a full disk counts as not written: the worlds'
own folders are the proof of what is finished, so losing the end of the manifest costs a look, not a world.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core.files import naming

NAME = "manifest.jsonl"
MAX_LINE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ItemState:
    """What the manifest knows of one world."""

    started: int = 0
    """How often it was begun."""
    causes: tuple[str, ...] = ()
    """Why it failed, once for each failure."""
    finished: Mapping[str, Any] | None = None
    """What it was when it ended well; None before."""
    quarantined: bool = False
    """It was set aside after too many failures."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A manifest as read."""

    items: Mapping[str, ItemState] = field(default_factory=dict)
    damaged_lines: int = 0
    """Lines that make no sense or whose checksum is wrong."""


class Ledger:
    """The manifest of one batch; one process writes it."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def append(self, event: str, item: str = "", **values: Any) -> None:
        """Add a line and have it on the disk; raises `InputError` if it cannot be written."""
        record = {"event": event, "item": item, **values}
        line = json.dumps({**record, "crc": _checksum(record)}, allow_nan=False, ensure_ascii=False).encode() + b"\n"
        with naming("write the manifest", self.path):
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                size = os.fstat(file).st_size
                # A line that was cut gets an end, so that this one does not become a part of it.
                if size and os.pread(file, 1, size - 1) != b"\n":
                    line = b"\n" + line
                view = memoryview(line)
                while view:
                    view = view[os.write(file, view) :]
                os.fsync(file)
            finally:
                os.close(file)

    def replay(self) -> Replay:
        """The state that all whole lines lead to; a missing manifest is an empty one."""
        items: dict[str, ItemState] = {}
        damaged = 0
        if not self.path.exists():
            return Replay()
        with naming("read the manifest", self.path), open(self.path, "rb") as file:
            while line := file.readline(MAX_LINE_BYTES):
                record = _read(line)
                if record is None:
                    damaged += bool(line.strip())
                    continue
                name = record["item"]
                if name:
                    items[name] = _next(items.get(name, ItemState()), record)
        return Replay(items=items, damaged_lines=damaged)


def _checksum(record: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(record, sort_keys=True, ensure_ascii=False).encode())


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("item"), str):
        return None
    crc = record.pop("crc", None)
    return record if isinstance(record.get("event"), str) and crc == _checksum(record) else None


def _next(state: ItemState, record: Mapping[str, Any]) -> ItemState:
    match record["event"]:
        case "started":
            return replace(state, started=state.started + 1)
        case "failed":
            return replace(state, causes=(*state.causes, str(record.get("cause", ""))), finished=None)
        case "quarantined":
            return replace(state, quarantined=True)
        case "released":
            return replace(state, quarantined=False, causes=())
        case "finished":
            values = record.get("values")
            return replace(state, finished=values if isinstance(values, dict) else {}, quarantined=False)
        case "lost":
            return replace(state, finished=None)
    return state
