"""Compression of a cloud to a number of splats: neighbours that look alike become one, the least visible first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import quat_wxyz_from_rotation, rotation_from_quat_wxyz
from ..core.machine import core_count, map_threads
from ..core.optional import require
from ..core.sh import SH_C0
from ..core.splats import GaussianCloud
from .splat_render import gather_splats, project_splats

GAP_COST = 0.002
"""Squared colour error that a pair of splats counts for when it lies one standard deviation apart too far."""
FREE_GAP = 2.0
"""Squared distance of a pair, relative to the variance of its splats, that touching pixels of a surface have."""
THICK_COST = 0.02
"""Squared colour error that a merged splat counts for when it is as thick as wide: discs of two walls in a corner."""
LABEL_COST = 0.05
"""Squared colour error that a pair with different labels counts for."""
ROUND_SHARE = 1 / 3
"""Share of the pairs that are merged before neighbours are looked for again: dear pairs wait for cheaper ones."""
LEAST_SEEN = 0.5
"""Importance that every splat has at least, relative to the mean: other views than the given ones exist."""
MAX_WIDENING = 8.0
"""Most that the distance of a pair may count towards the size of the splat that replaces it."""


def seen_importance(splats: GaussianCloud, views: Iterable[tuple[PinholeCamera, np.ndarray]]) -> np.ndarray:
    """[N] float64: what each splat adds to the pictures, in whole pixels summed over the views.

    It is the sum of the blending weights of the renderer: opacity times what nearer splats let through times the
    Gaussian's value at the pixel. Opacity, projected area and occlusion are in it exactly.

    Args:
        splats: the cloud.
        views: camera and T_world_cam of each.
    """

    def of_view(view: tuple[PinholeCamera, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        camera, T_world_cam = view
        projected = project_splats(splats, camera, T_world_cam)
        nothing = np.zeros((camera.height_px, camera.width_px, 3))
        return projected.index, gather_splats(projected, nothing)[1]

    total = np.zeros(len(splats))
    for index, weight in map_threads(of_view, views):
        total[index] += weight
    return total


def shape_importance(splats: GaussianCloud) -> np.ndarray:
    """[N] float64: opacity times the area of the largest cross-section [m^2], where no views are known."""
    scales_m = np.sort(splats.scales_m.astype(np.float64), 1)
    return scales_m[:, 1] * scales_m[:, 2] * splats.opacities


def compress_splats(splats: GaussianCloud, count: int, importance: np.ndarray) -> GaussianCloud:
    """A cloud of `count` splats that looks like the given one.

    Leaving splats out, even the least visible, tears holes into surfaces that are one splat thick. So pairs of nearest
    neighbours are merged, and of those the pairs that cost least (Ward): squared colour difference times the harmonic
    mean of what is seen of both, plus what their gap, their angle and
    different labels would cost. A merged splat keeps mean and
    covariance of its two, widened along their distance until it covers as much as both (opacity times area).

    Args:
        splats: at least two.
        count: most splats that are left, at least 1.
        importance: [N] >= 0, `seen_importance` or `shape_importance`.
    """
    if len(splats) <= count:
        return splats
    KDTree = require("scipy.spatial", extra="recon").cKDTree
    state = _Mixture.of(splats, importance)
    while (excess := len(state.means) - count) > 0:
        distance, near = KDTree(state.means).query(state.means, 2, workers=core_count())
        # With equal centres a splat may find itself second.
        other = np.where(near[:, 0] == np.arange(len(near)), near[:, 1], near[:, 0])
        first = np.flatnonzero(other[other] == np.arange(len(other)))
        first = first[first < other[first]]
        if not len(first):
            first = np.array([int(np.argmin(distance[:, 1]))])
        state = state.merged(first, other[first], min(excess, max(1, int(ROUND_SHARE * len(first)))))
    return state.cloud(splats)


@dataclass(frozen=True, kw_only=True)
class _Mixture:
    """Splats as moments, M of them."""

    means: np.ndarray
    covariances: np.ndarray
    """[M, 3, 3]."""
    opacities: np.ndarray
    sh: np.ndarray
    """[M, K, 3] float32."""
    seen: np.ndarray
    labels: np.ndarray
    row: np.ndarray
    """[M] row in the original cloud, of the more visible of the merged."""
    touched: np.ndarray
    """[M] bool: merged at least once."""

    @classmethod
    def of(cls, splats: GaussianCloud, importance: np.ndarray) -> _Mixture:
        axes = rotation_from_quat_wxyz(splats.quats_wxyz) * splats.scales_m.astype(np.float64)[:, None]
        return cls(
            means=splats.means.astype(np.float64),
            covariances=axes @ np.swapaxes(axes, 1, 2),
            opacities=splats.opacities.astype(np.float64),
            sh=splats.sh,
            seen=np.maximum(importance, LEAST_SEEN * float(importance.mean()) + 1e-300),
            labels=np.zeros(len(splats), np.uint8) if splats.labels is None else splats.labels,
            row=np.arange(len(splats)),
            touched=np.zeros(len(splats), bool),
        )

    def merged(self, a: np.ndarray, b: np.ndarray, most: int) -> _Mixture:
        """With the `most` cheapest of the pairs [P] of rows merged."""
        # Mass is what a splat covers; it weighs the moments, and is kept.
        area_a, area_b = (np.sqrt(_minors(self.covariances[i])) for i in (a, b))
        mass_a, mass_b = self.opacities[a] * area_a, self.opacities[b] * area_b
        mass = np.maximum(mass_a + mass_b, 1e-300)
        share = (mass_a / mass)[:, None]
        apart = self.means[b] - self.means[a]
        within = share[..., None] * self.covariances[a] + (1 - share)[..., None] * self.covariances[b]
        spread = np.sqrt(share * (1 - share)) * apart
        opacity = 1 - (1 - self.opacities[a]) * (1 - self.opacities[b])
        # The second invariant is the squared area of a thin splat, and linear in how much the distance counts.
        slope = np.trace(within, axis1=1, axis2=2) * (spread**2).sum(1)
        slope -= np.einsum("ni,nij,nj->n", spread, within, spread)
        widening = ((mass / opacity) ** 2 - _minors(within)) / np.maximum(slope, 1e-300)
        widening = np.clip(widening, 1.0, MAX_WIDENING)
        covariance = within + widening[:, None, None] * spread[:, :, None] * spread[:, None]
        minors = np.maximum(_minors(covariance), 1e-300)
        colour = SH_C0 * (self.sh[a, 0] - self.sh[b, 0]).astype(np.float64)
        together = self.seen[a] * self.seen[b] / (self.seen[a] + self.seen[b])
        gap = (apart**2).sum(1) / np.maximum(np.trace(within, axis1=1, axis2=2), 1e-300)
        thick = np.maximum(np.linalg.det(covariance), 0) / minors**1.5
        cost = (colour**2).sum(1) + GAP_COST * np.maximum(gap - FREE_GAP, 0) + THICK_COST * thick
        cost += LABEL_COST * (self.labels[a] != self.labels[b])
        pick = np.argsort(together * cost, kind="stable")[:most]
        a, b, share = a[pick], b[pick], share[pick]
        opacity = np.minimum(opacity[pick], mass[pick] / np.sqrt(minors[pick]))
        keep = np.ones(len(self.means), bool)
        keep[b] = False
        means, covariances, opacities = self.means.copy(), self.covariances.copy(), self.opacities.copy()
        sh, seen, row, touched = self.sh.copy(), self.seen.copy(), self.row.copy(), self.touched.copy()
        means[a] = share * self.means[a] + (1 - share) * self.means[b]
        covariances[a], opacities[a] = covariance[pick], opacity
        lead = (self.seen[a] / (self.seen[a] + self.seen[b])).astype(np.float32)[:, None, None]
        sh[a] = lead * self.sh[a] + (1 - lead) * self.sh[b]
        seen[a] = self.seen[a] + self.seen[b]
        leads = self.seen[a] >= self.seen[b]
        row[a] = np.where(leads, self.row[a], self.row[b])
        labels = self.labels.copy()
        labels[a] = np.where(leads, self.labels[a], self.labels[b])
        touched[a] = True
        return _Mixture(
            means=means[keep],
            covariances=covariances[keep],
            opacities=opacities[keep],
            sh=sh[keep],
            seen=seen[keep],
            labels=labels[keep],
            row=row[keep],
            touched=touched[keep],
        )

    def cloud(self, original: GaussianCloud) -> GaussianCloud:
        """Splats again; those never merged are the original ones to the last bit."""
        order = np.argsort(self.row, kind="stable")
        out = original.take(self.row[order])
        at = np.flatnonzero(self.touched[order])
        source = order[at]
        variance, axes = np.linalg.eigh(self.covariances[source])
        axes[np.linalg.det(axes) < 0, :, 0] *= -1
        out.means[at] = self.means[source]
        out.scales_m[at] = np.sqrt(np.maximum(variance, 1e-24))
        out.quats_wxyz[at] = quat_wxyz_from_rotation(axes)
        out.opacities[at] = np.clip(self.opacities[source], 1e-6, 1 - 1e-6)
        out.sh[at] = self.sh[source]
        return out


def _minors(covariances: np.ndarray) -> np.ndarray:
    """[M] second invariant of [M, 3, 3]: the sum of the products of two eigenvalues."""
    c = covariances
    return (
        c[:, 0, 0] * c[:, 1, 1] + c[:, 0, 0] * c[:, 2, 2] + c[:, 1, 1] * c[:, 2, 2]
        - c[:, 0, 1] ** 2 - c[:, 0, 2] ** 2 - c[:, 1, 2] ** 2
    )  # fmt: skip
