"""Coarse splats where no other splat is, so that the splat world has no holes where the mesh has none."""

from __future__ import annotations

import numpy as np

from ..core.frames import quat_wxyz_from_rotation
from ..core.mesh import Label
from ..core.optional import require
from ..core.raycast import sample_texture
from ..core.splats import GaussianCloud, join_splats, sh_from_rgb
from .splat_cover import transparency
from .splat_reach import reaches
from .surface_grid import SurfaceGrid, surface_grid
from .texture import BakedTexture

SPACING_M = 0.06
SPACING_RAD = 0.012
"""Distance between neighbours: the larger of a length and an angle seen from the photo's camera."""
WIDEST_SPACING_M = 0.18
"""But no more than this: robots come nearer than the photo did. The budget may demand more."""
SCENERY_SPACING_RAD = 0.03
"""Sky and backdrop are far from everybody and even."""
PROBE_SHARE = 0.6
"""Distance between the places where the cover by other splats is looked at, relative to that between discs."""
LET_THROUGH = 0.5
"""A place needs cover where other splats let more light through; the limit of what a robot's camera calls a hole."""
OPACITY = 0.97
THICKNESS_M = 0.002
SPREAD = 0.7
"""Standard deviation of a disc, relative to the side of the square that it covers."""
_FINER = 2
"""Squares along edges are halved this often."""
CELLS = 4
"""Cells of the grid along the side of a square away from edges; textures may be coarser than any square."""
_HIGHEST = 6
_ROUNDS, _WIDER = 12, 1.3
"""Most times that squares are made larger, and how much larger."""
_WHOLE, _LEAST = 0.7, 0.15
"""Share of a square that needs cover for it to stay whole, and for the smallest to count at all."""


def cover_gaps(baked: BakedTexture, splats: GaussianCloud, eye: np.ndarray, *, budget: int) -> GaussianCloud:
    """Discs where the surface is not covered: nobody looked there, or at such an angle that gaps are left.

    Every chart of the texture is divided into squares, smaller ones along edges; the disc of a square is narrow across
    an edge near by. Colours are the texture's.

    Args:
        baked: the textured surface with its map of what was seen.
        splats: those that were lifted from views.
        eye: [3] the photo's camera, world [m].
        budget: most Gaussians; the squares grow until they suffice.
    """
    spacing_m = _spacing_m(baked, eye)
    grid = surface_grid(baked, spacing_m / CELLS)
    seen = _known(baked, grid)
    gaps = _gaps(baked, grid, splats, spacing_m, seen) | (~seen & (grid.face_map >= 0))
    first = _cover(baked, grid, gaps, spacing_m, budget)
    # Where discs and other splats meet, both may end too early.
    near = require("cv2", extra="recon", package="opencv-python-headless").dilate(
        gaps.astype(np.uint8), np.ones((2 * CELLS + 1, 2 * CELLS + 1), np.uint8)
    )
    left = _gaps(baked, grid, join_splats([splats, first]), 0.5 * spacing_m, near > 0)
    return join_splats([first, _cover(baked, grid, left, 0.5 * spacing_m, budget - len(first))])


def _cover(
    baked: BakedTexture, grid: SurfaceGrid, gaps: np.ndarray, spacing_m: np.ndarray, budget: int
) -> GaussianCloud:
    """Discs about `spacing_m` [F] apart over the cells [A, B] of the gaps, farther apart until the budget suffices."""
    squares = _squares(grid, gaps, _level(spacing_m, grid))
    if len(squares[0]) > budget:
        # The fewest steps that suffice lie above `low` and not above `high`; each step leaves fewer squares.
        low, high = 0, _ROUNDS
        squares = _squares(grid, gaps, _level(spacing_m * _WIDER**high, grid))
        while high - low > 1 and len(squares[0]) <= budget:
            middle = (low + high) // 2
            fewer = _squares(grid, gaps, _level(spacing_m * _WIDER**middle, grid))
            if len(fewer[0]) <= budget:
                high, squares = middle, fewer
            else:
                low = middle
    if len(squares[0]) > budget:
        # A budget below one disc a chart leaves holes; they are spread evenly.
        pick = np.linspace(0, len(squares[0]) - 1, budget).astype(int)
        squares = squares[0][pick], squares[1][pick], squares[2][pick]
    return _discs(baked, grid, gaps, *squares)


def _scenery(baked: BakedTexture) -> np.ndarray:
    labels = baked.mesh.face_labels
    return np.zeros(baked.mesh.face_count, bool) if labels is None else np.isin(labels, (Label.SKY, Label.BACKDROP))


def _spacing_m(baked: BakedTexture, eye: np.ndarray) -> np.ndarray:
    distance_m = np.linalg.norm(baked.mesh.triangles().mean(1) - eye, axis=1)
    near = np.clip(SPACING_RAD * distance_m, SPACING_M, WIDEST_SPACING_M)
    return np.where(_scenery(baked), np.maximum(SCENERY_SPACING_RAD * distance_m, SPACING_M), near)


