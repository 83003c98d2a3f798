"""Gaussian splats as one record."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .arrays import expect_finite, expect_shape
from .errors import InputError

SH_C0 = 0.28209479177387814
"""Value of the constant spherical harmonic; display colour = 0.5 + SH_C0 * DC."""


@dataclass(frozen=True, kw_only=True)
class GaussianCloud:
    """N anisotropic Gaussians in the world frame, display-referred sRGB colour."""

    means: np.ndarray
    """[N, 3] float32 [m]."""
    scales_m: np.ndarray
    """[N, 3] float32 standard deviations along the local axes, linear, > 0."""
    quats_wxyz: np.ndarray
    """[N, 4] float32 unit, local axes to world."""
    opacities: np.ndarray
    """[N] float32 in (0, 1)."""
    sh: np.ndarray
    """[N, K, 3] float32 coefficients, K = (degree + 1)^2, DC first."""
    labels: np.ndarray | None = None
    """[N] uint8 `Label` values."""

    def __len__(self) -> int:
        return len(self.means)

    @property
    def sh_degree(self) -> int:
        return round(self.sh.shape[1] ** 0.5) - 1

    def rgb(self) -> np.ndarray:
        """View-independent colour [N, 3] float32 in [0, 1]."""
        return np.clip(0.5 + SH_C0 * self.sh[:, 0], 0.0, 1.0)

    def validate(self) -> GaussianCloud:
        """Return self if it is well formed; raises `InputError` that names the first problem."""
        n = len(self)
        for name, array, shape in (
            ("means", self.means, (n, 3)),
            ("scales_m", self.scales_m, (n, 3)),
            ("quats_wxyz", self.quats_wxyz, (n, 4)),
            ("opacities", self.opacities, (n,)),
            ("sh", self.sh, (n, None, 3)),
        ):
            expect_finite(name, expect_shape(name, array, shape))
        if self.sh.shape[1] not in (1, 4, 9, 16):
            raise InputError(f"sh holds {self.sh.shape[1]} coefficients; expected 1, 4, 9 or 16 (degree 0 to 3)")
        if n and self.scales_m.min() <= 0:
            raise InputError("scales_m holds values <= 0; expected linear standard deviations in metres")
        if n and (self.opacities.min() <= 0 or self.opacities.max() >= 1):
            raise InputError("opacities reach 0 or 1; expected values strictly between")
        if n and np.abs(np.linalg.norm(self.quats_wxyz, axis=1) - 1).max() > 1e-3:
            raise InputError("quats_wxyz are not unit length; normalise them")
        return self


def sh_from_rgb(rgb: np.ndarray) -> np.ndarray:
    """Degree-0 coefficients [N, 1, 3] float32 of colours [N, 3] in [0, 1]."""
    return ((np.asarray(rgb, np.float32) - 0.5) / SH_C0)[:, None].astype(np.float32)
