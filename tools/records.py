"""Records of measurements, `docs/benchmarks/NAME.json`: what the benchmark page is made of.

A record has

- `order`, `title`: where its section stands on the page, and its heading;
- `command`: what measures it again, never empty;
- `measured`: machine, versions of packages, seed, as `record.py` writes them;
- `result`: what the command printed, where it was kept; `transcribed: true` where only the tables were;
- `blocks`: the section itself: paragraphs (texts) and tables (`columns`, `align`, `rows`), cells as they are shown;
- `figures`, optional: what pages quote in their text and no table shows, `{"12.5 dB": "of what"}`;
- `page`, optional: the section belongs to `docs/PAGE`, between `<!-- record: NAME -->` and `<!-- end of record -->`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "benchmarks"
STATED = "stated.json"
"""Numbers that pages quote and nobody measured: settings, limits, sizes that were chosen."""
COMMAND = re.compile(r"(\.venv(-lab)?/bin/|tools/)\S+")
NUMBER = re.compile(r"(?<![\w.,])[-\u2212]?\d[\d,\u202f]*(?:\.\d+)?")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as the page shows them."""

    columns: tuple[str, ...]
    align: str
    """A letter a column: l, r or c."""
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        marks = {"l": "---", "r": "--:", "c": ":-:"}
        lines = [self.columns, [marks[letter] for letter in self.align], *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


@dataclass(frozen=True, kw_only=True)
class Record:
    """One section."""

    name: str
    title: str
    order: int
    command: str
    blocks: tuple[str | Table, ...]
    figures: dict[str, str] = field(default_factory=dict)
    page: str = ""
    transcribed: bool = False
    measured: dict[str, Any] = field(default_factory=dict)
    result: Any = None

    @property
    def anchor(self) -> str:
        """Of its heading, as links name it."""
        return re.sub(r"[^\w\- ]", "", self.title.lower()).replace(" ", "-")

    def markdown(self) -> str:
        """The section without its heading."""
        return "\n\n".join(block if isinstance(block, str) else block.markdown() for block in self.blocks)


class RecordError(ValueError):
    """A record that cannot be shown; the text says which and why."""


def load_record(path: Path) -> Record:
    """Read one record; raises `RecordError`."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        blocks = tuple(_block(value) for value in values["blocks"])
        known = {key: values[key] for key in ("figures", "page", "transcribed", "measured", "result") if key in values}
        record = Record(
            name=path.stem, title=values["title"], order=values["order"], command=values["command"], blocks=blocks,
            **known,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"{path.name}: {type(error).__name__}: {error}; see tools/records.py") from error
    if not COMMAND.match(record.command):
        raise RecordError(f"{path.name} names no command that measures it again, but '{record.command}'")
    if not record.transcribed and record.result is None:
        raise RecordError(f"{path.name} has no result and does not say that it was transcribed")
    return record


def load_records(folder: Path = FOLDER) -> list[Record]:
    """All records in the order of the page."""
    found = [load_record(path) for path in sorted(folder.glob("*.json")) if path.name != STATED]
    return sorted(found, key=lambda record: (record.order, record.name))


def _block(value: Any) -> str | Table:
    if isinstance(value, str):
        return value
    rows = tuple(tuple(str(cell) for cell in row) for row in value["rows"])
    table = Table(columns=tuple(value["columns"]), align=value["align"], rows=rows)
    if any(len(row) != len(table.columns) for row in rows) or len(table.align) != len(table.columns):
        raise ValueError("a row of a table has not as many cells as there are columns")
    return table


def numbers_in(text: str) -> list[str]:
    """Numbers of a text as they are written, without signs and thousands' separators."""
    return [re.sub(r"[-\u2212,\u202f]", "", found) for found in NUMBER.findall(text)]


def values_in(result: Any) -> Iterator[float]:
    """All finite numbers of a JSON value, those inside of texts, too."""
    if isinstance(result, bool) or result is None:
        return
    if isinstance(result, int | float):
        if math.isfinite(result):
            yield float(result)
    elif isinstance(result, str):
        yield from map(float, numbers_in(result))
    else:
        for value in result.values() if isinstance(result, dict) else result:
            yield from values_in(value)


def shows(number: str, values: list[float]) -> bool:
    """Whether a written number is one of the values, rounded as it is written; shares may be written as percent."""
    digits = len(number.partition(".")[2])
    half = 0.5 * 10.0**-digits * (1 + 1e-6)
    return any(abs(abs(value) * factor - float(number)) <= half for value in values for factor in (1.0, 100.0))
