"""Render splats on the CPU: EWA projection, depth sort, front-to-back blending, as the 3DGS rasterisers do it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import expect_rigid, invert_rigid, rotation_from_quat_wxyz
from ..core.machine import core_count, map_threads
from ..core.sh import evaluate_sh
from ..core.splats import GaussianCloud

NEAR_M = 0.05
"""Splats whose centre is nearer to the camera plane than this are not drawn [m]."""
BLUR_PX2 = 0.3
"""Variance added to every projected splat, the low-pass filter of the 3DGS rasterisers [px^2]."""
ALPHA_MIN = 1 / 255
_CHUNK = 250_000
_REACH = 3.4
"""No splat is visible farther than this many standard deviations: sqrt(2 ln 255) rounded up."""


@dataclass(frozen=True, kw_only=True)
class SplatImage:
    """One rendered picture."""

    rgb: np.ndarray
    """[H, W, 3] float32 in 0..1, not yet divided by alpha: composited over black."""
    alpha: np.ndarray
    """[H, W] float32 in 0..1."""
    depth_z_m: np.ndarray
    """[H, W] float32 expected depth of what was hit; 0 where alpha is 0.

    A flat splat counts where the pixel's ray meets its plane, as renderers that trace rays do, not where its centre
    lies: on a floor seen at a low angle the two differ by the splat's whole length.
    """
    median_depth_z_m: np.ndarray
    """[H, W] float32 depth at which half of the light is gone; 0 where alpha stays below a half.

    Across an outline it jumps from one surface to the other, where the expected depth lies in the air between them.
    """

    def rgb_u8(self, background: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
        """[H, W, 3] uint8 over a background colour in 0..1."""
        full = self.rgb + (1 - self.alpha)[..., None] * np.asarray(background, np.float32)
        return (np.clip(full, 0, 1) * 255 + 0.5).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class ProjectedSplats:
    """The splats that can touch a picture, nearest first; M of them."""

    index: np.ndarray
    """[M] row in the cloud."""
    centre_px: np.ndarray
    """[M, 2] float64."""
    conic: np.ndarray
    """[M, 3] float64 inverse covariance xx, xy, yy [1/px^2]."""
    reach_px: np.ndarray
    """[M, 2] float64 half size of the box where alpha reaches 1/255."""
    depth_z_m: np.ndarray
    """[M] float64 of the centre."""
    inverse_depth_slope: np.ndarray
    """[M, 2] float64 change of 1/depth per pixel to the right and down over the splat's plane [1/(m px)]."""
    opacity: np.ndarray
    """[M] float64."""


def render_splats(
    splats: GaussianCloud, camera: PinholeCamera, T_world_cam: np.ndarray, *, threads: int | None = None
) -> SplatImage:
    """Picture of the splats from a camera; the same input gives the same picture for any number of threads.

    Raises:
        InputError: the pose is not rigid.
    """
    projected = project_splats(splats, camera, T_world_cam)
    eye = np.asarray(T_world_cam, float)[:3, 3]
    colour = np.maximum(0.5 + evaluate_sh(splats.sh[projected.index], splats.means[projected.index] - eye), 0.0)
    return blend_splats(projected, colour, camera, threads=threads)


def blend_splats(
    projected: ProjectedSplats, colour: np.ndarray, camera: PinholeCamera, *, threads: int | None = None
) -> SplatImage:
    """Blend projected splats of these colours [M, 3] front to back."""
    from . import splat_numba

    threads = core_count() if threads is None else threads
    h, w = camera.height_px, camera.width_px
    rgb, light, depth, middle = np.zeros((h, w, 3)), np.ones((h, w)), np.zeros((h, w)), np.zeros((h, w))
    order = np.arange(len(projected.index))
    bands = np.linspace(0, h, (2 * threads if threads > 1 else 1) + 1).astype(int)

    def draw(k: int) -> None:
        rows = slice(bands[k], bands[k + 1])
        splat_numba.composite(
            order,
            projected.centre_px,
            projected.conic,
            projected.reach_px,
            projected.opacity,
            projected.depth_z_m,
            projected.inverse_depth_slope,
            np.ascontiguousarray(colour, np.float64),
            int(bands[k]),
            rgb[rows],
            light[rows],
            depth[rows],
            middle[rows],
        )

    # Bands of rows share nothing, so the picture does not depend on who draws which.
    for _ in map_threads(draw, range(len(bands) - 1), threads=threads):
        pass
    alpha = 1 - light
    return SplatImage(
        rgb=rgb.astype(np.float32),
        alpha=alpha.astype(np.float32),
        depth_z_m=np.where(alpha > 1e-6, depth / np.maximum(alpha, 1e-6), 0.0).astype(np.float32),
        median_depth_z_m=middle.astype(np.float32),
    )


