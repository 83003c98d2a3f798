"""Lift the pixels of the views to Gaussians that lie on the surface."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..core.frames import quat_wxyz_from_rotation, rotate_vectors, rotation_from_quat_wxyz, transform_points
from ..core.machine import map_threads
from ..core.mesh import Label, TriMesh
from ..core.optional import require
from ..core.progress import SILENT, SupportsProgress
from ..core.sh import SH_C0
from ..core.splats import GaussianCloud, join_splats, sh_from_rgb
from ..core.views import SOURCE_PAINTED, SOURCE_PHOTO, RgbdView
from .splat_render import BLUR_PX2, blend_splats, gather_splats, project_splats
from .surface_hits import SurfaceHits

SPREAD_PX = {SOURCE_PHOTO: 0.6, SOURCE_PAINTED: 0.7}
"""Standard deviation of a splat in its own view [pixels]; wider closes gaps better when one steps nearer, but blurs."""
MERGED_SPREAD = 0.8
"""Standard deviation of a merged splat, relative to its block: no low-pass of the renderer helps to close its gaps."""
SHARPEN = 0.5
"""Share of the blur of splats and of the renderer's low-pass that is taken back before lifting."""
OVERSTEP = 1.6
"""Share of the residual that one round of colour fitting takes back; SIRT converges below 2."""
PHOTO_MERGE_WEIGHT = 60.0
"""How much more an error in the photo counts than one in a painted view when splats are merged."""
MAX_ELONGATION = 8.0
MIN_THICKNESS_M, MAX_THICKNESS_M = 0.0005, 0.003
"""Thicker, large splats would stand out of their wall by more than robots may be wrong about it."""
OPACITY = {SOURCE_PHOTO: 0.99, SOURCE_PAINTED: 0.97}
DAMPING = 0.3
"""Pixels of weight that hold the colour of every splat while colours are fitted: what hardly shows in the one view that
is fitted would else take any colour, and other views see it."""
LARGEST_FIT = 0.5
"""Most that fitting changes a colour, of 1."""
LONGEST_M = 0.08
"""Standard deviations that no splat of a surface exceeds while the budget allows [m].

A robot comes within arm's length of floor that the photo saw from afar, and of walls that were seen at a low angle.
Splats as large as their distance to the camera are drawn wrongly by every renderer that projects them linearly, and
cover half of its picture."""
LONGEST_RAD, LONGEST_FAR_M = 0.012, 0.15
"""Seen from farther away the limit is this angle, up to another length [m]: the budget is needed near by."""
_TOO_LONG = 3 * 255.0**2
"""Cost of merging into a splat that is too long, times how much; no difference in colour costs as much."""
_RIM = 1200.0
"""Cost of four pixels that become one splat beside an outline; of larger blocks in proportion to their area."""
_MOST_PIECES = 24
_BEND, _STEP_SHARE, _STEP_M = 0.1, 0.02, 0.02
"""Neighbouring blocks go on in one another when their normals and their planes' offsets differ by less than this."""
_LEVELS = 4
"""Blocks of up to 2^4 pixels a side may become one splat when the budget demands it."""


@dataclass(frozen=True, kw_only=True)
class LiftedSplats:
    """A cloud that remembers where it came from."""

    splats: GaussianCloud
    view: np.ndarray
    """[N] int32 index of the view that each splat was lifted from."""
    pixels: int
    """Pixels that were lifted before merging."""
    duplicates: int
    """Pixels left out because a better view shows the same spot."""

    def with_more(self, more: GaussianCloud) -> LiftedSplats:
        """With splats added that come from no view (their view is -1)."""
        owner = np.concatenate([self.view, np.full(len(more), -1, np.int32)])
        return replace(self, splats=join_splats([self.splats, more]), view=owner)

    def without(self, drop: np.ndarray) -> LiftedSplats:
        """Without the splats that a mask [N] names."""
        return replace(self, splats=self.splats.take(~drop), view=self.view[~drop])


