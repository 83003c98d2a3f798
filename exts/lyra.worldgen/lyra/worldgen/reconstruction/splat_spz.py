"""Splats in `.spz` files (Niantic), versions 1 to 3: gzip around a header and one block of small numbers a property.

Written files are version 3. What is stored and how far it is off at most, for one number:

| property | stored as | range | error |
| --- | --- | --- | --- |
| position | 24-bit fixed point, 12 fractional bits, fewer where the cloud is wider | +-2048 m | 0.12 mm |
| log scale | byte, steps of 1/16 | 0.045 mm to 380 m | 3.2 % of the scale |
| rotation | the three smallest components, 9 bits and sign | | 0.2 degrees |
| opacity | byte | 0..1 | 0.2 % |
| constant colour | byte, steps of 0.0261 | -3.3..3.3, colour -0.4..1.4 | 0.37 % of white |
| harmonics of degree 1 | 5 bits | -1..1 | 0.0313 |
| harmonics above | 4 bits | -1..1 | 0.0626 |

Positions have the axes right, up, back in the format; here they are turned to forward, left, up (see `core/frames`).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.files import replacing, write_gzip
from ..core.sh import MAX_DEGREE
from ..core.splats import GaussianCloud, transform_splats
from .splat_build import CloudBuilder
from .splat_ply import with_largest

MAGIC = b"NGSP"
MAX_SPLATS = 10_000_000
"""The limit of the format's own reader."""
FRACTIONAL_BITS = 12
DEGREE_1_BITS, HIGHER_BITS = 5, 4
T_WORLD_RUB = np.array([[0.0, 0.0, -1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
"""Turns right, up, back to forward, left, up."""
_COLOUR_STEP = 0.15
_HEADER = struct.Struct("<4sIIBBBB")
_ANTIALIASED = 1
_REST = (0, 3, 8, 15, 24)
"""Coefficients a channel above the constant, by degree."""
_FREE_BYTES, _MAX_RATIO = 64 * 2**20, 100
"""Inflated sizes that are always fine, and how many times the file's size they may be beyond; splats hardly shrink
tenfold."""
_ROWS_A_PIECE = 1 << 16
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class SpzCloud:
    """What a file holds."""

    splats: GaussianCloud
    """Turned to Z up, labels unknown."""
    version: int
    antialiased: bool
    left_out: int


def is_spz(head: bytes) -> bool:
    """Whether a file that begins like this is meant to be one."""
    return head.startswith((b"\x1f\x8b", MAGIC))


@np.errstate(all="ignore")  # half floats may be NaN, which is found in the end
def read_spz_cloud(file: BufferedReader, path: Path) -> SpzCloud:
    """Read a file opened at its beginning.

    Raises:
        InputError: not this format, another version, cut off, damaged, or far larger inside than any cloud.
    """
    size = file.seek(0, 2)
    file.seek(0)
    if file.read(4) == MAGIC:
        raise InputError(f"this .spz file has version 4 (Zstandard); save it as version 3 or as .ply: {path}")
    file.seek(0)
    inflate = _Inflate(file, path)
    magic, version, count, degree, fraction_bits, flags, _ = _HEADER.unpack(inflate.read(_HEADER.size))
    if magic != MAGIC:
        raise InputError(f"the file inside is no .spz (it begins with {magic!r}); expected {MAGIC!r}: {path}")
    if version not in (1, 2, 3):
        raise InputError(f".spz version is {version}; expected 1, 2 or 3: {path}")
    if count > MAX_SPLATS or degree >= len(_REST) or fraction_bits > 23:
        raise InputError(
            f"header has {count} splats, degree {degree} and {fraction_bits} fractional bits; expected at most "
            f"{MAX_SPLATS}, {len(_REST) - 1} and 23: {path}"
        )
    rest = _REST[degree]
    widths = (6 if version == 1 else 9, 1, 3, 3, 4 if version == 3 else 3, 3 * rest)
    need = count * sum(widths)
    # Deflate cannot shrink anything more than 1032 times, so a claim beyond that is a cut or a lie.
    if need > 1032 * size:
        raise InputError(f"file is cut off: {count} splats need {need} bytes, {size} cannot hold them: {path}")
    if need > max(_FREE_BYTES, _MAX_RATIO * size):
        raise InputError(f"{size} bytes inflate to {need}, more than {_MAX_RATIO} times; this is no cloud: {path}")
    places, alphas, colours, sizes, turns, harmonics = (
        np.frombuffer(inflate.read(count * width), np.uint8).reshape(count, width) for width in widths
    )
    inflate.finish()
    keep = min(rest, _REST[MAX_DEGREE])
    cloud = CloudBuilder(count, 1 + keep)
    for first in range(0, count, _ROWS_A_PIECE):
        rows = slice(first, first + _ROWS_A_PIECE)
        cloud.add(
            means=_positions(places[rows], fraction_bits),
            log_scales=sizes[rows] / 16.0 - 10.0,
            quats_wxyz=_smallest_three(turns[rows]) if version == 3 else _first_three(turns[rows]),
            opacities=alphas[rows, 0] / 255.0,
            sh_dc=(colours[rows] / 255.0 - 0.5) / _COLOUR_STEP,
            sh_rest=(harmonics[rows, : 3 * keep].reshape(len(places[rows]), keep, 3).astype(np.float32) - 128) / 128,
        )
    splats, left_out = cloud.finish(path)
    return SpzCloud(
        splats=transform_splats(T_WORLD_RUB, splats),
        version=version,
        antialiased=bool(flags & _ANTIALIASED),
        left_out=left_out,
    )


def write_splats_spz(path: Path, splats: GaussianCloud) -> None:
    """Write a cloud as version 3, quantised as the head of this file says; labels are left out.

    The same cloud gives the same bytes on any number of cores.

    Raises:
        InputError: the cloud is malformed, too large for the format, or the file cannot be written.
    """
    splats.validate()
    if len(splats) > MAX_SPLATS:
        raise InputError(f"{len(splats)} splats do not fit; .spz holds at most {MAX_SPLATS}: {path}")
    turned = transform_splats(np.linalg.inv(T_WORLD_RUB), splats)
    reach = float(np.abs(turned.means).max()) if len(splats) else 0.0
    bits = min(FRACTIONAL_BITS, int(np.floor(np.log2((2**23 - 1) / max(reach, 1e-3)))))
    if bits < 0:
        raise InputError(f"centres reach {reach:.3g} m; .spz holds at most {2**23 - 1} m: {path}")
    header = _HEADER.pack(MAGIC, 3, len(splats), splats.sh_degree, bits, 0, 0)
    blocks = [
        _pack_positions(turned.means, bits),
        _byte(splats.opacities * np.float32(255)),
        _byte(turned.sh[:, 0] * np.float32(_COLOUR_STEP * 255) + np.float32(127.5)),
        _byte((np.log(turned.scales_m) + np.float32(10)) * np.float32(16)),
        _pack_smallest_three(turned.quats_wxyz),
    ]
    if splats.sh_degree:
        step = np.full(turned.sh.shape[1] - 1, 2.0 ** (8 - HIGHER_BITS), np.float32)
        step[:3] = 2.0 ** (8 - DEGREE_1_BITS)
        # Steps lie so that zero is one of them; the end of the range is the last.
        harmonics = np.rint((turned.sh[:, 1:] + 1) * (128 / step[:, None])) * step[:, None]
        blocks.append(_byte(harmonics))
    with replacing(path) as file:
        write_gzip(file, [header, *(np.ascontiguousarray(block).data.cast("B") for block in blocks if block.size)])


class _Inflate:
    """Reads exact amounts out of a gzip member and never holds more than was asked for."""

    def __init__(self, file: BufferedReader, path: Path) -> None:
        self._file, self._path = file, path
        self._member = zlib.decompressobj(31)
        self._waiting = b""

    def read(self, count: int) -> bytearray:
        out = bytearray()
        while len(out) < count:
            piece = self._more(count - len(out))
            if not piece:
                raise InputError(f"file is cut off: {count} bytes expected, {len(out)} are there: {self._path}")
            out += piece
        return out

    def finish(self) -> None:
        """Look at the check sum at the end; what extensions may follow the splats is passed over."""
        passed = 0
        while passed < _PIECE_BYTES and (piece := self._more(_PIECE_BYTES)):
            passed += len(piece)

    def _more(self, most: int) -> bytes:
        """Some bytes, at most `most`; none at the end of the member or of the file."""
        try:
            while not self._member.eof:
                data = self._waiting or self._file.read(_PIECE_BYTES)
                piece = self._member.decompress(data, min(most, _PIECE_BYTES))
                self._waiting = self._member.unconsumed_tail
                if piece or not data:
                    return piece
        except zlib.error as error:
            raise InputError(f"the gzip data is damaged ({error}); fetch the file again: {self._path}") from error
        return b""


def _byte(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _positions(raw: np.ndarray, fraction_bits: int) -> np.ndarray:
    """[R, 3] of 24-bit fixed point, or of half floats in version 1."""
    if raw.shape[1] == 6:
        return np.ascontiguousarray(raw).view("<f2").astype(np.float64)
    wide = np.zeros((len(raw), 3, 4), np.uint8)
    wide[:, :, 1:] = raw.reshape(-1, 3, 3)
    # In the upper three bytes of 32 bits the sign is where it belongs.
    return wide.view("<i4")[:, :, 0] / float(256 << fraction_bits)


def _pack_positions(means: np.ndarray, fraction_bits: int) -> np.ndarray:
    fixed = np.rint(means.astype(np.float64) * (1 << fraction_bits)).astype("<i4")
    return np.ascontiguousarray(fixed.view(np.uint8).reshape(-1, 3, 4)[:, :, :3])


def _first_three(raw: np.ndarray) -> np.ndarray:
    """Quaternions [R, 4] (w, x, y, z) of versions 1 and 2: x, y, z as bytes, w from the length."""
    xyz = raw / 127.5 - 1.0
    return np.c_[np.sqrt(np.maximum(0.0, 1 - np.einsum("ij,ij->i", xyz, xyz))), xyz]


def _smallest_three(raw: np.ndarray) -> np.ndarray:
    """Quaternions [R, 4] (w, x, y, z) of version 3: index of the largest in (x, y, z, w), the others in that order."""
    words = np.ascontiguousarray(raw).view("<u4")[:, 0]
    fields = np.stack([(words >> shift) & 0x3FF for shift in (20, 10, 0)], -1)
    three = (fields & 0x1FF) * (np.sqrt(0.5) / 511) * np.where(fields >> 9, -1.0, 1.0)
    largest = np.sqrt(np.maximum(0.0, 1 - np.einsum("ij,ij->i", three, three)))
    return with_largest(three, largest, words >> 30)[:, [3, 0, 1, 2]]


def _pack_smallest_three(quats_wxyz: np.ndarray) -> np.ndarray:
    xyzw = quats_wxyz[:, [1, 2, 3, 0]]
    largest = np.argmax(np.abs(xyzw), 1)
    each = np.arange(len(xyzw))
    # The same rotation with its largest component positive, whose sign then need not be stored.
    xyzw = xyzw * np.where(xyzw[each, largest] < 0, np.float32(-1), np.float32(1))[:, None]
    words = largest.astype("<u4")
    k = np.arange(3)
    three = np.take_along_axis(xyzw, k + (k >= largest[:, None]), 1)
    size = np.minimum(np.rint(np.abs(three) * np.float32(511 / np.sqrt(0.5))), 511).astype("<u4")
    fields = size | ((three < 0).astype("<u4") << 9)
    for i in range(3):
        words = (words << 10) | fields[:, i]
    return words