def gather_splats(projected: ProjectedSplats, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Transpose of blending: sums of each splat's weights times the picture [M, 3], and of its weights alone [M]."""
    from . import splat_numba

    count = len(projected.index)
    total, weight = np.zeros((count, 3)), np.zeros(count)
    splat_numba.gather(
        np.arange(count),
        projected.centre_px,
        projected.conic,
        projected.reach_px,
        projected.opacity,
        np.ascontiguousarray(picture, np.float64),
        np.ones(picture.shape[:2]),
        total,
        weight,
    )
    return total, weight


def project_splats(splats: GaussianCloud, camera: PinholeCamera, T_world_cam: np.ndarray) -> ProjectedSplats:
    """Project all splats and keep those that can touch the picture, sorted by depth (ties by row)."""
    T_cam_world = invert_rigid(expect_rigid("T_world_cam", T_world_cam))
    starts = range(0, max(len(splats), 1), _CHUNK)
    parts = map_threads(lambda start: _project_chunk(splats, camera, T_cam_world, start), starts)
    index, centre, conic, reach, z, slope, opacity = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((index, z))
    return ProjectedSplats(
        index=index[order],
        centre_px=centre[order],
        conic=conic[order],
        reach_px=reach[order],
        depth_z_m=z[order],
        inverse_depth_slope=slope[order],
        opacity=opacity[order],
    )


def _project_chunk(
    splats: GaussianCloud, camera: PinholeCamera, T_cam_world: np.ndarray, start: int
) -> tuple[np.ndarray, ...]:
    from . import splat_numba

    # Far outside the picture the linearised projection explodes; clamping its slope is what 3DGS does.
    limit_x = 1.3 * max(camera.cx_px, camera.width_px - camera.cx_px) / camera.fx_px
    limit_y = 1.3 * max(camera.cy_px, camera.height_px - camera.cy_px) / camera.fy_px
    means, scales_m = splats.means[start : start + _CHUNK], splats.scales_m[start : start + _CHUNK]
    # Most splats could not touch the picture even if they were as large as their longest axis all around.
    keep = np.zeros(len(means), bool)
    splat_numba.candidates(
        np.ascontiguousarray(means),
        np.ascontiguousarray(scales_m),
        T_cam_world,
        np.array([camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px, camera.width_px, camera.height_px]),
        np.array([limit_x, limit_y]),
        NEAR_M,
        _REACH,
        np.sqrt(BLUR_PX2),
        keep,
    )
    index = np.flatnonzero(keep)
    points = means[index].astype(np.float64) @ T_cam_world[:3, :3].T + T_cam_world[:3, 3]
    x, y, z = points.T
    slope_x, slope_y = np.clip(x / z, -limit_x, limit_x), np.clip(y / z, -limit_y, limit_y)
    rows = index + start
    # Half axes of the ellipsoid in cam: columns of R * s.
    axes = rotation_from_quat_wxyz(splats.quats_wxyz[rows]) * splats.scales_m[rows][:, None, :]
    axes = T_cam_world[:3, :3] @ axes
    au = camera.fx_px * (axes[:, 0] - slope_x[:, None] * axes[:, 2]) / z[:, None]
    av = camera.fy_px * (axes[:, 1] - slope_y[:, None] * axes[:, 2]) / z[:, None]
    xx = np.einsum("nk,nk->n", au, au) + BLUR_PX2
    yy = np.einsum("nk,nk->n", av, av) + BLUR_PX2
    xy = np.einsum("nk,nk->n", au, av)
    det = xx * yy - xy * xy
    conic = np.stack([yy, -xy, xx], -1) / det[:, None]
    opacity = splats.opacities[rows].astype(np.float64)
    # alpha = opacity * exp(-m / 2) reaches 1/255 at this squared Mahalanobis distance.
    m = np.maximum(2 * np.log(np.maximum(opacity / ALPHA_MIN, 1.0)), 0.0)
    reach = np.sqrt(m[:, None] * np.stack([xx, yy], -1))
    centre = np.stack([camera.fx_px * x / z + camera.cx_px, camera.fy_px * y / z + camera.cy_px], -1)
    inside = (
        (opacity >= ALPHA_MIN)
        & (centre[:, 0] + reach[:, 0] > 0)
        & (centre[:, 0] - reach[:, 0] < camera.width_px)
        & (centre[:, 1] + reach[:, 1] > 0)
        & (centre[:, 1] - reach[:, 1] < camera.height_px)
    )
    slope = _inverse_depth_slope(splats.scales_m[rows], axes, np.stack([x, y, z], -1), camera)
    return rows[inside], centre[inside], conic[inside], reach[inside], z[inside], slope[inside], opacity[inside]


def _inverse_depth_slope(
    scales_m: np.ndarray, axes_cam: np.ndarray, centres_cam: np.ndarray, camera: PinholeCamera
) -> np.ndarray:
    """[N, 2] slope of 1/depth over the pixels of each splat's plane; zero for splats that are not flat.

    On a plane n.X = c the inverse depth is n.ray / c, which is linear in pixel coordinates.
    """
    thin = np.argmin(scales_m, 1)
    each = np.arange(len(thin))
    order = np.sort(scales_m, 1)
    normal = axes_cam[each, :, thin] / scales_m[each, thin][:, None]
    offset = np.einsum("nk,nk->n", normal, centres_cam)
    flat = (order[:, 0] < 0.35 * order[:, 1]) & (np.abs(offset) > 0.02 * np.linalg.norm(centres_cam, axis=1))
    slope = normal[:, :2] / np.where(flat, offset, 1.0)[:, None] / [camera.fx_px, camera.fy_px]
    return np.where(flat[:, None], slope, 0.0)