def lift_splats(
    mesh: TriMesh,
    views: list[RgbdView],
    hits: list[SurfaceHits],
    *,
    budget: int,
    progress: SupportsProgress = SILENT,
) -> LiftedSplats:
    """One Gaussian per pixel of the photo and of everything painted for the first time, laid onto the surface.

    Where several views claim one spot, the photo wins, then the finest view. Above the budget, flat-coloured blocks of
    pixels share one larger splat, the least visible merges first.

    Args:
        mesh: the surface, for normals.
        views: the photo first.
        hits: `cast_views(mesh, views)`.
        budget: most Gaussians.
        progress: one step per view, called "lifting".
    """
    normals_world = mesh.face_normals()
    usable = [
        v.valid & np.isin(v.source, (SOURCE_PHOTO, SOURCE_PAINTED)) & ((h.depth_z_m > 0) | (v.depth_z_m > 0))
        for v, h in zip(views, hits, strict=True)
    ]
    pixels = int(sum(m.sum() for m in usable))
    usable = _without_duplicates(views, hits, usable)
    kept = int(sum(m.sum() for m in usable))
    each = list(zip(views, hits, usable, strict=True))
    costs = list(map_threads(lambda one: _merge_costs(*one, normals_world), each))
    threshold = _merge_threshold(costs, kept, budget)

    def lift(threshold: float) -> tuple[GaussianCloud, np.ndarray]:
        parts, owners = [], []
        lifted = map_threads(lambda i: _lift_view(views[i], costs[i], threshold), range(len(views)))
        for i, part in enumerate(progress.track("lifting", lifted, len(views))):
            parts.append(part)
            owners.append(np.full(len(part), i, np.int32))
        return join_splats(parts), np.concatenate(owners)

    cloud, owner = lift(threshold)
    longest_m = _longest_m(cloud, owner, views)
    excess = len(cloud) + int((_pieces(cloud, longest_m).prod(1) - 1).sum()) - budget
    if excess > 0 and np.isfinite(threshold):
        # Room for the pieces that long splats are cut into; at most a quarter of the budget goes to them.
        cloud, owner = lift(_merge_threshold(costs, kept, budget - min(excess, budget // 4)))
    if len(cloud) > budget:
        cloud, owner = _thin_out(cloud, owner, budget)
    cloud, owner = _cut_long(cloud, owner, budget, _longest_m(cloud, owner, views))
    return LiftedSplats(splats=cloud, view=owner, pixels=pixels, duplicates=pixels - kept)


def fit_colours(
    lifted: LiftedSplats, view: RgbdView, view_index: int, *, rounds: int = 6, progress: SupportsProgress = SILENT
) -> LiftedSplats:
    """Adjust the colours of the splats of one view until their rendering reproduces it.

    Rendering is linear in colour, so each round adds the residual through the transposed blending weights (SIRT); a few
    rounds take back the blur without ringing. Splats that hardly show in the view keep their colour.
    """
    mine = lifted.view == view_index
    if not mine.any() or rounds < 1:
        return lifted
    cloud = lifted.splats
    projected = project_splats(cloud, view.camera, view.T_world_cam)
    rows = projected.index
    lifted_colour = np.clip(0.5 + SH_C0 * cloud.sh[rows, 0].astype(np.float64), 0.0, 1.0)
    lowest, highest = np.maximum(lifted_colour - LARGEST_FIT, 0.0), np.minimum(lifted_colour + LARGEST_FIT, 1.0)
    colour = lifted_colour
    wanted = view.rgb_u8 / 255.0
    known = view.valid & np.isin(view.source, (SOURCE_PHOTO, SOURCE_PAINTED))
    for _ in progress.track("fitting", range(rounds)):
        image = blend_splats(projected, colour, view.camera)
        residual = np.where(known[..., None], wanted - image.rgb, 0.0)
        total, weight = gather_splats(projected, residual)
        step = total / (weight + DAMPING)[:, None]
        colour = np.where(mine[rows][:, None], np.clip(colour + OVERSTEP * step, lowest, highest), colour)
    sh = cloud.sh.copy()
    sh[rows[mine[rows]]] = sh_from_rgb(colour[mine[rows]])
    return replace(lifted, splats=replace(cloud, sh=sh))


@dataclass(frozen=True, kw_only=True)
class _Blocks:
    """Square blocks of pixels of one view at one level, [h, w] each (h = H / 2^level)."""

    cost: np.ndarray
    """Squared colour error per saved splat that merging the block adds; inf where it must not be merged."""
    rgb: np.ndarray
    """[h, w, 3] float32 mean colour 0..255."""
    plane: np.ndarray
    """[h, w, 4] float32 unit normal towards the camera and offset, in cam."""
    inverse_depth: np.ndarray
    """[h, w] float32 mean of 1 / z [1/m]; over a plane that is the value at the block's centre."""
    label: np.ndarray
    source: np.ndarray


def _without_duplicates(views: list[RgbdView], hits: list[SurfaceHits], usable: list[np.ndarray]) -> list[np.ndarray]:
    """Masks without pixels whose spot (a voxel of their own footprint) a better view has claimed."""
    if len(views) < 2:
        return usable
    from . import splat_numba

    own, around, view_of, rank = [], [], [], []
    for i, (view, hit, mask) in enumerate(zip(views, hits, usable, strict=True)):
        depth_m = _depth_m(view, hit)
        points = transform_points(view.T_world_cam, view.camera.unproject(depth_m)[mask])
        level = np.floor(np.log2(np.maximum(depth_m[mask], 1e-3) / view.camera.fx_px)).astype(np.int64)
        photo = view.source[mask] == SOURCE_PHOTO
        own.append(_voxel_keys(points, level))
        # The photo wins against finer views too, everybody else only against coarser ones.
        keys = [np.where(photo, _voxel_keys(points, level + k), own[-1]) for k in (-3, -2, -1, 3)]
        around.append(np.stack([*keys, _voxel_keys(points, level + 1), _voxel_keys(points, level + 2)], -1))
        view_of.append(np.full(len(level), i, np.int32))
        rank.append(np.where(photo, -1000, level))
    key, other, owner = np.concatenate(own), np.concatenate(around), np.concatenate(view_of)
    order = np.lexsort((np.arange(len(key)), owner, np.concatenate(rank)))
    taken = np.zeros(len(key), bool)
    slots = 1 << int(np.ceil(np.log2(max(len(key) * 6, 1024))))
    splat_numba.claim_voxels(
        key[order], other[order], owner[order], np.full(slots, -1, np.int64), np.zeros(slots, np.int32), taken
    )
    lost = np.zeros(len(key), bool)
    lost[order] = taken
    kept, start = [], 0
    for mask in usable:
        count = int(mask.sum())
        keep = mask.copy()
        keep[mask] = ~lost[start : start + count]
        kept.append(keep)
        start += count
    return kept


def _voxel_keys(points: np.ndarray, level: np.ndarray) -> np.ndarray:
    """[N] int64 >= 0: level and cell of a grid whose cells are 2^level metres wide."""
    cell = np.floor(points / np.exp2(level.astype(np.float64))[:, None]).astype(np.int64) & 0x3FFFF
    return ((level & 0x3F) << 54) | (cell[:, 0] << 36) | (cell[:, 1] << 18) | cell[:, 2]


def _merge_costs(view: RgbdView, hit: SurfaceHits, mask: np.ndarray, normals_world: np.ndarray) -> list[_Blocks]:
    """Blocks of levels 0 to 4; what is no multiple of a block stays unmerged at the rim."""
    block = 2**_LEVELS
    pad = [(0, -mask.shape[0] % block), (0, -mask.shape[1] % block)]
    plane = _planes(view, hit, normals_world).astype(np.float32)
    inverse_depth = (1.0 / np.where(mask, _depth_m(view, hit), 1.0)).astype(np.float32)
    rgb = _sharpened(view, mask)
    cost = np.where(mask, 0.0, np.inf).astype(np.float32)
    blocks = [
        _Blocks(
            cost=np.pad(cost, pad, constant_values=np.inf),
            rgb=np.pad(rgb, [*pad, (0, 0)]),
            plane=np.pad(plane, [*pad, (0, 0)]),
            inverse_depth=np.pad(inverse_depth, pad),
            label=np.pad(view.labels, pad),
            source=np.pad(view.source, pad),
        )
    ]
    # A wrong pixel of the photo is seen by everyone who compares, so it is merged last.
    weight = PHOTO_MERGE_WEIGHT if (view.source == SOURCE_PHOTO).any() else 1.0
    inside: np.ndarray = np.isfinite(blocks[0].cost)
    for level in range(_LEVELS):
        last = blocks[-1]
        mean = _corners(last.rgb).mean(0)
        # Squared error that this merge adds, over the three splats that it saves: what PSNR pays for the budget.
        added = 4.0**level * ((_corners(last.rgb) - mean) ** 2).sum((0, -1)) / 3
        plane, plane_spread = _quarter(last.plane)
        flat = (plane_spread[..., :3].max(-1) < 0.02) & (plane_spread[..., 3] < 0.002 * np.abs(plane[..., 3]) + 0.002)
        same = (_quarter(last.label.astype(np.float32))[1] == 0) & (_quarter(last.source.astype(np.float32))[1] == 0)
        inside = np.asarray(_corners(inside).all(0))
        surface = ~np.isin(last.label[::2, ::2], (Label.SKY, Label.BACKDROP))
        # Four pixels of a surface reach too little beyond their own to be worth the budget.
        rim = ~_surrounded(inside, plane, last.label[::2, ::2]) & ~(surface & (level == 0))
        middle = _quarter(last.inverse_depth)[0]
        # On its plane a block is as long as its offset from the camera allows: z / f over the cosine of incidence.
        distance_m = 1 / np.maximum(middle, 1e-6)
        cosine = np.clip(np.abs(plane[..., 3]) / distance_m, 1 / MAX_ELONGATION, 1.0)
        long_m = MERGED_SPREAD * 2.0 ** (level + 1) * distance_m / view.camera.fx_px / cosine
        longest_m = np.maximum(np.minimum(LONGEST_RAD * distance_m, LONGEST_FAR_M), LONGEST_M)
        too_long = np.where(surface, np.maximum(long_m / longest_m - 1, 0.0), 0.0)
        worst = np.maximum(_corners(last.cost).max(0), weight * added) + (_TOO_LONG * too_long).astype(np.float32)
        # A little of its own cost orders blocks whose rims cost the same.
        worst = np.where(rim, np.maximum(worst, np.float32(_RIM * 4.0**level)) + 0.02 * worst, worst)
        blocks.append(
            _Blocks(
                cost=np.where(flat & same, worst, np.inf).astype(np.float32),
                rgb=mean,
                plane=plane,
                inverse_depth=middle,
                label=last.label[::2, ::2],
                source=last.source[::2, ::2],
            )
        )
    return blocks


def _surrounded(inside: np.ndarray, plane: np.ndarray, label: np.ndarray) -> np.ndarray:
    """[h, w] bool: blocks whose four neighbours go on with the same surface.

    A large splat reaches one block beyond its own: over an outline it would hide what lies behind, and over the rim of
    a view what another view shows there.

    Args:
        inside: [h, w] bool: all pixels of the block are lifted from this view.
        plane: [h, w, 4] mean planes.
        label: [h, w].
    """
    out = inside.copy()
    out[[0, -1]] = False
    out[:, [0, -1]] = False
    for axis in range(2):
        here = tuple(slice(None, -1) if k == axis else slice(None) for k in range(2))
        there = tuple(slice(1, None) if k == axis else slice(None) for k in range(2))
        turn = np.abs(plane[here][..., :3] - plane[there][..., :3]).max(-1)
        step = np.abs(plane[here][..., 3] - plane[there][..., 3])
        go_on = inside[here] & inside[there] & (label[here] == label[there])
        go_on &= (turn < _BEND) & (step < _STEP_SHARE * np.abs(plane[here][..., 3]) + _STEP_M)
        out[here] &= go_on
        out[there] &= go_on
    return out


def _corners(array: np.ndarray) -> np.ndarray:
    """The four children of every block, [4, h, w, ...]."""
    return np.stack([array[0::2, 0::2], array[0::2, 1::2], array[1::2, 0::2], array[1::2, 1::2]])


def _quarter(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the four children and their largest distance from it."""
    children = _corners(array)
    mean = children.mean(0)
    return mean, np.abs(children - mean).max(0)


def _merge_threshold(costs: list[list[_Blocks]], count: int, budget: int) -> float:
    """The smallest threshold on block costs that brings `count` pixels down to the budget; -1 to merge nothing."""
    excess = count - budget
    if excess <= 0:
        return -1.0
    # Every merge replaces four splats by one, and a block costs at least as much as its children.
    merges = np.concatenate([level.cost[np.isfinite(level.cost)] for blocks in costs for level in blocks[1:]])
    need = -(-excess // 3)
    if need >= len(merges):
        return np.inf
    return float(np.partition(merges, need - 1)[need - 1])


def _lift_view(view: RgbdView, blocks: list[_Blocks], threshold: float) -> GaussianCloud:
    """Splats of one view; blocks up to the threshold become one each, all other pixels their own."""
    done = np.zeros(blocks[-1].cost.shape, bool)
    rows: list[tuple[np.ndarray, ...]] = []
    for level in range(_LEVELS, -1, -1):
        b = blocks[level]
        emit = np.isfinite(b.cost) & ~done
        if level:
            emit &= b.cost <= threshold
        v, u = np.nonzero(emit)
        size = 2.0**level
        rows.append(
            (
                (u + 0.5) * size,
                (v + 0.5) * size,
                np.full(len(u), size),
                b.plane[v, u, :3].astype(np.float64),
                b.inverse_depth[v, u].astype(np.float64),
                b.rgb[v, u].astype(np.float64),
                b.label[v, u],
                b.source[v, u],
            )
        )
        if level:
            done = np.repeat(np.repeat(done | emit, 2, 0), 2, 1)
    u, v, size, normal, inverse_depth, rgb, label, source = (
        np.concatenate(column) for column in zip(*rows, strict=True)
    )
    camera = view.camera
    ray = np.stack([(u - camera.cx_px) / camera.fx_px, (v - camera.cy_px) / camera.fy_px, np.ones_like(u)], -1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    # Both are negative for a surface that faces the camera; the floor keeps grazing pixels finite.
    facing = np.minimum(np.einsum("ij,ij->i", normal, ray), -1e-3)
    z = 1.0 / inverse_depth
    spread_px = np.where(source == SOURCE_PHOTO, SPREAD_PX[SOURCE_PHOTO], SPREAD_PX[SOURCE_PAINTED])
    spread_px = np.where(size > 1, MERGED_SPREAD * size, spread_px)
    axes, scales_m = _discs(camera.fx_px, camera.fy_px, ray, normal, facing, z, spread_px)
    opacities = np.where(source == SOURCE_PHOTO, OPACITY[SOURCE_PHOTO], OPACITY[SOURCE_PAINTED])
    R_world = rotate_vectors(view.T_world_cam, np.swapaxes(axes, 1, 2)).swapaxes(1, 2)
    return GaussianCloud(
        means=transform_points(view.T_world_cam, ray * z[:, None]).astype(np.float32),
        scales_m=scales_m.astype(np.float32),
        quats_wxyz=quat_wxyz_from_rotation(R_world).astype(np.float32),
        opacities=opacities.astype(np.float32),
        sh=sh_from_rgb(np.clip(rgb / 255.0, 0.0, 1.0)),
        labels=label.astype(np.uint8),
    )


def _discs(
    fx_px: float,
    fy_px: float,
    ray: np.ndarray,
    normal: np.ndarray,
    facing: np.ndarray,
    z: np.ndarray,
    spread: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Axes [N, 3, 3] in cam and standard deviations [N, 3] of a spot on its plane that looks `spread` [N] pixels wide.

    A step of one pixel moves the ray's hit by T = z (e - ray (n.e) / (n.ray)) with e = (1/fx, 0, 0) or (0, 1/fy, 0);
    the footprint's covariance is the sum of the two outer products.
    """
    step_u = z[:, None] * (np.array([1 / fx_px, 0, 0]) - ray * (normal[:, :1] / fx_px / facing[:, None]))
    step_v = z[:, None] * (np.array([0, 1 / fy_px, 0]) - ray * (normal[:, 1:2] / fy_px / facing[:, None]))
    a = step_u - normal * np.einsum("ij,ij->i", step_u, normal)[:, None]
    a /= np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12)
    b = np.cross(normal, a)
    ua, ub = np.einsum("ij,ij->i", step_u, a), np.einsum("ij,ij->i", step_u, b)
    va, vb = np.einsum("ij,ij->i", step_v, a), np.einsum("ij,ij->i", step_v, b)
    aa, bb, ab = ua**2 + va**2, ub**2 + vb**2, ua * ub + va * vb
    angle = 0.5 * np.arctan2(2 * ab, aa - bb)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    middle, half = 0.5 * (aa + bb), np.hypot(0.5 * (aa - bb), ab)
    small = spread * np.sqrt(np.maximum(middle - half, 1e-16))
    large = np.minimum(spread * np.sqrt(middle + half), MAX_ELONGATION * small)
    thin = np.clip(0.1 * small, MIN_THICKNESS_M, MAX_THICKNESS_M)
    first = cos * a + sin * b
    axes = np.stack([first, np.cross(normal, first), normal], -1)
    return axes, np.stack([np.maximum(large, thin), np.maximum(small, thin), thin], -1)


def _depth_m(view: RgbdView, hit: SurfaceHits) -> np.ndarray:
    """[H, W] float64 depth of the surface, of the view itself where its ray misses the surface."""
    return np.where(hit.depth_z_m > 0, hit.depth_z_m, view.depth_z_m).astype(np.float64)


def _planes(view: RgbdView, hit: SurfaceHits, normals_world: np.ndarray) -> np.ndarray:
    """[H, W, 4]: normal towards the camera and offset (normal . point), in cam."""
    depth_m = _depth_m(view, hit)
    points = view.camera.unproject(depth_m)
    if len(normals_world):
        normal = (normals_world @ view.T_world_cam[:3, :3])[np.maximum(hit.face, 0)]
    else:
        normal = np.zeros_like(points)
    free = hit.face < 0
    if free.any():
        # Away from any surface the view's own depth is all there is.
        across = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
        length = np.linalg.norm(across, axis=-1, keepdims=True)
        toward = -points / np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), 1e-12)
        normal = np.where(free[..., None], np.where(length > 1e-12, across / np.maximum(length, 1e-12), toward), normal)
    away = np.einsum("hwi,hwi->hw", normal, points) > 0
    normal = np.where(away[..., None], -normal, normal)
    return np.concatenate([normal, np.einsum("hwi,hwi->hw", normal, points)[..., None]], -1)


def _sharpened(view: RgbdView, mask: np.ndarray) -> np.ndarray:
    """[H, W, 3] float32 colours 0..255 with part of the blur that rendering will add taken back beforehand."""
    cv2 = require("cv2", extra="recon", package="opencv-python-headless")
    rgb = view.rgb_u8.astype(np.float32)
    weight = (view.valid | mask).astype(np.float32)
    sigma = float(np.sqrt(SPREAD_PX[SOURCE_PHOTO] ** 2 + BLUR_PX2))
    soft = cv2.GaussianBlur(rgb * weight[..., None], (0, 0), sigma)
    soft /= np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3)[..., None]
    return np.clip(rgb + SHARPEN * (rgb - soft), 0, 255)


