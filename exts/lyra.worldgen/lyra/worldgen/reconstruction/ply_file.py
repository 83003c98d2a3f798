"""The container of `.ply` files: header and tables of numbers, in text or in either byte order, read as if hostile.

Nothing is allocated before the size of the file confirms what its header promises, and tables come in pieces, so that
memory follows what the caller keeps.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np

from ..core.errors import InputError

MAX_HEADER_BYTES = 65_536
MAX_ROWS = 200_000_000
ROWS_A_PIECE = 8_192
_TEXT_PIECE_BYTES = 1 << 20
_MAX_ELEMENTS, _MAX_PROPERTIES = 16, 512
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2",
    "ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PlyElement:
    """One table."""

    name: str
    count: int
    properties: tuple[tuple[str, str], ...]
    """Names and NumPy type codes without byte order."""
    has_lists: bool = False
    """Rows have no fixed size; such a table and those behind it cannot be reached in a binary file."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.properties)


@dataclass(frozen=True, kw_only=True)
class PlyHeader:
    """What a file says about itself."""

    order: str
    """`<` or `>`; empty for text."""
    elements: tuple[PlyElement, ...]
    comments: tuple[str, ...]
    data_start: int
    file_size: int

    def element(self, name: str) -> PlyElement | None:
        return next((e for e in self.elements if e.name == name), None)


class PlyRows:
    """Some rows of a table, columns by name."""

    def __init__(self, element: PlyElement, data: np.ndarray) -> None:
        self._at = {name: i for i, name in enumerate(element.names)}
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def columns(self, *names: str) -> np.ndarray:
        """[rows, len(names)]; a view where the columns are neighbours of one type. KeyError for unknown names."""
        at = [self._at[name] for name in names]
        if self._data.ndim == 2:
            together = at == list(range(at[0], at[0] + len(at)))
            return self._data[:, at[0] : at[0] + len(at)] if together else self._data[:, at]
        out = np.empty((len(self._data), len(names)))
        for i, name in enumerate(names):
            out[:, i] = self._data[name]
        return out


def read_header(file: BufferedReader, path: Path) -> PlyHeader:
    """Header of a file opened at its beginning; raises `InputError` for what is no `.ply` file."""
    head = file.read(MAX_HEADER_BYTES)
    if not re.match(rb"ply[ \t]*\r?\n", head):
        raise InputError(f"file does not begin with 'ply'; expected a 3DGS .ply file: {path}")
    end = re.search(rb"\nend_header[ \t]*\r?\n", head)
    if end is None:
        raise InputError(f"header does not end within {MAX_HEADER_BYTES} bytes; expected 'end_header': {path}")
    file_size = file.seek(0, 2)
    order, comments, tables = None, [], []
    for raw in head[: end.start()].split(b"\n")[1:]:
        words = raw.decode("ascii", "replace").split()
        if not words or words[0] in ("comment", "obj_info"):
            comments += [" ".join(words[1:])[:200]] if words else []
        elif words[0] == "format":
            if words[1:2] == [] or words[1] not in _ORDERS:
                raise InputError(f"format is '{' '.join(words[1:])[:40]}'; expected {', '.join(_ORDERS)}: {path}")
            order = _ORDERS[words[1]]
        elif words[0] == "element" and len(words) == 3 and len(tables) < _MAX_ELEMENTS:
            if not re.fullmatch(r"\d{1,12}", words[2]) or int(words[2]) > MAX_ROWS:
                raise InputError(f"{words[1][:40]} count is '{words[2][:20]}'; expected 0 to {MAX_ROWS}: {path}")
            tables.append((words[1], int(words[2]), [], []))
        elif words[0] == "property" and tables and len(tables[-1][2]) < _MAX_PROPERTIES:
            if len(words) == 5 and words[1] == "list" and words[2] in _TYPES and words[3] in _TYPES:
                tables[-1][3].append(words[4])
            elif len(words) == 3 and words[1] in _TYPES:
                tables[-1][2].append((words[2], _TYPES[words[1]]))
            else:
                raise InputError(f"cannot read the property '{' '.join(words[1:])[:60]}'; expected numbers: {path}")
        else:
            raise InputError(f"cannot read the header line '{' '.join(words)[:60]}': {path}")
    if order is None:
        raise InputError(f"header names no format; expected {', '.join(_ORDERS)}: {path}")
    elements = tuple(
        PlyElement(name=name, count=count, properties=tuple(fields), has_lists=bool(lists))
        for name, count, fields, lists in tables
    )
    for element in elements:
        if len(set(element.names)) != len(element.names):
            raise InputError(f"header names a property of '{element.name[:40]}' twice: {path}")
    return PlyHeader(
        order=order, elements=elements, comments=tuple(comments), data_start=end.end(), file_size=file_size
    )


