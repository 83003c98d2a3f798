"""Lift the pixels of the views to Gaussians that lie on the surface."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..core.frames import quat_wxyz_from_rotation, rotate_vectors, transform_points
from ..core.machine import map_threads
from ..core.mesh import TriMesh
from ..core.progress import SILENT, SupportsProgress
from ..core.splats import GaussianCloud, join_splats, sh_from_rgb
from ..core.views import SOURCE_PAINTED, SOURCE_PHOTO, RgbdView
from .splat_blocks import LEVELS, Blocks, merge_costs, merge_threshold
from .splat_duplicates import without_duplicates
from .splat_length import cut_long, longest_m_of, pieces
from .splat_shape import MERGED_SPREAD, SPREAD_PX, discs
from .surface_hits import SurfaceHits

OPACITY = {SOURCE_PHOTO: 0.99, SOURCE_PAINTED: 0.97}


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
    usable = without_duplicates(views, hits, usable)
    kept = int(sum(m.sum() for m in usable))
    each = list(zip(views, hits, usable, strict=True))
    costs = list(map_threads(lambda one: merge_costs(*one, normals_world), each))
    threshold = merge_threshold(costs, kept, budget)

    def lift(threshold: float) -> tuple[GaussianCloud, np.ndarray]:
        parts, owners = [], []
        lifted = map_threads(lambda i: _lift_view(views[i], costs[i], threshold), range(len(views)))
        for i, part in enumerate(progress.track("lifting", lifted, len(views))):
            parts.append(part)
            owners.append(np.full(len(part), i, np.int32))
        return join_splats(parts), np.concatenate(owners)

    cloud, owner = lift(threshold)
    longest_m = longest_m_of(cloud, owner, views)
    excess = len(cloud) + int((pieces(cloud, longest_m).prod(1) - 1).sum()) - budget
    if excess > 0 and np.isfinite(threshold):
        # Room for the pieces that long splats are cut into; at most a quarter of the budget goes to them.
        cloud, owner = lift(merge_threshold(costs, kept, budget - min(excess, budget // 4)))
    if len(cloud) > budget:
        cloud, owner = _thin_out(cloud, owner, budget)
    cloud, owner = cut_long(cloud, owner, budget, longest_m_of(cloud, owner, views))
    return LiftedSplats(splats=cloud, view=owner, pixels=pixels, duplicates=pixels - kept)


def _lift_view(view: RgbdView, blocks: list[Blocks], threshold: float) -> GaussianCloud:
    """Splats of one view; blocks up to the threshold become one each, all other pixels their own."""
    done = np.zeros(blocks[-1].cost.shape, bool)
    rows: list[tuple[np.ndarray, ...]] = []
    for level in range(LEVELS, -1, -1):
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
    spread_px = np.where(size > 1, MERGED_SPREAD * size, SPREAD_PX)
    axes, scales_m = discs(camera.fx_px, camera.fy_px, ray, normal, facing, z, spread_px)
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


def _thin_out(cloud: GaussianCloud, owner: np.ndarray, budget: int) -> tuple[GaussianCloud, np.ndarray]:
    """Evenly spaced splats, widened to close the gaps: the last resort of a budget that merging cannot reach."""
    pick = np.linspace(0, len(cloud) - 1, budget).astype(int)
    grow = np.array([1.0, 1.0, 0.0]) * (np.sqrt(len(cloud) / budget) - 1) + 1
    chosen = cloud.take(pick)
    return replace(chosen, scales_m=(chosen.scales_m * grow).astype(np.float32)), owner[pick]
