"""Coarse splats where no other splat is, so that the splat world has no holes where the mesh has none."""

from __future__ import annotations

import numpy as np

from ..core.frames import quat_wxyz_from_rotation
from ..core.mesh import Label, TriMesh
from ..core.splats import GaussianCloud, sh_from_rgb
from .splat_cover import transparency
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
EDGE_SPREAD = 0.5
"""Most of it across an edge, relative to the distance from there: what sticks out would hide what lies behind."""
CREASE_RAD = np.radians(20.0)
"""Faces that meet at more than this do not go on into one another."""
_FINER = 2
"""Squares along edges are halved this often."""
_HIGHEST = 6
_ROUNDS = 12
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
    gaps = _gaps(baked, splats, spacing_m)
    squares = _squares(baked, gaps, _level(spacing_m, baked))
    for _ in range(_ROUNDS):
        if len(squares[0]) <= budget:
            return _discs(baked, gaps, *squares)
        spacing_m = spacing_m * 1.3
        squares = _squares(baked, gaps, _level(spacing_m, baked))
    # A budget below one disc a chart leaves holes; they are spread evenly.
    pick = np.linspace(0, len(squares[0]) - 1, budget).astype(int)
    return _discs(baked, gaps, *(column[pick] for column in squares))


def _texel_m(baked: BakedTexture) -> np.ndarray:
    """[F] side of a texel on each face."""
    linear = baked.texel_to_world[:, :, :2]
    return np.maximum(np.sqrt(np.linalg.norm(np.cross(linear[:, :, 0], linear[:, :, 1]), axis=1)), 1e-9)


def _scenery(baked: BakedTexture) -> np.ndarray:
    labels = baked.mesh.face_labels
    return np.zeros(baked.mesh.face_count, bool) if labels is None else np.isin(labels, (Label.SKY, Label.BACKDROP))


def _spacing_m(baked: BakedTexture, eye: np.ndarray) -> np.ndarray:
    distance_m = np.linalg.norm(baked.mesh.triangles().mean(1) - eye, axis=1)
    near = np.clip(SPACING_RAD * distance_m, SPACING_M, WIDEST_SPACING_M)
    return np.where(_scenery(baked), np.maximum(SCENERY_SPACING_RAD * distance_m, SPACING_M), near)


