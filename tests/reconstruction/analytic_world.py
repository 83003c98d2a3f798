"""A world in the shape that generation makes: polar proxy, procedural paint, views that explore it one by one.

Colours are a function of the surface point, so that every view, texture and splat has one right answer. Used by the
tests of this folder and by `tools/bench/bench_reconstruction.py`.
"""

from __future__ import annotations

import numpy as np

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.frames import camera_pose, invert_rigid, transform_points
from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.core.raycast import Raycaster
from lyra.worldgen.core.views import SOURCE_PAINTED, SOURCE_PHOTO, SOURCE_WARPED, RgbdView, WorldViews

_BASE_RGB = np.array(
    [[90, 90, 90], [130, 110, 80], [150, 150, 140], [200, 200, 195], [90, 120, 150], [120, 160, 220], [140, 140, 150]]
)


def polar_proxy(*, bins: int = 120, ceiling_m: float | None = 2.7, extent: float = 1.0) -> TriMesh:
    """Star-shaped room with one object, fronts towards free space; a sky dome stands in for a missing ceiling."""
    azimuth = np.linspace(-np.pi, np.pi, bins, endpoint=False)
    direction = np.stack([np.cos(azimuth), np.sin(azimuth)], -1)
    # Walls at x = -2.5 and 3.5, y = -2.2 and 2.8: the distance to a box is the nearest of its planes ahead.
    with np.errstate(divide="ignore"):
        ahead = np.where(direction > 0, (3.5, 2.8), (-2.5, -2.2)) / direction
    radius = extent * np.where(np.isfinite(ahead), ahead, np.inf).min(1)
    low = np.column_stack([radius[:, None] * direction, np.zeros(bins)])
    top = 2.5 if ceiling_m is None else ceiling_m
    i, j = np.arange(bins), np.roll(np.arange(bins), -1)
    parts: list[tuple[np.ndarray, Label]] = []
    high = low + np.array([0, 0, top])
    parts.append((np.stack([np.zeros((bins, 3)), low[i], low[j]], 1), Label.FLOOR))
    parts += [(quad(low[j], low[i], high[i], high[j]), Label.WALL)]
    if ceiling_m is not None:
        parts.append((np.stack([np.broadcast_to([0, 0, ceiling_m], (bins, 3)), high[j], high[i]], 1), Label.CEILING))
    else:
        below, far = high, 1.3 * float(radius.max())
        for polar in np.radians([60, 40, 20]):
            ring = np.column_stack([far * np.sin(polar) * direction, np.full(bins, top + far * np.cos(polar))])
            parts.append((quad(below[j], below[i], ring[i], ring[j]), Label.SKY))
            below = ring
        zenith = np.broadcast_to([0, 0, top + far], (bins, 3))
        parts.append((np.stack([below[j], below[i], zenith], 1), Label.SKY))
    sector = direction[(azimuth > 0.15) & (azimuth < 0.55)]
    a, b = np.arange(len(sector) - 1), np.arange(1, len(sector))
    bar = [np.column_stack([d * sector, np.full(len(sector), z)]) for d, z in ((2, 0), (2, 0.8), (2.5, 0.8), (2.5, 0))]
    for k in range(3):
        parts.append((quad(bar[k][b], bar[k][a], bar[k + 1][a], bar[k + 1][b]), Label.OBJECT))
    for end, order in ((0, (0, 3, 2, 1)), (-1, (0, 1, 2, 3))):
        parts.append((quad(*(bar[k][end][None] for k in order)), Label.OBJECT))
    triangles = np.concatenate([t for t, _ in parts])
    labels = np.concatenate([np.full(len(t), label, np.uint8) for t, label in parts])
    return TriMesh(
        vertices=triangles.reshape(-1, 3),
        faces=np.arange(3 * len(triangles), dtype=np.int32).reshape(-1, 3),
        face_labels=labels,
    )


