"""Holes of a fused surface: floor that nobody saw between floor that was seen.

Behind every low thing lies floor in its shadow. Where the air above was seen to be free and floor lies around, floor is
the simplest world. Where the air was not seen either, nobody knows, and nothing is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.frames import invert_rigid, transform_points
from ..core.mesh import Label, TriMesh, concatenate_meshes
from ..core.optional import require
from ..core.raycast import Raycaster
from ..core.views import RgbdView

CELL_M = 0.05
GAP_M = 1.0
"""Widest gap in the floor that is closed."""
LEVEL_M = 0.03
SUNK_M = 0.002
"""New floor lies this much below the seen floor, which it underlaps by a cell."""
AIR_M = (0.9, 1.1, 1.3)
"""Heights over the floor at which the air above a gap must have been seen."""
MIN_FLOOR_M2 = 0.5
MAX_CELLS = 16_000_000


@dataclass(frozen=True, kw_only=True)
class FloorMap:
    """The main floor on a raster."""

    z_m: float
    low_xy_m: np.ndarray
    """[2] corner of cell (0, 0)."""
    floor: np.ndarray
    """[X, Y] bool."""

    def centres(self, cell: np.ndarray) -> np.ndarray:
        """[N, 2] positions of cells [N, 2]."""
        return self.low_xy_m + (cell + 0.5) * CELL_M


def close_holes(mesh: TriMesh, views: Sequence[RgbdView]) -> TriMesh:
    """The surface with unseen floor closed.

    Args:
        mesh: fused surface, faces towards free space, labels optional; returned as it is where it has no level floor.
        views: what it was fused from.

    Raises:
        DependencyError: scipy or embreex is missing.
    """
    seen = floor_map(mesh)
    if seen is None:
        return mesh
    ndimage = require("scipy.ndimage", extra="recon", package="scipy")
    reach = round(GAP_M / 2 / CELL_M)
    disc = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1]) <= reach
    padded = np.pad(seen.floor, reach)
    gap = ndimage.binary_closing(padded, disc)[reach:-reach, reach:-reach] & ~seen.floor
    cell = np.argwhere(gap)
    xy = seen.centres(cell)
    top = np.c_[xy + 1e-4, np.full(len(xy), seen.z_m + AIR_M[0])]
    below, _, _ = Raycaster(mesh).cast(top, np.broadcast_to(np.array([0.0, 0.0, -1.0]), top.shape))
    # Nothing above the floor, and nothing seen below it: that would be stairs or a shaft.
    empty = ~np.isfinite(below) | (np.abs(below - AIR_M[0]) < LEVEL_M)
    for height in AIR_M:
        empty[empty] = seen_free(views, np.c_[xy[empty], np.full(int(empty.sum()), seen.z_m + height)])
    fill = np.zeros_like(gap)
    fill[tuple(cell[empty].T)] = True
    if not fill.any():
        return mesh
    # Without labels there shall be none at all: the collider then goes by geometry alone.
    labelled = mesh.face_labels is not None and bool((mesh.face_labels != Label.UNKNOWN).any())
    grown = ndimage.binary_dilation(fill, np.ones((3, 3), bool))
    return concatenate_meshes([mesh, _tiles(seen, grown, Label.FLOOR if labelled else Label.UNKNOWN)])


def floor_map(mesh: TriMesh) -> FloorMap | None:
    """The lowest large level surface that faces up; None where there is none of half a square metre."""
    if not mesh.face_count:
        return None
    area, corner = mesh.face_areas_m2(), mesh.triangles()
    up = mesh.face_normals()[:, 2] > 0.97
    if mesh.face_labels is not None and (mesh.face_labels[up] == Label.FLOOR).any():
        up &= mesh.face_labels == Label.FLOOR
    if area[up].sum() < MIN_FLOOR_M2:
        return None
    z = corner[:, :, 2].mean(1)
    step = np.floor((z[up] - z[up].min()) / LEVEL_M).astype(int)
    votes = np.convolve(np.bincount(step, area[up]), np.ones(3), "same")
    # Without labels a table may be larger than what is seen of the floor, but not three times.
    height = z[up].min() + (int(np.flatnonzero(votes >= 0.3 * votes.max())[0]) + 0.5) * LEVEL_M
    near = up & (np.abs(z - height) < 2 * LEVEL_M)
    order = np.argsort(z[near])
    share = np.cumsum(area[near][order])
    height = float(z[near][order][np.searchsorted(share, 0.5 * share[-1])])
    level = up & (np.abs(corner[:, :, 2] - height).max(1) < LEVEL_M)
    if area[level].sum() < MIN_FLOOR_M2:
        return None
    low = corner[level].reshape(-1, 3).min(0)[:2] - 2 * CELL_M
    count = np.ceil((corner[level].reshape(-1, 3).max(0)[:2] - low) / CELL_M).astype(int) + 3
    if count.prod() > MAX_CELLS:
        return None
    x, y = (low[k] + (np.arange(count[k]) + 0.5) * CELL_M for k in (0, 1))
    start = np.stack([*np.meshgrid(x, y, indexing="ij"), np.full(count, height + 0.5)], -1).reshape(-1, 3) + 1e-4
    t, _, _ = Raycaster(mesh.select_faces(level)).cast(start, np.broadcast_to(np.array([0.0, 0.0, -1.0]), start.shape))
    return FloorMap(z_m=height, low_xy_m=low, floor=np.isfinite(t).reshape(count))


def seen_free(views: Sequence[RgbdView], points_world: np.ndarray) -> np.ndarray:
    """[N] bool: some view looks through the point at something behind it, with all pixels around agreeing."""
    found = np.zeros(len(points_world), bool)
    for view in views:
        rows = np.flatnonzero(~found)
        if not len(rows):
            break
        uv, z = view.camera.project(transform_points(invert_rigid(view.T_world_cam), points_world[rows]))
        h, w = view.valid.shape
        with np.errstate(invalid="ignore"):
            inside = (z > 0.05) & (uv[:, 0] >= 1) & (uv[:, 1] >= 1) & (uv[:, 0] < w - 1) & (uv[:, 1] < h - 1)
        rows, z = rows[inside], z[inside]
        col, row = uv[inside].astype(int).T
        through = np.ones(len(rows), bool)
        for dr, dc in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
            at = row + dr, col + dc
            through &= view.valid[at] & (view.depth_z_m[at] > 1.01 * z)
        found[rows[through]] = True
    return found


def _tiles(seen: FloorMap, mask: np.ndarray, label: Label) -> TriMesh:
    """The cells of a mask as few long rectangles at floor height, facing up."""
    edge = np.diff(np.pad(mask, ((1, 1), (0, 0))).astype(np.int8), axis=0)
    first, last = np.argwhere(edge.T == 1), np.argwhere(edge.T == -1)
    y0, x0, x1 = first[:, 0], first[:, 1], last[:, 1]
    # Equal runs of neighbouring columns become one.
    follows = np.zeros(len(y0), bool)
    index = {(int(a), int(b), int(c)): k for k, (a, b, c) in enumerate(zip(y0, x0, x1, strict=True))}
    y1 = y0 + 1
    for k in range(len(y0)):
        if follows[k]:
            continue
        while (other := index.get((int(y1[k]), int(x0[k]), int(x1[k])))) is not None:
            follows[other], y1[k] = True, y1[k] + 1
    keep = ~follows
    low = seen.low_xy_m + np.stack([x0, y0], -1)[keep] * CELL_M
    high = seen.low_xy_m + np.stack([x1, y1], -1)[keep] * CELL_M
    z = np.full(len(low), seen.z_m - SUNK_M)
    a, b = np.c_[low, z], np.c_[high[:, 0], low[:, 1], z]
    c, d = np.c_[high, z], np.c_[low[:, 0], high[:, 1], z]
    n = np.arange(len(low))[:, None]
    faces = np.concatenate([4 * n + [0, 1, 2], 4 * n + [0, 2, 3]])
    return TriMesh(
        vertices=np.stack([a, b, c, d], 1).reshape(-1, 3),
        faces=faces.astype(np.int32),
        face_labels=np.full(len(faces), label, np.uint8),
    )
