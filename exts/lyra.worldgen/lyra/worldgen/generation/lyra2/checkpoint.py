"""A foreign checkpoint: tensors by key, known from headers, and only what is asked for is read.

Files are taken for hostile: nothing in them is executed, and every size is held against the file before memory is asked
for. What readers of all kinds of files need for that is here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ...core.errors import InputError
from ...core.optional import require

ITEM_BYTES = {
    "float64": 8, "float32": 4, "bfloat16": 2, "float16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1,
    "bool": 1,
}  # fmt: skip
"""Bytes of a number, by its type's name in torch."""
FLOATS = ("float32", "bfloat16", "float16")
"""Number types that weights may have."""
_MAX_DIMENSIONS = 16
_READ_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """What a header says of a tensor."""

    shape: tuple[int, ...]
    dtype: str
    """Name in torch, or whatever the file calls a type that is not known here."""

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * ITEM_BYTES.get(self.dtype, 0)


class Checkpoint:
    """Tensors by key in one or more files.

    Args:
        path: what was opened, for messages.
        files: every file that it consists of.
        tensors: what there is, in the order of the files.
        others: keys of what is no tensor.
        read: reads one.
        close: lets go of the files.
    """

    def __init__(
        self,
        path: Path,
        *,
        files: list[Path],
        tensors: Mapping[str, TensorInfo],
        others: list[str],
        read: Callable[[str], Any],
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.path, self.files, self.tensors, self.others = path, files, tensors, others
        self._read, self.close = read, close

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, key: str) -> Any:
        """One tensor in memory of its own; raises `InputError` that names the key where its bytes are damaged."""
        return self._read(key)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {key: info.shape for key, info in self.tensors.items()}


def bad(key: str, why: str, path: Path, remedy: str = "copy or fetch the file again") -> InputError:
    """The error of one tensor; damaged keys are not printed whole."""
    return InputError(f"'{key[:200]}' {why}; {remedy}: {path}")


def expect_shape(key: str, shape: Any, path: Path) -> tuple[int, ...]:
    """A shape from a foreign header; raises `InputError` unless it is a list of a few sizes."""
    if (
        not isinstance(shape, list | tuple)
        or len(shape) > _MAX_DIMENSIONS
        or not all(type(n) is int and 0 <= n < 1 << 48 for n in shape)
    ):
        raise bad(key, f"has the impossible shape {str(shape)[:80]}", path)
    return tuple(shape)


def read_exactly(file: IO[bytes], size: int, key: str, path: Path) -> bytearray:
    """The next bytes of a file; raises `InputError` where it ends before. `size` was held against the file before."""
    data = bytearray(size)
    view, at = memoryview(data), 0
    while at < size:
        count = file.readinto(view[at : at + _READ_BYTES])  # type: ignore[attr-defined]
        if not count:
            raise bad(key, f"is cut off after {at} of {size} bytes", path)
        at += count
    return data


def tensor_from(data: bytearray, info: TensorInfo) -> Any:
    """A tensor that owns these bytes."""
    torch = require("torch", extra="models")
    if not data:
        return torch.empty(info.shape, dtype=getattr(torch, info.dtype))
    return torch.frombuffer(data, dtype=getattr(torch, info.dtype)).reshape(info.shape)
