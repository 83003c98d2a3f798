"""The colours of an imported mesh: sampled where they are needed, and gathered into one texture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..core.mesh import TriMesh
from ..core.optional import require
from ..core.raycast import sample_texture
from .face_atlas import ColourOf, pack_cells, with_atlas
from .mesh_files import Paint, ReadMesh

NEAREST_SAMPLES = 1_500_000
"""Coloured points of the original from which a simplified mesh takes its colours."""
SIMPLE_TEXTURE_PX = 2048
INSIDE = 1e-3
"""Texture coordinates may leave 0..1 by this much in a picture that is kept as it is."""
FLAT_TEXELS, SHADED_TEXELS = 0.0, 4.0


def colours_of(read: ReadMesh) -> ColourOf:
    """Colours of places on the faces of a file."""
    ends = np.cumsum([len(paint.corner_rgb) for paint in read.paints])

    def colour(face: np.ndarray, bary: np.ndarray) -> np.ndarray:
        rgb = np.empty((len(face), 3))
        owner = np.searchsorted(ends, face, side="right")
        for k in np.unique(owner).tolist():
            rows = owner == k
            paint = read.paints[k]
            local = face[rows] - (ends[k] - len(paint.corner_rgb))
            rgb[rows] = _of_paint(paint, local, bary[rows])
        return rgb

    return colour


def _of_paint(paint: Paint, face: np.ndarray, bary: np.ndarray) -> np.ndarray:
    plain = np.einsum("nk,nkc->nc", bary, paint.corner_rgb[face])
    if paint.picture_u8 is None or paint.uv is None:
        return plain
    uv = np.einsum("nk,nkc->nc", bary, paint.uv[face])
    return plain * sample_texture(paint.picture_u8, np.where(_within(uv), np.clip(uv, 0, 1), uv % 1.0)) / 255


def _within(uv: np.ndarray) -> np.ndarray:
    return np.logical_and.reduce((uv >= -INSIDE) & (uv <= 1 + INSIDE), axis=-1, keepdims=True)


def face_luma(read: ReadMesh) -> np.ndarray:
    """[F] brightness 0..1 in the middle of every face."""
    count = read.face_count
    rgb = colours_of(read)(np.arange(count), np.full((count, 3), 1 / 3))
    return rgb @ (0.299, 0.587, 0.114)


def textured(mesh: TriMesh, read: ReadMesh, kept: np.ndarray, *, texture_px: int) -> TriMesh:
    """A mesh whose faces are some of a file's, with the file's colours in one texture.

    Args:
        mesh: its faces, in the order of `kept`.
        read: the file.
        kept: [F] int index of each face in the file.
        texture_px: largest side of the texture.
    """
    single = _as_it_is(mesh, read, kept, texture_px)
    if single is not None:
        return single
    colour = colours_of(read)
    texels = _wanted_texels(read)[kept]
    cells = pack_cells(mesh, texels, texture_px=texture_px)
    return with_atlas(mesh, cells, lambda face, bary: colour(kept[face], bary))


def _as_it_is(mesh: TriMesh, read: ReadMesh, kept: np.ndarray, texture_px: int) -> TriMesh | None:
    """With the file's own picture and coordinates, where it has a single picture that nothing tints or repeats."""
    if any(p.picture_u8 is None or p.uv is None or not _within(p.uv).all() for p in read.paints):
        return None
    pictures = {id(p.picture_u8): p.picture_u8 for p in read.paints}
    if len(pictures) != 1 or any(np.abs(p.corner_rgb - 1).max(initial=0) > 0.01 for p in read.paints):
        return None
    picture = next(iter(pictures.values()))
    assert picture is not None, "checked above"
    if max(picture.shape[:2]) > 16384:
        return None
    uv = np.concatenate([p.uv for p in read.paints if p.uv is not None])[kept]
    return replace(mesh, uv=np.clip(uv, 0, 1).astype(np.float32), texture_u8=np.ascontiguousarray(picture))


def _wanted_texels(read: ReadMesh) -> np.ndarray:
    """[F] length of every face's longest edge in texels: as its picture has it, few where there is none."""
    parts = []
    for paint in read.paints:
        if paint.picture_u8 is not None and paint.uv is not None:
            size = np.array(paint.picture_u8.shape[1::-1], float)
            edges = (np.roll(paint.uv, -1, 1) - paint.uv) * size
            parts.append(np.linalg.norm(edges, axis=2).max(1))
        else:
            varied = np.ptp(paint.corner_rgb, axis=1).max(1) > 0.02
            parts.append(np.where(varied, SHADED_TEXELS, FLAT_TEXELS))
    return np.concatenate(parts)


def simplified_with_colours(
    vertices: np.ndarray, read: ReadMesh, kept: np.ndarray, *, max_faces: int, texture_px: int, seed: int
) -> TriMesh:
    """Faces of a file reduced to a budget, coloured by the nearest places of the original.

    Args:
        vertices: [N, 3] of the file, in the axes to work in.
        read: the file.
        kept: [F] int faces of the file to reduce.
        max_faces: what to reduce them to.
        texture_px: largest side of the texture.
        seed: of where the original is looked at.
    """
    simplify = require("fast_simplification", extra="recon", package="fast-simplification")
    spatial = require("scipy.spatial", extra="recon", package="scipy")
    full = TriMesh(vertices=vertices, faces=read.faces[kept])
    # Corners that only differ in their texture coordinates would tear open.
    key = np.round((vertices - vertices.min(0)) / max(float(np.ptp(vertices, axis=0).max()), 1e-12) * 1e6).astype(
        np.int64
    )
    _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
    welded = inverse.reshape(-1)[full.faces].astype(np.int32)
    points, faces = simplify.simplify(vertices[first].astype(np.float32), welded, target_count=max_faces, agg=4)
    mesh = TriMesh(vertices=points.astype(np.float64), faces=faces.astype(np.int32))
    mesh = mesh.select_faces(mesh.face_areas_m2() > 0)
    rng = np.random.default_rng([seed, 0x6E656172])
    area = full.face_areas_m2()
    count = min(NEAREST_SAMPLES, 20 * len(area) + 1000)
    at = (np.arange(count) + rng.random()) / count * area.sum()
    face = np.minimum(np.searchsorted(np.cumsum(area), at), len(area) - 1)
    a, b = np.sqrt(rng.random(count)), rng.random(count)
    bary = np.stack([1 - a, a * (1 - b), a * b], -1)
    places = np.einsum("nk,nkc->nc", bary, full.triangles()[face])
    rgb = colours_of(read)(kept[face], bary)
    tree = spatial.cKDTree(places)
    corner = mesh.triangles()

    def colour(face: np.ndarray, bary: np.ndarray) -> np.ndarray:
        _, nearest = tree.query(np.einsum("nk,nkc->nc", bary, corner[face]), workers=-1)
        return rgb[nearest]

    spacing = float(np.sqrt(area.sum() / count))
    longest = np.linalg.norm(np.roll(corner, -1, 1) - corner, axis=2).max(1)
    cells = pack_cells(mesh, longest / max(spacing, 1e-12), texture_px=min(texture_px, SIMPLE_TEXTURE_PX))
    return with_atlas(mesh, cells, colour)
