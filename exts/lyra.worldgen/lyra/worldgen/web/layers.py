"""The layers of a world as files for browsers, each within its number of bytes."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..certify.world_data import WorldData
from ..core.errors import InputError
from ..core.files import sha256_file
from ..core.mesh import TriMesh
from ..core.splats import GaussianCloud
from ..reconstruction.glb import write_mesh_glb, write_shape_glb
from ..reconstruction.splat_budget import compress_splats, shape_importance
from ..reconstruction.splat_io import read_splats
from ..reconstruction.splat_spz import write_splats_spz

COARSE_COUNT = 120_000
"""Splats of the level that is seen first; a megabyte or two."""
LEAST_SPLATS = 2_000
SLACK = 0.98
"""Merged splats compress a little worse than those they are made of."""
LEAST_TEXTURE_PX = 256


@dataclass(frozen=True, kw_only=True)
class LayerFile:
    """One file of the site's folder `world`."""

    path: Path
    bytes: int
    count: int = 0
    """Splats or triangles."""


def file_entry(layer: LayerFile) -> dict[str, Any]:
    """How `site.json` names a file; other content has another address, so that no browser shows an old one."""
    version = sha256_file(layer.path)[:8]
    return {"url": f"world/{layer.path.name}?v={version}", "bytes": layer.bytes, "count": layer.count}


def write_collider(folder: Path, mesh: TriMesh) -> LayerFile:
    """What visitors collide with, `collider.glb`."""
    path = folder / "collider.glb"
    write_shape_glb(path, mesh)
    return _written(path, mesh.face_count)


def write_mesh(folder: Path, world: WorldData, max_bytes: int) -> LayerFile | None:
    """The textured mesh, `mesh.glb`: the world's own if it fits, else with its texture halved until it does.

    Returns:
        None for a world whose mesh has no texture, or too many triangles for so few bytes.
    """
    path, own = folder / "mesh.glb", world.folder / "mesh.glb"
    mesh = world.mesh
    if own.is_file() and own.stat().st_size <= max_bytes:
        shutil.copyfile(own, path)
        return _written(path, mesh.face_count)
    if mesh.uv is None or mesh.texture_u8 is None:
        return None
    texture = mesh.texture_u8
    while True:
        write_mesh_glb(path, replace(mesh, texture_u8=texture))
        if path.stat().st_size <= max_bytes:
            return _written(path, mesh.face_count)
        if min(texture.shape[:2]) < 2 * LEAST_TEXTURE_PX:
            path.unlink()
            return None
        texture = _halved(texture)


def write_splat_levels(folder: Path, splats_ply: Path, max_bytes: int) -> tuple[tuple[LayerFile, ...], int]:
    """Splats in growing detail, `splats-0.spz` and, of many, `splats-1.spz`.

    Harmonics that do not fit are left out before splats are merged: most of the bytes are theirs.

    Returns:
        The levels, coarse first, none when not even a few thousand splats fit; and the number of splats in the world.
    """
    cloud = read_splats(splats_ply)
    splats, coarse = cloud, None
    if len(cloud) > 2 * COARSE_COUNT:
        coarse = _fitting(folder / "splats-0.spz", _with_degree(cloud, 0), COARSE_COUNT, max_bytes // 4)
        max_bytes -= coarse[0].bytes if coarse else 0
    path = folder / ("splats-1.spz" if coarse else "splats-0.spz")
    fine = _fitting(path, splats, len(splats), max_bytes)
    if fine is None:
        return (coarse[0],) if coarse else (), len(cloud)
    if coarse and fine[0].count <= 2 * coarse[0].count:
        # Hardly finer than what is loaded first.
        path.unlink()
        return (coarse[0],), len(cloud)
    return (coarse[0], fine[0]) if coarse else (fine[0],), len(cloud)


def _fitting(path: Path, splats: GaussianCloud, count: int, max_bytes: int) -> tuple[LayerFile, GaussianCloud] | None:
    """Write at most `count` splats in at most `max_bytes`; None when hardly any would be left."""
    if len(splats) > count:
        splats = compress_splats(splats, count, shape_importance(splats))
    while True:
        write_splats_spz(path, splats)
        size = path.stat().st_size
        if size <= max_bytes:
            return _written(path, len(splats)), splats
        if splats.sh_degree:
            splats = _with_degree(splats, splats.sh_degree - 1)
            continue
        fewer = int(SLACK * len(splats) * max_bytes / size)
        if fewer < LEAST_SPLATS:
            path.unlink()
            return None
        splats = compress_splats(splats, fewer, shape_importance(splats))


def _with_degree(splats: GaussianCloud, degree: int) -> GaussianCloud:
    return replace(splats, sh=np.ascontiguousarray(splats.sh[:, : (degree + 1) ** 2]))


def _halved(texture_u8: np.ndarray) -> np.ndarray:
    from PIL import Image

    h, w = texture_u8.shape[:2]
    return np.asarray(Image.fromarray(texture_u8).resize((w // 2, h // 2), Image.Resampling.BOX))


def _written(path: Path, count: int) -> LayerFile:
    size = path.stat().st_size
    if not size:
        raise InputError(f"file is empty: {path}")
    return LayerFile(path=path, bytes=size, count=count)
