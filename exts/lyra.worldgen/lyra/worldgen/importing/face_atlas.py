"""Every face gets its own corner of one texture: for colours of any origin, at the fineness that each face needs.

Square cells whose sides are powers of two hold two faces each. Taken from large to small along a Z-order curve they
fill a square without gaps. Nothing is unwrapped, so nothing can fail; neighbouring faces share no texels, which costs
a little room for their rims.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..core.mesh import TriMesh

LEAST_CELL_PX, LARGEST_CELL_PX = 4, 1024
_A = np.array([[1, 1], [-3, 1], [1, -3]])
_B = np.array([[-1, -1], [3, -1], [-1, 3]])
"""Corners of both faces of a cell; negative numbers count from its far side."""
ColourOf = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Colours [N, 3] in 0..1 of places on faces [N], given by weights of their corners [N, 3]."""


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Where each face lies in the texture."""

    side_px: np.ndarray
    """[F] of the face's cell."""
    low_px: np.ndarray
    """[F, 2] x and y of the cell's corner, y down."""
    second: np.ndarray
    """[F] bool: the face is the second of its cell."""
    turn: np.ndarray
    """[F] corner of the face that lies in the cell's own corner."""
    texture_px: int


def wanted_cells_px(texels: np.ndarray) -> np.ndarray:
    """[F] sides of cells for faces that should be so many texels long [F]."""
    wanted = np.maximum(texels, 0.0) + 4.0
    side = 2.0 ** np.ceil(np.log2(np.maximum(wanted, LEAST_CELL_PX)))
    return np.clip(side, LEAST_CELL_PX, LARGEST_CELL_PX).astype(np.int64)


def pack_cells(mesh: TriMesh, texels: np.ndarray, *, texture_px: int) -> Cells:
    """Give every face a place, coarser ones if the texture is too small.

    Args:
        mesh: its faces.
        texels: [F] wanted length of the longest edge in texels.
        texture_px: largest side of the texture; the texture's side is a power of two.
    """
    limit_px = 2 ** int(np.floor(np.log2(texture_px)))
    shrink = 1.0
    while True:
        side = np.minimum(wanted_cells_px(texels * shrink), limit_px // 4)
        needed = _needed_px2(side)
        if needed <= limit_px**2 or shrink < 1e-4:
            break
        shrink *= 0.8
    texture_side = 64
    while texture_side**2 < needed:
        texture_side *= 2
    # Large cells first, so that each begins where the curve has filled whole squares of its size.
    order = np.argsort(-side, kind="stable")
    low = np.zeros((len(side), 2), np.int64)
    second = np.zeros(len(side), bool)
    filled = 0
    for size in sorted(set(side.tolist()), reverse=True):
        rows = order[side[order] == size]
        pair = np.arange(len(rows)) // 2
        second[rows] = np.arange(len(rows)) % 2 == 1
        low[rows] = _along_curve(filled // size**2 + pair) * size
        filled += ((len(rows) + 1) // 2) * size**2
    corner = mesh.triangles()
    opposite = np.linalg.norm(np.roll(corner, -1, 1) - np.roll(corner, -2, 1), axis=2)
    return Cells(side_px=side, low_px=low, second=second, turn=opposite.argmax(1), texture_px=texture_side)


def with_atlas(mesh: TriMesh, cells: Cells, colour_of: ColourOf) -> TriMesh:
    """The mesh with texture coordinates and a texture painted by `colour_of`."""
    corners = _corners_px(cells)
    uv = np.empty((mesh.face_count, 3, 2))
    rows = np.arange(mesh.face_count)
    for k in range(3):
        uv[rows, (cells.turn + k) % 3] = corners[:, k]
    uv = np.stack([uv[..., 0] / cells.texture_px, 1 - uv[..., 1] / cells.texture_px], -1)
    texture = np.zeros((cells.texture_px, cells.texture_px, 3), np.uint8)
    for size in sorted(set(cells.side_px.tolist()), reverse=True):
        of_size = np.flatnonzero(cells.side_px == size)
        few = max(1, 2_000_000 // size**2)
        for start in range(0, len(of_size), few):
            _paint(texture, cells, of_size[start : start + few], size, corners, colour_of)
    from dataclasses import replace

    return replace(mesh, uv=uv.astype(np.float32), texture_u8=texture, vertex_rgb_u8=None)


def _paint(
    texture: np.ndarray, cells: Cells, faces: np.ndarray, size: int, corners: np.ndarray, colour_of: ColourOf
) -> None:
    y, x = np.divmod(np.arange(size * size), size)
    centre = np.stack([x + 0.5, y + 0.5], -1)
    for second in (False, True):
        chosen = faces[cells.second[faces] == second]
        mine = (x + y >= size) if second else (x + y < size)
        texels = centre[mine]
        if not len(chosen):
            continue
        local = corners[chosen[0]] - cells.low_px[chosen[0]]  # the same for all cells of one size
        weights = _weights(texels, local)
        face = np.repeat(chosen, len(texels))
        rolled = np.tile(weights, (len(chosen), 1))
        at = (np.arange(3)[None] - cells.turn[face][:, None]) % 3
        bary = np.take_along_axis(rolled, at, 1)
        rgb = np.clip(colour_of(face, bary), 0, 1)
        px = cells.low_px[face, 0] + np.tile(x[mine], len(chosen))
        py = cells.low_px[face, 1] + np.tile(y[mine], len(chosen))
        texture[py, px] = (rgb * 255 + 0.5).astype(np.uint8)


def _weights(texels: np.ndarray, local: np.ndarray) -> np.ndarray:
    """[N, 3] weights of a triangle's corners [3, 2] at points [N, 2], moved into the triangle."""
    a, b, c = local.astype(float)
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    if abs(area) < 1e-9:
        return np.full((len(texels), 3), 1 / 3)
    p = texels - a
    wb = (p[:, 0] * (c[1] - a[1]) - p[:, 1] * (c[0] - a[0])) / area
    wc = ((b[0] - a[0]) * p[:, 1] - (b[1] - a[1]) * p[:, 0]) / area
    weights = np.maximum(np.stack([1 - wb - wc, wb, wc], -1), 0.0)
    return weights / weights.sum(1, keepdims=True)


def _corners_px(cells: Cells) -> np.ndarray:
    """[F, 3, 2] x and y of the faces' corners in texels, beginning with the one in the cell's corner."""
    offsets = np.where(cells.second[:, None, None], _B, _A).astype(np.int64)
    side = cells.side_px[:, None, None]
    local = np.where(offsets < 0, side + offsets, offsets)
    # The smallest cells hold one colour.
    local = np.where(side <= LEAST_CELL_PX, np.where(cells.second[:, None, None], 3, 1), local)
    return cells.low_px[:, None] + local


def _needed_px2(side: np.ndarray) -> int:
    """Texels that cells of these sides take, two faces a cell."""
    sizes, counts = np.unique(side, return_counts=True)
    return int((((counts + 1) // 2) * sizes**2).sum())


def _along_curve(index: np.ndarray) -> np.ndarray:
    """[N, 2] column and row of places along a Z-order curve."""
    xy = np.zeros((len(index), 2), np.int64)
    for bit in range(24):
        xy[:, 0] |= ((index >> (2 * bit)) & 1) << bit
        xy[:, 1] |= ((index >> (2 * bit + 1)) & 1) << bit
    return xy
