"""Splats in the standard 3DGS `.ply` layout, and coloured points.

Binary little-endian float32 properties `x y z nx ny nz f_dc_0..2 f_rest_* opacity scale_0..2 rot_0..3`: opacity as
logit, scales as logarithms, rotation w first, `f_rest` channel by channel.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.files import naming, write_bytes
from ..core.splats import GaussianCloud

MAX_HEADER_BYTES = 65_536
MAX_SPLATS = 200_000_000
_REST_OF_DEGREE = {0: 0, 9: 1, 24: 2, 45: 3}
_TYPES = {
    "char": "<i1", "int8": "<i1", "uchar": "<u1", "uint8": "<u1", "short": "<i2", "int16": "<i2",
    "ushort": "<u2", "uint16": "<u2", "int": "<i4", "int32": "<i4", "uint": "<u4", "uint32": "<u4",
    "float": "<f4", "float32": "<f4", "double": "<f8", "float64": "<f8",
}  # fmt: skip


def write_splats_ply(path: Path, splats: GaussianCloud) -> None:
    """Write a cloud; labels have no place in this format and are left out.

    Raises:
        InputError: the cloud is malformed or the file cannot be written.
    """
    splats.validate()
    rest_count = 3 * (splats.sh.shape[1] - 1)
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    names += [f"f_rest_{i}" for i in range(rest_count)]
    names += ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    table = np.zeros((len(splats), len(names)), "<f4")
    table[:, :3] = splats.means
    table[:, 6:9] = splats.sh[:, 0]
    # Channel-major: all coefficients of red, then green, then blue.
    table[:, 9 : 9 + rest_count] = splats.sh[:, 1:].transpose(0, 2, 1).reshape(len(splats), rest_count)
    opacity = splats.opacities.astype(np.float64)
    table[:, 9 + rest_count] = np.log(opacity) - np.log1p(-opacity)
    table[:, 10 + rest_count : 13 + rest_count] = np.log(splats.scales_m.astype(np.float64))
    table[:, 13 + rest_count :] = splats.quats_wxyz
    write_bytes(path, _header(len(splats), [("float", name) for name in names]) + table.tobytes())


def read_splats_ply(path: Path) -> GaussianCloud:
    """Read a cloud in the 3DGS layout; further properties and their types are skipped.

    Raises:
        InputError: no such file, not this format, cut off, absurd sizes, or values that are NaN, infinite or overflow.
    """
    table = _read_vertices(path)
    names = table.dtype.names or ()

    def columns(*wanted: str) -> np.ndarray:
        missing = [name for name in wanted if name not in names]
        if missing:
            raise InputError(f"splat file lacks the property '{missing[0]}'; expected the 3DGS layout: {path}")
        return np.stack([table[name].astype(np.float64) for name in wanted], -1)

    rest_count = sum(re.fullmatch(r"f_rest_\d+", name) is not None for name in names)
    if rest_count not in _REST_OF_DEGREE:
        raise InputError(f"splat file has {rest_count} f_rest properties; expected 0, 9, 24 or 45: {path}")
    sh = columns("f_dc_0", "f_dc_1", "f_dc_2")[:, None]
    if rest_count:
        rest = columns(*(f"f_rest_{i}" for i in range(rest_count)))
        sh = np.concatenate([sh, rest.reshape(len(table), 3, rest_count // 3).transpose(0, 2, 1)], 1)
    with np.errstate(over="ignore", invalid="ignore"):
        scales_m = np.exp(columns("scale_0", "scale_1", "scale_2"))
        logit = columns("opacity")[:, 0]
        opacities = np.where(logit >= 0, 1 / (1 + np.exp(-np.abs(logit))), 1 - 1 / (1 + np.exp(-np.abs(logit))))
        quats = columns("rot_0", "rot_1", "rot_2", "rot_3")
        length = np.linalg.norm(quats, axis=1, keepdims=True)
        # Zero length means no rotation to most readers; NaN stays NaN and is refused below.
        quats = np.where(length <= 1e-12, (1.0, 0.0, 0.0, 0.0), quats / np.maximum(length, 1e-12))
        cloud = GaussianCloud(
            means=columns("x", "y", "z").astype(np.float32),
            # The smallest positive numbers of float32 keep "> 0" and "< 1" true after rounding.
            scales_m=np.maximum(scales_m, 1e-12).astype(np.float32),
            quats_wxyz=quats.astype(np.float32),
            opacities=np.clip(opacities, 1e-6, 1 - 1e-6).astype(np.float32),
            sh=sh.astype(np.float32),
        )
    try:
        return cloud.validate()
    except InputError as error:
        raise InputError(f"{error}: {path}") from error


def write_points_ply(path: Path, points: np.ndarray, rgb_u8: np.ndarray, normals: np.ndarray | None = None) -> None:
    """Write coloured points [N, 3] with colours [N, 3] and, if given, unit normals [N, 3]."""
    fields = [("float", "x"), ("float", "y"), ("float", "z")]
    if normals is not None:
        fields += [("float", "nx"), ("float", "ny"), ("float", "nz")]
    fields += [("uchar", "red"), ("uchar", "green"), ("uchar", "blue")]
    table = np.zeros(len(points), np.dtype([(name, _TYPES[kind]) for kind, name in fields]))
    for i, axis in enumerate("xyz"):
        table[axis] = points[:, i]
        if normals is not None:
            table[f"n{axis}"] = normals[:, i]
    for i, name in enumerate(("red", "green", "blue")):
        table[name] = rgb_u8[:, i]
    write_bytes(path, _header(len(points), fields) + table.tobytes())


def _header(count: int, fields: list[tuple[str, str]]) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    lines += [f"property {kind} {name}" for kind, name in fields]
    return ("\n".join([*lines, "end_header"]) + "\n").encode()


def _read_vertices(path: Path) -> np.ndarray:
    """The vertex element as a structured array; nothing is allocated before the file's size confirms the header."""
    with naming("read", path), open(path, "rb") as file:
        head = file.read(MAX_HEADER_BYTES)
        if not head.startswith((b"ply\n", b"ply\r\n")):
            raise InputError(f"file does not begin with 'ply'; expected a 3DGS .ply file: {path}")
        end = re.search(rb"\nend_header\r?\n", head)
        if end is None:
            raise InputError(f"header does not end within {MAX_HEADER_BYTES} bytes; expected 'end_header': {path}")
        count, dtype = _parse_header(head[: end.start()], path)
        need = count * dtype.itemsize
        file.seek(0, 2)
        have = file.tell() - end.end()
        if need > have:
            raise InputError(f"file is cut off: {count} splats need {need} bytes, {have} are there: {path}")
        file.seek(end.end())
        data = file.read(need)
    if len(data) != need:
        raise InputError(f"file changed while it was read; try again: {path}")
    return np.frombuffer(data, dtype)


