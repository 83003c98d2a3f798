"""Gaussian splats as one record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .arrays import expect_finite, expect_shape
from .errors import InputError
from .frames import quat_wxyz_from_rotation
from .sh import SH_C0, rotate_sh, sh_degree


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

    def take(self, rows: np.ndarray) -> GaussianCloud:
        """The Gaussians of a mask [N] or of indices [M], in that order."""
        return GaussianCloud(
            means=self.means[rows],
            scales_m=self.scales_m[rows],
            quats_wxyz=self.quats_wxyz[rows],
            opacities=self.opacities[rows],
            sh=self.sh[rows],
            labels=None if self.labels is None else self.labels[rows],
        )

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
        sh_degree(self.sh.shape[1])
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


def transform_splats(T_a_b: np.ndarray, splats_b: GaussianCloud) -> GaussianCloud:
    """Splats of frame b in frame a: centres, sizes, orientations and view-dependent colours, all float32.

    Args:
        T_a_b: [4, 4] similarity, the product of a rotation, one scale and a translation; it may mirror.
        splats_b: any degree of harmonics.

    Raises:
        InputError: the matrix shears or scales its axes differently; splats under it are no splats.
    """
    T_a_b = expect_shape("T_a_b", np.asarray(T_a_b, np.float64), (4, 4))
    A = T_a_b[:3, :3]
    determinant = float(np.linalg.det(A)) if np.isfinite(T_a_b).all() else 0.0
    scale = abs(determinant) ** (1 / 3)
    R = A / scale if scale > 1e-12 else A
    if scale <= 1e-12 or np.abs(R @ R.T - np.eye(3)).max() > 1e-4 or np.abs(T_a_b[3] - (0, 0, 0, 1)).max() > 1e-9:
        raise InputError("T_a_b is not a similarity; expected a rotation, one scale and a translation")
    quats_wxyz = splats_b.quats_wxyz.astype(np.float64)
    turn = R
    if determinant < 0:
        # A splat is its own mirror image along its axes, so R * local turns to (R M) (M * local * M) with M = y to -y;
        # the second is the turn about the mirrored axis, the other way round.
        quats_wxyz = quats_wxyz * [1.0, -1.0, 1.0, -1.0]
        turn = R * [1.0, -1.0, 1.0]
    w, x, y, z = quat_wxyz_from_rotation(turn)
    product = np.array([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]])
    means = splats_b.means.astype(np.float64) @ A.T + T_a_b[:3, 3]
    quats_wxyz = quats_wxyz @ product.T
    quats_wxyz /= np.maximum(np.linalg.norm(quats_wxyz, axis=1, keepdims=True), 1e-12)
    return replace(
        splats_b,
        means=means.astype(np.float32),
        scales_m=(splats_b.scales_m * scale).astype(np.float32),
        quats_wxyz=quats_wxyz.astype(np.float32),
        sh=rotate_sh(R, splats_b.sh),
    )


def join_splats(parts: Sequence[GaussianCloud]) -> GaussianCloud:
    """One cloud of several, in order: harmonics of the highest degree, and labels where any part has some."""
    count = max((part.sh.shape[1] for part in parts), default=1)
    sh = [np.pad(part.sh, ((0, 0), (0, count - part.sh.shape[1]), (0, 0))) for part in parts]
    labels = [np.zeros(len(part), np.uint8) if part.labels is None else part.labels for part in parts]
    return GaussianCloud(
        means=np.concatenate([part.means for part in parts]),
        scales_m=np.concatenate([part.scales_m for part in parts]),
        quats_wxyz=np.concatenate([part.quats_wxyz for part in parts]),
        opacities=np.concatenate([part.opacities for part in parts]),
        sh=np.concatenate(sh),
        labels=None if all(part.labels is None for part in parts) else np.concatenate(labels),
    )
