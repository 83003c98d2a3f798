"""What is not what it is said to be is refused before anything is unpacked."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.service.limits import Limits
from lyra.worldgen.service.uploads import Refused, check_upload, honest_name
from service_client import picture, trajectory

LIMITS = Limits(photo_px=1_000_000)


def check(kind: str, data: bytes, folder: Path) -> dict:
    path = folder / "upload"
    path.write_bytes(data)
    before = psutil.Process().memory_info().rss
    try:
        return check_upload(kind, path, LIMITS)
    finally:
        assert psutil.Process().memory_info().rss - before < 200 * 2**20
        assert sorted(entry.name for entry in folder.iterdir()) == ["upload"]


def png_of(width: int, height: int, packed: bytes = b"") -> bytes:
    """A PNG that declares a size, whatever it holds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def zip_of(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return data.getvalue()


def npy(array: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.save(data, array, allow_pickle=True)
    return data.getvalue()


def npz_with(**arrays: np.ndarray) -> bytes:
    data = io.BytesIO()
    good = {"w2c": np.zeros((2, 4, 4)), "intrinsics": np.zeros((2, 3, 3)), "image_height": 1, "image_width": 1}
    np.savez_compressed(data, allow_pickle=True, **{**good, **arrays})  # pyright: ignore[reportArgumentType]
    return data.getvalue()


def symlink_zip() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        info = zipfile.ZipInfo("w2c.npy")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return data.getvalue()


def lying_zip() -> bytes:
    """An archive whose member is far larger than its directory says."""
    good = bytearray(npz_with(w2c=np.zeros((200_000, 4, 4))))
    at = good.rfind(b"PK\x01\x02")
    while at >= 0:
        good[at + 24 : at + 28] = struct.pack("<I", 400)
        at = good.rfind(b"PK\x01\x02", 0, at)
    return bytes(good)


def glb(tree: object, *, version: int = 2, json_bytes: int | None = None) -> bytes:
    """A binary glTF of this JSON and nothing else."""
    said = json.dumps(tree).encode()
    said += b" " * (-len(said) % 4)
    size = len(said) if json_bytes is None else json_bytes
    return struct.pack("<4sIIII", b"glTF", version, 20 + len(said), size, 0x4E4F534A) + said


class Evil:
    """Unpickling it would run a program."""

    def __reduce__(self):
        return (Path.touch, (Path("/tmp/pwned-by-a-pickle"),))


def test_photos_that_are_taken(tmp_path):
    """The three formats, found by content; a name gets the ending that is true."""
    for kind, ending in (("PNG", ".png"), ("JPEG", ".jpg"), ("WEBP", ".webp")):
        facts = check("photo", picture(kind=kind), tmp_path)
        assert facts == {"format": kind, "width_px": 24, "height_px": 16}
        assert honest_name("a.exe", kind) == f"a.exe{ending}" and honest_name(f"a{ending}", kind) == f"a{ending}"


PHOTO_BOMBS = {
    "empty": b"",
    "text": b"hello",
    "huge": png_of(60_000, 60_000, zlib.compress(b"\0" * 1000)),
    "larger than allowed": png_of(1200, 1000, zlib.compress(b"\0" * 1000)),
    "absurd": png_of(2**31 - 1, 2**31 - 1),
    "deflate bomb": png_of(2**30, 1, zlib.compress(b"\0" * 50_000_000, 9)),
    "cut off": picture()[:-40],
    "gif": picture(kind="GIF"),
    "tiff": picture(kind="TIFF"),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(x) run\n",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "zip": zip_of(a=b"x"),
    "pickle": pickle.dumps(Evil()),
}
TRAJECTORY_BOMBS = {
    "empty": b"",
    "no zip": b"PK\x03\x04 and nothing",
    "a photo": picture(),
    "pickle": pickle.dumps(Evil()),
    "pickles inside": npz_with(w2c=np.array([Evil()], object)),
    "a pickle for an array": zip_of(**{"w2c.npy": pickle.dumps(Evil())}),
    "path traversal": zip_of(**{"..__..__evil.npy": npy(np.zeros(3))}),
    "absolute": zip_of(**{"__etc__evil.npy": npy(np.zeros(3))}),
    "drive": zip_of(**{"c:\\evil.npy": npy(np.zeros(3))}),
    "other files": zip_of(**{"w2c.npy": npy(np.zeros(3)), "run.sh": b"#!/bin/sh"}),
    "symlink": symlink_zip(),
    "zip bomb": zip_of(**{"w2c.npy": b"\0" * 100_000_000}),
    "many members": zip_of(**{f"a{i}.npy": b"" for i in range(100)}),
    "lying": lying_zip(),
    "missing": zip_of(**{"w2c.npy": npy(np.zeros((2, 4, 4)))}),
    "wrong shape": npz_with(w2c=np.zeros((5, 5))),
    "strings": npz_with(w2c=np.array(["a", "b"])),
}
CAPTION_BOMBS = {
    "empty": b"",
    "list": b"[]",
    "none": b"{}",
    "numbers": b'{"0": 1}',
    "names": b'{"__class__": "x"}',
    "deep": b"[" * 100_000,
    "long number": b'{"0": ' + b"9" * 100_000 + b"}",
    "bytes": b"\xff\xfe\x00",
    "pickle": pickle.dumps(Evil()),
}
SCENE_BOMBS = {
    "empty": b"",
    "text": b"hello",
    "zip": zip_of(a=b"x"),
    "pickle": pickle.dumps(Evil()),
    "usd": b"#usda 1.0\n",
    "gltf with neighbours": b'{"asset": {"version": "2.0"}, "buffers": [{"uri": "other.bin", "byteLength": 3}]}',
    "obj with a library": b"mtllib ../secret.mtl\nv 0 0 0\n",
    "glb with neighbours": glb({"asset": {"version": "2.0"}, "buffers": [{"uri": "0123.img", "byteLength": 3}]}),
    "glb with a place": glb({"asset": {}, "images": [{"uri": "/etc/passwd"}]}),
    "glb of strings": glb({"asset": {}, "images": ["a"]}),
    "glb of numbers": glb({"asset": {}, "buffers": 7}),
    "glb list": glb([]),
    "glb cut off": glb({"asset": {}})[:-3],
    "glb head": b"glTF",
    "glb of version 1": glb({"asset": {}}, version=1),
    "glb that lies": glb({"asset": {}}, json_bytes=2**31),
    "ply without head": b"ply\nformat ascii 1.0\nelement vertex 3\n",
    "ply without vertices": b"ply\nformat ascii 1.0\nelement vertex 0\nend_header\n",
    "huge picture": PHOTO_BOMBS["huge"],
    "gif": picture(kind="GIF"),
}
BOMBS = [
    *(("photo", name) for name in PHOTO_BOMBS),
    *(("trajectory", name) for name in TRAJECTORY_BOMBS),
    *(("captions", name) for name in CAPTION_BOMBS),
    *(("scene", name) for name in SCENE_BOMBS),
]
DATA = {"photo": PHOTO_BOMBS, "trajectory": TRAJECTORY_BOMBS, "captions": CAPTION_BOMBS, "scene": SCENE_BOMBS}


@pytest.mark.parametrize(("kind", "name"), BOMBS)
def test_bombs_are_refused(tmp_path, kind, name):
    """In words, without unpacking them, and with nothing left behind."""
    with pytest.raises(Refused) as caught:
        check(kind, DATA[kind][name], tmp_path)
    assert str(caught.value).startswith("the ") and str(tmp_path) not in str(caught.value)
    assert not Path("/tmp/pwned-by-a-pickle").exists()


def test_files_that_are_taken(tmp_path):
    """A camera path and captions."""
    assert check("trajectory", trajectory(), tmp_path) == {"format": "NPZ", "frames": 81}
    assert check("captions", b'{"0": "a hall", "81": "a door"}', tmp_path) == {"format": "JSON", "captions": 2}


def test_scenes_that_are_taken(tmp_path):
    """Found by content; a name gets the ending that is true."""
    scenes = {
        "PLY": b"ply\r\nformat binary_little_endian 1.0\r\nelement vertex 12\r\nend_header\r\n",
        "SPZ": b"\x1f\x8b\x08",
        "GLB": glb({"asset": {"version": "2.0"}, "buffers": [{"uri": "data:,", "byteLength": 3}, {"byteLength": 1}]}),
    }
    for name, data in scenes.items():
        assert check("scene", data, tmp_path) == {"format": name}
        assert honest_name("hall", name) == f"hall.{name.lower()}"
    assert check("scene", picture(), tmp_path)["format"] == "PNG"


@given(st.sampled_from(["photo", "trajectory", "captions", "scene"]), st.data())
def test_any_bytes_are_taken_or_refused(tmp_path_factory, kind, data):
    """Noise, and good files with noise in them, never end in anything but a refusal."""
    scene = glb({"asset": {"version": "2.0"}, "buffers": [{"byteLength": 3}]})
    good = {"photo": picture(), "trajectory": trajectory(3), "captions": b'{"0": "a"}', "scene": scene}[kind]
    content = bytearray(good)
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("noise") / "upload"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        check_upload(kind, path, LIMITS)
    except Refused as error:
        assert str(error)
