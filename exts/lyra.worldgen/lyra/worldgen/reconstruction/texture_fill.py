"""Colours for the texels that no view saw: from around them, and over the edges of charts."""

from __future__ import annotations

import numpy as np

from ..core.mesh import TriMesh
from ..core.optional import require
from .charts import Atlas

BACKGROUND_STEP_PX = 4
"""What lies between charts is filled in squares of this size, no larger than a gutter: none touches two charts."""
SEAM_TEXELS = 1.0
"""Texels at the edges of two charts are neighbours up to this distance, in texels of the one and of the other."""
STREAK_M = 0.5
"""A colour is carried straight on into the unseen, and has melted into the colours all around at this distance."""
_WHISPER = np.float32(1e-3)
"""Weight of a face's own colour, which decides where nothing is known for far around."""


def fill_unseen(
    mesh: TriMesh,
    atlas: Atlas,
    face_map: np.ndarray,
    covered: np.ndarray,
    texture: np.ndarray,
    known: np.ndarray,
    texel_to_world: np.ndarray,
) -> None:
    """Give texels that no view saw a colour from around them; changes `texture`.

    Colours come from what was seen in the same chart, and from across its edges where the label is the same there, so
    that a strip between two walls has at each height the colours of these walls. Charts beside none of that go on from
    those filled before; what touches nothing takes the colour of neighbouring faces.

    Args:
        mesh, atlas: as baked.
        face_map: [A, B] face of each texel, gutters included.
        covered: [A, B] bool: inside the face and not in a gutter.
        texture: [A, B, 3].
        known: [A, B] bool: coloured already.
        texel_to_world: [F, 3, 3] (x, y, 1) in texels to the world point.
    """
    base = _face_colours(mesh, face_map, texture, known)
    boxes, texel_m = _chart_boxes(atlas), np.linalg.norm(texel_to_world[:, :, 0], axis=1).astype(np.float32)
    in_chart = atlas.chart[np.maximum(face_map, 0)]

    def fill(c: int, coloured: np.ndarray) -> None:
        box = boxes[c]
        domain = covered[box] & (in_chart[box] == c)
        start = domain & coloured[box]
        missing = domain & ~start
        patch = texture[box]
        colour = patch.astype(np.float32)
        colour[missing] = base[face_map[box][missing]]
        filled = push_pull(colour, start + _WHISPER * missing)[missing]
        if start.any():
            nearest, distance = _nearest(start, missing)
            far = np.clip(distance * texel_m[face_map[box][missing]] / STREAK_M, 0.0, 1.0)[:, None]
            filled = far * filled + (1 - far) * colour.reshape(-1, 3)[nearest]
        patch[missing] = np.clip(filled + 0.5, 0, 255).astype(np.uint8)

    seams = _Seams(mesh, face_map, covered, texel_to_world)
    coloured = known & covered
    todo = np.unique(in_chart[covered & ~known])
    while len(todo):
        start = coloured | seams.carry_over(texture, coloured)
        ready = todo[np.isin(todo, in_chart[start])]
        # Where nothing is near the rest starts from nothing.
        ready = ready if len(ready) else todo
        for c in ready.tolist():
            fill(c, start)
        coloured |= covered & np.isin(in_chart, ready)
        todo = np.setdiff1d(todo, ready)
    _fill_gutters(face_map, covered, texture, known)


class _Seams:
    """Which texels at the edges of charts lie beside which of another chart."""

    def __init__(self, mesh: TriMesh, face_map: np.ndarray, covered: np.ndarray, texel_to_world: np.ndarray) -> None:
        cv2 = require("cv2", extra="recon", package="opencv-python-headless")
        inner = cv2.erode(covered.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) > 0
        self._row, self._col = np.nonzero(covered & ~inner)
        face = face_map[self._row, self._col]
        across = np.stack([self._col + 0.5, self._row + 0.5, np.ones(len(face))], -1)
        self._point = np.einsum("nij,nj->ni", texel_to_world[face], across)
        self._texel_m = np.linalg.norm(texel_to_world[face, :, 0], axis=1)
        self._label = np.zeros(len(face), np.uint8) if mesh.face_labels is None else mesh.face_labels[face]

    def carry_over(self, texture: np.ndarray, coloured: np.ndarray) -> np.ndarray:
        """Copy colours of what is coloured [A, B] over edges to what is not; returns [A, B] bool: where to."""
        scipy_spatial = require("scipy.spatial", extra="recon", package="scipy")
        reached = np.zeros(coloured.shape, bool)
        here = coloured[self._row, self._col]
        for label in np.unique(self._label[~here]).tolist():
            source, target = (np.flatnonzero((self._label == label) & which) for which in (here, ~here))
            if not len(source):
                continue
            distance_m, nearest = scipy_spatial.cKDTree(self._point[source]).query(self._point[target], workers=-1)
            source = source[nearest]
            beside = distance_m < SEAM_TEXELS * (self._texel_m[source] + self._texel_m[target])
            source, target = source[beside], target[beside]
            row, col = self._row[target], self._col[target]
            texture[row, col] = texture[self._row[source], self._col[source]]
            reached[row, col] = True
        return reached


def _chart_boxes(atlas: Atlas) -> list[tuple[slice, slice]]:
    """Rows and columns around each chart."""
    charts = int(atlas.chart.max()) + 1
    low, high = np.full((charts, 2), np.inf), np.full((charts, 2), -np.inf)
    for axis in range(2):
        np.minimum.at(low[:, axis], atlas.chart, atlas.xy_px[..., axis].min(1))
        np.maximum.at(high[:, axis], atlas.chart, atlas.xy_px[..., axis].max(1))
    first = np.maximum(np.floor(low), 0).astype(int)
    last = (np.ceil(high) + 1).astype(int)
    return [(slice(y0, y1), slice(x0, x1)) for (x0, y0), (x1, y1) in zip(first, last, strict=True)]