def _parse_header(head: bytes, path: Path) -> tuple[int, np.dtype]:
    count, fields, element = -1, [], ""
    for raw in head.split(b"\n")[1:]:
        words = raw.decode("ascii", "replace").split()
        if not words or words[0] in ("comment", "obj_info"):
            continue
        if words[0] == "format":
            if words[1:2] != ["binary_little_endian"]:
                raise InputError(f"format is '{' '.join(words[1:])[:40]}'; expected binary_little_endian: {path}")
        elif words[0] == "element" and len(words) == 3:
            if element == "vertex":
                break  # elements after the vertices lie behind their data
            element = words[1]
            if element != "vertex":
                raise InputError(f"first element is '{element[:40]}'; expected 'vertex': {path}")
            if not re.fullmatch(r"\d{1,12}", words[2]) or int(words[2]) > MAX_SPLATS:
                raise InputError(f"vertex count is '{words[2][:20]}'; expected 0 to {MAX_SPLATS}: {path}")
            count = int(words[2])
        elif words[0] == "property" and element == "vertex":
            if len(words) != 3 or words[1] not in _TYPES:
                raise InputError(f"cannot read the property '{' '.join(words[1:])[:60]}'; expected numbers: {path}")
            fields.append((words[2], _TYPES[words[1]]))
        else:
            raise InputError(f"cannot read the header line '{' '.join(words)[:60]}': {path}")
    if count < 0 or not fields:
        raise InputError(f"header names no vertex element with properties; expected a 3DGS .ply file: {path}")
    if len({name for name, _ in fields}) != len(fields):
        raise InputError(f"header names a property twice: {path}")
    return count, np.dtype(fields)
