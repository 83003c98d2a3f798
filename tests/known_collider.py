"""How far a collider lies from the surfaces of a scene of known truth, where they were seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, spatial

from known_scenes import KnownScene
from known_truth import ROBOT_HEIGHT_M, ROBOT_RADIUS_M, seen_points, visible
from lyra.worldgen.core.frames import invert_rigid, transform_points
from lyra.worldgen.core.mesh import TriMesh
from lyra.worldgen.core.raycast import Raycaster
from lyra.worldgen.core.views import RgbdView

SAMPLES_PER_M2 = 150.0
FACING_M = 0.02
"""Collider this close behind what a view sees still counts as seen."""


@dataclass(frozen=True, kw_only=True)
class ColliderScore:
    """Distances [m]; medians and 95th percentiles of absolute values."""

    surface_median_m: float
    surface_p95_m: float
    """From points of true surfaces that a view shows to the nearest point of the collider: what is missing."""
    phantom_median_m: float
    phantom_p95_m: float
    """From points of the collider that lie in space seen free, or on what was seen, to the nearest true surface."""
    range_median_m: float
    range_p95_m: float
    """Of rays from where the robot fits, 0.1 to 0.6 m high and at most 15 degrees up or down, to a surface that was
    seen: truth against collider."""
    range_p95_share: float
    """The 95th percentile of the same relative to the true range."""
    range_median_share: float
    floor_m: float
    """The collider's height at free floor that was seen, 95th percentile of its distance from the truth."""


def score_collider(
    scene: KnownScene, views: list[RgbdView], collider: TriMesh, *, seed: int = 0, scale: float = 1.0, count: int = 4000
) -> ColliderScore:
    """Compare a collider with the truth.

    Args:
        scene: the truth.
        views: who has seen it, with true depth.
        collider: boxes and triangles (`ColliderPlan.as_mesh`), in the scene's world frame.
        seed: of the points and rays.
        scale: true metres per metre of the world; 1 judges it at the size that it claims.
        count: points and rays of each kind.
    """
    felt = TriMesh(vertices=collider.vertices * scale, faces=collider.faces)
    surface = nearest_m(felt, seen_points(views, count, seed=seed))
    shell = sampled(felt, 5 * count, seed=seed + 1)
    phantom = nearest_m(scene.truth, shell[_in_front(views, shell)][:count])
    caster, true_caster = Raycaster(felt), Raycaster(scene.truth)
    origins, directions = _robot_rays(scene, views, count, seed + 2)
    true_m, _, _ = true_caster.cast(origins, directions)
    keep = np.isfinite(true_m)
    keep[keep] = visible(views, origins[keep] + true_m[keep, None] * directions[keep])
    felt_m, _, _ = caster.cast(origins[keep], directions[keep])
    error = np.abs(np.minimum(felt_m, 1e3) - true_m[keep])
    down = np.broadcast_to(np.array([0.0, 0.0, -1.0]), origins.shape)
    drop, _, _ = caster.cast(np.c_[origins[:, :2], np.full(len(origins), 0.3)], down)
    return ColliderScore(
        surface_median_m=_quantile(surface, 0.5),
        surface_p95_m=_quantile(surface, 0.95),
        phantom_median_m=_quantile(phantom, 0.5),
        phantom_p95_m=_quantile(phantom, 0.95),
        range_median_m=_quantile(error, 0.5),
        range_p95_m=_quantile(error, 0.95),
        range_p95_share=_quantile(error / true_m[keep], 0.95),
        range_median_share=_quantile(error / true_m[keep], 0.5),
        floor_m=_quantile(np.minimum(np.abs(0.3 - drop), 10.0), 0.95),
    )


