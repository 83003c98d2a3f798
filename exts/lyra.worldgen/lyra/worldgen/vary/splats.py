"""Splats that a variant has besides its base's: of what was put on the floor, and floaters."""

from __future__ import annotations

import numpy as np

from ..core.splats import GaussianCloud, sh_from_rgb
from ..sim.occupancy import FreeSpace
from .clutter import SHAPES, Thing
from .config import SplatVariation
from .draw import stream

SPACING_M = 0.08
"""Between the splats of a thing."""
OPACITY = 0.95
THICKNESS_M = 0.004
LOWEST_M, HIGHEST_M = 0.2, 2.2
"""Floaters hang between these heights above the floor."""


def thing_splats(thing: Thing, floor_z_m: float, rgb: np.ndarray) -> GaussianCloud:
    """Discs on the sides and on the upper face of a thing, of one colour [3] in 0..1."""
    mesh = thing.mesh(floor_z_m)
    n = SHAPES[thing.shape].corners
    foot, head = mesh.vertices[:n], mesh.vertices[n:]
    points, normals = [], []
    for i in range(n):
        j = (i + 1) % n
        across = max(1, round(float(np.linalg.norm(foot[j] - foot[i])) / SPACING_M))
        upward = max(1, round(thing.height_m / SPACING_M))
        u, v = (np.stack(np.meshgrid(np.arange(across), np.arange(upward)), -1).reshape(-1, 2) + 0.5).T
        u, v = u[:, None] / across, v[:, None] / upward
        side = (1 - v) * ((1 - u) * foot[i] + u * foot[j]) + v * ((1 - u) * head[i] + u * head[j])
        normal = np.cross(foot[j] - foot[i], head[i] - foot[i])
        points.append(side)
        normals.append(np.tile(normal / np.linalg.norm(normal), (len(side), 1)))
    reach = np.arange(-thing.radius_m + SPACING_M / 2, thing.radius_m, SPACING_M)
    xy = np.stack(np.meshgrid(reach, reach), -1).reshape(-1, 2)
    # Inside the polygon: on the inner side of every edge.
    corner = head[:, :2] - thing.xy_m
    edge = np.roll(corner, -1, axis=0) - corner
    offset = xy[:, None] - corner
    inside = (edge[:, 0] * offset[..., 1] - edge[:, 1] * offset[..., 0] >= 0).all(1)
    points.append(np.c_[xy[inside] + thing.xy_m, np.full(int(inside.sum()), floor_z_m + thing.height_m)])
    normals.append(np.tile([0.0, 0.0, 1.0], (int(inside.sum()), 1)))
    means, facing = np.concatenate(points), np.concatenate(normals)
    return GaussianCloud(
        means=means.astype(np.float32),
        scales_m=np.tile(np.array([0.6 * SPACING_M, 0.6 * SPACING_M, THICKNESS_M], np.float32), (len(means), 1)),
        quats_wxyz=_facing(facing).astype(np.float32),
        opacities=np.full(len(means), OPACITY, np.float32),
        sh=sh_from_rgb(np.tile(rgb, (len(means), 1))),
    )


def floaters(
    count: int,
    cfg: SplatVariation,
    space: FreeSpace,
    palette: np.ndarray,
    *,
    seed: int,
    index: int,
) -> GaussianCloud:
    """Round splats in the air over free floor.

    Args:
        count: how many.
        cfg: sizes and opacities.
        space: the map.
        palette: [K, 3] colours in 0..1 to choose from.
        seed: of all variants.
        index: of this variant.
    """
    rng = stream(seed, index, "floater splats")
    cells = np.argwhere(space.grid.free)
    chosen = cells[rng.integers(0, max(len(cells), 1), count if len(cells) else 0)]
    xy = space.grid.centre_xy_m(chosen).reshape(-1, 2)
    n = len(xy)
    z = space.floor_z_m + rng.uniform(LOWEST_M, HIGHEST_M, n)
    size = rng.uniform(*cfg.floater_size_m, (n, 3))
    turn = rng.normal(size=(n, 4))
    turn /= np.linalg.norm(turn, axis=1, keepdims=True)
    return GaussianCloud(
        means=np.c_[xy, z].astype(np.float32),
        scales_m=size.astype(np.float32),
        quats_wxyz=turn.astype(np.float32),
        opacities=rng.uniform(*cfg.floater_opacity, n).astype(np.float32),
        sh=sh_from_rgb(palette[rng.integers(0, len(palette), n)].reshape(-1, 3)),
    )


def _facing(normals: np.ndarray) -> np.ndarray:
    """Turns [N, 4] wxyz that take +z to unit normals [N, 3]."""
    quats = np.c_[1 + normals[:, 2], -normals[:, 1], normals[:, 0], np.zeros(len(normals))]
    # Straight down: any half turn about a level axis.
    down = quats[:, 0] < 1e-9
    quats[down] = [0.0, 1.0, 0.0, 0.0]
    return quats / np.linalg.norm(quats, axis=1, keepdims=True)
