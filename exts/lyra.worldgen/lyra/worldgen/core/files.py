"""Small files written aside and renamed, hashes, and operating-system errors turned into messages that help."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .errors import InputError
from .machine import map_threads

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
"""What names of picture files end in, in lower case; whether one can be read shows its content."""
SCENE_SUFFIXES = (".gltf", ".glb", ".obj", ".ply", ".spz")
"""The same for splats, point clouds and meshes."""
_GZIP_PIECE_BYTES = 1 << 20
_GZIP_SAMPLE_BYTES = 1 << 16

_HINTS = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EACCES: "no permission; choose a folder that you may write to",
    errno.EPERM: "no permission; choose a folder that you may write to",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOTDIR: "a part of the path is a file; choose another folder",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ENOENT: "it does not exist",
}


def explain_os_error(error: OSError) -> str:
    """What went wrong and what to do, without the path."""
    return _HINTS.get(error.errno or 0, error.strerror or str(error) or type(error).__name__)


@contextmanager
def naming(action: str, path: Path) -> Iterator[None]:
    """Turn an `OSError` of the block into `InputError` "cannot <action>: <what to do>: <path>"."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot {action}: {explain_os_error(error)}: {path}") from error


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[IO[bytes]]:
    """A file to write piece by piece, which takes the place of `path` when the block ends without an error.

    Args:
        path: the file; its folder must exist.
        sync: flush to the disk before the name changes, so that a power cut leaves the old or the new content.

    Raises:
        InputError: the file cannot be written; the old content is still there.
    """
    # One fixed name per file: only one process writes to a world, and a name left by a killed one is used again.
    aside = path.with_name(f".{path.name}.part")
    with naming("write", path):
        try:
            with open(aside, "wb") as file:
                yield file
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            os.replace(aside, path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        if sync:
            sync_folder(path.parent)


def write_bytes(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Give `path` the content `data` in one step: no reader ever sees a part of it; see `replacing`."""
    with replacing(path, sync=sync) as file:
        file.write(data)


def write_gzip(file: IO[bytes], blocks: Sequence[bytes | memoryview], *, level: int = 6) -> None:
    """Append one gzip member without a date or a name, deflated on all cores.

    Pieces of fixed size are deflated on their own and joined: any reader takes them for a single stream, and the bytes
    do not depend on the number of cores.
    """
    pieces = [memoryview(b)[i : i + _GZIP_PIECE_BYTES] for b in blocks for i in range(0, len(b), _GZIP_PIECE_BYTES)]
    pieces = pieces or [memoryview(b"")]
    kinds = (zlib.Z_HUFFMAN_ONLY, zlib.Z_DEFAULT_STRATEGY)

    def deflate(i: int) -> bytes:
        # Looking for repeats in noise costs most of the time and finds nothing: a sample tells.
        sample = pieces[i][:_GZIP_SAMPLE_BYTES]
        plain, searched = (_deflated_size(sample, level, kind) for kind in kinds)
        stream = zlib.compressobj(level, zlib.DEFLATED, -15, 9, kinds[plain > searched])
        return stream.compress(pieces[i]) + stream.flush(zlib.Z_FINISH if i == len(pieces) - 1 else zlib.Z_FULL_FLUSH)

    file.write(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
    check, total = 0, 0
    for piece, packed in zip(pieces, map_threads(deflate, range(len(pieces))), strict=True):
        file.write(packed)
        check, total = zlib.crc32(piece, check), total + len(piece)
    file.write(struct.pack("<II", check, total & 0xFFFFFFFF))


def _deflated_size(data: memoryview, level: int, strategy: int) -> int:
    stream = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
    return len(stream.compress(data)) + len(stream.flush())


def write_text(path: Path, text: str, *, sync: bool = True) -> None:
    """Like `write_bytes`, UTF-8 with line feeds."""
    write_bytes(path, text.encode(), sync=sync)


def write_json(path: Path, value: Any, *, sync: bool = True) -> None:
    """Like `write_bytes`; indented, in the order of the mappings, NaN refused with `ValueError`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", sync=sync)


def sync_file(path: Path) -> None:
    """Flush a file that somebody else wrote."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Flush the names in a folder, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network and overlay file systems
            raise
    finally:
        os.close(descriptor)


def sha256_bytes(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content; raises `OSError`."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hash of a JSON value that does not depend on the order of its keys."""
    return sha256_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())
