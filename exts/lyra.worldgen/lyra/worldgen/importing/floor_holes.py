"""Small holes in a floor, through which a robot would fall, are closed; large ones are stairs and stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..core.mesh import Label, TriMesh
from ..core.optional import require
from ..core.raycast import Raycaster
from ..core.report import Report

CELL_M = 0.05
REACH_M = 0.06
"""Floor lies this close to z = 0."""
CLOSED_M2 = 1.5
"""Largest hole that is closed."""
COVERED_M = 1.0
"""Under furniture nobody misses a floor."""
SINK_M = 0.002
"""Patches lie this much below the floor, whose rim they reach under."""
MAX_CELLS = 60_000_000
MAX_PATCH_FACES = 40_000


def close_floor_holes(mesh: TriMesh, report: Report) -> TriMesh:
    """The mesh with patches in holes that the floor surrounds.

    Args:
        mesh: labelled, floor at z = 0, in metres; with uv if it has a texture.
        report: takes a finding for what was closed and for what was left open.
    """
    ndimage = require("scipy.ndimage", extra="recon", package="scipy")
    assert mesh.face_labels is not None, "labels tell the floor"
    floor = mesh.select_faces(mesh.face_labels == Label.FLOOR)
    if not floor.face_count:
        return mesh
    low, high = floor.bounds()
    count = np.ceil((high[:2] - low[:2]) / CELL_M).astype(int) + 2
    if count.astype(float).prod() > MAX_CELLS:
        report.warn("floor.unchecked", "the floor is too large to look for holes in it")
        return mesh
    x = low[0] + (np.arange(count[0]) - 0.5) * CELL_M
    y = low[1] + (np.arange(count[1]) - 0.5) * CELL_M
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)
    # A little off the centre: rays along shared edges may slip through.
    start = np.c_[grid + np.array([1.3e-4, 0.7e-4]), np.full(len(grid), REACH_M)]
    reach, _, _ = Raycaster(floor).cast(start, np.broadcast_to([0.0, 0.0, -1.0], start.shape))
    held = (reach < 2 * REACH_M).reshape(tuple(count))
    whole = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(held, 2))[2:-2, 2:-2] | held)
    missing = whole & ~held
    missing.reshape(-1)[missing.reshape(-1)] = ~_covered(mesh, grid[missing.reshape(-1)])
    holes, n = ndimage.label(missing)
    if not n:
        return mesh
    area = np.bincount(holes.ravel(), minlength=n + 1)[1:] * CELL_M**2
    small = np.flatnonzero(area <= CLOSED_M2) + 1
    if (area > CLOSED_M2).any():
        report.warn("floor.open", f"the floor has a hole of {area.max():.1f} m², which was left open")
    patch = np.isin(holes, small)
    real = area[(area <= CLOSED_M2) & (area > 4 * CELL_M**2)]
    if len(real):
        report.info(
            "floor.closed",
            f"{len(real)} holes in the floor, {real.sum():.2f} m² in all, were closed for robots to drive",
        )
    return _with_patches(mesh, patch, x, y)


def _covered(mesh: TriMesh, xy_m: np.ndarray) -> np.ndarray:
    """[N] bool: something stands so low over these places that no robot comes there."""
    if not len(xy_m):
        return np.zeros(0, bool)
    start = np.c_[xy_m, np.full(len(xy_m), -REACH_M)]
    reach, _, _ = Raycaster(mesh).cast(start, np.broadcast_to([0.0, 0.0, 1.0], start.shape))
    return reach < COVERED_M


def _with_patches(mesh: TriMesh, patch: np.ndarray, x: np.ndarray, y: np.ndarray) -> TriMesh:
    """With two faces for every run of cells along y."""
    padded = np.pad(patch, ((0, 0), (1, 1)))
    edges = np.diff(padded.astype(np.int8), axis=1)
    column, first = np.nonzero(edges == 1)
    _, last = np.nonzero(edges == -1)
    if not len(column) or 2 * len(column) > MAX_PATCH_FACES:
        return mesh
    rim = 0.75 * CELL_M
    a = np.c_[x[column] - rim, y[first] - rim]
    b = np.c_[x[column] + rim, y[last - 1] + rim]
    z = np.full(len(a), -SINK_M)
    corners = np.stack(
        [np.c_[a, z], np.c_[b[:, 0], a[:, 1], z], np.c_[b, z], np.c_[a[:, 0], b[:, 1], z]], 1
    )  # counter-clockwise seen from above
    base = len(mesh.vertices) + 4 * np.arange(len(a))
    faces = np.concatenate([np.stack([base, base + i, base + i + 1], -1) for i in (1, 2)]).astype(np.int32)
    assert mesh.face_labels is not None, "labels tell the floor"
    labels = np.concatenate([mesh.face_labels, np.full(len(faces), Label.FLOOR, np.uint8)])
    uv, rgb = mesh.uv, mesh.vertex_rgb_u8
    nearest = _nearest_floor(mesh, 0.5 * (a + b))
    if uv is not None:
        own = np.repeat(uv[nearest].mean(1)[:, None], 3, 1)
        uv = np.concatenate([uv, own, own]).astype(np.float32)
    if rgb is not None:
        rgb = np.concatenate([rgb, np.repeat(rgb[mesh.faces[nearest, 0]], 4, 0)])
    return replace(
        mesh,
        vertices=np.concatenate([mesh.vertices, corners.reshape(-1, 3)]),
        faces=np.concatenate([mesh.faces, faces]),
        face_labels=labels,
        uv=uv,
        vertex_rgb_u8=rgb,
    )


def _nearest_floor(mesh: TriMesh, xy_m: np.ndarray) -> np.ndarray:
    """[N] face of the floor whose middle is nearest to positions [N, 2]."""
    spatial = require("scipy.spatial", extra="recon", package="scipy")
    assert mesh.face_labels is not None, "checked before"
    floor = np.flatnonzero(mesh.face_labels == Label.FLOOR)
    _, nearest = spatial.cKDTree(mesh.triangles()[floor].mean(1)[:, :2]).query(xy_m)
    return floor[nearest]
