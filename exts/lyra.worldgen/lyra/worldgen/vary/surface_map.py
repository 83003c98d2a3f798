"""Where each texel and each splat of a world lies, and what of it is the surface of a floor, wall, ceiling or object.

Made once for all styles of a world. Light that lies on a surface is told apart from its colour by how fast it changes:
what is smooth over half a metre and more counts as light, and stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..core.mesh import Label, TriMesh
from ..core.optional import require
from ..core.splats import GaussianCloud
from ..reconstruction.texture import texel_to_world

KINDS: Mapping[str, Label] = {
    "floor": Label.FLOOR,
    "wall": Label.WALL,
    "ceiling": Label.CEILING,
    "object": Label.OBJECT,
}
"""Kinds of surfaces that a style may change."""
REACH_PX = 4.5
"""Texels so far outside a face are coloured like it: mipmaps look there."""
LIGHT_CELL_M = 0.5
DARKEST, BRIGHTEST = 0.45, 1.4
"""Limits of the light on a surface over what is usual for its kind."""
NEAR_M = 0.25
"""Splats farther from the mesh belong to no surface and keep their colours."""
LEAST_SHARE = 0.3
"""A colour that covers so much of a kind is one of its own, whatever the others are."""
SAME_HUE = 0.12
SAME_LIGHT = (0.65, 1.45)
"""Colours like the commonest one, lit otherwise: how far red-green and yellow-blue may be off, and limits of the
brightness over that one's. Others are things on the surface, such as doors and curtains."""
RIM_SHARE = 0.15
GLARING = 0.93
"""Colours as bright as this are lamps and windows, unless the surface itself is nearly white."""
CLUSTERS = 6
WITH_THINGS = ("wall", "ceiling")
"""Kinds that doors, windows, lamps and pictures belong to."""
CLEAN_PX = 5
"""Specks that are much narrower than this are neither surface nor thing."""
TURN_RAD = np.pi / 12
"""Walls are laid out along directions that differ by this much, counted from the room's own."""
SAMPLES = 60_000


@dataclass(frozen=True, kw_only=True)
class Places:
    """Points of one kind of surface, N of them: texels or splats."""

    index: np.ndarray
    """[N] int64: texels of the flattened picture, or splats."""
    uv_m: np.ndarray
    """[N, 2] float32 along and down the surface [m]; continuous where a surface is."""
    level: np.ndarray
    """[N] float32: so many metres of the surface is one point wide."""
    share: np.ndarray
    """[N] float32 in 0..1: how much of the point is the surface itself and no thing on it."""
    light: np.ndarray
    """[N] float32: light there over what is usual for the kind, in display values."""
    fine: np.ndarray
    """[N] float32: brightness there over that of its surroundings, in display values."""
    inside: np.ndarray
    """[N] bool: no texel of the rim around a chart."""
    usual_rgb: np.ndarray
    """[3] float32 in 0..1: the surface's own colour where light is as usual."""


@dataclass(frozen=True, kw_only=True)
class SurfaceMap:
    """Texels and splats of a world by kind of surface."""

    texels: Mapping[str, Places]
    splats: Mapping[str, Places]
    overlap: float
    """Texels that the faces take, over those that they cover: above 1 where faces share texels."""


def map_surfaces(mesh: TriMesh, splats: GaussianCloud | None) -> SurfaceMap:
    """Map a textured mesh and the splats of the same world.

    Args:
        mesh: with labels, uv and texture.
        splats: without the sky, or None.
    """
    assert mesh.uv is not None and mesh.texture_u8 is not None and mesh.face_labels is not None
    heading = _heading(mesh)
    face, inside = _face_map(mesh)
    flat = np.flatnonzero(face.ravel() >= 0)
    face_of = face.ravel()[flat]
    label_of = mesh.face_labels[face_of]
    to_world, width_m = texel_to_world(mesh.triangles(), _corners_px(mesh)), _texel_width_m(mesh)
    along = _along(mesh, heading)
    texels, lit = {}, {}
    for kind, label in KINDS.items():
        rows = flat[label_of == label]
        if not len(rows):
            continue
        faces = face_of[label_of == label]
        points = _points(to_world, faces, rows, face.shape[1])
        rgb = mesh.texture_u8.reshape(-1, 3)[rows]
        share = np.ones(len(rows), np.float32)
        if kind in WITH_THINGS:
            picture = np.zeros(face.size, np.float32)
            picture[rows] = _surface_share(rgb, width_m[faces])
            share = _cleaned(picture.reshape(face.shape), label_of == label, flat, face.shape)[rows]
        lit[kind] = _Light(points, rgb, share, width_m[faces])
        light = lit[kind].at(points)
        texels[kind] = Places(
            index=rows,
            uv_m=_laid_out(points, along, faces),
            level=width_m[faces],
            share=share,
            light=light,
            fine=_fine(rgb, light * lit[kind].usual),
            inside=inside.ravel()[rows],
            usual_rgb=lit[kind].usual_rgb,
        )
    on = {} if splats is None else _map_splats(splats, face, to_world, along, texels, lit)
    return SurfaceMap(texels=texels, splats=on, overlap=_texels_taken(mesh) / max(1, int(inside.sum())))


