"""Small files appear whole or not at all, and system errors become advice."""

from __future__ import annotations

import errno
import gzip
import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core import files
from lyra.worldgen.core.errors import InputError


def test_write_replaces_the_whole_content(tmp_path):
    """The new content stands under the name and nothing lies beside it."""
    path = tmp_path / "a.json"
    files.write_json(path, {"b": 1, "a": "ä"})
    files.write_json(path, {"b": 2, "a": "ä"})
    assert path.read_text(encoding="utf-8") == '{\n  "b": 2,\n  "a": "ä"\n}\n'
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("fail_in", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_content(tmp_path, monkeypatch, fail_in):
    """When the disk runs full the old file is still whole, the message says what to do, and no part is left."""
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, fail_in, full)
    with pytest.raises(InputError, match=r"cannot write: the disk is full; free some space .*a\.txt"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_nan_never_reaches_a_file(tmp_path):
    """JSON with NaN is refused before anything is written."""
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert os.listdir(tmp_path) == []


def test_missing_folder_is_named(tmp_path):
    """Writing below a folder that does not exist is an input error with the path."""
    with pytest.raises(InputError, match="does not exist"):
        files.write_text(tmp_path / "none" / "a.txt", "x")


def test_hashes_agree(tmp_path):
    """The hash of a file is the hash of its bytes."""
    path = tmp_path / "a.bin"
    files.write_bytes(path, b"abc" * 1000)
    assert files.sha256_file(path) == files.sha256_bytes(b"abc" * 1000)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=5))
def test_hash_of_json_ignores_the_order_of_keys(value):
    """Two mappings with equal content hash alike, whatever order they were built in."""
    turned = json.loads(json.dumps(dict(reversed(value.items()))))
    assert files.sha256_json(value) == files.sha256_json(turned)


def test_gzip_of_pieces_is_one_member(tmp_path):
    """Noise and repeats of several mebibytes come back from Python's own reader; both shrink, and bytes repeat."""
    noise = np.random.default_rng(0).integers(0, 16, 2_500_000, dtype=np.uint8).tobytes()
    blocks = [b"head", noise, memoryview(b"again and " * 200_000), b""]
    for name in ("a", "b"):
        with files.replacing(tmp_path / name) as file:
            files.write_gzip(file, blocks)
    data = (tmp_path / "a").read_bytes()
    assert gzip.decompress(data) == b"".join(bytes(b) for b in blocks) and data == (tmp_path / "b").read_bytes()
    assert len(data) < 0.53 * len(noise)
    with files.replacing(tmp_path / "c") as file:
        files.write_gzip(file, [])
    assert gzip.decompress((tmp_path / "c").read_bytes()) == b""


def test_pieces_replace_a_file_only_when_all_are_written(tmp_path):
    """An error in the middle leaves the old content and no other file."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), files.replacing(path) as file:
        file.write(b"new")
        raise RuntimeError
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["a"]
