"""The door to splat files: reads `.ply` and `.spz` by their content, writes by name; also coloured points."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.files import naming, write_bytes
from ..core.splats import GaussianCloud
from .ply_file import read_header
from .splat_ply import ply_head, read_ply_cloud, write_splats_ply
from .splat_spz import is_spz, read_spz_cloud, write_splats_spz


@dataclass(frozen=True, kw_only=True)
class SplatFile:
    """A cloud and what its file says about it."""

    splats: GaussianCloud
    """In the units and axes of the file, but for `.spz`, whose axes are defined and turned to Z up."""
    layout: str
    """`ply`, `ply-compressed` or `spz-1` to `spz-3`."""
    up_axis: str | None
    """`x`, `y` or `z` where the file says which axis points up, else None: most 3DGS files have +Y down."""
    left_out: int = 0
    """Splats that held NaN or infinite values."""
    antialiased: bool = False
    """Trained for renderers that filter by pixel size (Mip-Splatting), as far as the file says so."""
    comments: tuple[str, ...] = ()


def read_splats(path: Path) -> GaussianCloud:
    """The cloud of a `.ply` or `.spz` file; see `read_splat_file`."""
    return read_splat_file(path).splats


def read_splat_file(path: Path) -> SplatFile:
    """Read a cloud and what is said about it. The content decides which format it is, not the name.

    Raises:
        InputError: no such file, neither format, cut off, absurd sizes, or too many values that are NaN or infinite.
    """
    with naming("read", path), open(path, "rb") as file:
        if is_spz(file.read(4)):
            file.seek(0)
            spz = read_spz_cloud(file, path)
            return SplatFile(
                splats=spz.splats,
                layout=f"spz-{spz.version}",
                up_axis="z",
                left_out=spz.left_out,
                antialiased=spz.antialiased,
            )
        file.seek(0)
        header = read_header(file, path)
        splats, left_out = read_ply_cloud(file, header, path)
    vertical = [m[1].lower() for c in header.comments if (m := re.match(r"vertical axis:\s*([xyz])$", c, re.I))]
    return SplatFile(
        splats=splats,
        layout="ply-compressed" if header.element("chunk") else "ply",
        up_axis=vertical[0] if vertical else None,
        left_out=left_out,
        comments=header.comments,
    )


def write_splats(path: Path, splats: GaussianCloud) -> None:
    """Write a `.ply` or `.spz` file, as the name says.

    Raises:
        InputError: another name, a malformed cloud, or a file that cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in (".ply", ".spz"):
        raise InputError(f"splats cannot be written as '{suffix}'; expected .ply or .spz: {path}")
    (write_splats_ply if suffix == ".ply" else write_splats_spz)(path, splats)


def write_points_ply(path: Path, points: np.ndarray, rgb_u8: np.ndarray, normals: np.ndarray | None = None) -> None:
    """Write coloured points [N, 3] with colours [N, 3] and, if given, unit normals [N, 3]."""
    fields = [("float", "x"), ("float", "y"), ("float", "z")]
    if normals is not None:
        fields += [("float", "nx"), ("float", "ny"), ("float", "nz")]
    fields += [("uchar", "red"), ("uchar", "green"), ("uchar", "blue")]
    table = np.zeros(len(points), np.dtype([(name, "<f4" if kind == "float" else "u1") for kind, name in fields]))
    for i, axis in enumerate("xyz"):
        table[axis] = points[:, i]
        if normals is not None:
            table[f"n{axis}"] = normals[:, i]
    for i, name in enumerate(("red", "green", "blue")):
        table[name] = rgb_u8[:, i]
    write_bytes(path, ply_head(len(points), fields) + table.tobytes())