def _map_splats(
    splats: GaussianCloud,
    face: np.ndarray,
    to_world: np.ndarray,
    along: np.ndarray,
    texels: Mapping[str, Places],
    lit: Mapping[str, _Light],
) -> dict[str, Places]:
    """Every splat takes its kind and share from the nearest texel."""
    spatial = require("scipy.spatial", extra="sim", package="scipy")
    columns = face.shape[1]
    seeds, kinds, rows = [], [], []
    for k, kind in enumerate(texels):
        index = texels[kind].index
        # Fine texels are thinned: nothing that is looked up changes over a few centimetres.
        step = np.maximum(np.round(0.02 / np.maximum(texels[kind].level, 1e-4)), 1).astype(np.int64)
        keep = texels[kind].inside & ((index // columns) % step == 0) & ((index % columns) % step == 0)
        chosen = np.flatnonzero(keep)
        seeds.append(_points(to_world, face.ravel()[index[chosen]], index[chosen], columns))
        kinds.append(np.full(len(chosen), k))
        rows.append(chosen)
    tree = spatial.cKDTree(np.concatenate(seeds), balanced_tree=False, compact_nodes=False)
    away, nearest = tree.query(splats.means, distance_upper_bound=NEAR_M)
    found = np.flatnonzero(np.isfinite(away))
    kind_of, row_of = np.concatenate(kinds)[nearest[found]], np.concatenate(rows)[nearest[found]]
    size = np.sort(splats.scales_m, axis=1)[:, 1:].prod(1) ** 0.5
    rgb = (splats.rgb() * 255).astype(np.uint8)
    out = {}
    for k, kind in enumerate(texels):
        index, rows_k = found[kind_of == k], row_of[kind_of == k]
        if not len(index):
            continue
        places = texels[kind]
        points = splats.means[index].astype(np.float32)
        faces = face.ravel()[places.index[rows_k]]
        # A splat is about two deviations wide.
        width = 2 * size[index]
        light = lit[kind].at(points)
        fade = np.clip((NEAR_M - away[index]) / (NEAR_M / 2), 0, 1).astype(np.float32)
        out[kind] = Places(
            index=index,
            uv_m=_laid_out(points, along, faces),
            level=width.astype(np.float32),
            share=places.share[rows_k] * fade,
            light=light,
            fine=_fine(rgb[index], light * lit[kind].usual),
            inside=np.ones(len(index), bool),
            usual_rgb=places.usual_rgb,
        )
    return out


class _Light:
    """Brightness of a surface, smooth in space."""

    def __init__(self, points: np.ndarray, rgb_u8: np.ndarray, share: np.ndarray, width_m: np.ndarray) -> None:
        ndimage = require("scipy.ndimage", extra="sim", package="scipy")
        rng = np.random.default_rng(0x6C69)
        chosen = np.sort(rng.integers(0, len(points), min(len(points), 20 * SAMPLES)))
        value = _brightness(rgb_u8[chosen])
        weight = np.maximum(share[chosen], 1e-3) * width_m[chosen] ** 2
        self._low = points.min(0) - LIGHT_CELL_M
        cell = np.floor((points[chosen] - self._low) / LIGHT_CELL_M).astype(int)
        shape = tuple(np.ceil((points.max(0) - self._low) / LIGHT_CELL_M).astype(int) + 2)
        flat = np.ravel_multi_index(tuple(cell.T), shape)
        size = int(np.prod(shape))
        total = np.bincount(flat, weight * value, size).reshape(shape)
        mass = np.bincount(flat, weight, size).reshape(shape)
        sigma = 1.0
        total, mass = (ndimage.gaussian_filter(a, sigma, mode="constant", truncate=3.0) for a in (total, mass))
        self.usual = float(np.sum(weight * value) / np.sum(weight))
        self.usual_rgb = (weight @ rgb_u8[chosen] / (255 * np.sum(weight))).astype(np.float32)
        grid = np.where(mass > 1e-12, total / np.maximum(mass, 1e-12), self.usual)
        self._grid = (np.clip(grid / max(self.usual, 1e-3), DARKEST, BRIGHTEST)).astype(np.float32)

    def at(self, points: np.ndarray) -> np.ndarray:
        """Light at points [N, 3] over the usual one, [N] float32."""
        ndimage = require("scipy.ndimage", extra="sim", package="scipy")
        where = ((points - self._low) / LIGHT_CELL_M - 0.5).T
        return ndimage.map_coordinates(self._grid, where, order=1, mode="nearest", output=np.float32)


def _brightness(rgb_u8: np.ndarray) -> np.ndarray:
    return (rgb_u8 @ np.array([0.2126, 0.7152, 0.0722], np.float32)) / np.float32(255)


def _fine(rgb_u8: np.ndarray, around: np.ndarray) -> np.ndarray:
    return np.clip(_brightness(rgb_u8) / np.maximum(around, 0.03), 0.25, 2.0).astype(np.float32)


def _surface_share(rgb_u8: np.ndarray, width_m: np.ndarray) -> np.ndarray:
    """[N]: how much each colour is one of those that cover the surface."""
    rng = np.random.default_rng(0x7368)
    weight = width_m.astype(float) ** 2
    chosen = np.searchsorted(np.cumsum(weight) / weight.sum(), rng.random(SAMPLES)).clip(max=len(weight) - 1)
    sample = _opponent(rgb_u8[chosen])
    # Start from evenly ranked brightnesses; the result does not depend on a random start.
    order = np.argsort(sample[:, 0], kind="stable")
    centre = sample[order[((np.arange(CLUSTERS) + 0.5) / CLUSTERS * len(sample)).astype(int)]]
    count = np.ones(CLUSTERS)
    for _ in range(12):
        nearest = ((sample[:, None] - centre) ** 2).sum(-1).argmin(1)
        count = np.bincount(nearest, minlength=CLUSTERS)
        total = np.stack([np.bincount(nearest, sample[:, k], CLUSTERS) for k in range(3)], -1)
        centre = np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], centre)
    cover = count / count.sum()
    main = centre[cover.argmax()]
    over = centre[:, 0] / max(main[0], 0.02)
    alike = (
        (np.linalg.norm((centre - main)[:, 1:], axis=1) < SAME_HUE) & (SAME_LIGHT[0] < over) & (over < SAME_LIGHT[1])
    )
    own = (cover >= LEAST_SHARE) | alike
    own &= (centre[:, 0] < GLARING) | (main[0] > GLARING - 0.05)
    own[cover.argmax()] = True
    things = ~own & ~_mixed(centre, cover, own)
    if not things.any():
        return np.ones(len(rgb_u8), np.float32)
    # By a table of colours: there are fewer of them than texels.
    steps = (np.arange(32) * 8 + 4).astype(np.uint8)
    table = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    apart = np.linalg.norm(_opponent(table)[:, None] - centre, axis=-1)
    # Where surface and thing share a texel its colour lies between theirs.
    from_own, from_things = apart[:, own].min(1), apart[:, things].min(1)
    share = np.clip((0.8 - from_own / (from_own + from_things)) / 0.6, 0, 1).astype(np.float32)
    code = (rgb_u8 >> 3).astype(np.int32)
    return share[(code[:, 0] * 32 + code[:, 1]) * 32 + code[:, 2]]


