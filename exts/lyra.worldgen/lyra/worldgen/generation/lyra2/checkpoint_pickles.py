"""Checkpoints that torch wrote: zip files (.pth, .pt) and the folders of distributed checkpoints.

Both describe their tensors with a pickle. It is read by an unpickler that knows a fixed list of names and puts inert
records in their place, so nothing that a file names is ever imported or called; the numbers are then read straight from
the zip records, whose checksums tell which tensor is damaged.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ...core.errors import InputError
from ...core.files import explain_os_error
from ...core.optional import require
from ..weights import reason_of
from .checkpoint import ITEM_BYTES, Checkpoint, TensorInfo, bad, expect_shape, read_exactly, tensor_from

_MAX_PICKLE_BYTES = 64 << 20
_MAX_DEPTH = 8
_SEARCH_BYTES = 1 << 17
"""How far behind a zip record the next one begins at most."""
_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "BFloat16Storage": "bfloat16", "HalfStorage": "float16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip
_METADATA_MODULE = "torch.distributed.checkpoint.metadata"
_METADATA_CLASSES = {
    "Metadata", "TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata", "TensorProperties",
    "MetadataIndex", "StorageMeta",
}  # fmt: skip
_DAMAGE = (
    pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError,
    MemoryError, OverflowError, UnicodeError,
)  # fmt: skip
"""What a damaged pickle makes Python raise."""


class _Sealed:
    """Refuses the state that a pickle would give it."""

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a state for what has none")


@dataclass(frozen=True, kw_only=True)
class _Storage(_Sealed):
    """A zip record of numbers."""

    name: str
    dtype: str
    count: int


@dataclass(frozen=True, kw_only=True)
class _StoredTensor(_Sealed):
    storage: _Storage
    offset: Any
    shape: Any
    stride: Any


class _Record:
    """Stands for an object of a known class: keeps what was to be its state and does nothing."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def get(self, name: str) -> Any:
        """An attribute; None where the state has none."""
        return self.state.get(name) if isinstance(self.state, dict) else None


class _DtypeName(str):
    """Name of a number type."""


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> _StoredTensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    return _StoredTensor(storage=storage, offset=offset, shape=shape, stride=stride)


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _size(sizes: Any = ()) -> tuple[Any, ...]:
    return tuple(sizes)


def _text(*parts: Any) -> str:
    return "/".join(map(str, parts))


class _Call(_Sealed):
    """A function that a pickle may call and not change."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)


# The one in Python, since the other asks for as much memory as a damaged pickle tells it to.
class _Unpickler(pickle._Unpickler):
    """Admits the names that torch's checkpoints consist of."""

    def find_class(self, module: str, name: str) -> Any:
        full = (module, name)
        if full == ("collections", "OrderedDict"):
            return _Call(OrderedDict)
        if full == ("torch._utils", "_rebuild_tensor_v2"):
            return _Call(_rebuild_tensor)
        if full == ("torch._utils", "_rebuild_parameter"):
            return _Call(_rebuild_parameter)
        if module == "torch" and name in _STORAGES:
            return _DtypeName(_STORAGES[name])
        if full == ("torch", "Size"):
            return _Call(_size)
        if module == "torch" and name in ITEM_BYTES:
            return _DtypeName(name)
        if module == _METADATA_MODULE and name in _METADATA_CLASSES:
            return type(name, (_Record,), {})
        if full == ("torch.distributed.checkpoint.filesystem", "_StorageInfo"):
            return type(name, (_Record,), {})
        inert = {
            ("torch.serialization", "_get_layout"),
            (_METADATA_MODULE, "_MEM_FORMAT_ENCODING"),
            ("pathlib", "PosixPath"), ("pathlib", "WindowsPath"), ("pathlib", "Path"),
            ("pathlib._local", "PosixPath"), ("pathlib._local", "WindowsPath"),
        }  # fmt: skip
        if full in inert:
            return _Call(_text)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no checkpoint needs")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, name, _, count = pid
        named = kind == "storage" and isinstance(dtype, _DtypeName) and isinstance(name, str)
        if not named or type(count) is not int:
            raise pickle.UnpicklingError("a storage of an unknown kind")
        return _Storage(name=name, dtype=str(dtype), count=count)


