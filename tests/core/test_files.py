"""Small files appear whole or not at all, and system errors become advice."""

from __future__ import annotations

import errno
import json
import os

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