def _nearest(where: np.ndarray, ask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat index [N] of the true cell of `where` [H, W] nearest to each of `ask`, and how many cells away it is."""
    cv2 = require("cv2", extra="recon", package="opencv-python-headless")
    distance, label = cv2.distanceTransformWithLabels(
        (~where).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    source = np.zeros(int(label.max()) + 1, np.int64)
    source[label[where]] = np.flatnonzero(where)
    return source[label[ask]], distance[ask]


def _fill_gutters(face_map: np.ndarray, covered: np.ndarray, texture: np.ndarray, known: np.ndarray) -> None:
    """Gutters repeat the nearest texel of their chart, which is nearer than any other chart."""
    gutter = (face_map >= 0) & ~covered & ~known
    texture[gutter] = texture.reshape(-1, 3)[_nearest(covered, gutter)[0]]


def fill_background(texture: np.ndarray, used: np.ndarray) -> None:
    """Give the texels between charts the colours around them, for mipmaps whose texels are wider than a gutter.

    Args:
        texture: [A, B, 3] uint8, changed where `used` is false.
        used: [A, B] bool: charts and their gutters.
    """
    cv2 = require("cv2", extra="recon", package="opencv-python-headless")
    h, w = used.shape
    step = BACKGROUND_STEP_PX
    pad = ((0, -h % step), (0, -w % step))
    weight = np.pad(used, pad).astype(np.float32)
    blocks = (weight.shape[0] // step, step, weight.shape[1] // step, step)
    share = weight.reshape(blocks).mean((1, 3))
    coarse = np.empty((*share.shape, 3), np.float32)
    for channel in range(3):
        total = (np.pad(texture[..., channel], pad) * weight).reshape(blocks).mean((1, 3))
        coarse[..., channel] = total / np.maximum(share, 1e-6)
    coarse = push_pull(coarse, (share > 0).astype(np.float32))
    full = cv2.resize(coarse, (weight.shape[1], weight.shape[0]), interpolation=cv2.INTER_NEAREST)[:h, :w]
    texture[~used] = np.clip(full[~used] + 0.5, 0, 255).astype(np.uint8)


def push_pull(colour: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Smooth completion of [H, W, C] float32 colours with weights [H, W] in 0..1 (pull-push over a pyramid)."""
    h, w = weight.shape
    if min(h, w) < 2 or h * w < 16:
        total = float(weight.sum())
        mean = (colour * weight[..., None]).sum((0, 1)) / max(total, 1e-12)
        return np.where((weight > 0.5)[..., None], colour, mean).astype(np.float32)
    padded_c = np.pad(colour * weight[..., None], ((0, h % 2), (0, w % 2), (0, 0)))
    padded_w = np.pad(weight, ((0, h % 2), (0, w % 2)))
    small_c = padded_c[::2, ::2] + padded_c[1::2, ::2] + padded_c[::2, 1::2] + padded_c[1::2, 1::2]
    small_w = padded_w[::2, ::2] + padded_w[1::2, ::2] + padded_w[::2, 1::2] + padded_w[1::2, 1::2]
    mean = small_c / np.maximum(small_w, 1e-12)[..., None]
    coarse = push_pull(mean, np.minimum(small_w, 1.0))
    cv2 = require("cv2", extra="recon", package="opencv-python-headless")
    big = cv2.resize(coarse, (padded_w.shape[1], padded_w.shape[0]), interpolation=cv2.INTER_LINEAR)[:h, :w]
    blend = weight[..., None]
    return (colour * blend + big.reshape(h, w, -1) * (1 - blend)).astype(np.float32)


def _face_colours(mesh: TriMesh, face_map: np.ndarray, texture: np.ndarray, known: np.ndarray) -> np.ndarray:
    """[F, 3] float32: mean seen colour of each face; unseen faces take it from their neighbours, nearest first."""
    faces = face_map[known]
    count = np.bincount(faces, minlength=mesh.face_count).astype(float)
    total = np.stack([np.bincount(faces, texture[..., i][known], mesh.face_count) for i in range(3)], -1)
    colour = total / np.maximum(count, 1)[:, None]
    done = count > 0
    labels = np.zeros(mesh.face_count, np.uint8) if mesh.face_labels is None else mesh.face_labels
    edges = np.sort(np.stack([mesh.faces, np.roll(mesh.faces, -1, 1)], -1).reshape(-1, 2), 1)
    owner = np.repeat(np.arange(mesh.face_count), 3)
    order = np.lexsort((owner, edges[:, 1], edges[:, 0]))
    twin = (edges[order][1:] == edges[order][:-1]).all(1)
    a, b = owner[order][:-1][twin], owner[order][1:][twin]
    a, b = np.concatenate([a, b]), np.concatenate([b, a])
    for same_label in (True, False):
        link = labels[a] == labels[b] if same_label else np.ones(len(a), bool)
        while not done.all():
            use = link & done[b] & ~done[a]
            if not use.any():
                break
            n = np.bincount(a[use], minlength=mesh.face_count)
            mean = np.stack([np.bincount(a[use], colour[b[use], i], mesh.face_count) for i in range(3)], -1)
            fresh = n > 0
            colour[fresh] = mean[fresh] / n[fresh, None]
            done |= fresh
    if done.any():
        colour[~done] = colour[done].mean(0)
    else:
        colour[:] = 127.0
    return colour.astype(np.float32)