class _Zip:
    """One file that `torch.save` wrote: what it describes, and its numbers."""

    def __init__(self, file: Any, path: Path) -> None:
        self.path = path
        self._zip = zipfile.ZipFile(file)
        names = {info.filename: info for info in self._zip.infolist()}
        described = [name for name in names if name.endswith("/data.pkl")]
        if len(described) != 1:
            raise zipfile.BadZipFile("it holds no data.pkl")
        self._prefix = described[0].removesuffix("data.pkl")
        self._records = names
        order = names.get(f"{self._prefix}byteorder")
        if order is not None and (order.file_size > 16 or self._zip.read(order) != b"little"):
            raise zipfile.BadZipFile("its numbers are big-endian")
        info = names[described[0]]
        if info.file_size > _MAX_PICKLE_BYTES or info.compress_type != zipfile.ZIP_STORED:
            raise zipfile.BadZipFile("its description is too long or compressed")
        self.content = _Unpickler(io.BytesIO(self._zip.read(info))).load()

    def check(self, key: str, stored: _StoredTensor) -> TensorInfo:
        """Hold a tensor's description against its record; raises `InputError` that names the key."""
        info = _tensor_info(key, stored, self.path)
        record = self._records.get(f"{self._prefix}data/{stored.storage.name}")
        if record is None:
            raise bad(key, f"has no numbers: the record data/{stored.storage.name[:40]} is missing", self.path)
        expected = stored.storage.count * ITEM_BYTES[info.dtype]
        if record.compress_type != zipfile.ZIP_STORED or record.file_size != expected:
            raise bad(key, f"has {record.file_size} bytes of numbers, expected {expected}", self.path)
        return info

    def read(self, key: str, stored: _StoredTensor) -> Any:
        """The numbers of one tensor; raises `InputError` where their checksum is wrong."""
        info = self.check(key, stored)
        storage = stored.storage
        record = f"{self._prefix}data/{storage.name}"
        size = self._records[record].file_size
        try:
            with self._zip.open(record) as file:
                data = read_exactly(file, size, key, self.path)
                file.read(1)  # the checksum is looked at where the record ends
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise bad(key, f"is damaged ({reason_of(error)})", self.path) from error
        whole = tensor_from(data, TensorInfo(shape=(storage.count,), dtype=info.dtype))
        tensor = whole.as_strided(info.shape, tuple(stored.stride), stored.offset)
        # A view of a larger record must not keep all of it.
        return tensor.contiguous() if tensor.numel() == storage.count else tensor.clone().contiguous()


def open_zip(path: Path) -> Checkpoint:
    """A file that `torch.save` wrote; raises `InputError` where it is no such file, or damaged."""
    try:
        file = open(path, "rb")
    except OSError as error:
        raise InputError(f"a checkpoint cannot be read ({explain_os_error(error)}): {path}") from error
    try:
        archive = _Zip(file, path)
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, *_DAMAGE) as error:
        cut = _cut_off(file, path) if isinstance(error, zipfile.BadZipFile) else None
        file.close()
        if cut is not None:
            raise cut from error
        raise InputError(
            f"the file is no whole zip checkpoint of torch ({reason_of(error)}); copy or fetch it again, or save it "
            f"anew with torch.save of a plain dictionary of tensors: {path}"
        ) from error
    try:
        stored, others = _flat(archive.content, path)
        tensors = {key: archive.check(key, tensor) for key, tensor in stored.items()}
    except BaseException:
        file.close()
        raise
    return Checkpoint(
        path,
        files=[path],
        tensors=tensors,
        others=others,
        read=lambda key: archive.read(key, stored[key]),
        close=file.close,
    )


def open_distributed(folder: Path) -> Checkpoint:
    """A folder that `torch.distributed.checkpoint` wrote.

    Its `.metadata` is a pickle and torch's own reader would execute it; each slice of the other files is one file of
    `torch.save`.

    Raises:
        InputError: it is damaged, incomplete, or names files outside the folder.
    """
    path = folder / ".metadata"
    try:
        if path.stat().st_size > _MAX_PICKLE_BYTES:
            raise ValueError("it is too large")
        metadata = _Unpickler(io.BytesIO(path.read_bytes())).load()
        described, storage = metadata.get("state_dict_metadata"), metadata.get("storage_data")
        slices = {
            (index.get("fqn"), tuple(index.get("offset") or ())): place
            for index, place in storage.items()
            if index.get("fqn") is not None
        }
        entries = list(described.items())
    except OSError as error:
        raise InputError(f"a checkpoint cannot be read ({explain_os_error(error)}): {path}") from error
    except _DAMAGE as error:
        raise InputError(
            f"the description of a distributed checkpoint is damaged ({reason_of(error)}); copy or fetch it again, "
            f"or make one file of it with torch's dcp_to_torch_save if you trust it: {path}"
        ) from error
    sizes: dict[str, int] = {}
    tensors: dict[str, TensorInfo] = {}
    parts: dict[str, list[_Slice]] = {}
    others = []
    for key, entry in entries:
        if type(key) is not str or not isinstance(entry, _Record):
            raise bad(str(key), "has a damaged description", path)
        if type(entry).__name__ != "TensorStorageMetadata":
            others.append(key)
            continue
        tensors[key], parts[key] = _describe(key, entry, slices, folder, sizes)
    return Checkpoint(
        folder,
        files=[path, *(folder / name for name in sorted(sizes))],
        tensors=tensors,
        others=others,
        read=lambda key: _read_slices(key, tensors[key], parts[key], folder),
    )


