"""Records as compressed `.npz` files: their bytes depend on the record only, and readers trust nothing.

Fixed dates and a fixed order keep the bytes; nothing is unpickled, and names, types, shapes and sizes are checked
before anything of a declared size is allocated. Plain arrays of other programs are read as carefully.
"""

from __future__ import annotations

import json
import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from .errors import InputError
from .files import replacing

FORMAT_VERSION = 1
MAX_ARRAY_BYTES = 2**30
"""Largest array that a reader accepts [bytes]; a 16384 x 16384 RGB texture is 0.8 of it."""
_MAX_META_BYTES = 2**20
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
R = TypeVar("R")


@dataclass(frozen=True)
class ArrayField:
    """Expected type and shape of one array; a letter stands for a size that all fields of a record share."""

    dtype: str
    dims: tuple[int | str | None, ...]
    optional: bool = False


def save_record(
    path: Path,
    kind: str,
    fields: Mapping[str, ArrayField],
    arrays: Mapping[str, np.ndarray | None],
    meta: dict[str, Any],
) -> None:
    try:
        text = json.dumps({"kind": kind, "format": FORMAT_VERSION, **meta}, sort_keys=True, allow_nan=False)
    except ValueError as error:
        raise InputError(f"{kind} record holds a NaN or infinite number; expected finite values: {path}") from error
    members = {"meta": np.frombuffer(text.encode(), np.uint8)}
    for name, field in fields.items():
        array = arrays[name]
        if array is None and field.optional:
            continue
        members[name] = np.ascontiguousarray(array, field.dtype)
    _check_fields(members, fields, path)
    with replacing(Path(path)) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in members.items():
            info = zipfile.ZipInfo(f"{name}.npy", _ZIP_EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = 0o644 << 16
            # Level 1 costs a tenth of the default's time on photographs and gains within a few percent as much.
            info._compresslevel = 1  # pyright: ignore[reportAttributeAccessIssue]
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)


def read_foreign_npz(path: Path, names: set[str]) -> dict[str, np.ndarray]:
    """Plain number arrays of somebody else's `.npz` file; other arrays in it are not looked at.

    Raises:
        InputError: the file is missing, damaged, holds objects, or declares more than it has.
    """
    return _read_archive(path, "the", lambda archive: _read_members(archive, names, others=True))


def read_foreign_npy(path: Path) -> np.ndarray:
    """The plain numbers of somebody else's `.npy` file.

    Raises:
        InputError: the file is missing, damaged, holds objects, or declares more than it has.
    """
    return _read_from(path, "the", lambda file: _read_array(file, path.stat().st_size, path.stem[:60]))


def _read_archive(path: Path, kind: str, read: Callable[[zipfile.ZipFile], R]) -> R:
    def unpack(file: IO[bytes]) -> R:
        with zipfile.ZipFile(file) as archive:
            return read(archive)

    return _read_from(path, kind, unpack)


def _read_from(path: Path, kind: str, read: Callable[[IO[bytes]], R]) -> R:
    try:
        with open(path, "rb") as file:
            return read(file)
    except InputError as error:
        raise InputError(f"{error}: {path}") from error
    except FileNotFoundError as error:
        raise InputError(f"{kind} file is missing; run the stage that writes it: {path}") from error
    except OSError as error:
        raise InputError(f"{kind} file cannot be read ({error.strerror or error}): {path}") from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        RuntimeError,
        ValueError,
        OverflowError,
        KeyError,
        SyntaxError,
        tokenize.TokenError,
    ) as error:
        # RuntimeError and its child NotImplementedError: encrypted members and unknown compression methods. NumPy reads
        # headers as Python literals and lets the errors of Python's own parser through.
        what = path.suffix if path.suffix in (".npz", ".npy") else ".npz"
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{kind} file is damaged or no {what} file ({reason}); make it again: {path}") from error


