"""Foreign checkpoints read tensor by tensor: what they hold is known from headers, and only what is asked for is read.

Safetensors files are read here, one or many; pickled ones in `checkpoint_pickles`. Files are taken for hostile: nothing
in them is executed, and every size is held against the file before memory is asked for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ...core.errors import InputError
from ...core.files import explain_os_error
from ...core.optional import require
from ..weights import reason_of

ITEM_BYTES = {
    "float64": 8, "float32": 4, "bfloat16": 2, "float16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1,
    "bool": 1,
}  # fmt: skip
"""Bytes of a number, by its type's name in torch."""
FLOATS = ("float32", "bfloat16", "float16")
"""Number types that weights may have."""
SAFETENSORS_TYPES = {
    "F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
MAX_HEADER_BYTES = 100 << 20
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


def open_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint by its file or folder; reads headers only.

    Args:
        path: a .pth, .pt, .bin, .ckpt or .safetensors file, the index of sharded safetensors, a folder with one of
            these, or the folder of a distributed checkpoint.

    Raises:
        InputError: it is none of these, damaged or cut off; names the first bad key where the file still tells it.
    """
    from . import checkpoint_pickles as pickles

    if path.is_dir():
        if (path / ".metadata").is_file():
            return pickles.open_distributed(path)
        for pattern in ("*.safetensors.index.json", "*.safetensors", "*.pth", "*.pt"):
            found = sorted(path.glob(pattern))
            if len(found) > 1:
                raise InputError(f"the folder has {len(found)} files {pattern}; name one of them: {path}")
            if found:
                return open_checkpoint(found[0])
        raise InputError(
            f"the folder holds no checkpoint; expected .metadata, one .safetensors, .pth or .pt file, or an index of "
            f"shards: {path}"
        )
    if not path.is_file():
        raise InputError(f"there is no such checkpoint; check the path: {path}")
    if path.name.endswith(".index.json"):
        return _open_shards(path)
    if path.suffix == ".safetensors":
        return _open_safetensors(path)
    if path.suffix in (".pth", ".pt", ".bin", ".ckpt"):
        return pickles.open_zip(path)
    raise InputError(
        f"'{path.suffix}' is no kind of checkpoint that is read; expected .pth, .pt or .safetensors: {path}"
    )


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


def _open_safetensors(path: Path) -> Checkpoint:
    places = _safetensors_header(path)

    def read(key: str) -> Any:
        info, start = places[key]
        try:
            with open(path, "rb") as file:
                file.seek(start)
                return tensor_from(read_exactly(file, info.bytes, key, path), info)
        except OSError as error:
            raise bad(key, f"cannot be read ({explain_os_error(error)})", path) from error

    tensors = {key: info for key, (info, _) in places.items()}
    return Checkpoint(path, files=[path], tensors=tensors, others=[], read=read)


def _safetensors_header(path: Path) -> dict[str, tuple[TensorInfo, int]]:
    """What there is and at which byte, in the order of the bytes."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
                raise ValueError(f"its header has {length} bytes, the file {size}")
            header = json.loads(file.read(length))
    except OSError as error:
        raise InputError(f"a checkpoint cannot be read ({explain_os_error(error)}): {path}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"a safetensors file is damaged ({reason_of(error)}); copy or fetch it again: {path}"
        ) from error
    if not isinstance(header, dict):
        raise InputError(f"a safetensors file is damaged (its header is no mapping); copy or fetch it again: {path}")
    header.pop("__metadata__", None)
    places: dict[str, tuple[TensorInfo, int]] = {}
    for key, entry in header.items():
        if not isinstance(entry, dict):
            raise bad(key, "has a damaged header", path)
        number = str(entry.get("dtype"))[:40]
        shape = expect_shape(key, entry.get("shape"), path)
        info = TensorInfo(shape=shape, dtype=SAFETENSORS_TYPES.get(number, number))
        if info.dtype not in ITEM_BYTES:
            raise bad(key, f"has the number type {info.dtype}, expected one of {', '.join(SAFETENSORS_TYPES)}", path)
        offsets = entry.get("data_offsets")
        if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(n) is int and n >= 0 for n in offsets):
            raise bad(key, "has a damaged header", path)
        if offsets[1] - offsets[0] != info.bytes:
            raise bad(key, f"of shape {info.shape} has {offsets[1] - offsets[0]} bytes, expected {info.bytes}", path)
        places[key] = info, 8 + length + offsets[0]
    ordered = dict(sorted(places.items(), key=lambda item: item[1][1]))
    for key, (info, start) in ordered.items():
        if start + info.bytes > size:
            raise bad(key, f"is cut off: it ends at byte {start + info.bytes}, the file at {size}", path)
    return ordered


def _open_shards(path: Path) -> Checkpoint:
    """Sharded safetensors by their index."""
    try:
        if path.stat().st_size > MAX_HEADER_BYTES:
            raise ValueError("it is too large")
        weight_map = json.loads(path.read_bytes())["weight_map"]
        items = [(str(key), str(name)) for key, name in weight_map.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"a list of shards cannot be read ({reason_of(error)}); copy or fetch it again: {path}"
        ) from error
    shards: dict[str, Checkpoint] = {}
    for key, name in items:
        if name in shards:
            continue
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise bad(key, f"is said to lie in '{name[:80]}', expected a .safetensors file beside the list", path)
        if not (path.parent / name).is_file():
            raise bad(key, f"lies in {name[:80]}, which is missing", path)
        shards[name] = _open_safetensors(path.parent / name)
    where = dict(items)
    for key, name in items:
        if key not in shards[name].tensors:
            raise bad(key, f"is not in {name}, where the list says it is", path)
    tensors = {
        key: info for name in sorted(shards) for key, info in shards[name].tensors.items() if where.get(key) == name
    }
    return Checkpoint(
        path,
        files=[path, *(path.parent / name for name in sorted(shards))],
        tensors=tensors,
        others=[],
        read=lambda key: shards[where[key]].read(key),
    )