@dataclass(frozen=True, kw_only=True)
class _Slice:
    """A box of a tensor, and the bytes of a file that hold it."""

    corner: tuple[int, ...]
    shape: tuple[int, ...]
    file: str
    start: int
    length: int


def _describe(
    key: str, entry: _Record, slices: Mapping[Any, Any], folder: Path, sizes: dict[str, int]
) -> tuple[TensorInfo, list[_Slice]]:
    """A tensor of a distributed checkpoint and where its slices lie; the sizes of files are looked up once."""
    path = folder / ".metadata"
    properties = entry.get("properties")
    state = getattr(properties, "state", None)
    dtype = state[0] if isinstance(state, tuple) and state else getattr(properties, "get", lambda _: None)("dtype")
    if not isinstance(dtype, _DtypeName):
        raise bad(key, f"has an unknown number type {str(dtype)[:40]}", path)
    info = TensorInfo(shape=expect_shape(key, entry.get("size"), path), dtype=str(dtype))
    chunks = entry.get("chunks")
    if not isinstance(chunks, list) or not all(isinstance(chunk, _Record) for chunk in chunks):
        raise bad(key, "has a damaged description", path)
    found = []
    for chunk in chunks:
        corner = expect_shape(key, chunk.get("offsets"), path)
        shape = expect_shape(key, chunk.get("sizes"), path)
        place = slices.get((key, corner))
        if place is None and not any(corner):
            place = slices.get((key, ()))
        if len(corner) != len(info.shape) or len(shape) != len(info.shape):
            raise bad(key, "has a slice of another number of dimensions", path)
        if any(a + n > whole for a, n, whole in zip(corner, shape, info.shape, strict=True)):
            raise bad(key, f"has a slice at {corner} of {shape} outside its shape {info.shape}", path)
        if not isinstance(place, _Record):
            raise bad(key, f"has no bytes for its slice at {corner}", path)
        name, start, length = (place.get(field) for field in ("relative_path", "offset", "length"))
        if not isinstance(name, str) or Path(name).name != name or name in ("", ".", ".."):
            raise bad(key, f"is said to lie in '{str(name)[:80]}', expected a file in the folder", path)
        if place.get("transform_descriptors"):
            raise bad(key, "is compressed, which is not read here", path)
        if type(start) is not int or type(length) is not int or start < 0 or length < 0:
            raise bad(key, "has a damaged description", path)
        if name not in sizes:
            if not (folder / name).is_file():  # a link is well: a hub's cache consists of them
                raise bad(key, f"lies in {name[:80]}, which is missing", path)
            sizes[name] = (folder / name).stat().st_size
        if start + length > sizes[name]:
            raise bad(key, f"is cut off: it ends at byte {start + length}, the file at {sizes[name]}", folder / name)
        found.append(_Slice(corner=corner, shape=shape, file=name, start=start, length=length))
    if sum(math.prod(part.shape) for part in found) != math.prod(info.shape):
        raise bad(key, f"of shape {info.shape} is not covered by its {len(found)} slices", path)
    return info, found


def _read_slices(key: str, info: TensorInfo, slices: list[_Slice], folder: Path) -> Any:
    torch = require("torch", extra="models")
    whole = None
    for part in slices:
        path = folder / part.file
        try:
            with open(path, "rb") as file:
                archive = _Zip(_Window(file, part.start, part.length), path)
                stored = archive.content
                if not isinstance(stored, _StoredTensor):
                    raise bad(key, "is no tensor where the description says so", path)
                found = archive.check(key, stored)
                # FSDP saves slices of padded parameters at times; only an exact slice is taken.
                if found.shape != part.shape or found.dtype != info.dtype:
                    raise bad(
                        key, f"has a slice of {found.dtype} {found.shape}, expected {info.dtype} {part.shape}", path
                    )
                tensor = archive.read(key, stored)
        except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, *_DAMAGE) as error:
            if isinstance(error, InputError):
                raise
            raise bad(key, f"is damaged ({reason_of(error)})", path) from error
        if part.shape == info.shape:
            return tensor
        if whole is None:
            whole = torch.empty(info.shape, dtype=getattr(torch, info.dtype))
        whole[tuple(slice(a, a + n) for a, n in zip(part.corner, part.shape, strict=True))] = tensor
    return whole if whole is not None else torch.empty(info.shape, dtype=getattr(torch, info.dtype))


