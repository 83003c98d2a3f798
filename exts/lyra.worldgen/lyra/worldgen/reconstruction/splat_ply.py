"""Splats in `.ply` files: the 3DGS layout and its relatives, and the compressed layout of PlayCanvas and SuperSplat.

The 3DGS layout has the properties `x y z f_dc_0..2 f_rest_* opacity scale_0..2 rot_0..3`: opacity as logit, scales as
logarithms, rotation w first, `f_rest` channel by channel. The compressed layout packs 256 splats relative to the bounds
of their chunk into four 32-bit words each; further harmonics follow as bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.files import replacing
from ..core.sh import SH_C0
from ..core.splats import GaussianCloud
from .ply_file import PlyElement, PlyHeader, PlyRows, read_rows
from .splat_build import CloudBuilder, opacities_from_logits, rest_from_planes

CHUNK_SPLATS = 256
"""Splats that share bounds in the compressed layout."""
FLAT_SHARE = 0.01
"""Thickness of splats that are stored as discs (two scales), relative to their smaller radius."""
_ROWS_A_PIECE = 8_192
_KEPT_OF_REST = {0: 0, 9: 3, 24: 8, 45: 15, 72: 15}
"""Coefficients a channel that are kept, by number of `f_rest` properties; degree 4 loses its last band."""
_CHUNK_BOUNDS = [f"{end}_{axis}" for end in ("min", "max") for axis in "xyz"]
_CHUNK_SCALES = [f"{end}_scale_{axis}" for end in ("min", "max") for axis in "xyz"]
_CHUNK_COLOURS = [f"{end}_{channel}" for end in ("min", "max") for channel in "rgb"]
_PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")


def write_splats_ply(path: Path, splats: GaussianCloud) -> None:
    """Write a cloud in the 3DGS layout, binary little-endian float32; labels have no place in it and are left out.

    Raises:
        InputError: the cloud is malformed or the file cannot be written.
    """
    splats.validate()
    rest_count = 3 * (splats.sh.shape[1] - 1)
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    names += [f"f_rest_{i}" for i in range(rest_count)]
    names += ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    with replacing(path) as file:
        file.write(ply_head(len(splats), [("float", name) for name in names]))
        table = np.zeros((min(len(splats), _ROWS_A_PIECE), len(names)), "<f4")
        for first in range(0, len(splats), _ROWS_A_PIECE):
            rows = slice(first, first + _ROWS_A_PIECE)
            piece = table[: len(splats.means[rows])]
            piece[:, :3] = splats.means[rows]
            piece[:, 6:9] = splats.sh[rows, 0]
            # Channel by channel: all coefficients of red, then green, then blue.
            for channel in range(3):
                at = 9 + channel * rest_count // 3
                piece[:, at : at + rest_count // 3] = splats.sh[rows, 1:, channel]
            opacity = splats.opacities[rows].astype(np.float64)
            piece[:, 9 + rest_count] = np.log(opacity) - np.log1p(-opacity)
            piece[:, 10 + rest_count : 13 + rest_count] = np.log(splats.scales_m[rows].astype(np.float64))
            piece[:, 13 + rest_count :] = splats.quats_wxyz[rows]
            file.write(piece.data)


def ply_head(count: int, fields: list[tuple[str, str]]) -> bytes:
    """Header of a binary little-endian file with one table of vertices."""
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    lines += [f"property {kind} {name}" for kind, name in fields]
    return ("\n".join([*lines, "end_header"]) + "\n").encode()


@np.errstate(all="ignore")  # what is broken is found in the end, in one place
def read_ply_cloud(file: BufferedReader, header: PlyHeader, path: Path) -> tuple[GaussianCloud, int]:
    """The splats of a file whose header has been read, and how many broken ones were left out.

    Raises:
        InputError: neither layout, cut off, absurd sizes, or too many values that are NaN or infinite.
    """
    element = header.element("vertex")
    if element is None:
        raise InputError(f"header names no element 'vertex'; expected a 3DGS .ply file: {path}")
    if all(name in element.names for name in _PACKED):
        return _read_packed(file, header, element, path)
    return _read_plain(file, header, element, path)


def _read_plain(file: BufferedReader, header: PlyHeader, element: PlyElement, path: Path) -> tuple[GaussianCloud, int]:
    names = set(element.names)
    coloured = {"red", "green", "blue"} <= names and "f_dc_0" not in names
    dc = ("red", "green", "blue") if coloured else ("f_dc_0", "f_dc_1", "f_dc_2")
    scales = ("scale_0", "scale_1", "scale_2") if "scale_2" in names else ("scale_0", "scale_1")
    for name in ("x", "y", "z", *dc, "opacity", *scales, "rot_0", "rot_1", "rot_2", "rot_3"):
        if name not in names:
            raise InputError(f"splat file lacks the property '{name}'; expected the 3DGS layout: {path}")
    rest = _rest_names(element, path)
    keep = _KEPT_OF_REST[len(rest)]
    # Whole numbers are colours of 0..255, others of 0..1.
    colour_unit = 255.0 if coloured and dict(element.properties)["red"][0] in "iu" else 1.0
    cloud: CloudBuilder | None = None
    for rows in read_rows(file, header, "vertex", path):
        if cloud is None:  # only now the size of the file has confirmed the count
            cloud = CloudBuilder(element.count, 1 + keep)
        log_scales = rows.columns(*scales)
        if len(scales) == 2:
            log_scales = np.c_[log_scales, log_scales.min(1) + np.log(FLAT_SHARE)]
        sh_dc = rows.columns(*dc)
        cloud.add(
            means=rows.columns("x", "y", "z"),
            log_scales=log_scales,
            quats_wxyz=rows.columns("rot_0", "rot_1", "rot_2", "rot_3"),
            opacities=opacities_from_logits(rows.columns("opacity")[:, 0]),
            sh_dc=(sh_dc / colour_unit - 0.5) / SH_C0 if coloured else sh_dc,
            sh_rest=rest_from_planes(rows.columns(*rest), keep) if rest else np.zeros((len(rows), 0, 3)),
        )
    return (cloud or CloudBuilder(0, 1 + keep)).finish(path)


def _rest_names(element: PlyElement, path: Path) -> list[str]:
    """The `f_rest` properties in the order of their numbers."""
    rest = [f"f_rest_{i}" for i in range(sum(re.fullmatch(r"f_rest_\d+", n) is not None for n in element.names))]
    if len(rest) not in _KEPT_OF_REST:
        raise InputError(f"splat file has {len(rest)} f_rest properties; expected 0, 9, 24, 45 or 72: {path}")
    for name in rest:
        if name not in element.names:
            raise InputError(f"splat file lacks the property '{name}'; expected the 3DGS layout: {path}")
    return rest


def _read_packed(file: BufferedReader, header: PlyHeader, element: PlyElement, path: Path) -> tuple[GaussianCloud, int]:
    chunk, extra = header.element("chunk"), header.element("sh")
    if chunk is None or chunk.count * CHUNK_SPLATS < element.count:
        raise InputError(f"compressed splat file has too few chunks; expected one for {CHUNK_SPLATS} splats: {path}")
    if any(dict(element.properties)[name] != "u4" for name in _PACKED):
        raise InputError(f"compressed splat file packs into other types than uint; export it again: {path}")
    coloured = all(name in chunk.names for name in _CHUNK_COLOURS)
    for name in (*_CHUNK_BOUNDS, *_CHUNK_SCALES):
        if name not in chunk.names:
            raise InputError(f"compressed splat file lacks the property '{name}' of its chunks: {path}")
    rest = _rest_names(extra, path) if extra is not None else []
    if extra is not None and (extra.count != element.count or any(kind != "u1" for _, kind in extra.properties)):
        raise InputError(f"compressed splat file has harmonics that do not fit its splats; export it again: {path}")
    if header.order != "<":
        raise InputError(f"compressed splat file is not binary little-endian; export it again: {path}")
    wanted = [*_CHUNK_BOUNDS, *_CHUNK_SCALES, *(_CHUNK_COLOURS if coloured else [])]
    bounds = [rows.columns(*wanted).astype(np.float64) for rows in read_rows(file, header, "chunk", path)]
    table = np.concatenate([*bounds, np.zeros((0, len(wanted)))])
    if not coloured:  # older files have colours of 0..1
        table = np.c_[table, np.tile([0.0, 0, 0, 1, 1, 1], (len(table), 1))]
    keep = _KEPT_OF_REST[len(rest)]
    cloud: CloudBuilder | None = None
    at = 0
    with open(path, "rb") as second:  # the harmonics lie behind the splats they belong to
        harmonics = read_rows(second, header, "sh", path) if rest else None
        for rows in read_rows(file, header, "vertex", path):
            if cloud is None:
                cloud = CloudBuilder(element.count, 1 + keep)
            low, high = np.split(table[(at + np.arange(len(rows))) // CHUNK_SPLATS].reshape(-1, 3, 2, 3), 2, 2)
            _add_packed(cloud, rows, low[:, :, 0], high[:, :, 0], _bytes_of(harmonics, rest, keep, len(rows)))
            at += len(rows)
    return (cloud or CloudBuilder(0, 1 + keep)).finish(path)


def _bytes_of(harmonics: Iterator[PlyRows] | None, rest: list[str], keep: int, rows: int) -> np.ndarray:
    """[R, keep, 3] coefficients of the next rows, stored as bytes over -4..4."""
    if harmonics is None:
        return np.zeros((rows, 0, 3))
    planes = rest_from_planes(next(harmonics).columns(*rest).astype(np.float32), keep)
    # Zero and 255 are the ends themselves, all others the middle of their step.
    share = np.where(planes == 0, 0.0, np.where(planes == 255, 1.0, (planes + 0.5) / 256))
    return (share - 0.5) * 8


def _add_packed(cloud: CloudBuilder, rows: PlyRows, low: np.ndarray, high: np.ndarray, sh_rest: np.ndarray) -> None:
    """Unpack four words a splat between the bounds [R, 3 (place, size, colour), 3] of their chunks."""
    place, turn, size, colour = (rows.columns(name)[:, 0] for name in _PACKED)

    def between(share: np.ndarray, kind: int) -> np.ndarray:
        return low[:, kind] * (1 - share) + high[:, kind] * share

    rgba = _bits(colour, (24, 8), (16, 8), (8, 8), (0, 8))
    three = (_bits(turn, (20, 10), (10, 10), (0, 10)) - 0.5) * np.sqrt(2)
    largest = np.sqrt(np.maximum(0.0, 1 - np.einsum("ij,ij->i", three, three)))
    cloud.add(
        means=between(_bits(place, (21, 11), (11, 10), (0, 11)), 0),
        log_scales=between(_bits(size, (21, 11), (11, 10), (0, 11)), 1),
        quats_wxyz=with_largest(three, largest, turn >> 30),
        opacities=rgba[:, 3],
        sh_dc=(between(rgba[:, :3], 2) - 0.5) / SH_C0,
        sh_rest=sh_rest,
    )


def _bits(words: np.ndarray, *fields: tuple[int, int]) -> np.ndarray:
    """[R, fields] float64 in 0..1 of bit fields (shift, width)."""
    return np.stack([((words >> shift) & ((1 << width) - 1)) / ((1 << width) - 1) for shift, width in fields], -1)


def with_largest(three: np.ndarray, largest: np.ndarray, index: np.ndarray) -> np.ndarray:
    """[R, 4] quaternions of three components [R, 3] in order and the one [R] that belongs at `index` [R]."""
    k = np.arange(4)
    # Components behind the largest one have moved up by one place.
    out = np.take_along_axis(three, np.minimum(k - (k > index[:, None].astype(np.int64)), 2), 1)
    out[np.arange(len(out)), index] = largest
    return out
