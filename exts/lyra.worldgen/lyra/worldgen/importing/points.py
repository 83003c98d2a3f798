"""Coloured points of LiDAR or photogrammetry become flat splats, as large as their neighbours are far."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.files import naming
from ..core.frames import quat_wxyz_from_rotation
from ..core.optional import require
from ..core.splats import GaussianCloud, sh_from_rgb
from ..reconstruction.ply_file import read_header, read_rows
from .samples import neighbour_normals

MAX_POINTS = 1_500_000
"""More are thinned out evenly."""
LEAST_POINTS = 1000
SPREAD, FLATNESS, OPACITY = 0.6, 0.15, 0.95
MAX_BROKEN = 0.01


def read_points_as_splats(path: Path) -> GaussianCloud:
    """One flat splat for each point of a `.ply` file.

    Raises:
        InputError: damaged, too few points, or too many that are NaN or infinite.
    """
    with naming("read", path), open(path, "rb") as file:
        header = read_header(file, path)
        vertex = header.element("vertex")
        if vertex is None or not {"x", "y", "z"} <= set(vertex.names):
            raise InputError(f"the points of the .ply file have no x, y and z: {path}")
        colours = next((c for c in (("red", "green", "blue"), ("r", "g", "b")) if set(c) <= set(vertex.names)), None)
        step = max(1, -(-vertex.count // MAX_POINTS))
        places, shades = [], []
        seen = 0
        for rows in read_rows(file, header, "vertex", path):
            chosen = (seen + np.arange(len(rows))) % step == 0
            seen += len(rows)
            places.append(rows.columns("x", "y", "z").astype(np.float64)[chosen])
            if colours is not None:
                shades.append(rows.columns(*colours).astype(np.float64)[chosen])
    points = np.concatenate([*places, np.zeros((0, 3))])
    whole = np.isfinite(points).all(1) & (np.abs(points) < 1e9).all(1)
    if len(points) < LEAST_POINTS or whole.sum() < (1 - MAX_BROKEN) * len(points):
        raise InputError(
            f"the file holds {len(points)} points, {int((~whole).sum())} of them NaN or infinite; expected at least "
            f"{LEAST_POINTS} of a whole place: {path}"
        )
    rgb = np.full((len(points), 3), 0.6)
    if colours is not None:
        kind = dict(vertex.properties)[colours[0]]
        unit = {"u1": 255.0, "u2": 65535.0}.get(kind, 1.0)
        rgb = np.clip(np.nan_to_num(np.concatenate(shades) / unit), 0, 1)
    return _splats(points[whole], rgb[whole])


def _splats(points: np.ndarray, rgb: np.ndarray) -> GaussianCloud:
    spatial = require("scipy.spatial", extra="recon", package="scipy")
    distance, _ = spatial.cKDTree(points).query(points, k=5, workers=-1)
    gap = distance[:, -1]
    usual = max(float(np.median(gap)), 1e-9)
    size = SPREAD * np.clip(gap, 0.2 * usual, 4 * usual)
    normals = neighbour_normals(points)
    helper = np.where(np.abs(normals[:, :1]) > 0.9, [[0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]])
    a = np.cross(normals, helper)
    a /= np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12)
    frames = np.stack([a, np.cross(normals, a), normals], -1)
    return GaussianCloud(
        means=points.astype(np.float32),
        scales_m=(size[:, None] * [1.0, 1.0, FLATNESS]).astype(np.float32),
        quats_wxyz=quat_wxyz_from_rotation(frames).astype(np.float32),
        opacities=np.full(len(points), OPACITY, np.float32),
        sh=sh_from_rgb(rgb),
    )
