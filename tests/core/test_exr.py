"""Depth maps as EXR pictures."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.exr import read_exr_channel, write_exr_channel


@given(st.integers(1, 40), st.integers(1, 70), st.booleans(), st.integers(0, 99))
def test_what_is_written_is_read(height, width, half, seed):
    """Any size, both precisions, smooth and noisy."""
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.1, 50, (height, width)) if seed % 2 else np.full((height, width), 3.25)
    kind = np.float16 if half else np.float32
    np.testing.assert_array_equal(read_exr_channel(write_exr_channel(depth, half=half)), depth.astype(kind))


def with_compression(data: bytes, number: int) -> bytes:
    mark = b"compression\0compression\0" + struct.pack("<i", 1)
    return data.replace(mark + b"\x03", mark + bytes([number]))


def uncompressed(depth: np.ndarray) -> bytes:
    """The picture with one raw line a block and a second channel before ours, written by hand."""
    head = with_compression(write_exr_channel(depth, half=False), 0)
    ours = b"Z\0" + struct.pack("<iB3xii", 2, 0, 1, 1) + b"\0"
    both = b"A\0" + struct.pack("<iB3xii", 1, 0, 1, 1) + ours
    mark = b"channels\0chlist\0"
    head = head.replace(mark + struct.pack("<i", len(ours)) + ours, mark + struct.pack("<i", len(both)) + both)
    end = head.index(b"screenWindowWidth\0float\0") + len(b"screenWindowWidth\0float\0") + 4 + 4 + 1
    h, w = depth.shape
    line = 8 + w * 6
    table = struct.pack(f"<{h}Q", *(end + 8 * h + y * line for y in range(h)))
    lines = [
        struct.pack("<2i", y, w * 6) + np.zeros(w, np.float16).tobytes() + depth[y].astype("<f4").tobytes()
        for y in range(h)
    ]
    return head[:end] + table + b"".join(lines)


def test_raw_lines_and_further_channels_are_read():
    """A picture that this writer does not make."""
    depth = np.random.default_rng(0).uniform(0, 9, (7, 5)).astype(np.float32)
    np.testing.assert_array_equal(read_exr_channel(uncompressed(depth)), depth)


def test_other_kinds_are_refused_by_name():
    """Compression, channel, tiles."""
    data = write_exr_channel(np.ones((4, 4)))
    with pytest.raises(InputError, match="compressed with PIZ"):
        read_exr_channel(with_compression(data, 4))
    with pytest.raises(InputError, match="has the channels Z; expected R"):
        read_exr_channel(data, "R")
    with pytest.raises(InputError, match="tiled"):
        read_exr_channel(data[:4] + struct.pack("<i", 2 | 0x200) + data[8:])
    with pytest.raises(InputError, match="no EXR picture"):
        read_exr_channel(b"\x89PNG" + data[4:])


def test_absurd_sizes_are_refused():
    """Before anything is allocated."""
    data = write_exr_channel(np.ones((4, 4)))
    box = struct.pack("<4i", 0, 0, 3, 3)
    with pytest.raises(InputError, match="expected at most"):
        read_exr_channel(data.replace(box, struct.pack("<4i", 0, 0, 2**30, 2**30)))


@given(st.binary(max_size=4), st.integers(0, 400), st.integers(0, 400))
def test_damage_is_an_input_error(junk, at, cut):
    """Whatever bytes change or are missing."""
    data = write_exr_channel(np.random.default_rng(1).uniform(0, 9, (20, 9)))
    broken = data[:at] + junk + data[at + len(junk) :]
    for candidate in (broken, data[: len(data) - cut], data[:at]):
        try:
            assert read_exr_channel(candidate).dtype == np.float32
        except InputError:
            pass