def _longest_m(cloud: GaussianCloud, owner: np.ndarray, views: list[RgbdView]) -> np.ndarray:
    """[N] most that each splat's standard deviations may be, by its distance from the view that it was lifted from."""
    eyes = np.stack([view.T_world_cam[:3, 3] for view in views])
    distance_m = np.linalg.norm(cloud.means - eyes[owner], axis=1)
    return np.maximum(np.minimum(LONGEST_RAD * distance_m, LONGEST_FAR_M), LONGEST_M)


def _pieces(cloud: GaussianCloud, longest_m: np.ndarray) -> np.ndarray:
    """[N, 3] int: into how many pieces along each axis a splat is cut so that none is longer; scenery is not cut."""
    count = np.clip(np.ceil(cloud.scales_m / longest_m[:, None]), 1, _MOST_PIECES).astype(np.int64)
    if cloud.labels is not None:
        count[np.isin(cloud.labels, (Label.SKY, Label.BACKDROP))] = 1
    return count


def _cut_long(
    cloud: GaussianCloud, owner: np.ndarray, budget: int, longest_m: np.ndarray
) -> tuple[GaussianCloud, np.ndarray]:
    """Splats longer than `longest_m` [N] as rows of shorter ones that cover the same pixels; fewer without room."""
    count = _pieces(cloud, longest_m)
    while len(cloud) + int((count.prod(1) - 1).sum()) > budget:
        longest_m = 1.25 * longest_m
        count = _pieces(cloud, longest_m)
        if (count == 1).all():
            return cloud, owner
    copies = count.prod(1)
    row = np.repeat(np.arange(len(cloud)), copies)
    place = np.arange(len(row)) - np.repeat(np.cumsum(copies) - copies, copies)
    shape = count[row]
    index = np.stack(
        [place % shape[:, 0], place // shape[:, 0] % shape[:, 1], place // (shape[:, 0] * shape[:, 1])], -1
    )
    scales_m = cloud.scales_m[row] / shape
    # Pieces lie side by side as pixels do, whose width a splat covers with `MERGED_SPREAD` of it.
    local = (index - 0.5 * (shape - 1)) * scales_m / MERGED_SPREAD
    axes = rotation_from_quat_wxyz(cloud.quats_wxyz[row].astype(np.float64))
    cut = cloud.take(row)
    means = cut.means + np.einsum("nij,nj->ni", axes, local)
    return replace(cut, means=means.astype(np.float32), scales_m=scales_m.astype(np.float32)), owner[row]


def _thin_out(cloud: GaussianCloud, owner: np.ndarray, budget: int) -> tuple[GaussianCloud, np.ndarray]:
    """Evenly spaced splats, widened to close the gaps: the last resort of a budget that merging cannot reach."""
    pick = np.linspace(0, len(cloud) - 1, budget).astype(int)
    grow = np.array([1.0, 1.0, 0.0]) * (np.sqrt(len(cloud) / budget) - 1) + 1
    chosen = cloud.take(pick)
    return replace(chosen, scales_m=(chosen.scales_m * grow).astype(np.float32)), owner[pick]
