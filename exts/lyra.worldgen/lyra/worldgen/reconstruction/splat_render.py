"""Render splats on the CPU: depth sort and front-to-back blending, each splat as strong as the pixel's ray meets it.

3DGS rasterisers project every splat as if all of it were seen along one direction. For a splat on a wall that a robot
drives along, half a metre beside the camera, that is wrong by so much that it covers the picture. Along a ray the
strength of a Gaussian has a closed form, which renderers that trace rays use as well; for small splats both agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.errors import InputError
from ..core.frames import expect_rigid, invert_rigid
from ..core.machine import core_count, map_threads
from ..core.mesh import Label
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

    A splat counts where it is strongest along the pixel's ray, which for a flat one is where the ray meets its plane,
    and not where its centre lies: on a floor seen at a low angle the two differ by the splat's whole length.
    """
    median_depth_z_m: np.ndarray
    """[H, W] float32 depth at which half of the light is gone; 0 where alpha stays below a half, or where sky takes it.

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
    covariance_px2: np.ndarray
    """[M, 3] float64 covariance xx, xy, yy at the centre, without the low-pass [px^2]."""
    bend: np.ndarray
    """[M, 5] float64: along the ray through the centre plus (dx, dy) pixels, the squared length of the ray in standard
    deviations is the centre's times 1 + 2 (b0 dx + b1 dy) + b2 dx^2 + 2 b3 dx dy + b4 dy^2."""
    box_px: np.ndarray
    """[M, 4] float64 left, top, right and bottom outside of which alpha is below 1/255."""
    depth_z_m: np.ndarray
    """[M] float64 of the centre."""
    reach_z_m: np.ndarray
    """[M] float64 how far in depth the splat is visible before and behind its centre."""
    opacity: np.ndarray
    """[M] float64."""
    solid: np.ndarray
    """[M] bool: not sky, which has a colour and no depth."""


def render_splats(
    splats: GaussianCloud, camera: PinholeCamera, T_world_cam: np.ndarray, *, threads: int | None = None
) -> SplatImage:
    """Picture of the splats from a camera; the same input gives the same picture for any number of threads.

    Raises:
        InputError: the pose is not rigid.
    """
    projected = project_splats(splats, camera, T_world_cam, threads=threads)
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
            projected.covariance_px2,
            projected.bend,
            projected.box_px,
            projected.opacity,
            projected.depth_z_m,
            projected.reach_z_m,
            projected.solid,
            BLUR_PX2,
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
        projected.covariance_px2,
        projected.bend,
        projected.box_px,
        projected.opacity,
        BLUR_PX2,
        np.ascontiguousarray(picture, np.float64),
        np.ones(picture.shape[:2]),
        total,
        weight,
    )
    return total, weight


def project_splats(
    splats: GaussianCloud, camera: PinholeCamera, T_world_cam: np.ndarray, *, threads: int | None = None
) -> ProjectedSplats:
    """Project all splats and keep those that can touch the picture, sorted by depth (ties by row)."""
    T_cam_world = invert_rigid(expect_rigid("T_world_cam", T_world_cam))
    starts = range(0, max(len(splats), 1), _CHUNK)
    parts = map_threads(lambda start: _project_chunk(splats, camera, T_cam_world, start), starts, threads=threads)
    index, centre, covariance, bend, box, z, reach_z, opacity = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    order = np.argsort(z, kind="stable")  # rows come in order, so that ties go by row
    return ProjectedSplats(
        index=index[order],
        centre_px=centre[order],
        covariance_px2=covariance[order],
        bend=bend[order],
        box_px=box[order],
        depth_z_m=z[order],
        reach_z_m=reach_z[order],
        opacity=opacity[order],
        solid=np.ones(len(order), bool) if splats.labels is None else splats.labels[index[order]] != Label.SKY,
    )


def _project_chunk(
    splats: GaussianCloud, camera: PinholeCamera, T_cam_world: np.ndarray, start: int
) -> tuple[np.ndarray, ...]:
    from . import splat_numba

    means, scales_m = splats.means[start : start + _CHUNK], splats.scales_m[start : start + _CHUNK]
    pinhole = np.array([camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px, camera.width_px, camera.height_px])
    # Most splats could not touch the picture even if they were as large as their longest axis all around.
    keep = np.zeros(len(means), bool)
    splat_numba.candidates(
        np.ascontiguousarray(means),
        np.ascontiguousarray(scales_m),
        T_cam_world,
        pinhole,
        NEAR_M,
        _REACH,
        np.sqrt(BLUR_PX2),
        keep,
    )
    rows = np.flatnonzero(keep) + start
    n = len(rows)
    centre, covariance, bend, box = (np.empty((n, k)) for k in (2, 3, 5, 4))
    z, reach_z, opacity = np.empty(n), np.empty(n), np.empty(n)
    inside = np.empty(n, bool)
    sound = splat_numba.project(
        rows,
        splats.means,
        splats.scales_m,
        splats.quats_wxyz,
        splats.opacities,
        T_cam_world,
        pinhole,
        np.array([NEAR_M, BLUR_PX2, ALPHA_MIN]),
        centre,
        covariance,
        bend,
        box,
        z,
        reach_z,
        opacity,
        inside,
    )
    if not sound:
        raise InputError("splats hold a zero quaternion; expected unit length")
    return tuple(column[inside] for column in (rows, centre, covariance, bend, box, z, reach_z, opacity))
