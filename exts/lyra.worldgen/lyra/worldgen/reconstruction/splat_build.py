"""From the numbers that splat files store (logits, logarithms, quaternions of any length) to a cloud."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.splats import GaussianCloud

MAX_BROKEN_SHARE = 0.01
"""Training leaves a few NaN among millions of splats; more than this share means that the file is damaged."""
MIN_OPACITY, MAX_OPACITY = np.float32(1e-7), np.float32(1 - 2**-24)
MIN_SCALE_M = np.float32(1e-12)
log = logging.getLogger(__name__)


class CloudBuilder:
    """Arrays of a cloud that are filled piece by piece, by readers that let NumPy ignore NaN and overflow."""

    def __init__(self, count: int, sh_count: int) -> None:
        self._cloud = GaussianCloud(
            means=np.empty((count, 3), np.float32),
            scales_m=np.empty((count, 3), np.float32),
            quats_wxyz=np.empty((count, 4), np.float32),
            opacities=np.empty(count, np.float32),
            sh=np.empty((count, sh_count, 3), np.float32),
        )
        self._row = 0
        self._good = np.ones(count, bool)

    def add(
        self,
        *,
        means: np.ndarray,
        log_scales: np.ndarray,
        quats_wxyz: np.ndarray,
        opacities: np.ndarray,
        sh_dc: np.ndarray,
        sh_rest: np.ndarray,
    ) -> None:
        """Append rows; NaN and infinite values mark a row as broken.

        Args:
            means: [R, 3].
            log_scales: [R, 3] natural logarithms of standard deviations.
            quats_wxyz: [R, 4] of any length; zero means no rotation.
            opacities: [R] in 0..1; see `opacities_from_logits`.
            sh_dc: [R, 3].
            sh_rest: [R, K - 1, 3].
        """
        cloud, rows = self._cloud, slice(self._row, self._row + len(means))
        cloud.means[rows] = means
        # Exponents in float64: what float32 rounds is the result, as in every other converter.
        scales_m = np.exp(log_scales.astype(np.float64))
        np.maximum(scales_m, MIN_SCALE_M, out=cloud.scales_m[rows], casting="same_kind")
        quats = quats_wxyz.astype(np.float64)
        squared = np.einsum("ij,ij->i", quats, quats)
        quats /= np.sqrt(squared)[:, None]
        quats[squared <= 1e-24] = (1.0, 0.0, 0.0, 0.0)
        cloud.quats_wxyz[rows] = quats
        np.clip(opacities, MIN_OPACITY, MAX_OPACITY, out=cloud.opacities[rows], casting="same_kind")
        cloud.sh[rows, 0] = sh_dc
        if sh_rest.shape[1]:
            cloud.sh[rows, 1:] = sh_rest
        for array in (cloud.means, cloud.scales_m, cloud.quats_wxyz, cloud.opacities, cloud.sh):
            finite = np.isfinite(array[rows])
            if not finite.all():
                self._good[rows] &= finite.reshape(len(means), -1).all(1)
        self._row += len(means)

    def finish(self, path: Path) -> tuple[GaussianCloud, int]:
        """The cloud without its broken rows, and how many there were.

        Raises:
            InputError: more than a hundredth is broken; names the file.
        """
        assert self._row == len(self._cloud), "readers fill every row"
        broken = int(len(self._good) - np.count_nonzero(self._good))
        if broken > MAX_BROKEN_SHARE * len(self._good):
            raise InputError(
                f"{broken} of {len(self._good)} splats hold NaN or infinite values; expected at most "
                f"{MAX_BROKEN_SHARE:.0%}, export the file again: {path}"
            )
        if broken:
            log.warning("%d of %d splats hold NaN or infinite values and are left out: %s", broken, len(self), path)
            return self._cloud.take(self._good), broken
        return self._cloud, 0

    def __len__(self) -> int:
        return len(self._cloud)


def opacities_from_logits(logits: np.ndarray) -> np.ndarray:
    """Logistic function [R] float64; infinite logits, which some tools write for 0 and 1, are fine."""
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def rest_from_planes(planes: np.ndarray, keep: int) -> np.ndarray:
    """[R, keep, 3] of coefficients stored channel by channel [R, 3 * stored], the first `keep` of each."""
    return planes.reshape(len(planes), 3, -1)[:, :, :keep].transpose(0, 2, 1)
