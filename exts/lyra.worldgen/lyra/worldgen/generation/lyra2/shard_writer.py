"""Safetensors files written while their tensors are read: what is in memory at once is one tensor."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...core.files import naming, sync_file, write_json
from .checkpoint import TensorInfo
from .checkpoint_safetensors import SAFETENSORS_TYPES

SHARD_BYTES = 4 << 30
_NAMES = {ours: theirs for theirs, ours in SAFETENSORS_TYPES.items()}
_WRITE_BYTES = 16 << 20


def write_shards(
    place: Path,
    stem: str,
    tensors: Mapping[str, TensorInfo],
    read: Callable[[str], Any],
    *,
    shard_bytes: int = SHARD_BYTES,
    wrote: Callable[[int], None] = lambda count: None,
) -> list[Path]:
    """Write tensors as diffusers and transformers read them: one file, or numbered ones and their list.

    Args:
        place: folder, which exists.
        stem: name of the files without number and suffix.
        tensors: what is written, in this order.
        read: gives a tensor when its turn has come.
        shard_bytes: most that a file holds; a larger tensor has a file of its own.
        wrote: told how many bytes were written, now and then.

    Returns:
        the files with numbers.

    Raises:
        InputError: a file cannot be written, or whatever `read` raises.
    """
    shards: list[list[str]] = [[]]
    held = 0
    for key, info in tensors.items():
        if shards[-1] and held + info.bytes > shard_bytes:
            shards.append([])
            held = 0
        shards[-1].append(key)
        held += info.bytes
    single = len(shards) == 1
    paths, where = [], {}
    for i, keys in enumerate(shards):
        name = f"{stem}.safetensors" if single else f"{stem}-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        _write(place / name, {key: tensors[key] for key in keys}, read, wrote)
        paths.append(place / name)
        where.update(dict.fromkeys(keys, name))
    if not single:
        total = sum(info.bytes for info in tensors.values())
        write_json(place / f"{stem}.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": where})
    return paths


def _write(
    path: Path, tensors: Mapping[str, TensorInfo], read: Callable[[str], Any], wrote: Callable[[int], None]
) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for key, info in tensors.items():
        header[key] = {"dtype": _NAMES[info.dtype], "shape": list(info.shape), "data_offsets": [at, at + info.bytes]}
        at += info.bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with naming("write", path):
        with open(path, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for key, info in tensors.items():
                data = _bytes_of(read(key), info)
                for start in range(0, len(data), _WRITE_BYTES):
                    file.write(data[start : start + _WRITE_BYTES])
                    wrote(len(data[start : start + _WRITE_BYTES]))
                del data  # before the next one comes
        sync_file(path)


def _bytes_of(tensor: Any, info: TensorInfo) -> memoryview:
    """The numbers of a tensor as they lie in memory."""
    import torch

    assert tuple(tensor.shape) == info.shape and tensor.dtype == getattr(torch, info.dtype), "what was announced"
    return memoryview(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