class _Window(io.RawIOBase):
    """A range of a file as a file of its own."""

    def __init__(self, file: IO[bytes], start: int, length: int) -> None:
        self._file, self._start, self._length, self._at = file, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        if base + offset < 0:
            raise ValueError("a position before the beginning")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: max(0, self._length - self._at)]
        self._file.seek(self._start + self._at)
        count = self._file.readinto(view) or 0  # type: ignore[attr-defined]
        self._at += count
        return count


def _flat(content: Any, path: Path) -> tuple[dict[str, _StoredTensor], list[str]]:
    """Tensors of nested mappings by dotted key, and keys of everything else."""
    stored: dict[str, _StoredTensor] = {}
    others: list[str] = []

    def walk(value: Any, prefix: str, depth: int) -> None:
        if isinstance(value, _StoredTensor):
            stored[prefix] = value
        elif isinstance(value, dict) and depth < _MAX_DEPTH:
            for key, inner in value.items():
                walk(inner, f"{prefix}.{key}" if prefix else str(key), depth + 1)
        else:
            others.append(prefix)

    walk(content, "", 0)
    if not isinstance(content, dict):
        raise InputError(f"the file holds no mapping of names to tensors; expected a state dict: {path}")
    return stored, others


def _tensor_info(key: str, stored: _StoredTensor, path: Path) -> TensorInfo:
    """What the description says; raises `InputError` where the tensor leaves its storage."""
    shape, stride = expect_shape(key, stored.shape, path), expect_shape(key, stored.stride, path)
    if type(stored.offset) is not int or stored.offset < 0 or len(stride) != len(shape) or stored.storage.count < 0:
        raise bad(key, "has a damaged description", path)
    last = stored.offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if math.prod(shape) and last >= stored.storage.count:
        raise bad(key, f"of shape {shape} needs {last + 1} numbers, its storage has {stored.storage.count}", path)
    # Steps of 0 make a large tensor of a few numbers: no weights are like that.
    if math.prod(shape) > stored.storage.count:
        raise bad(key, f"of shape {shape} has only {stored.storage.count} numbers", path)
    return TensorInfo(shape=shape, dtype=stored.storage.dtype)


def _cut_off(file: IO[bytes], path: Path) -> InputError | None:
    """The error of a file without its end, where the list of records is: the beginning still names the keys."""
    size = path.stat().st_size
    file.seek(0)
    name, start = _next_record(file)
    if not name.endswith("/data.pkl"):
        return None
    file.seek(start)
    description = io.BytesIO(file.read(_MAX_PICKLE_BYTES))
    try:
        stored, _ = _flat(_Unpickler(description).load(), path)
        needs = {
            tensor.storage.name: tensor.storage.count * ITEM_BYTES.get(tensor.storage.dtype, 0)
            for tensor in stored.values()
        }
    except (InputError, *_DAMAGE):
        return None
    at, whole = start + description.tell(), set()
    while at < size:
        file.seek(at)
        name, start = _next_record(file)
        record = name.rpartition("/data/")[2]
        at = start + (needs.get(record, 0) if name else size)
        if name and at <= size:
            whole.add(record)
    first = next((key for key, tensor in stored.items() if tensor.storage.name not in whole), None)
    return None if first is None else bad(first, f"is cut off: the file ends at byte {size}", path)


def _next_record(file: IO[bytes]) -> tuple[str, int]:
    """Name of the next zip record from here, and where its bytes begin; an empty name where none follows."""
    begin = file.tell()
    window = file.read(_SEARCH_BYTES)
    at = window.find(b"PK\x03\x04")
    if at < 0 or at + 30 > len(window):
        return "", begin
    name_length, extra_length = (int.from_bytes(window[at + i : at + i + 2], "little") for i in (26, 28))
    name = window[at + 30 : at + 30 + name_length].decode("utf-8", errors="replace")
    return name, begin + at + 30 + name_length + extra_length
