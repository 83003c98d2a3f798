"""What a user may bring: a photo, a trajectory, captions, a file of another program. All is checked before it is kept.

Files are named by the service's own ids; what the user calls a photo is text in the world's manifest and nothing else.
A photo's header is read here, its pixels only in the worker, which has a time limit and can be killed.
"""

from __future__ import annotations

import json
import re
import struct
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

from ..core.errors import InputError
from ..core.npz import read_foreign_npz
from .limits import Limits

PHOTO_SUFFIXES = {"JPEG": (".jpg", ".jpeg"), "PNG": (".png",), "WEBP": (".webp",)}
"""Formats of photos that are taken, with the endings that their names may have."""
KINDS = ("photo", "trajectory", "captions", "scene")
SUFFIXES = {"photo": ".img", "trajectory": ".npz", "captions": ".json", "scene": ".scene"}
"""Ending of an upload's file by its kind; formats of photos and scenes are found by their content."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9 ._()+\-]{0,79}$"
"""What a photo or a world may be called."""
_TRAJECTORY_ARRAYS = {"w2c", "intrinsics", "image_height", "image_width"}
_MAX_UNPACKED_BYTES = 64 * 2**20
_MAX_CAPTIONS = 100_000
_ENDINGS = {name: (f".{name.lower()}",) for name in ("PLY", "SPZ", "GLB", "NPZ", "JSON")} | PHOTO_SUFFIXES
_PLY_HEAD_BYTES = 1 << 16
_GLB_JSON_BYTES = 16 * 2**20


class Refused(Exception):
    """An upload that is not taken, in words for the user."""


def limit_bytes(kind: str, limits: Limits) -> int:
    """Largest upload of a kind [bytes]."""
    sizes = {
        "photo": limits.photo_bytes,
        "trajectory": limits.trajectory_bytes,
        "captions": limits.captions_bytes,
        "scene": limits.scene_bytes,
    }
    return sizes[kind]


def check_upload(kind: str, path: Path, limits: Limits) -> dict[str, Any]:
    """What an upload is; raises `Refused` for anything that is not what it is said to be, or too large."""
    checks = {
        "photo": _check_photo,
        "trajectory": _check_trajectory,
        "captions": _check_captions,
        "scene": _check_scene,
    }
    return checks[kind](path, limits)


def honest_name(name: str, file_format: str) -> str:
    """The name of an upload with an ending that tells the truth."""
    endings = _ENDINGS[file_format]
    return name if name.lower().endswith(endings) else f"{name}{endings[0]}"


def _check_photo(path: Path, limits: Limits) -> dict[str, Any]:
    from PIL import Image

    expected = f"expected a {', '.join(PHOTO_SUFFIXES)} picture"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes that are refused below in our own words
            with Image.open(path, formats=list(PHOTO_SUFFIXES)) as picture:
                width, height = picture.size
                found = str(picture.format)
                if width * height > limits.photo_px:
                    most = f"at most {limits.photo_px / 1e6:g} megapixels are taken"
                    raise Refused(f"the photo has {width} x {height} pixels; {most}")
                picture.verify()
    except Refused:
        raise
    except Image.DecompressionBombError as error:
        raise Refused(f"the photo declares far more than {limits.photo_px // 10**6} megapixels") from error
    except Exception as error:  # Pillow raises many classes for damaged files
        raise Refused(f"the photo cannot be read; {expected}") from error
    return {"format": found, "width_px": width, "height_px": height}


def _check_trajectory(path: Path, limits: Limits) -> dict[str, Any]:
    """An `.npz` is a zip archive: sizes, names and kinds of its members are looked at before anything is unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = {info.filename for info in members}
            unpacked = sum(info.file_size for info in members)
            links = any((info.external_attr >> 16) & 0o170000 == 0o120000 for info in members)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise Refused("the trajectory is no .npz file") from error
    if len(members) > 16 or links or not all(re.fullmatch(r"[a-z0-9_]{1,40}\.npy", name) for name in names):
        raise Refused("the trajectory holds other things than a few arrays")
    if unpacked > _MAX_UNPACKED_BYTES:
        raise Refused(f"the trajectory unpacks to {unpacked} bytes; at most {_MAX_UNPACKED_BYTES} are taken")
    try:
        arrays = read_foreign_npz(path, _TRAJECTORY_ARRAYS)
    except InputError as error:
        raise Refused("the trajectory holds damaged arrays, or objects instead of numbers") from error
    if missing := _TRAJECTORY_ARRAYS - arrays.keys():
        raise Refused(f"the trajectory lacks {', '.join(sorted(missing))}")
    if arrays["w2c"].ndim != 3 or arrays["w2c"].shape[1:] != (4, 4):
        raise Refused("the trajectory's w2c is no [M, 4, 4] array")
    return {"format": "NPZ", "frames": len(arrays["w2c"])}


def _check_captions(path: Path, limits: Limits) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Refused("the captions are no JSON") from error
    good = isinstance(data, dict) and all(
        re.fullmatch(r"[0-9]{1,9}", key) and isinstance(text, str) for key, text in data.items()
    )
    if not good or not 0 < len(data) <= _MAX_CAPTIONS:
        raise Refused('the captions are no texts by frame number; expected {"0": "...", "81": "..."}')
    return {"format": "JSON", "captions": len(data)}


def _check_scene(path: Path, limits: Limits) -> dict[str, Any]:
    """Splats, a mesh, points or a panorama in one file. Only its head is looked at; what follows is read in the worker.

    Formats that name other files are refused, because those would be looked for beside this one.
    """
    with open(path, "rb") as file:
        head = file.read(_PLY_HEAD_BYTES)
        size = path.stat().st_size
        if re.match(rb"ply[ \t]*\r?\n", head):
            if b"end_header" not in head or not re.search(rb"\nelement[ \t]+vertex[ \t]+[1-9]", head):
                raise Refused("the .ply file has no head with vertices")
            return {"format": "PLY"}
        if head.startswith((b"\x1f\x8b", b"NGSP")):
            return {"format": "SPZ"}
        if head.startswith(b"glTF"):
            return _check_glb(head[:20], file, size)
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"RIFF")):
        return _check_photo(path, limits)
    raise Refused("the scene is no file that is taken; expected splats (.ply, .spz), a mesh (.glb, .ply) or a panorama")


def _check_glb(head: bytes, file: IO[bytes], size: int) -> dict[str, Any]:
    if len(head) < 20:
        raise Refused("the .glb file is cut off")
    _, version, length, json_bytes, kind = struct.unpack("<4sIIII", head)
    if version != 2 or length != size or kind != 0x4E4F534A or not 0 < json_bytes <= min(size, _GLB_JSON_BYTES):
        raise Refused("the .glb file is damaged, or not of version 2")
    file.seek(20)
    try:
        tree = json.loads(file.read(json_bytes))
        named = [entry.get("uri") for key in ("buffers", "images") for entry in tree.get(key, ())]
    except (ValueError, RecursionError, AttributeError, TypeError) as error:
        raise Refused("the .glb file holds damaged JSON") from error
    if any(uri is not None and not str(uri).startswith("data:") for uri in named):
        raise Refused("the .glb file names other files; save everything into it")
    return {"format": "GLB"}
