"""Checkpoints in the safetensors format: one file, or an index of many."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.files import explain_os_error
from ..weights import reason_of
from .checkpoint import ITEM_BYTES, Checkpoint, TensorInfo, bad, expect_shape, read_exactly, tensor_from

SAFETENSORS_TYPES = {
    "F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
MAX_HEADER_BYTES = 100 << 20


def open_safetensors(path: Path) -> Checkpoint:
    """One file; raises `InputError` where it is damaged or cut off."""
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


def open_shards(path: Path) -> Checkpoint:
    """Sharded files by their index; raises `InputError` where that or a shard is damaged, or a shard is missing."""
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
        shards[name] = open_safetensors(path.parent / name)
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
