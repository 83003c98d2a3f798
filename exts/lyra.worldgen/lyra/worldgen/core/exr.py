"""Depth maps as OpenEXR pictures: scan lines, one or more channels, uncompressed or ZIP, half or float.

That is what VIPE writes. Everything else is refused by name; sizes are checked before anything is allocated.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from .errors import InputError

MAGIC = 20000630
MAX_SIDE = 1 << 15
MAX_PIXELS = 1 << 26
_COMPRESSIONS = {
    0: "none",
    1: "RLE",
    2: "ZIPS",
    3: "ZIP",
    4: "PIZ",
    5: "PXR24",
    6: "B44",
    7: "B44A",
    8: "DWAA",
    9: "DWAB",
}
_LINES = {0: 1, 2: 1, 3: 16}
"""Scan lines per block of the compressions that are read."""
_TYPES = {0: np.dtype("<u4"), 1: np.dtype("<f2"), 2: np.dtype("<f4")}
_TILED, _DEEP_OR_PARTS = 0x200, 0x800 | 0x1000


def read_exr_channel(data: bytes, channel: str = "Z") -> np.ndarray:
    """One channel [H, W] float32 of a picture.

    Raises:
        InputError: no EXR picture, one of a kind that is not read, without the channel, or damaged.
    """
    try:
        return _read(data, channel)
    except (struct.error, IndexError, UnicodeDecodeError, zlib.error, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the EXR picture is damaged ({error})") from error


def write_exr_channel(values: np.ndarray, *, channel: str = "Z", half: bool = True) -> bytes:
    """A picture [H, W] with one channel, ZIP-compressed."""
    h, w = values.shape
    kind = 1 if half else 2
    box = struct.pack("<4i", 0, 0, w - 1, h - 1)
    channels = channel.encode() + b"\0" + struct.pack("<iB3xii", kind, 0, 1, 1) + b"\0"
    attributes = [
        ("channels", "chlist", channels),
        ("compression", "compression", b"\x03"),
        ("dataWindow", "box2i", box),
        ("displayWindow", "box2i", box),
        ("lineOrder", "lineOrder", b"\0"),
        ("pixelAspectRatio", "float", struct.pack("<f", 1)),
        ("screenWindowCenter", "v2f", struct.pack("<2f", 0, 0)),
        ("screenWindowWidth", "float", struct.pack("<f", 1)),
    ]
    head = struct.pack("<2i", MAGIC, 2)
    for name, of, value in attributes:
        head += name.encode() + b"\0" + of.encode() + b"\0" + struct.pack("<i", len(value)) + value
    head += b"\0"
    blocks = []
    for y in range(0, h, _LINES[3]):
        raw = np.ascontiguousarray(values[y : y + _LINES[3]], _TYPES[kind]).tobytes()
        packed = zlib.compress(_shuffled(raw), 4)
        blocks.append(struct.pack("<2i", y, min(len(packed), len(raw))) + (packed if len(packed) < len(raw) else raw))
    at = len(head) + 8 * len(blocks)
    offsets = []
    for block in blocks:
        offsets.append(at)
        at += len(block)
    return head + struct.pack(f"<{len(blocks)}Q", *offsets) + b"".join(blocks)


def _read(data: bytes, wanted: str) -> np.ndarray:
    magic, version = struct.unpack_from("<2i", data)
    if magic != MAGIC:
        raise InputError("this is no EXR picture")
    if version & (_TILED | _DEEP_OR_PARTS):
        raise InputError("the EXR picture is tiled, deep or in parts; expected scan lines")
    attributes, at = _attributes(data, 8)
    x0, y0, x1, y1 = struct.unpack("<4i", attributes["dataWindow"])
    w, h = x1 - x0 + 1, y1 - y0 + 1
    if not (0 < w <= MAX_SIDE and 0 < h <= MAX_SIDE and w * h <= MAX_PIXELS):
        raise InputError(f"the EXR picture is {w}x{h} px; expected at most {MAX_SIDE} a side and {MAX_PIXELS} in all")
    compression = attributes["compression"][0]
    if compression not in _LINES:
        name = _COMPRESSIONS.get(compression, str(compression))
        raise InputError(f"the EXR picture is compressed with {name}; expected none, ZIPS or ZIP")
    channels = _channels(attributes["channels"])
    if wanted not in channels:
        raise InputError(f"the EXR picture has the channels {', '.join(channels)}; expected {wanted}")
    kinds = list(channels.values())
    line_bytes = w * sum(kind.itemsize for kind in kinds)
    before = w * sum(kind.itemsize for kind in kinds[: list(channels).index(wanted)])
    kind, lines = channels[wanted], _LINES[compression]
    result = np.empty((h, w), np.float32)
    count = -(-h // lines)
    filled = np.zeros(h, bool)
    for offset in struct.unpack_from(f"<{count}Q", data, at):
        y, size = struct.unpack_from("<2i", data, offset)
        rows = min(lines, h - (y - y0))
        need = rows * line_bytes
        if not 0 <= y - y0 < h or (y - y0) % lines or not 0 <= size <= need or offset + 8 + size > len(data):
            raise InputError("the EXR picture is damaged (a block lies outside of it)")
        raw = data[offset + 8 : offset + 8 + size]
        if compression and size < need:
            raw = _unshuffled(_inflated(raw, need))
        if len(raw) != need:
            raise InputError("the EXR picture is damaged (a block is too short)")
        for row in range(rows):
            line = raw[row * line_bytes + before : row * line_bytes + before + w * kind.itemsize]
            result[y - y0 + row] = np.frombuffer(line, kind)
        filled[y - y0 : y - y0 + rows] = True
    if not filled.all():
        raise InputError("the EXR picture is damaged (lines are missing)")
    return result


def _attributes(data: bytes, at: int) -> tuple[dict[str, bytes], int]:
    found: dict[str, bytes] = {}
    while data[at] != 0:
        name, at = _name(data, at)
        _, at = _name(data, at)
        (size,) = struct.unpack_from("<i", data, at)
        if size < 0 or at + 4 + size > len(data):
            raise InputError(f"the EXR picture is damaged (attribute '{name[:40]}' is longer than the file)")
        found[name] = data[at + 4 : at + 4 + size]
        at += 4 + size
    if missing := {"channels", "compression", "dataWindow"} - found.keys():
        raise InputError(f"the EXR picture has no {', '.join(sorted(missing))}")
    return found, at + 1


def _channels(data: bytes) -> dict[str, np.dtype]:
    found, at = {}, 0
    while data[at] != 0:
        name, at = _name(data, at)
        kind, _, sx, sy = struct.unpack_from("<iB3xii", data, at)
        if kind not in _TYPES or (sx, sy) != (1, 1):
            raise InputError(f"channel {name[:40]} of the EXR picture is subsampled or of an unknown type")
        found[name] = _TYPES[kind]
        at += 16
    return found


def _name(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at, at + 256)
    return data[at:end].decode("latin-1"), end + 1


def _inflated(raw: bytes, need: int) -> bytes:
    inflate = zlib.decompressobj()
    return inflate.decompress(raw, need)


def _shuffled(raw: bytes) -> bytes:
    """Low and high bytes apart, then differences: what EXR does before it deflates."""
    a = np.frombuffer(raw, np.uint8)
    a = np.concatenate([a[0::2], a[1::2]]).astype(np.int16)
    return np.concatenate([a[:1], (np.diff(a) + 128) % 256]).astype(np.uint8).tobytes()


def _unshuffled(raw: bytes) -> bytes:
    a = np.frombuffer(raw, np.uint8).astype(np.int64)
    a[1:] -= 128
    a = (np.cumsum(a) % 256).astype(np.uint8)
    half = (len(a) + 1) // 2
    result = np.empty(len(a), np.uint8)
    result[0::2], result[1::2] = a[:half], a[half:]
    return result.tobytes()
