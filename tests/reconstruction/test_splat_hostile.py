"""Two hundred damaged splat files: none crashes, hangs or takes memory out of proportion."""

from __future__ import annotations

import gzip
import signal
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.reconstruction.splat_io import read_splats, write_splats
from reconstruction.test_splat_ply import packed_tables, raw_columns, write_ply
from sample_splats import random_splats

FILES = 200
SECONDS_A_FILE = 20
FREE_BYTES = 24 * 2**20
"""Buffers of fixed size, however small the file is."""
BYTES_A_BYTE = 40
"""Arrays, and the work on them, relative to what the file holds: a byte of a colour becomes eight in float64."""
WORDS = [b"vertex", b"float", b"double", b"uchar", b"list uchar", b"end_header", b"999999999", b"-1", b"nan", b"1e999"]


def seeds(folder: Path) -> list[bytes]:
    """Sound files of every kind."""
    cloud = random_splats(300, 2, 5)
    out = []
    for name in ("a.ply", "a.spz"):
        write_splats(folder / name, cloud)
        out.append((folder / name).read_bytes())
    write_ply(folder / "b.ply", {"vertex": raw_columns(cloud)}, {"x": "double"}, "binary_big_endian")
    write_ply(folder / "c.ply", {"vertex": raw_columns(cloud)}, {}, "ascii")
    tables = packed_tables(300, coloured=True, rest=24, seed=3)
    types = {n: "uint" for n in tables["vertex"]} | {f"f_rest_{i}": "uchar" for i in range(24)}
    write_ply(folder / "d.ply", tables, types, "binary_little_endian")
    return out + [(folder / f"{n}.ply").read_bytes() for n in "bcd"]


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, cut out, doubled or cut off; numbers and words of headers replaced; NaN written in."""
    inside = data.startswith(b"\x1f\x8b") and rng.random() < 0.7
    raw = bytearray(gzip.decompress(data) if inside else data)
    for _ in range(rng.integers(1, 5)):
        if not raw:
            break
        at = int(rng.integers(0, min(len(raw), 2000) if rng.random() < 0.5 else len(raw)))
        match rng.integers(0, 7):
            case 0:
                raw[at] = rng.integers(0, 256)
            case 1:
                del raw[at:]
            case 2:
                del raw[at : at + int(rng.integers(1, 200))]
            case 3:
                raw[at:at] = raw[at : at + int(rng.integers(1, 5000))]
            case 4:
                word = WORDS[rng.integers(len(WORDS))]
                raw[at : at + len(word)] = word
            case 5:
                raw[at : at + 8] = np.float32([np.nan, np.inf]).tobytes()
            case _:
                raw[at : at + 4] = rng.integers(0, 2**32, dtype=np.uint32).tobytes()
    return gzip.compress(bytes(raw)) if inside else bytes(raw)


@pytest.fixture
def watchdog():
    """Ends a reader that hangs."""

    def bark(number: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, bark)
    yield lambda: signal.alarm(SECONDS_A_FILE)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_two_hundred_damaged_files(tmp_path: Path, watchdog):
    """Each gives a valid cloud or `InputError` that names the file; some of both, or the test tests nothing."""
    sound = seeds(tmp_path)
    for data in sound:
        (tmp_path / "sound").write_bytes(data)
        assert len(read_splats(tmp_path / "sound")) == 300
    rng = np.random.default_rng(2026)
    read = refused = 0
    tracemalloc.start()
    try:
        for i in range(FILES):
            path = tmp_path / "fuzz"
            path.write_bytes(damaged(sound[i % len(sound)], rng))
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            watchdog()
            try:
                read_splats(path).validate()
                read += 1
            except InputError as error:
                refused += 1
                assert str(error).endswith(str(path)) and "\n" not in str(error), error
            size = path.stat().st_size
            if path.read_bytes()[:2] == b"\x1f\x8b":
                size *= 100
            used = tracemalloc.get_traced_memory()[1] - before
            assert used < FREE_BYTES + BYTES_A_BYTE * size, (i, used, size)
    finally:
        tracemalloc.stop()
    assert read > 20 and refused > 50