def load_record(
    path: Path, kind: str, fields: Mapping[str, ArrayField]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    members = _read_archive(path, kind, lambda archive: _read_members(archive, {"meta", *fields}))
    if "meta" not in members:
        raise InputError(f"file holds no array 'meta', so it is not one of ours: {path}")
    meta = blaming(path, lambda: json.loads(members.pop("meta").astype(np.uint8).tobytes()))
    if not isinstance(meta, dict) or meta.get("kind") != kind:
        found = meta.get("kind") if isinstance(meta, dict) else None
        raise InputError(f"file holds the record '{found}'; expected '{kind}': {path}")
    if meta.get("format") != FORMAT_VERSION:
        raise InputError(f"format is {meta.get('format')}; this version reads {FORMAT_VERSION}: {path}")
    _check_fields(members, fields, path)
    return members, meta


def _read_members(archive: zipfile.ZipFile, known: set[str], *, others: bool = False) -> dict[str, np.ndarray]:
    """The known arrays of the archive; a member is allocated only after its header agrees with its declared size.

    With `others` the archive may hold more, which is skipped; without, that is an error.
    """
    members: dict[str, np.ndarray] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name not in known or not info.filename.endswith(".npy"):
            if others:
                continue
            raise InputError(f"file holds the unknown array '{info.filename[:60]}'")
        if name in members:
            raise InputError(f"file holds the array '{name}' twice")
        limit = _MAX_META_BYTES if name == "meta" else MAX_ARRAY_BYTES
        if info.file_size > limit:
            raise InputError(f"array '{name}' declares {info.file_size} bytes; at most {limit} are read")
        with archive.open(info) as member:
            members[name] = _read_array(member, info.file_size, name)
    return members


def _read_array(member: IO[bytes], size_bytes: int, name: str) -> np.ndarray:
    version = np.lib.format.read_magic(member)
    if version not in ((1, 0), (2, 0)):
        raise InputError(f"array '{name}' has .npy version {version}; expected (1, 0) or (2, 0)")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(member, max_header_size=4096)
    if dtype.hasobject or dtype.kind not in "biuf" or fortran:
        raise InputError(f"array '{name}' has type {dtype}; expected plain numbers in C order")
    count = math.prod(shape)
    need = count * dtype.itemsize
    if need > size_bytes:
        raise InputError(f"array '{name}' declares shape {shape}, more than its {size_bytes} bytes hold")
    data = member.read(need + 1)
    if len(data) != need:
        raise InputError(f"array '{name}' holds {len(data)} bytes; expected {need} for shape {shape}")
    # A bytearray keeps the result writable, like every array that was computed and not loaded.
    return np.frombuffer(bytearray(data), dtype).reshape(shape)


def _check_fields(members: Mapping[str, np.ndarray], fields: Mapping[str, ArrayField], path: Path) -> None:
    sizes: dict[str, int] = {}
    for name, field in fields.items():
        array = members.get(name)
        if array is None:
            if field.optional:
                continue
            raise InputError(f"array '{name}' is missing; make the file again: {path}")
        if array.dtype != np.dtype(field.dtype):
            raise InputError(f"array '{name}' has type {array.dtype}; expected {np.dtype(field.dtype)}: {path}")
        wanted = [sizes.get(d, d) if isinstance(d, str) else d for d in field.dims]
        fits = array.ndim == len(wanted) and all(
            not isinstance(w, int) or w == g for w, g in zip(wanted, array.shape, strict=True)
        )
        if not fits:
            text = ", ".join("any" if w is None else str(w) for w in wanted)
            raise InputError(f"array '{name}' has shape {array.shape}; expected ({text}): {path}")
        sizes.update({d: g for d, g in zip(field.dims, array.shape, strict=True) if isinstance(d, str)})


def blaming(path: Path, build: Callable[[], R]) -> R:
    """Run `build` and say which file is to blame when the content makes no sense."""
    try:
        return build()
    except InputError as error:
        raise InputError(f"{error}: {path}") from error
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"file content is malformed ({type(error).__name__}: {error}); make it again: {path}") from (
            error
        )