def read_rows(file: BufferedReader, header: PlyHeader, name: str, path: Path) -> Iterator[PlyRows]:
    """The table `name` in pieces of up to `ROWS_A_PIECE` rows, each of which is overwritten by the next.

    Raises:
        InputError: no such table, one that cannot be reached, one that is cut off, or text that is no number.
    """
    start, element = header.data_start, None
    before: list[PlyElement] = []
    for element in header.elements:
        if element.has_lists:
            raise InputError(f"the table '{element.name[:40]}' has lists; expected '{name}' before it: {path}")
        if element.name == name:
            break
        before.append(element)
    if element is None or element.name != name:
        raise InputError(f"header names no element '{name}'; expected a 3DGS .ply file: {path}")
    if not element.properties:
        raise InputError(f"the element '{name}' has no properties; expected a 3DGS .ply file: {path}")
    if header.order == "":
        yield from _text_rows(file, header, element, sum(e.count * len(e.properties) for e in before), path)
        return
    for other in before:
        start += other.count * _row_type(other, header.order).itemsize
    dtype = _row_type(element, header.order)
    need, have = element.count * dtype.itemsize, header.file_size - start
    if need > have:
        raise InputError(
            f"file is cut off: {element.count} rows of '{name}' need {need} bytes, {max(have, 0)} are there: {path}"
        )
    file.seek(start)
    kinds = {kind for _, kind in element.properties}
    buffer = bytearray(min(element.count, ROWS_A_PIECE) * dtype.itemsize)
    for first in range(0, element.count, ROWS_A_PIECE):
        rows = min(ROWS_A_PIECE, element.count - first)
        piece = memoryview(buffer)[: rows * dtype.itemsize]
        if file.readinto(piece) != len(piece):
            raise InputError(f"file changed while it was read; try again: {path}")
        if len(kinds) == 1:
            flat = np.frombuffer(piece, header.order + next(iter(kinds)))
            yield PlyRows(element, flat.reshape(rows, len(element.properties)))
        else:
            yield PlyRows(element, np.frombuffer(piece, dtype))


def _row_type(element: PlyElement, order: str) -> np.dtype:
    return np.dtype([(name, order + kind) for name, kind in element.properties])


def _text_rows(
    file: BufferedReader, header: PlyHeader, element: PlyElement, skip: int, path: Path
) -> Iterator[PlyRows]:
    """Rows of a table in text, whose numbers may be broken into lines in any way."""
    width = len(element.properties)
    # A number and the blank behind it take two characters at least.
    if (skip + element.count * width) * 2 - 1 > header.file_size - header.data_start:
        raise InputError(f"file is cut off: {element.count} rows of '{element.name}' do not fit into it: {path}")
    file.seek(header.data_start)
    tail, ready, rows_left = b"", np.zeros(0), element.count
    while rows_left:
        block = file.read(_TEXT_PIECE_BYTES)
        text = tail + block
        cut = len(text) if not block else max(text.rfind(b"\n"), text.rfind(b" ")) + 1
        if not cut and len(text) > 2 * _TEXT_PIECE_BYTES:
            raise InputError(f"the data is no text of numbers; expected what the header says: {path}")
        text, tail = text[:cut], text[cut:]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # how NumPy says that something is no number
                numbers = np.fromstring(text.decode("ascii"), sep=" ") if text.strip() else np.zeros(0)
        except (DeprecationWarning, UnicodeDecodeError, ValueError) as error:
            raise InputError(f"the data is no text of numbers; expected what the header says: {path}") from error
        dropped = min(skip, len(numbers))
        skip -= dropped
        ready = np.concatenate([ready, numbers[dropped:]])
        rows = min(len(ready) // width, rows_left)
        if rows:
            yield PlyRows(element, ready[: rows * width].reshape(rows, width))
            ready, rows_left = ready[rows * width :], rows_left - rows
        elif not block:
            raise InputError(f"file is cut off: {rows_left} rows of '{element.name}' are missing: {path}")