def _gaps(baked: BakedTexture, splats: GaussianCloud, spacing_m: np.ndarray) -> np.ndarray:
    """[A, B] bool: texels that no view saw, and those around places where the splats let light through."""
    face_map, normals = baked.face_map, baked.mesh.face_normals()
    gaps = (face_map >= 0) & ~baked.known
    level = _level(PROBE_SHARE * spacing_m, baked)
    for k in np.unique(level).tolist():
        step = 1 << k
        middle = (slice(step // 2, None, step),) * 2
        face = face_map[middle]
        row, col = np.nonzero((face >= 0) & baked.known[middle] & (level[np.maximum(face, 0)] == k))
        face = face[row, col]
        texel = np.stack([col * step + step // 2 + 0.5, row * step + step // 2 + 0.5, np.ones(len(row))], -1)
        points = np.einsum("nij,nj->ni", baked.texel_to_world[face], texel)
        lets = transparency(points, normals[face], splats) > LET_THROUGH
        row, col = row[lets] * step, col[lets] * step
        if not len(row):
            continue
        for down, right in np.ndindex(step, step):
            r, c = np.minimum(row + down, len(gaps) - 1), np.minimum(col + right, gaps.shape[1] - 1)
            gaps[r, c] = face_map[r, c] >= 0
    return gaps


def _level(side_m: np.ndarray, baked: BakedTexture) -> np.ndarray:
    """[F] int: 2^level texels are about this long [F]."""
    return np.minimum(np.floor(np.log2(np.maximum(side_m / _texel_m(baked), 1.0)) + 0.5), _HIGHEST).astype(int)


def _squares(baked: BakedTexture, gaps: np.ndarray, level: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squares over the gaps: face [N], middle in texels (x, y) [N, 2], side in texels [N].

    Args:
        gaps: [A, B] bool, within charts.
        level: [F] squares of 2^level texels a side are wanted.
    """
    row, col = np.nonzero(gaps)
    face = baked.face_map[row, col]
    wanted, texel_m = level[face], _texel_m(baked)
    xy = np.stack([col + 0.5, row + 0.5, np.ones(len(row))], -1)
    point = np.einsum("nij,nj->ni", baked.texel_to_world[face], xy)
    todo = np.arange(len(row))
    out: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for k in range(int(wanted.max(initial=-1)), -1, -1):
        use = todo[wanted[todo] >= k]
        _, block = np.unique((row[use] >> k) * gaps.shape[1] + (col[use] >> k), return_inverse=True)
        blocks = int(block.max(initial=-1)) + 1
        lead = np.zeros(blocks, np.int64)
        lead[block[::-1]] = face[use[::-1]]
        # Texels of another chart, or around a corner, lie elsewhere than the first texel's plane says.
        led = np.einsum("nij,nj->ni", baked.texel_to_world[lead[block]], xy[use])
        flat = np.linalg.norm(point[use] - led, axis=1) < 0.2 * (texel_m[face[use]] * (1 << k))
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


def _limits(
    baked: BakedTexture, gaps: np.ndarray, face: np.ndarray, middle: np.ndarray, side: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Directions [N, 7, 3] in the world, unit and in the face, and how far [N, 7] a gap goes on in each [m].

    Four are probed in the texture; three are those of the face's own edges, exact, inf where the surface goes on flat.
    """
    linear, texel_m = baked.texel_to_world[face][:, :, :2], _texel_m(baked)[face]
    normal = baked.mesh.face_normals()[face]
    directions, free_m = [], []
    steps = np.arange(1, 9) / 4
    for angle in np.pi / 4 * np.arange(4):
        direction = np.array([np.cos(angle), np.sin(angle)])
        free = np.full(len(middle), np.inf)
        for step in (*-steps, *steps):
            col, row = np.floor(middle + step * side[:, None] * direction).astype(int).T
            ok = (row >= 0) & (col >= 0) & (row < gaps.shape[0]) & (col < gaps.shape[1])
            ok &= gaps[np.where(ok, row, 0), np.where(ok, col, 0)]
            free = np.minimum(free, np.where(ok, np.inf, (abs(step) - 0.125) * side))
        free_m.append(free * texel_m)
        directions.append(np.einsum("nij,j->ni", linear, direction))
    texel = np.concatenate([middle, np.ones((len(middle), 1))], -1)
    point = np.einsum("nij,nj->ni", baked.texel_to_world[face], texel)
    corner, crease = baked.mesh.triangles()[face], _creases(baked.mesh)[face]
    for k in range(3):
        along = corner[:, (k + 1) % 3] - corner[:, k]
        inward = np.cross(normal, along)
        inward /= np.maximum(np.linalg.norm(inward, axis=1, keepdims=True), 1e-12)
        off_m = np.abs(np.einsum("ni,ni->n", point - corner[:, k], inward))
        free_m.append(np.where(crease[:, k], off_m, np.inf))
        directions.append(inward)
    direction = np.stack(directions, 1)
    direction -= normal[:, None] * np.einsum("nki,ni->nk", direction, normal)[..., None]
    return direction / np.maximum(np.linalg.norm(direction, axis=-1, keepdims=True), 1e-12), np.stack(free_m, -1)


def _creases(mesh: TriMesh) -> np.ndarray:
    """[F, 3] bool: the edge from corner k to k + 1 ends the surface or bends it."""
    edge = np.sort(np.stack([mesh.faces, np.roll(mesh.faces, -1, 1)], -1).reshape(-1, 2), 1)
    _, group, size = np.unique(edge, axis=0, return_inverse=True, return_counts=True)
    group = group.reshape(-1)
    normal = np.repeat(mesh.face_normals(), 3, 0)
    total = np.stack([np.bincount(group, normal[:, i]) for i in range(3)], -1)
    # Two unit normals add up to two times the cosine of half the angle between them.
    flat = (size == 2) & (np.linalg.norm(total, axis=1) > 2 * np.cos(0.5 * CREASE_RAD))
    return ~flat[group].reshape(-1, 3)


def _discs(
    baked: BakedTexture, gaps: np.ndarray, face: np.ndarray, middle: np.ndarray, side: np.ndarray
) -> GaussianCloud:
    mesh = baked.mesh
    texture_u8, labels = mesh.texture_u8, mesh.face_labels
    assert texture_u8 is not None, "baked textures carry their picture"
    direction, free_m = _limits(baked, gaps, face, middle, side)
    normal = mesh.face_normals()[face]
    each = np.arange(len(face))
    first = direction[each, free_m.argmin(1)]
    second = np.cross(normal, first)
    widest_m = SPREAD * side * _texel_m(baked)[face]
    spreads_m = []
    for axis in (first, second):
        # A limit counts for an axis as far as it lies in its direction.
        towards = np.abs(np.einsum("nki,ni->nk", direction, axis))
        limit_m = np.where(towards > 0.5, EDGE_SPREAD * free_m / np.maximum(towards, 0.5), np.inf).min(1)
        spreads_m.append(np.clip(limit_m, THICKNESS_M, widest_m))
    col, row = np.minimum(middle.astype(int), np.array(gaps.shape[::-1]) - 1).T
    texel = np.concatenate([middle, np.ones((len(middle), 1))], -1)
    return GaussianCloud(
        means=np.einsum("nij,nj->ni", baked.texel_to_world[face], texel).astype(np.float32),
        scales_m=np.stack([*spreads_m, np.full(len(face), THICKNESS_M)], -1).astype(np.float32),
        quats_wxyz=quat_wxyz_from_rotation(np.stack([first, second, normal], -1)).astype(np.float32),
        opacities=np.full(len(face), OPACITY, np.float32),
        sh=sh_from_rgb(texture_u8[row, col] / 255.0),
        labels=(np.zeros(len(face), np.uint8) if labels is None else labels[face].astype(np.uint8)),
    )
