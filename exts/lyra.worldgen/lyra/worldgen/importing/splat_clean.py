"""What trainers leave in a cloud besides the place: haze, giants, strays, and splats that hang in the air alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.errors import InputError
from ..core.optional import require
from ..core.splats import GaussianCloud
from .upright import weighted_quantiles

LEAST_OPACITY = 0.05
GIANT = 0.25
"""A splat whose standard deviation is more than this share of the place's size is backdrop or an error."""
RIM = 0.15
"""How far splats may lie outside of where nearly all are, relative to the size of the place."""
VOXELS = 96
"""Across the size of the place, where splats are dense enough."""
GAPS = 2.5
"""Voxels are at least so many times the usual distance between neighbours."""
NEIGHBOURS = 6
FAR_GAPS, FAR_SIZES = 3.0, 2.5
"""A splat whose neighbours are so many times farther away than usual, and than it is large, is alone."""
LONE_SHARE = 0.002
"""Connected pieces below this share of everything are floaters."""
LEAST_SPLATS = 200


@dataclass(frozen=True, kw_only=True)
class CleanedSplats:
    """What is left, and what went."""

    splats: GaussianCloud
    haze: int
    giants: int
    strays: int
    floaters: int

    def facts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in ("haze", "giants", "strays", "floaters")}


def clean_splats(splats: GaussianCloud, *, keep_floaters: bool = False) -> CleanedSplats:
    """Without splats that belong to no surface; in any units.

    Raises:
        InputError: hardly anything is left.
    """
    if len(splats) < LEAST_SPLATS:
        raise InputError(f"the file holds {len(splats)} splats; expected at least {LEAST_SPLATS} of a whole place")
    means = splats.means.astype(np.float64)
    scales = np.sort(splats.scales_m.astype(np.float64), 1)
    area = scales[:, 1] * scales[:, 2]
    weight = splats.opacities * np.minimum(area, 50 * np.median(area))
    low, high = weighted_quantiles(means, weight, (0.01, 0.99))
    size = float(np.linalg.norm(high - low))
    if not (np.isfinite(size) and size > 0):
        raise InputError("all splats lie in one place; expected the splats of a whole place")
    haze = splats.opacities < LEAST_OPACITY
    giant = ~haze & (scales[:, 2] > GIANT * size)
    margin = RIM * (high - low).max()
    stray = ~haze & ~giant & ((means < low - margin) | (means > high + margin)).any(1)
    keep = ~(haze | giant | stray)
    _expect_some(int(keep.sum()), len(splats))
    floating = np.zeros(len(splats), bool)
    if not keep_floaters:
        rows = np.flatnonzero(keep)
        floating[rows] = _alone(means[rows], scales[rows, 1], weight[rows], size)
        keep &= ~floating
        _expect_some(int(keep.sum()), len(splats))
    return CleanedSplats(
        splats=splats.take(keep),
        haze=int(haze.sum()),
        giants=int(giant.sum()),
        strays=int(stray.sum()),
        floaters=int(floating.sum()),
    )


def _expect_some(left: int, of: int) -> None:
    if left < LEAST_SPLATS:
        raise InputError(
            f"only {left} of {of} splats are opaque, of sensible size and near others; expected the splats of a place"
        )


def _alone(points: np.ndarray, middle: np.ndarray, weight: np.ndarray, size: float) -> np.ndarray:
    """[N] bool: in a piece that nothing connects with the rest, and that is next to nothing."""
    ndimage = require("scipy.ndimage", extra="recon", package="scipy")
    gap = _gaps(points)
    usual_gap = float(np.median(gap))
    # On a surface splats overlap; where a cloud is coarse its splats are large.
    far = (gap > FAR_GAPS * usual_gap) & (gap > FAR_SIZES * middle)
    voxel = max(size / VOXELS, GAPS * usual_gap)
    low = points.min(0) - voxel
    shape = tuple((np.ceil((points.max(0) - low) / voxel).astype(int) + 2).tolist())
    at = np.ravel_multi_index(tuple(((points - low) / voxel).astype(int).T), shape)
    mass = np.bincount(at, weight, int(np.prod(shape))).reshape(shape)
    pieces, count = ndimage.label(mass > 0, np.ones((3, 3, 3)))
    share = np.bincount(pieces.ravel(), mass.ravel(), count + 1) / mass.sum()
    lone_piece = share < LONE_SHARE
    # Chains of single splats hang on to the place: a voxel with hardly anything in and around it is air.
    around = ndimage.uniform_filter(mass, 3, mode="constant")
    usual = float(np.median(around[mass > 0]))
    thin = around < 0.03 * usual
    return (lone_piece[pieces] | thin).ravel()[at] | far


def _gaps(points: np.ndarray) -> np.ndarray:
    """[N] distance of every splat to its sixth neighbour."""
    spatial = require("scipy.spatial", extra="recon", package="scipy")
    distance, _ = spatial.cKDTree(points).query(points, k=min(NEIGHBOURS + 1, len(points)), workers=-1)
    return distance.reshape(len(points), -1)[:, -1]