def nearest_m(mesh: TriMesh, points: np.ndarray) -> np.ndarray:
    """[N] distance of points [N, 3] to the nearest of a mesh's triangles; at most a little too large."""
    if not mesh.face_count or not len(points):
        return np.full(len(points), np.inf)
    corner = mesh.triangles()
    area = mesh.face_areas_m2()
    rng = np.random.default_rng(0)
    owner = rng.choice(len(area), min(400_000, int(SAMPLES_PER_M2 * area.sum()) + 1), p=area / area.sum())
    seeds = np.concatenate([_inside(corner[owner], rng), corner.mean(1), corner.reshape(-1, 3)])
    owner = np.concatenate([owner, np.arange(len(area)), np.repeat(np.arange(len(area)), 3)])
    _, near = spatial.cKDTree(seeds).query(points, k=min(24, len(seeds)))
    near = near.reshape(len(points), -1)
    triangle = corner[owner[near]].reshape(-1, 3, 3)
    distance = _to_triangle_m(np.repeat(points, near.shape[1], 0), triangle)
    return distance.reshape(near.shape).min(1)


def sampled(mesh: TriMesh, count: int, *, seed: int) -> np.ndarray:
    """[count, 3] points spread evenly over a mesh."""
    rng = np.random.default_rng(seed)
    area = mesh.face_areas_m2()
    return _inside(mesh.triangles()[rng.choice(len(area), count, p=area / area.sum())], rng)


def _inside(triangles: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    u, v = rng.random((2, len(triangles), 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    return a + u * (b - a) + v * (c - a)


def _to_triangle_m(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """[N] distance of points [N, 3] to triangles [N, 3, 3]."""
    normal = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-15)
    best, inside = np.full(len(points), np.inf), np.ones(len(points), bool)
    for k in range(3):
        a, b = triangles[:, k], triangles[:, (k + 1) % 3]
        edge, arm = b - a, points - a
        t = np.clip((arm * edge).sum(1) / np.maximum((edge * edge).sum(1), 1e-15), 0, 1)
        best = np.minimum(best, np.linalg.norm(arm - t[:, None] * edge, axis=1))
        inside &= (np.cross(edge, arm) * normal).sum(1) >= 0
    height = np.abs(((points - triangles[:, 0]) * normal).sum(1))
    return np.where(inside, height, best)


def _in_front(views: list[RgbdView], points: np.ndarray) -> np.ndarray:
    """[N] bool: some view looks through the point or sees it on a surface, with its neighbouring pixels agreeing."""
    found = np.zeros(len(points), bool)
    for view in views:
        rows = np.flatnonzero(~found)
        depth = ndimage.minimum_filter(np.where(view.valid, view.depth_z_m, 0.0), 3)
        uv, z = view.camera.project(transform_points(invert_rigid(view.T_world_cam), points[rows]))
        with np.errstate(invalid="ignore"):
            inside = (z > 0.05) & (uv >= 0).all(-1) & (uv < (view.camera.width_px, view.camera.height_px)).all(-1)
        col, row = np.where(inside[:, None], uv, 0).astype(int).T
        found[rows] = inside & (z < depth[row, col] + FACING_M)
    return found


def _robot_rays(scene: KnownScene, views: list[RgbdView], count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Origins and unit directions [count, 3] of a range sensor on a robot, from places whose floor was seen."""
    rng = np.random.default_rng(seed)
    low, high = scene.outline_xy_m.min(0), scene.outline_xy_m.max(0)
    xy = rng.uniform(low, high, (8 * count, 2))
    xy = xy[scene.clearance_m(xy, 0.05, ROBOT_HEIGHT_M) >= ROBOT_RADIUS_M][:count]
    xy = xy[visible(views, np.c_[xy, np.zeros(len(xy))])]
    heading, rise = rng.uniform(0, 2 * np.pi, len(xy)), np.radians(rng.uniform(-15, 15, len(xy)))
    directions = np.stack([np.cos(rise) * np.cos(heading), np.cos(rise) * np.sin(heading), np.sin(rise)], -1)
    return np.c_[xy, rng.uniform(0.1, ROBOT_HEIGHT_M, len(xy))], directions


def _quantile(values: np.ndarray, q: float) -> float:
    return float(np.quantile(values, q)) if len(values) else float("inf")
