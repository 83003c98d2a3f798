"""An even grid over a textured surface, as fine as asked for wherever the texture is coarse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .texture import BakedTexture

MOST_CELLS = 1 << 24
"""A surface that needs more gets larger cells everywhere."""
ALIGN = 8
"""Charts start at multiples of so many cells, so that squares of cells lie in one chart."""
_ROUNDS = 12


@dataclass(frozen=True, kw_only=True)
class SurfaceGrid:
    """The charts of a texture side by side, each with cells of its own size."""

    face_map: np.ndarray
    """[A, B] int32 face whose inside a cell's middle lies in, -1 between charts."""
    chart: np.ndarray
    """[F] int32 chart of each face."""
    cell_to_world: np.ndarray
    """[F, 3, 3]: (x, y, 1) in cells, y down, middles at +0.5, to the world point on the plane of each face."""
    cell_m: np.ndarray
    """[F] side of a cell [m]."""
    chart_to_texel: np.ndarray
    """[C, 3]: texels per cell, then x and y of the texel at the grid's origin."""

    def points(self, face: np.ndarray, xy: np.ndarray) -> np.ndarray:
        """[N, 3] world points of places `xy` [N, 2] in cells on the planes of faces [N]."""
        across = np.concatenate([xy, np.ones((len(xy), 1))], -1)
        return np.einsum("nij,nj->ni", self.cell_to_world[face], across)

    def texels(self, face: np.ndarray, xy: np.ndarray) -> np.ndarray:
        """[N, 2] float64 x and y in the texture of places `xy` [N, 2] in cells."""
        scale = self.chart_to_texel[self.chart[face]]
        return xy * scale[:, :1] + scale[:, 1:]


def surface_grid(baked: BakedTexture, cell_m: np.ndarray) -> SurfaceGrid:
    """Lay the charts of a texture out with cells of about `cell_m` [F], the smallest of each chart's faces.

    Args:
        baked: a textured surface.
        cell_m: wanted side of a cell on each face [m].
    """
    mesh, chart = baked.mesh, baked.chart
    height, width = baked.face_map.shape
    charts = int(chart.max(initial=-1)) + 1
    assert mesh.uv is not None, "baked textures have coordinates"
    xy_px = np.stack([mesh.uv[..., 0] * width, (1 - mesh.uv[..., 1]) * height], -1).astype(np.float64)
    # Lengths and not areas: charts of slivers have next to none.
    length_m, length_px = (
        np.bincount(chart, np.linalg.norm(np.roll(corner, -1, 1) - corner, axis=2).sum(1), charts)
        for corner in (mesh.triangles(), xy_px)
    )
    texel_m = length_m / np.maximum(length_px, 1e-6)
    side_m = np.full(charts, np.inf)
    np.minimum.at(side_m, chart, cell_m)
    low, high = np.full((charts, 2), np.inf), np.full((charts, 2), -np.inf)
    for axis in range(2):
        np.minimum.at(low[:, axis], chart, xy_px[..., axis].min(1))
        np.maximum.at(high[:, axis], chart, xy_px[..., axis].max(1))
    extent_m = (high - low) * texel_m[:, None]
    size = _cells(extent_m, side_m)
    for _ in range(_ROUNDS):
        excess = float(size.prod(1).sum()) / MOST_CELLS
        if excess <= 1:
            break
        side_m *= 1.05 * np.sqrt(excess)
        size = _cells(extent_m, side_m)
    scale = texel_m / side_m
    start, (rows, cols) = _shelves(size.astype(np.int64))
    offset = start - low * scale[:, None]
    xy = xy_px * scale[chart][:, None, None] + offset[chart][:, None]
    face_map, inset = np.full((rows, cols), -1, np.int32), np.full((rows, cols), -np.inf, np.float32)
    from . import texture_numba

    texture_numba.rasterise(xy, chart, face_map, inset, 0.0)
    linear = baked.texel_to_world[:, :, :2] / scale[chart][:, None, None]
    origin = baked.texel_to_world[:, :, 2] - np.einsum("fij,fj->fi", linear, offset[chart])
    return SurfaceGrid(
        face_map=face_map,
        chart=chart,
        cell_to_world=np.concatenate([linear, origin[..., None]], -1),
        cell_m=np.maximum(np.sqrt(np.linalg.norm(np.cross(linear[:, :, 0], linear[:, :, 1]), axis=1)), 1e-9),
        chart_to_texel=np.concatenate([1 / scale[:, None], -offset / scale[:, None]], -1),
    )


def _cells(extent_m: np.ndarray, side_m: np.ndarray) -> np.ndarray:
    """[C, 2] float64 whole cells that charts of these extents [C, 2] take, with room between them."""
    return (np.ceil(extent_m / side_m[:, None] / ALIGN) + 1) * ALIGN


def _shelves(size: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """First cell [C, 2] of rectangles [C, 2] (x, y) put on shelves, the highest first, and rows and columns of all."""
    start = np.zeros((len(size), 2))
    if not len(size):
        return start, (ALIGN, ALIGN)
    width = max(int(size[:, 0].max()), int(np.sqrt(size.prod(1).sum())))
    x = y = shelf = 0
    for c in np.lexsort((np.arange(len(size)), -size[:, 1])).tolist():
        if x + int(size[c, 0]) > width:
            x, y = 0, y + shelf
        shelf = int(size[c, 1]) if x == 0 else shelf
        start[c] = x, y
        x += int(size[c, 0])
    return start, (y + shelf, width)
