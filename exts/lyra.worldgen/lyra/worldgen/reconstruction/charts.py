"""Faces to flat charts, each with its own texel density, and charts to one atlas."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.errors import BackendError
from ..core.mesh import Label, TriMesh
from ..core.optional import require

GUTTER_PX = 4
"""Texels around each chart that belong to it, so that mipmaps and bilinear lookups never see its neighbours."""
PACKING_GRID_PX = 2
"""Charts are placed on a grid of so many texels, which quarters the packer's work."""
SMALL_FACES = 16
"""Charts of no more faces than this are joined to a neighbour if that works."""
_MOST_TRIES = 6
_LEAST_DENSITY = 0.8
"""A chart joins none that would take a fifth of its texels per metre, or twice as many as it needs."""
_MAX_FOLD_COS = float(np.cos(np.radians(50)))
_SETTLE_S = 0.03
"""Time for the threads of xatlas to fall asleep before they are told to end."""


@dataclass(frozen=True, kw_only=True)
class Charts:
    """Pieces of surface laid flat without stretching."""

    chart: np.ndarray
    """[F] int32 chart of each face."""
    xy_m: np.ndarray
    """[F, 3, 2] float64 corners in the plane of the chart [m]."""
    density_px_m: np.ndarray
    """[C] wanted texels per metre."""


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """Where each face lies in the texture."""

    xy_px: np.ndarray
    """[F, 3, 2] float64 corners, x to the right and y down, texel centres at +0.5."""
    chart: np.ndarray
    """[F] int32."""
    width_px: int
    height_px: int
    scale: float
    """Texels given per texel wanted."""

    def uv(self) -> np.ndarray:
        """[F, 3, 2] float32 texture coordinates with v = 1 in row 0."""
        u = self.xy_px[..., 0] / self.width_px
        v = 1.0 - self.xy_px[..., 1] / self.height_px
        return np.clip(np.stack([u, v], -1), 0.0, 1.0).astype(np.float32)


def make_charts(mesh: TriMesh, density_px_m: np.ndarray, *, eye: np.ndarray, max_side_px: int) -> Charts:
    """Cut a welded mesh into charts whose faces want similar densities.

    Flat pieces and strips that fold like paper (walls around corners) are unrolled exactly; a sky dome becomes one disc
    around the zenith; what does neither is left to xatlas.

    Args:
        mesh: welded, labelled.
        density_px_m: [F] wanted texels per metre.
        eye: [3] where a sky dome is seen from.
        max_side_px: no chart grows longer than this.
    """
    chart = np.full(mesh.face_count, -1, np.int32)
    xy_m = np.zeros((mesh.face_count, 3, 2))
    densities: list[float] = []
    neighbour, cosine = _neighbours(mesh)
    for dome in _domes(mesh, neighbour, cosine):
        offset = mesh.triangles()[dome] - eye
        radius = np.linalg.norm(offset, axis=2)
        polar = np.arccos(np.clip(offset[..., 2] / np.maximum(radius, 1e-9), -1, 1))
        azimuth = np.arctan2(offset[..., 1], offset[..., 0])
        mean_m = float(radius.mean())
        # Seen from the inside: y grows to the left of x, so azimuth runs clockwise on the sheet.
        xy_m[dome] = mean_m * polar[..., None] * np.stack([np.cos(azimuth), -np.sin(azimuth)], -1)
        chart[dome] = len(densities)
        densities.append(float(density_px_m[dome].max()))
    dome_count = len(densities)
    densities = _unfold(mesh, density_px_m, neighbour, cosine, chart, xy_m, densities, max_side_px)
    flat_faces = int(np.bincount(chart, minlength=1).max()) if mesh.face_count else 0
    if mesh.face_count > 4000 and len(densities) > 0.25 * mesh.face_count and flat_faces < 0.5 * mesh.face_count:
        return _xatlas_charts(mesh, density_px_m)
    charts = Charts(chart=chart, xy_m=xy_m, density_px_m=np.array(densities))
    return merge_small_charts(mesh, charts, neighbour, keep=dome_count, max_side_px=max_side_px)