def quad(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Triangles [2 N, 3, 3] of N quads given by their corners [N, 3] in order."""
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


def paint(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Procedural colours [..., 3] in 0..255 of surface points: smooth waves with sharp tiles."""
    x, y, z = np.moveaxis(points, -1, 0)
    # The offset keeps walls off the tiles' edges, where rounding would decide the colour.
    tile = ((np.floor(x / 0.5 + 0.1) + np.floor(y / 0.5 + 0.1) + np.floor(z / 0.5 + 0.1)) % 2) * 24
    wave = 30 * np.sin(3.1 * x + 1.7 * z) + 30 * np.sin(2.3 * y - 2.9 * z)
    return np.clip(_BASE_RGB[labels] + (wave + tile)[..., None] * (1.0, 0.8, 0.6), 0, 255)


def make_view(
    mesh: TriMesh,
    camera: PinholeCamera,
    T_world_cam: np.ndarray,
    older: list[RgbdView],
    *,
    photo_rgb: np.ndarray | None = None,
) -> RgbdView:
    """One more view: the photo if it is the first, else copied where older views looked and painted elsewhere."""
    image = Raycaster(mesh).render(camera, T_world_cam)
    depth = np.where(image.hit, image.depth_z_m, 1.0)
    points = transform_points(T_world_cam, camera.unproject(depth))
    labels = image.labels(mesh)
    rgb = paint(points, labels) if photo_rgb is None else photo_rgb.astype(float)
    source = np.full(depth.shape, SOURCE_PAINTED if older else SOURCE_PHOTO, np.uint8)
    for past in older:
        uv, z = past.camera.project(transform_points(invert_rigid(past.T_world_cam), points))
        uv = np.where(np.isfinite(uv), uv, -1.0)
        ok = (uv >= 0).all(-1) & (uv[..., 0] < past.camera.width_px) & (uv[..., 1] < past.camera.height_px)
        col, row = np.where(ok, uv[..., 0], 0).astype(int), np.where(ok, uv[..., 1], 0).astype(int)
        ok &= np.abs(past.depth_z_m[row, col] - z) < 0.02 * z
        ok &= (past.source[row, col] != SOURCE_WARPED) & (source != SOURCE_WARPED)
        rgb = np.where(ok[..., None], past.rgb_u8[row, col], rgb)
        source[ok] = SOURCE_WARPED
    return RgbdView(
        view_id=len(older),
        camera=camera,
        T_world_cam=T_world_cam,
        rgb_u8=np.clip(rgb + 0.5, 0, 255).astype(np.uint8),
        depth_z_m=depth.astype(np.float32),
        valid=image.hit,
        source=source,
        labels=labels,
    )


def make_world(
    *,
    width_px: int = 96,
    height_px: int = 72,
    turns: int = 5,
    bins: int = 120,
    ceiling_m: float | None = 2.7,
    extent: float = 1.0,
    photo_rgb: np.ndarray | None = None,
    step_m: float = 0.0,
) -> WorldViews:
    """A photo and a turn around it; with `step_m` the later views stand that far ahead."""
    mesh = polar_proxy(bins=bins, ceiling_m=ceiling_m, extent=extent)
    h, w = (height_px, width_px) if photo_rgb is None else photo_rgb.shape[:2]
    camera = PinholeCamera.from_hfov(w, h, np.radians(80))
    pose = camera_pose(np.array([0.0, 0.0, 1.5]), pitch_rad=np.radians(-6))
    views = [make_view(mesh, camera, pose, [], photo_rgb=photo_rgb)]
    camera = PinholeCamera.from_hfov(width_px, height_px, np.radians(90))
    for i in range(turns):
        heading = 2 * np.pi * (i + 1) / (turns + 1)
        eye = np.array([step_m * np.cos(heading), step_m * np.sin(heading), 1.5])
        views.append(make_view(mesh, camera, camera_pose(eye, heading_rad=heading, pitch_rad=np.radians(-6)), views))
    return WorldViews(views=views, proxy=mesh, ceiling_m=ceiling_m)
