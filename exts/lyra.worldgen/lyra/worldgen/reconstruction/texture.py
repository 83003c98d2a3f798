"""Bake the views into one texture on the surface."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..core.errors import InputError
from ..core.frames import invert_rigid
from ..core.machine import core_count, map_threads
from ..core.mesh import Label, TriMesh
from ..core.optional import require
from ..core.progress import SILENT, SupportsProgress
from ..core.views import SOURCE_PAINTED, SOURCE_PHOTO, SOURCE_WARPED, RgbdView
from .charts import GUTTER_PX, Atlas, make_charts, pack_charts
from .surface_hits import SurfaceHits, cast_views
from .texture_fill import fill_background, fill_unseen

FEATHER_PX = 8.0
"""Width of the transition at the rim of a view or of what it painted [px of the view]."""
UNSEEN_WORTH: dict[int, float] = {Label.FLOOR: 0.5, Label.WALL: 0.5, Label.CEILING: 0.5}
UNSEEN_WORTH_ELSEWHERE = 0.15
"""Texels where no view ever looked, relative to what a view from the nearest eye would give. The room's own surfaces
stay within a factor of two of their seen neighbours, so that both share a chart and blend into each other."""
UNSEEN_LEAST_TEXELS = 2.0
"""Narrow faces that nobody saw have this many texels across, scenery excepted: a strip beside an outline has room for
the colours along it."""
DEPTH_TOLERANCE = 0.004
"""Relative difference of depth up to which a pixel shows the texel's own surface."""
SKY_WORTH = 0.7
"""Texels per metre of sky, relative to other surfaces: it is smooth, and as a dome it would fill the texture."""
FULL_SHARE = 0.5
"""Texels wanted above this share of the texture are taken from the sharpest places first. Shrinking all of it alike
would leave far places without any texels, and charts so small that their gutters fill the texture."""
_TRUST = {SOURCE_PHOTO: 1e9, SOURCE_PAINTED: 1e4, SOURCE_WARPED: 1.0}
"""Steps so large that a lower class only speaks where the higher one fades out or is absent."""


@dataclass(frozen=True, kw_only=True)
class BakedTexture:
    """A textured mesh and how it came about."""

    mesh: TriMesh
    """With uv and texture_u8."""
    charts: int
    texels_per_pixel: float
    """Texels given per photo or view pixel, along one side; below 1 the texture is coarser than its sources."""
    known_share: float
    """Share of used texels that a view saw; the others are filled from around them."""
    face_map: np.ndarray
    """[A, B] int32 face under each texel, -1 outside all charts and in their gutters."""
    known: np.ndarray
    """[A, B] bool: a view saw this texel."""
    texel_to_world: np.ndarray
    """[F, 3, 3]: (x, y, 1) in texels, y down, to the world point."""
    chart: np.ndarray
    """[F] int32 chart of each face."""


def bake_texture(
    mesh: TriMesh,
    views: list[RgbdView],
    *,
    texture_px: int,
    hits: list[SurfaceHits] | None = None,
    progress: SupportsProgress = SILENT,
) -> BakedTexture:
    """Colour the surface from the views: the photo first, then what was painted, then what was warped.

    Args:
        mesh: welded and labelled; split near the cameras (`refine_near`) when it has large faces.
        views: the photo first.
        texture_px: longest side of the texture.
        hits: `cast_views(mesh, views)` if the caller has it already.
        progress: steps are called "looking" and "baking".

    Raises:
        InputError: the mesh has no faces or `texture_px` is too small to be useful.
    """
    if not mesh.face_count:
        raise InputError("mesh has no faces; there is nothing to bake a texture for")
    if not 64 <= texture_px <= 16384:
        raise InputError(f"texture_px is {texture_px}; expected 64 to 16384")
    hits = cast_views(mesh, views, progress=progress) if hits is None else hits
    progress.step("baking", 0, 4, "charts")
    wanted = wanted_density(mesh, views, hits)
    area_m2 = mesh.face_areas_m2()
    density = capped_density(wanted, area_m2, FULL_SHARE * texture_px**2)
    charts = make_charts(
        mesh,
        density,
        eye=views[0].T_world_cam[:3, 3],
        max_side_px=int(0.7 * texture_px),
    )
    atlas = pack_charts(charts, texture_px=texture_px)
    progress.step("baking", 1, 4, "colours")
    face_map, covered = _rasterise(atlas)
    texture, known = _shade(mesh, atlas, face_map, views, hits)
    progress.step("baking", 2, 4, "unseen places")
    known_share = float((known & covered).sum() / max(covered.sum(), 1))
    to_world = texel_to_world(mesh.triangles(), atlas.xy_px)
    fill_unseen(mesh, atlas, face_map, covered, texture, known, to_world)
    fill_background(texture, face_map >= 0)
    progress.step("baking", 4, 4)
    return BakedTexture(
        mesh=replace(mesh, uv=atlas.uv(), texture_u8=texture, vertex_rgb_u8=None),
        charts=len(charts.density_px_m),
        texels_per_pixel=atlas.scale * float(np.sqrt((area_m2 @ density**2) / (area_m2 @ wanted**2))),
        known_share=known_share,
        face_map=np.where(covered, face_map, -1),
        known=known,
        texel_to_world=to_world,
        chart=atlas.chart,
    )