def merge_small_charts(mesh: TriMesh, charts: Charts, neighbour: np.ndarray, *, keep: int, max_side_px: int) -> Charts:
    """Charts of few faces unrolled onto a neighbour of their label, over any fold, where they overlap nothing.

    A sharp corner stays exact when it is laid flat, like every fold. What small charts cost are gutters, which are as
    large as they are, and coarser copies of the mesh, whose vertices may not cross an outline.

    Args:
        mesh: as charted.
        charts: every face has one.
        neighbour: [F, 3] face across each edge, -1 for none.
        keep: so many first charts are left alone.
        max_side_px: no chart grows longer than this.
    """
    chart, xy_m, density = charts.chart.copy(), charts.xy_m.copy(), charts.density_px_m
    labels = np.zeros(len(chart), np.uint8) if mesh.face_labels is None else mesh.face_labels
    members = {c: list(np.flatnonzero(chart == c)) for c in np.flatnonzero(np.bincount(chart) <= SMALL_FACES).tolist()}
    members = {c: faces for c, faces in members.items() if c >= keep}
    corner = mesh.triangles()
    length = np.linalg.norm(np.roll(corner, -1, 1) - corner, axis=2)
    for c in sorted(members, key=lambda c: (len(members[c]), c)):
        mine = np.flatnonzero(chart == c)
        if not 0 < len(mine) <= SMALL_FACES:
            continue
        f, k = np.nonzero(neighbour[mine] >= 0)
        f = mine[f]
        g = neighbour[f, k]
        other = chart[g]
        ok = (other != c) & (other >= keep) & (labels[f] == labels[g])
        ok &= (density[other] >= _LEAST_DENSITY * density[c]) & (density[other] <= density[c] / _LEAST_DENSITY**3)
        edges = sorted(zip(-length[f, k][ok], f[ok].tolist(), k[ok].tolist(), g[ok].tolist(), strict=True))
        for _, face, side, across in edges[:_MOST_TRIES]:
            placed = _laid_beside(mesh.faces, xy_m, mine, face, side, across)
            target = int(chart[across])
            theirs = np.flatnonzero(chart == target)
            both = np.concatenate([placed.reshape(-1, 2), xy_m[theirs].reshape(-1, 2)])
            if placed.size == 0 or np.ptp(both, 0).max() * max(density[target], 1e-6) > max_side_px:
                continue
            # A box that grows by more than the chart and its gutters would take alone is space lost to the packer.
            grown_px2 = (np.ptp(both, 0).prod() - np.ptp(xy_m[theirs].reshape(-1, 2), 0).prod()) * density[target] ** 2
            alone_px = np.ptp(xy_m[mine].reshape(-1, 2), 0) * density[c] + 2 * GUTTER_PX
            if grown_px2 > alone_px.prod():
                continue
            if not overlap(placed, xy_m[theirs]):
                xy_m[mine], chart[mine] = placed, target
                break
    used, chart = np.unique(chart, return_inverse=True)
    return Charts(chart=chart.reshape(-1).astype(np.int32), xy_m=xy_m, density_px_m=density[used])


def _laid_beside(
    faces: np.ndarray, xy_m: np.ndarray, mine: np.ndarray, face: int, side: int, across: int
) -> np.ndarray:
    """Corners [n, 3, 2] of the faces `mine`, moved so that an edge lies on the same edge of another chart's face.

    Empty where the two faces do not go round the edge in opposite directions.
    """
    a, b = faces[face, side], faces[face, (side + 1) % 3]
    at = [int(np.flatnonzero(faces[across] == v)[0]) for v in (a, b)]
    if (at[1] + 1) % 3 != at[0]:
        return np.zeros((0, 3, 2))
    own, wanted = xy_m[face, [side, (side + 1) % 3]], xy_m[across, at]
    old, new = own[1] - own[0], wanted[1] - wanted[0]
    scale = np.hypot(*old) * np.hypot(*new)
    if scale <= 0:
        return np.zeros((0, 3, 2))
    cos, sin = (old @ new) / scale, (old[0] * new[1] - old[1] * new[0]) / scale
    turn = np.array([[cos, -sin], [sin, cos]])
    return (xy_m[mine] - own[0]) @ turn.T + wanted[0]


def overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether any triangle of a [N, 3, 2] shares area with one of b [M, 3, 2]: no edge separates them."""
    b = b[((b.max(1) > a.min((0, 1))) & (b.min(1) < a.max((0, 1)))).all(1)]
    if not len(b):
        return False
    separate = np.zeros((len(a), len(b)), bool)
    for first, second, flip in ((a, b, False), (b, a, True)):
        along = np.roll(first, -1, 1) - first
        size = np.maximum(np.linalg.norm(along, axis=2), 1e-12)
        normal = np.stack([along[..., 1], -along[..., 0]], -1) / size[..., None]
        own = np.einsum("nkc,nic->nki", normal, first)
        theirs = np.einsum("nkc,mic->nmki", normal, second)
        slack = 1e-3 * size[:, None]
        apart = (theirs.min(3) >= own.max(2)[:, None] - slack) | (theirs.max(3) <= own.min(2)[:, None] + slack)
        separate |= apart.any(2).T if flip else apart.any(2)
    return bool((~separate).any())


def pack_charts(charts: Charts, *, texture_px: int, oversample: float = 1.25) -> Atlas:
    """Place the charts in one texture, shrinking all of them alike until they fit.

    Args:
        charts: what to place.
        texture_px: longest side of the texture.
        oversample: texels per wanted texel where there is room for them.

    Raises:
        BackendError: not even strongly reduced charts fit.
    """
    if len(charts.density_px_m) == 0:
        return Atlas(xy_px=np.zeros((0, 3, 2)), chart=charts.chart, width_px=8, height_px=8, scale=oversample)
    wanted = _level(charts) * charts.density_px_m[charts.chart][:, None, None]
    area_px = float(_areas(wanted).sum())
    # Packed charts usually cover about two thirds of their atlas.
    scale = min(oversample, texture_px * np.sqrt(0.68 / max(area_px, 1e-9)))
    for _ in range(40):
        placed = _pack_once(wanted * scale, charts.chart)
        if placed is not None:
            xy_px, width_px, height_px = placed
            if max(width_px, height_px) <= texture_px:
                return Atlas(xy_px=xy_px, chart=charts.chart, width_px=width_px, height_px=height_px, scale=scale)
            scale *= min(0.97, 1.01 * texture_px / max(width_px, height_px))
        else:
            scale *= 0.8
    raise BackendError(f"{len(charts.density_px_m)} charts do not fit a texture of {texture_px} px; raise texture_px")


def _neighbours(mesh: TriMesh) -> tuple[np.ndarray, np.ndarray]:
    """Face across each edge [F, 3] (-1: none) and the cosine of the fold between the two normals [F, 3].

    Where more than two faces meet in an edge, the one that continues most smoothly is the neighbour.
    """
    n = len(mesh.vertices)
    faces = mesh.faces.astype(np.int64)
    forward = (faces * n + np.roll(faces, -1, 1)).reshape(-1)
    backward = (np.roll(faces, -1, 1) * n + faces).reshape(-1)
    order = np.argsort(forward, kind="stable")
    sorted_keys = forward[order]
    start = np.searchsorted(sorted_keys, backward)
    normals = mesh.face_normals()
    own = np.repeat(np.arange(len(faces)), 3)
    neighbour = np.full(len(own), -1, np.int64)
    cosine = np.full(len(own), -2.0)
    for k in range(4):
        at = np.minimum(start + k, len(sorted_keys) - 1)
        match = (start + k < len(sorted_keys)) & (sorted_keys[at] == backward)
        if not match.any():
            break
        other = order[at] // 3
        c = np.where(match, np.einsum("ij,ij->i", normals[own], normals[other]), -2.0)
        better = c > cosine
        neighbour[better], cosine[better] = other[better], c[better]
    return neighbour.reshape(-1, 3), cosine.reshape(-1, 3)


def _domes(mesh: TriMesh, neighbour: np.ndarray, cosine: np.ndarray) -> list[np.ndarray]:
    """Connected groups of sky faces that curve in two directions."""
    if mesh.face_labels is None:
        return []
    csgraph = require("scipy.sparse.csgraph", extra="recon", package="scipy")
    sparse = require("scipy.sparse", extra="recon", package="scipy")
    sky = mesh.face_labels == Label.SKY
    if not sky.any():
        return []
    row, k = np.nonzero((neighbour >= 0) & sky[:, None])
    col = neighbour[row, k]
    both = sky[col]
    graph = sparse.coo_matrix((np.ones(both.sum()), (row[both], col[both])), (len(sky), len(sky)))
    _, group = csgraph.connected_components(graph, directed=False)
    normals = mesh.face_normals()
    domes = []
    for g in np.unique(group[sky]):
        members = np.flatnonzero(sky & (group == g))
        spread = np.linalg.svd(normals[members] - normals[members].mean(0), compute_uv=False)
        curved = len(members) >= 8 and len(spread) == 3 and spread[2] > 0.05 * np.sqrt(len(members))
        # Normals of a dome surround the zenith; a single sloping sheet of sky is unrolled like a wall.
        if curved and np.ptp(normals[members], 0)[:2].min() > 0.5:
            domes.append(members)
    return domes


def _unfold(
    mesh: TriMesh,
    density_px_m: np.ndarray,
    neighbour: np.ndarray,
    cosine: np.ndarray,
    chart: np.ndarray,
    xy_m: np.ndarray,
    densities: list[float],
    max_side_px: int,
) -> list[float]:
    """Grow charts face by face across folds below 50 degrees; fills `chart` and `xy_m`, returns all densities."""
    corner = mesh.triangles()
    edge = np.roll(corner, -1, 1) - corner
    length = np.linalg.norm(edge, axis=2)
    unit = edge / np.maximum(length, 1e-12)[..., None]
    to_third = np.roll(corner, -2, 1) - corner
    along = np.einsum("fki,fki->fk", to_third, unit)
    aside = np.sqrt(np.maximum(np.einsum("fki,fki->fk", to_third, to_third) - along**2, 0.0))
    faces, labels = mesh.faces.tolist(), mesh.face_labels if mesh.face_labels is not None else np.zeros(len(chart))
    nb, cs, ln, al, asd = neighbour.tolist(), cosine.tolist(), length.tolist(), along.tolist(), aside.tolist()
    want, lab = density_px_m.tolist(), labels.tolist()
    normals = mesh.face_normals()
    for seed in np.lexsort((np.arange(len(chart)), -np.round(density_px_m, 6))).tolist():
        if chart[seed] >= 0:
            continue
        number, density = len(densities), max(want[seed], 1e-6)
        limit_m = max_side_px / density
        p0, p1, p2 = _upright(corner[seed], normals[seed])
        placed = {seed: (p0, p1, p2)}
        spots: dict[int, list[tuple[float, float]]] = {}
        low, high = [min(p[i] for p in (p0, p1, p2)) for i in (0, 1)], [max(p[i] for p in (p0, p1, p2)) for i in (0, 1)]
        for vertex, p in zip(faces[seed], placed[seed], strict=True):
            spots.setdefault(vertex, []).append(p)
        chart[seed] = number
        queue = deque([seed])
        while queue:
            f = queue.popleft()
            for k in range(3):
                g = nb[f][k]
                if g < 0 or chart[g] >= 0 or cs[f][k] < _MAX_FOLD_COS or lab[g] != lab[f]:
                    continue
                if want[g] < 0.5 * density:
                    continue
                a, b = faces[f][k], faces[f][(k + 1) % 3]
                j = faces[g].index(b)
                if faces[g][(j + 1) % 3] != a:
                    continue
                pa, pb = placed[f][k], placed[f][(k + 1) % 3]
                # In g the shared edge runs b -> a; its third corner lies to the left of that direction.
                size = ln[g][j] or 1e-12
                ex, ey = (pa[0] - pb[0]) / size, (pa[1] - pb[1]) / size
                t, h = al[g][j], asd[g][j]
                pc = (pb[0] + t * ex - h * ey, pb[1] + t * ey + h * ex)
                new_low = [min(low[0], pc[0]), min(low[1], pc[1])]
                new_high = [max(high[0], pc[0]), max(high[1], pc[1])]
                if max(new_high[0] - new_low[0], new_high[1] - new_low[1]) > limit_m:
                    continue
                third = faces[g][(j + 2) % 3]
                known = spots.get(third)
                if known:
                    gap = min(abs(pc[0] - q[0]) + abs(pc[1] - q[1]) for q in known)
                    # The same vertex may lie twice in a chart where a closed ring was cut open, but never almost twice:
                    # that means the surface does not unroll without stretching.
                    if 1e-3 + 0.01 * size < gap < 4 * max(ln[g]):
                        continue
                trio: list[tuple[float, float]] = [(0.0, 0.0)] * 3
                trio[j], trio[(j + 1) % 3], trio[(j + 2) % 3] = pb, pa, pc
                placed[g] = (trio[0], trio[1], trio[2])
                spots.setdefault(third, []).append(pc)
                low, high = new_low, new_high
                chart[g] = number
                queue.append(g)
        members = list(placed)
        xy_m[members] = [placed[f] for f in members]
        densities.append(density)
    return densities


def _upright(triangle: np.ndarray, normal: np.ndarray) -> tuple[tuple[float, float], ...]:
    """A triangle in its own plane, x level and y up where the plane is not level, seen from its front."""
    up = np.array([0.0, 0.0, 1.0])
    y = up - normal * (up @ normal)
    y = y / np.linalg.norm(y) if np.linalg.norm(y) > 1e-3 else np.array([0.0, 1.0, 0.0])
    x = np.cross(y, normal)
    flat = (triangle - triangle[0]) @ np.stack([x, y], 1)
    return tuple((float(p[0]), float(p[1])) for p in flat)


def _areas(xy: np.ndarray) -> np.ndarray:
    a, b = xy[:, 1] - xy[:, 0], xy[:, 2] - xy[:, 0]
    return 0.5 * np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def _level(charts: Charts) -> np.ndarray:
    """Corners with every chart turned to the angle where its bounding box is smallest."""
    xy = charts.xy_m.copy()
    order = np.argsort(charts.chart, kind="stable")
    bounds = np.searchsorted(charts.chart[order], np.arange(len(charts.density_px_m) + 1))
    angles = np.radians(np.arange(0, 90, 5))
    cos, sin = np.cos(angles), np.sin(angles)
    for c in range(len(charts.density_px_m)):
        rows = order[bounds[c] : bounds[c + 1]]
        points = xy[rows].reshape(-1, 2)
        x = np.outer(points[:, 0], cos) - np.outer(points[:, 1], sin)
        y = np.outer(points[:, 0], sin) + np.outer(points[:, 1], cos)
        area = np.ptp(x, 0) * np.ptp(y, 0)
        # Upright wins a near tie: level texels keep level lines crisp.
        best = int(np.argmin(np.where(np.arange(len(angles)) == 0, area * 0.98, area)))
        xy[rows] = np.stack([x[:, best], y[:, best]], -1).reshape(-1, 3, 2)
    return xy


@contextmanager
def _workspace() -> Iterator[Any]:
    """An `xatlas.Atlas` whose end does not hang.

    Its destructor wakes its threads without holding their lock: one that has looked for work and not yet gone to sleep
    misses that, and the destructor waits for it for ever.
    """
    atlas = require("xatlas", extra="recon").Atlas()
    try:
        yield atlas
    finally:
        time.sleep(_SETTLE_S)


def _pack_once(xy_px: np.ndarray, chart: np.ndarray) -> tuple[np.ndarray, int, int] | None:
    """Corners in the atlas, its width and height; None if xatlas needed a second page."""
    xatlas = require("xatlas", extra="recon")
    low = np.full((int(chart.max()) + 1, 2), np.inf)
    high = -low
    for axis in range(2):
        np.minimum.at(low[:, axis], chart, xy_px[..., axis].min(1))
        np.maximum.at(high[:, axis], chart, xy_px[..., axis].max(1))
    # xatlas finds charts by shared coordinates, so they must not touch on the way in.
    xy_px, low, high = (array / PACKING_GRID_PX for array in (xy_px, low, high))
    pitch = float((high - low).max()) + 16.0
    columns = int(np.ceil(np.sqrt(len(low))))
    cell = np.stack([np.arange(len(low)) % columns, np.arange(len(low)) // columns], -1) * pitch
    spread = xy_px - low[chart][:, None] + cell[chart][:, None]
    key = np.concatenate([np.repeat(chart, 3)[:, None], np.round(spread.reshape(-1, 2) * 64)], 1).astype(np.int64)
    _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
    options = xatlas.PackOptions()
    options.padding = -(-2 * GUTTER_PX // PACKING_GRID_PX)
    options.texels_per_unit = 1.0
    options.resolution = 0
    options.rotate_charts = False
    options.create_image = False
    with _workspace() as atlas:
        atlas.add_uv_mesh(spread.reshape(-1, 2)[first].astype(np.float32), inverse.reshape(-1, 3).astype(np.uint32))
        atlas.generate(xatlas.ChartOptions(), options, False)
        if atlas.atlas_count != 1:
            return None
        _, indices, uv = atlas.get_mesh(0)
        size = np.array([atlas.width, atlas.height])
    # A margin keeps the gutter of charts at the rim inside the texture.
    width, height = (size * PACKING_GRID_PX + 2 * GUTTER_PX).tolist()
    placed = uv[indices.reshape(-1, 3)].astype(np.float64) * size
    # float32 coordinates from xatlas shift corners by thousandths of a texel; only the chart's offset is taken from it.
    order = np.argsort(chart, kind="stable")
    start = np.searchsorted(chart[order], np.arange(len(low)))
    lead = order[start]
    offset = (placed - spread).mean(1)[lead]
    flat = spread + offset[chart][:, None]
    if np.abs(flat - placed).max() > 0.25:
        flat = placed
    flat = flat * PACKING_GRID_PX + GUTTER_PX
    return np.stack([flat[..., 0], height - flat[..., 1]], -1), width, height


def _xatlas_charts(mesh: TriMesh, density_px_m: np.ndarray) -> Charts:
    """Charts of a free-form surface, each scaled to its true area."""
    sparse = require("scipy.sparse", extra="recon", package="scipy")
    csgraph = require("scipy.sparse.csgraph", extra="recon", package="scipy")
    with _workspace() as atlas:
        atlas.add_mesh(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
        atlas.generate()
        _, indices, uv = atlas.get_mesh(0)
    indices = indices.reshape(-1, 3).astype(np.int64)
    edge = np.concatenate([indices[:, :2], indices[:, 1:]])
    graph = sparse.coo_matrix((np.ones(len(edge)), (edge[:, 0], edge[:, 1])), (len(uv), len(uv)))
    _, group = csgraph.connected_components(graph, directed=False)
    chart = np.unique(group[indices[:, 0]], return_inverse=True)[1].reshape(-1).astype(np.int32)
    xy = uv[indices].astype(np.float64)
    count = int(chart.max()) + 1
    flat = np.bincount(chart, _areas(xy), count)
    true = np.bincount(chart, mesh.face_areas_m2(), count)
    scale = np.sqrt(true / np.maximum(flat, 1e-18))
    density = np.zeros(count)
    np.maximum.at(density, chart, density_px_m)
    return Charts(chart=chart, xy_m=xy * scale[chart][:, None, None], density_px_m=density)
