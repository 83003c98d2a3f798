"""Files of a world on their way out: by ranges, or all of them as one archive."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from starlette.responses import Response, StreamingResponse  # noqa: TID253

from ..core.files import sha256_bytes
from ..core.manifest import MANIFEST_NAME
from ..core.world import World

PIECE_BYTES = 1 << 18
_EPOCH = (1980, 1, 1, 0, 0, 0)


def file_id(name: str) -> str:
    """Id of a file in its world; a client never says a path."""
    return sha256_bytes(name.encode())[:16]


def requested_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte that a `Range` header asks for; None for the whole file, or what makes no sense.

    Raises:
        ValueError: no byte of the file is in the range.
    """
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", header or "")
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        first, last = max(0, size - int(match[2])), size - 1
        if int(match[2]) == 0:
            raise ValueError("an empty range")
    else:
        first, last = int(match[1]), min(int(match[2]) if match[2] else size - 1, size - 1)
        if match[2] and int(match[2]) < first:
            return None
    if first >= size:
        raise ValueError("behind the end")
    return first, last


def file_response(
    path: Path, *, etag: str, name: str, range_header: str | None, if_range: str | None, closed: Callable[[], None]
) -> Response:
    """A file or a range of it; raises `OSError` if it cannot be opened."""
    file = open(path, "rb")
    size = os.fstat(file.fileno()).st_size
    headers = {
        "accept-ranges": "bytes",
        "etag": f'"{etag}"',
        "content-disposition": f'attachment; filename="{name.rpartition("/")[2]}"',
    }
    try:
        part = None if if_range and if_range != f'"{etag}"' else requested_range(range_header, size)
    except ValueError:
        file.close()
        closed()
        return Response(status_code=416, headers={"content-range": f"bytes */{size}", "accept-ranges": "bytes"})
    first, last = part or (0, size - 1)
    headers["content-length"] = str(last - first + 1)
    if part is not None:
        headers["content-range"] = f"bytes {first}-{last}/{size}"
    return StreamingResponse(
        _pieces(file, first, last - first + 1, closed),
        status_code=200 if part is None else 206,
        headers=headers,
        media_type="application/octet-stream",
    )


def _pieces(file: IO[bytes], first: int, count: int, closed: Callable[[], None]) -> Iterator[bytes]:
    try:
        with file:
            file.seek(first)
            while count > 0 and (piece := file.read(min(PIECE_BYTES, count))):
                count -= len(piece)
                yield piece
    finally:
        closed()


class _Outgoing:
    """A file that can only be written to, from which what was written is taken."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def archive_pieces(world: World, closed: Callable[[], None]) -> Iterator[bytes]:
    """A zip archive of a world, made while it is sent: nothing is deflated, because most of it is already."""
    outgoing = _Outgoing()
    try:
        with zipfile.ZipFile(outgoing, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:  # pyright: ignore[reportArgumentType, reportCallIssue]
            for name in (MANIFEST_NAME, *world.manifest.files()):
                path = world.folder / name if name == MANIFEST_NAME else world.path(name)
                info = zipfile.ZipInfo(name, _EPOCH)
                info.external_attr = 0o644 << 16
                with open(path, "rb") as file, archive.open(info, "w", force_zip64=True) as member:
                    while piece := file.read(PIECE_BYTES):
                        member.write(piece)
                        yield outgoing.take()
        yield outgoing.take()
    finally:
        closed()