def wanted_density(mesh: TriMesh, views: list[RgbdView], hits: list[SurfaceHits]) -> np.ndarray:
    """Texels per metre [F] that keep what the views know: pixels per metre of the sharpest view of each face.

    Only pixels that add something count (the photo and first paintings); warped copies are worth half their pixels.
    """
    density = np.full(mesh.face_count, 1e-3)
    corner = mesh.triangles()
    labels = np.zeros(mesh.face_count, np.uint8) if mesh.face_labels is None else mesh.face_labels
    of_label = np.where(np.arange(256) == Label.SKY, SKY_WORTH, 1.0)
    unseen_of_label = np.array([UNSEEN_WORTH.get(i, UNSEEN_WORTH_ELSEWHERE) for i in range(256)])
    sharpness, unseen = of_label[labels], (of_label * unseen_of_label)[labels]
    longest_m = np.linalg.norm(np.roll(corner, -1, 1) - corner, axis=2).max(1)
    narrow = UNSEEN_LEAST_TEXELS * longest_m / np.maximum(2 * mesh.face_areas_m2(), 1e-9)
    narrow[np.isin(labels, (Label.SKY, Label.BACKDROP))] = 0.0
    for view, hit in zip(views, hits, strict=True):
        f_px = max(view.camera.fx_px, view.camera.fy_px)
        eye = view.T_world_cam[:3, 3]
        # One density per face and not per pixel keeps neighbouring faces of one plane in one chart.
        nearest_m = np.linalg.norm(corner - eye, axis=2).min(1)
        nearest_m = np.minimum(nearest_m, np.linalg.norm(corner.mean(1) - eye, axis=1))
        here = f_px / np.maximum(nearest_m, 0.2)
        enough = np.minimum(narrow, max(UNSEEN_WORTH.values()) * sharpness * here)
        density = np.maximum(density, np.maximum(unseen * here, enough))
        seen = np.bincount(hit.face[view.valid & (hit.face >= 0)], minlength=mesh.face_count)
        fresh = view.valid & np.isin(view.source, (SOURCE_PHOTO, SOURCE_PAINTED)) & (hit.face >= 0)
        new = np.bincount(hit.face[fresh], minlength=mesh.face_count)
        # A few fresh pixels at the rim of a face do not make its copied rest any sharper.
        worth = np.where(new > 0.1 * seen, 1.0, np.where(seen > 0, 0.5, 0.0)) * sharpness
        density = np.maximum(density, worth * here)
    return density


def capped_density(density_px_m: np.ndarray, area_m2: np.ndarray, texels: float) -> np.ndarray:
    """Densities [F] limited from above until all faces together want no more than so many texels."""
    order = np.argsort(-density_px_m, kind="stable")
    area, square = area_m2[order], density_px_m[order] ** 2
    # With the k sharpest faces at the density of the next one, all want this many texels.
    rest = np.cumsum((area * square)[::-1])[::-1]
    if rest[0] <= texels:
        return density_px_m
    below = np.append(rest[1:], 0.0)
    limit_square = (texels - below) / np.maximum(np.cumsum(area), 1e-30)
    k = int(np.argmax(limit_square >= np.append(square[1:], 0.0)))
    return np.minimum(density_px_m, np.sqrt(limit_square[k]))


def _rasterise(atlas: Atlas) -> tuple[np.ndarray, np.ndarray]:
    """Face of each texel [A, B] (-1: none), gutters included, and which texels lie inside their face."""
    from . import texture_numba

    face_map = np.full((atlas.height_px, atlas.width_px), -1, np.int32)
    inset_px = np.full(face_map.shape, -np.inf, np.float32)
    texture_numba.rasterise(atlas.xy_px, atlas.chart, face_map, inset_px, float(GUTTER_PX) + 0.5)
    return face_map, inset_px >= 0


