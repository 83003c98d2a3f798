"""USDZ packages: zip archives whose files are stored as they are, each at a multiple of 64 bytes."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path

from ..core.files import replacing

ALIGNMENT = 64
_LOCAL_HEADER_BYTES = 30
_PADDING_ID = 0x1986
"""Id of the extra field that OpenUSD's own packages pad with."""
_PIECE_BYTES = 1 << 22


def write_usdz(path: Path, files: Iterable[tuple[str, Path]]) -> None:
    """Pack files under the given names; the first must be the layer that opens. The same files give the same bytes.

    Raises:
        InputError: a file cannot be read or the package cannot be written.
    """
    with replacing(path) as out, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as package:
        for name, source in files:
            entry = zipfile.ZipInfo(name)  # its date is always the first of 1980
            entry.file_size = entry.compress_size = source.stat().st_size
            start = out.tell() + _LOCAL_HEADER_BYTES + len(name.encode())
            # An extra field has a head of four bytes; too little room means one more round of 64.
            fill = -(start + 4) % ALIGNMENT
            entry.extra = struct.pack("<HH", _PADDING_ID, fill) + bytes(fill)
            with open(source, "rb") as file, package.open(entry, "w") as target:
                while piece := file.read(_PIECE_BYTES):
                    target.write(piece)
