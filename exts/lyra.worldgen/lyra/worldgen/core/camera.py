"""Pinhole camera in pixels: rays, projection, unprojection. Pixel centres lie at +0.5."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .arrays import expect_shape
from .errors import InputError


@dataclass(frozen=True, kw_only=True)
class PinholeCamera:
    """Intrinsics of one picture size."""

    width_px: int
    height_px: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float

    def __post_init__(self) -> None:
        if self.width_px < 1 or self.height_px < 1:
            raise InputError(f"camera size is {self.width_px}x{self.height_px} px; expected at least 1x1")
        if not (
            np.isfinite([self.fx_px, self.fy_px, self.cx_px, self.cy_px]).all() and min(self.fx_px, self.fy_px) > 0
        ):
            raise InputError(f"camera focal lengths are ({self.fx_px}, {self.fy_px}) px; expected finite and positive")

    @classmethod
    def from_hfov(cls, width_px: int, height_px: int, hfov_rad: float) -> PinholeCamera:
        """Square pixels, principal point in the middle, horizontal field of view in (0, pi)."""
        if not 0.0 < hfov_rad < np.pi:
            raise InputError(f"hfov_rad is {hfov_rad}; expected between 0 and pi")
        f = width_px / (2.0 * np.tan(hfov_rad / 2.0))
        return cls(width_px=width_px, height_px=height_px, fx_px=f, fy_px=f, cx_px=width_px / 2, cy_px=height_px / 2)

    @classmethod
    def from_K_px(cls, K_px: np.ndarray, width_px: int, height_px: int) -> PinholeCamera:
        """From a [3, 3] matrix without skew."""
        K = expect_shape("K_px", np.asarray(K_px, float), (3, 3))
        return cls(width_px=width_px, height_px=height_px, fx_px=K[0, 0], fy_px=K[1, 1], cx_px=K[0, 2], cy_px=K[1, 2])

    @property
    def K_px(self) -> np.ndarray:
        """[3, 3] matrix that takes cam coordinates to homogeneous pixels."""
        return np.array([[self.fx_px, 0.0, self.cx_px], [0.0, self.fy_px, self.cy_px], [0.0, 0.0, 1.0]])

    @property
    def hfov_rad(self) -> float:
        return float(np.arctan2(self.cx_px, self.fx_px) + np.arctan2(self.width_px - self.cx_px, self.fx_px))

    @property
    def vfov_rad(self) -> float:
        return float(np.arctan2(self.cy_px, self.fy_px) + np.arctan2(self.height_px - self.cy_px, self.fy_px))

    def resized(self, width_px: int, height_px: int) -> PinholeCamera:
        """The same field of view at another size."""
        sx, sy = width_px / self.width_px, height_px / self.height_px
        return PinholeCamera(
            width_px=width_px,
            height_px=height_px,
            fx_px=self.fx_px * sx,
            fy_px=self.fy_px * sy,
            cx_px=self.cx_px * sx,
            cy_px=self.cy_px * sy,
        )

    def pixel_grid(self) -> tuple[np.ndarray, np.ndarray]:
        """u, v of every pixel centre, each [H, W]."""
        u, v = np.meshgrid(np.arange(self.width_px) + 0.5, np.arange(self.height_px) + 0.5)
        return u, v

    def rays_cam(self) -> np.ndarray:
        """Ray through every pixel centre with unit z, [H, W, 3]; depth_z_m * rays_cam are the points."""
        u, v = self.pixel_grid()
        return np.stack([(u - self.cx_px) / self.fx_px, (v - self.cy_px) / self.fy_px, np.ones_like(u)], -1)

    def unproject(self, depth_z_m: np.ndarray) -> np.ndarray:
        """Points in cam [H, W, 3] from depth along the optical axis [H, W]."""
        expect_shape("depth_z_m", depth_z_m, (self.height_px, self.width_px))
        return self.rays_cam() * depth_z_m[..., None]

    def project(self, points_cam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels [..., 2] and depth_z_m [...] of points [..., 3]; points with z <= 0 give NaN pixels."""
        z = points_cam[..., 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            u = np.where(z > 0, self.fx_px * points_cam[..., 0] / z + self.cx_px, np.nan)
            v = np.where(z > 0, self.fy_px * points_cam[..., 1] / z + self.cy_px, np.nan)
        return np.stack([u, v], -1), z