def _shade(
    mesh: TriMesh, atlas: Atlas, face_map: np.ndarray, views: list[RgbdView], hits: list[SurfaceHits]
) -> tuple[np.ndarray, np.ndarray]:
    from . import texture_numba

    trust = [_trust(view, hit) for view, hit in zip(views, hits, strict=True)]
    size = np.array([(v.camera.width_px, v.camera.height_px) for v in views], np.int64)
    Ts_cam_world = invert_rigid(np.stack([v.T_world_cam for v in views]))
    seen_start, seen_view = _views_per_face(mesh.face_count, hits, trust)
    texture = np.zeros((*face_map.shape, 3), np.uint8)
    known = np.zeros(face_map.shape, bool)
    arguments = (
        texel_to_world(mesh.triangles(), atlas.xy_px),
        mesh.face_normals(),
        seen_start,
        seen_view,
        np.concatenate([[0], np.cumsum(size.prod(1))[:-1]]),
        size,
        np.array([(c.fx_px, c.fy_px, c.cx_px, c.cy_px) for c in (v.camera for v in views)], float),
        np.ascontiguousarray(Ts_cam_world[:, :3, :3]),
        np.ascontiguousarray(Ts_cam_world[:, :3, 3]),
        np.concatenate([v.rgb_u8.reshape(-1, 3) for v in views]),
        np.concatenate([h.depth_z_m.reshape(-1) for h in hits]),
        np.concatenate([t.reshape(-1) for t in trust]),
        DEPTH_TOLERANCE,
    )
    bands = np.linspace(0, len(face_map), 4 * core_count() + 1).astype(int)

    def shade(k: int) -> None:
        rows = slice(bands[k], bands[k + 1])
        texture_numba.shade(face_map[rows], int(bands[k]), *arguments, texture[rows], known[rows])

    # Texels share nothing, so the texture does not depend on who colours which.
    for _ in map_threads(shade, range(len(bands) - 1)):
        pass
    return texture, known


def _trust(view: RgbdView, hit: SurfaceHits) -> np.ndarray:
    """[H, W] float32: how much each pixel's colour counts, fading towards the rim of what the view adds."""
    cv2 = require("cv2", extra="recon", package="opencv-python-headless")
    h, w = view.source.shape
    u, v = np.arange(w) + 0.5, np.arange(h) + 0.5
    rim = np.minimum(np.minimum(u, w - u)[None], np.minimum(v, h - v)[:, None])
    ramp = np.clip(rim / FEATHER_PX, 0.02, 1.0)
    trust = np.zeros((h, w), np.float32)
    for source, level in _TRUST.items():
        mask = view.valid & (view.source == source) & (hit.face >= 0)
        if not mask.any():
            continue
        fade = ramp
        if source == SOURCE_PAINTED:
            inside = cv2.distanceTransform(np.pad(mask, 1, mode="edge").astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
            fade = np.minimum(ramp, np.clip(inside / FEATHER_PX, 0.0, 1.0))
        # The cube of the ramp spans the step to the next class, so the two really meet half way.
        trust[mask] = (level * fade**3)[mask]
    if view.source[0, 0] != SOURCE_PHOTO and not (view.source == SOURCE_PHOTO).any():
        # Where a painted view remembers another surface than the final one, anyone else knows better.
        odd = np.abs(view.depth_z_m - hit.depth_z_m) > 0.05 * np.maximum(hit.depth_z_m, 0.1)
        trust[odd] *= 1e-3
    return trust


def _views_per_face(face_count: int, hits: list[SurfaceHits], trust: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Offsets [F + 1] and view numbers: which views have a trusted pixel on each face."""
    faces, numbers = [], []
    for number, (hit, t) in enumerate(zip(hits, trust, strict=True)):
        seen = np.unique(hit.face[t > 0])
        faces.append(seen)
        numbers.append(np.full(len(seen), number))
    face, view = np.concatenate(faces), np.concatenate(numbers)
    order = np.lexsort((view, face))
    start = np.searchsorted(face[order], np.arange(face_count + 1))
    return start.astype(np.int64), view[order].astype(np.int64)


def texel_to_world(corner: np.ndarray, xy_px: np.ndarray) -> np.ndarray:
    """[F, 3, 3]: (x, y, 1) in texels to the world point on the plane of each face.

    Args:
        corner: [F, 3, 3] corners of the faces in the world [m].
        xy_px: [F, 3, 2] the same corners in the texture, y down.
    """
    a, b = xy_px[:, 1] - xy_px[:, 0], xy_px[:, 2] - xy_px[:, 0]
    det = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    det = np.where(np.abs(det) < 1e-12, 1.0, det)
    inverse = np.stack([np.stack([b[:, 1], -b[:, 0]], -1), np.stack([-a[:, 1], a[:, 0]], -1)], 1) / det[:, None, None]
    # inverse @ (p - p0) gives the weights of the two edges; edges^T @ weights the offset in the world.
    edges = np.stack([corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]], -1)
    linear = edges @ inverse
    origin = corner[:, 0] - np.einsum("fij,fj->fi", linear, xy_px[:, 0])
    return np.concatenate([linear, origin[..., None]], -1)