def _gaps(
    baked: BakedTexture, grid: SurfaceGrid, splats: GaussianCloud, spacing_m: np.ndarray, ask: np.ndarray
) -> np.ndarray:
    """[A, B] bool: cells around places of `ask` [A, B] where the splats let light through."""
    face_map, normals = grid.face_map, baked.mesh.face_normals()
    gaps = np.zeros(face_map.shape, bool)
    height, width = face_map.shape
    level = _level(PROBE_SHARE * spacing_m, grid)
    for k in np.unique(level).tolist():
        step = 1 << k
        middle = (slice(step // 2, None, step),) * 2
        face = face_map[middle]
        row, col = np.nonzero((face >= 0) & ask[middle] & (level[np.maximum(face, 0)] == k))
        face = face[row, col]
        xy = np.stack([col, row], -1) * step + step // 2 + 0.5
        lets = transparency(grid.points(face, xy), normals[face], splats) > LET_THROUGH
        row, col = row[lets] * step, col[lets] * step
        if not len(row):
            continue
        for down, right in np.ndindex(step, step):
            r, c = np.minimum(row + down, height - 1), np.minimum(col + right, width - 1)
            gaps[r, c] = face_map[r, c] >= 0
    return gaps


def _known(baked: BakedTexture, grid: SurfaceGrid) -> np.ndarray:
    """[A, B] bool: cells whose texel a view saw."""
    row, col = np.nonzero(grid.face_map >= 0)
    texel = grid.texels(grid.face_map[row, col], np.stack([col + 0.5, row + 0.5], -1))
    u, v = np.clip(texel.astype(np.int64), 0, np.array(baked.known.shape[::-1]) - 1).T
    known = np.zeros(grid.face_map.shape, bool)
    known[row, col] = baked.known[v, u]
    return known


def _level(side_m: np.ndarray, grid: SurfaceGrid) -> np.ndarray:
    """[F] int: 2^level cells are about this long [F]."""
    return np.minimum(np.floor(np.log2(np.maximum(side_m / grid.cell_m, 1.0)) + 0.5), _HIGHEST).astype(int)


def _squares(grid: SurfaceGrid, gaps: np.ndarray, level: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squares over the gaps: face [N], middle in cells (x, y) [N, 2], side in cells [N].

    Args:
        grid: over the surface.
        gaps: [A, B] bool, within charts.
        level: [F] squares of 2^level cells a side are wanted.
    """
    row, col = np.nonzero(gaps)
    face = grid.face_map[row, col]
    wanted, cell_m = level[face], grid.cell_m
    xy = np.stack([col + 0.5, row + 0.5], -1)
    point = grid.points(face, xy)
    todo = np.arange(len(row))
    out: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for k in range(int(wanted.max(initial=-1)), -1, -1):
        use = todo[wanted[todo] >= k]
        # Numbers in reading order, as np.unique would give them, without sorting.
        at = (row[use] >> k) * ((gaps.shape[1] >> k) + 1) + (col[use] >> k)
        taken = np.zeros(int(at.max(initial=-1)) + 1, bool)
        taken[at] = True
        block = (np.cumsum(taken, dtype=np.int32) - 1)[at]
        blocks = int(taken.sum())
        lead = np.zeros(blocks, np.int64)
        lead[block[::-1]] = face[use[::-1]]
        # Cells of another chart, or around a corner, lie elsewhere than the first cell's plane says.
        flat = np.ones(len(use), bool)
        other = np.flatnonzero(lead[block] != face[use])
        cell = use[other]
        led = grid.points(lead[block[other]], xy[cell])
        flat[other] = np.linalg.norm(point[cell] - led, axis=1) < 0.2 * (cell_m[face[cell]] * (1 << k))
        share = np.bincount(block[flat], minlength=blocks) / 4.0**k
        whole = (share >= _WHOLE) & (np.bincount(block[~flat], minlength=blocks) == 0)
        # Along edges the squares are smaller; of the smallest, parts count.
        last = (wanted[use] - k >= _FINER) | (k == 0)
        least = np.zeros(blocks, bool)
        least[block[last]] = True
        emit = whole | (least & (share >= _LEAST))
        chosen = flat & emit[block]
        count = np.maximum(np.bincount(block[chosen], minlength=blocks), 1)
        middle = np.stack([np.bincount(block[chosen], xy[use[chosen], i], blocks) / count for i in range(2)], -1)
        out.append((lead[emit], middle[emit], np.full(int(emit.sum()), 1 << k)))
        gone = np.zeros(len(row), bool)
        gone[use[chosen | last]] = True
        todo = todo[~gone[todo]]
    if not out:
        return np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(0, np.int64)
    faces, middles, sides = (np.concatenate(column) for column in zip(*out, strict=True))
    return faces, middles, sides


def _discs(
    baked: BakedTexture, grid: SurfaceGrid, gaps: np.ndarray, face: np.ndarray, middle: np.ndarray, side: np.ndarray
) -> GaussianCloud:
    mesh = baked.mesh
    texture_u8, labels = mesh.texture_u8, mesh.face_labels
    assert texture_u8 is not None, "baked textures carry their picture"
    direction, limit_m = reaches(mesh, grid, gaps, face, middle, side)
    normal = mesh.face_normals()[face]
    each = np.arange(len(face))
    first = direction[each, limit_m.argmin(1)]
    second = np.cross(normal, first)
    widest_m = SPREAD * side * grid.cell_m[face]
    spreads_m = []
    for axis in (first, second):
        # A limit counts for an axis as far as it lies in its direction.
        towards = np.abs(np.einsum("nki,ni->nk", direction, axis))
        most_m = np.where(towards > 0.5, limit_m / np.maximum(towards, 0.5), np.inf).min(1)
        spreads_m.append(np.clip(most_m, THICKNESS_M, widest_m))
    height, width = texture_u8.shape[:2]
    uv = grid.texels(face, middle) / (width, height) * (1, -1) + (0, 1)
    return GaussianCloud(
        means=grid.points(face, middle).astype(np.float32),
        scales_m=np.stack([*spreads_m, np.full(len(face), THICKNESS_M)], -1).astype(np.float32),
        quats_wxyz=quat_wxyz_from_rotation(np.stack([first, second, normal], -1)).astype(np.float32),
        opacities=np.full(len(face), OPACITY, np.float32),
        sh=sh_from_rgb(sample_texture(texture_u8, uv) / 255.0),
        labels=(np.zeros(len(face), np.uint8) if labels is None else labels[face].astype(np.uint8)),
    )