def _mixed(centre: np.ndarray, cover: np.ndarray, own: np.ndarray) -> np.ndarray:
    """[K] bool: colours that are rare and lie between one of the surface and one of a thing: the rims of things."""
    mixed = np.zeros(len(centre), bool)
    for k in np.flatnonzero(~own & (cover < RIM_SHARE)):
        for a in centre[own]:
            for b in np.delete(centre, k, 0)[~np.delete(own, k)]:
                along = float((centre[k] - a) @ (b - a) / max(float((b - a) @ (b - a)), 1e-9))
                off = float(np.linalg.norm(a + along * (b - a) - centre[k]))
                mixed[k] |= 0.15 < along < 0.85 and off < 0.06
    return mixed


def _cleaned(share: np.ndarray, own: np.ndarray, flat: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """[A * B]: shares without specks, with soft borders; `own` [N] says which of the texels `flat` count."""
    cv2 = require("cv2", extra="recon", package="opencv-python-headless")
    mask = np.zeros(shape[0] * shape[1], np.float32)
    mask[flat[own]] = 1.0
    mask = mask.reshape(shape)
    size = (CLEAN_PX, CLEAN_PX)
    mean = cv2.blur(share, size) / np.maximum(cv2.blur(mask, size), 1e-3)
    return np.clip((mean - 0.15) / 0.7, 0, 1).ravel()


def _opponent(rgb_u8: np.ndarray) -> np.ndarray:
    """Brightness, red against green and yellow against blue, [N, 3] float32."""
    rgb = rgb_u8.astype(np.float32) / 255
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    return np.stack([(r + g + b) / 3, 1.5 * (r - g), 1.5 * ((r + g) / 2 - b)], -1)


def _heading(mesh: TriMesh) -> float:
    """Direction of most walls, modulo a right angle [rad]."""
    normals, area = mesh.face_normals(), mesh.face_areas_m2()
    upright = np.abs(normals[:, 2]) < 0.3
    angle = np.arctan2(normals[upright, 1], normals[upright, 0])
    return float(np.angle(np.sum(area[upright] * np.exp(4j * angle))) / 4) if upright.any() else 0.0


def _along(mesh: TriMesh, heading_rad: float) -> np.ndarray:
    """[F, 2, 3]: directions along and down every face, the same for faces that go on in one another."""
    n = mesh.face_normals()
    level = np.abs(n[:, 2]) > 0.7
    step = np.round((np.arctan2(n[:, 1], n[:, 0]) - heading_rad) / TURN_RAD) * TURN_RAD + heading_rad
    # A wall that is seen from its other side goes on.
    step = np.where(level, heading_rad + np.pi / 2, np.mod(step, np.pi))
    zero = np.zeros(len(n))
    u = np.stack([-np.sin(step), np.cos(step), zero], -1)
    v = np.where(level[:, None], np.stack([np.cos(step), np.sin(step), zero], -1), [0.0, 0.0, -1.0])
    return np.stack([u, v], 1)


def _laid_out(points: np.ndarray, along: np.ndarray, faces: np.ndarray) -> np.ndarray:
    return np.einsum("nij,nj->ni", along.astype(np.float32)[faces], points)


def _corners_px(mesh: TriMesh) -> np.ndarray:
    """[F, 3, 2] texels, y down."""
    assert mesh.uv is not None and mesh.texture_u8 is not None
    h, w = mesh.texture_u8.shape[:2]
    return np.stack([mesh.uv[..., 0] * w, (1 - mesh.uv[..., 1]) * h], -1).astype(np.float64)


def _face_map(mesh: TriMesh) -> tuple[np.ndarray, np.ndarray]:
    """Face under each texel [A, B] int32, -1 far from all, and which texels lie inside their face [A, B] bool."""
    from ..reconstruction import texture_numba

    assert mesh.texture_u8 is not None
    face = np.full(mesh.texture_u8.shape[:2], -1, np.int32)
    inset = np.full(face.shape, -np.inf, np.float32)
    texture_numba.rasterise(_corners_px(mesh), np.zeros(mesh.face_count, np.int64), face, inset, REACH_PX)
    return face, inset >= 0


def _face_texels(mesh: TriMesh) -> np.ndarray:
    """[F] texels of each face."""
    xy = _corners_px(mesh)
    a, b = xy[:, 1] - xy[:, 0], xy[:, 2] - xy[:, 0]
    return np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2


def _texels_taken(mesh: TriMesh) -> float:
    """Of all faces, those below a texel left out: no texel's middle lies in them."""
    texels = _face_texels(mesh)
    return float(texels[texels >= 1].sum())


def _texel_width_m(mesh: TriMesh) -> np.ndarray:
    """[F] float32: side of a texel on the surface [m]."""
    texels = _face_texels(mesh)
    return np.sqrt(mesh.face_areas_m2() / np.maximum(texels, 1e-6)).clip(1e-4, 10).astype(np.float32)


def _points(to_world: np.ndarray, faces: np.ndarray, index: np.ndarray, columns: int) -> np.ndarray:
    """World points [N, 3] float32 of texels."""
    x, y = (index % columns + 0.5).astype(np.float32), (index // columns + 0.5).astype(np.float32)
    M = to_world.astype(np.float32)[faces]
    return M[..., 0] * x[:, None] + M[..., 1] * y[:, None] + M[..., 2]
