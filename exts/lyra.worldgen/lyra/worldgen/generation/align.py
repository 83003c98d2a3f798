"""A new depth map put into the metres of what is already known, and grown into its holes without a seam.

The released Lyra 2 takes the scale of new frames from the distances between predicted camera centres, so a camera that
only turns has none. Here depth is compared with depth: every pixel that the memory knows, and every floor pixel of a
camera whose height is known, says what the new map must be there. One factor (metric maps and those without shift), or
factor and shift in the space in which the model answers, is fitted to the logarithm of depth, with outliers left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..core.arrays import expect_shape
from ..core.camera import PinholeCamera
from ..core.frames import rotate_vectors
from ..core.optional import require
from ..core.views import SPACE_DEPTH, SPACE_DISPARITY, DepthResult

MIN_PIXELS = 60
"""Fewest known pixels that may decide on a scale."""
MIN_SHARE = 0.002
"""Least share of the picture that they cover."""
MIN_INLIER_SHARE = 0.35
MAX_RESIDUAL = 0.15
"""Largest spread of log depth among the inliers of a fit that is believed."""
MIN_SPREAD = 0.08
"""Least spread of the known log depths (10th to 90th percentile) that tells a shift from a factor."""
FLOOR_WEIGHT = 4.0
"""Weight of a floor pixel that is looked down on steeply, against a remembered pixel of weight 1."""

_INLIER = 0.08
_DRAWS = 200
_SAMPLES = 4000
_ROUNDS = 30
_SOLVE_LEVELS = 6


@dataclass(frozen=True, kw_only=True)
class AlignedDepth:
    """A depth map in metres, or why there is none."""

    depth_z_m: np.ndarray | None
    """[H, W] float32, None when the fit was refused."""
    valid: np.ndarray
    """[H, W] bool."""
    space: str
    """Space in which factor and shift apply: `factor * value + shift` is depth, or inverse depth for disparity."""
    factor: float
    shift: float
    pixels: int
    """Known pixels that were compared."""
    inlier_share: float
    """Share of their weight that the fit explains."""
    residual: float
    """Median of |log(aligned / known)| over the inliers."""
    reason: str = ""
    """Why the fit was refused; empty when it was not."""

    @property
    def accepted(self) -> bool:
        return not self.reason


@dataclass(frozen=True, kw_only=True)
class FloorView:
    """Pixels that show the floor of a camera whose pose is known."""

    mask: np.ndarray
    """[H, W] bool."""
    camera: PinholeCamera
    T_world_cam: np.ndarray
    """[4, 4]; the floor is z = 0."""

    def reference(self) -> tuple[np.ndarray, np.ndarray]:
        """Exact depth [H, W] and weight [H, W], zero where no floor is seen; grazing rays count less."""
        rays = rotate_vectors(self.T_world_cam, self.camera.rays_cam())
        fall = -rays[..., 2]
        steep = fall / np.linalg.norm(rays, axis=-1)
        seen = expect_shape("mask", self.mask, fall.shape) & (steep > 0.02)
        depth = np.where(seen, self.T_world_cam[2, 3] / np.maximum(fall, 1e-6), 0.0)
        return depth, np.where(seen, FLOOR_WEIGHT * np.minimum(steep / 0.2, 1.0), 0.0)


def align_depth(
    result: DepthResult,
    *,
    reference_z_m: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    floor: FloorView | None = None,
    seed: int = 0,
) -> AlignedDepth:
    """Fit a depth map to known depth.

    Args:
        result: what a depth model said.
        reference_z_m: [H, W] known depth along the optical axis; None where only the floor is known.
        weight: [H, W] trust in it, 0 where nothing is known; None trusts all positive pixels alike.
        floor: floor pixels of a camera of known height; there its plane replaces the reference.
        seed: of the random draws.
    """
    shape = result.valid.shape
    reference, trust = np.zeros(shape), np.zeros(shape)
    if reference_z_m is not None:
        reference = np.where(np.isfinite(reference_z_m), expect_shape("reference_z_m", reference_z_m, shape), 0.0)
        trust = np.ones(shape) if weight is None else expect_shape("weight", weight, shape)
        trust = np.where(reference > 0, trust, 0.0)
    if floor is not None:
        # The floor is exact, what is remembered of it is not: it keeps a long chain from drifting.
        floor_z, floor_weight = floor.reference()
        on_floor = floor_weight > 0
        reference, trust = np.where(on_floor, floor_z, reference), np.where(on_floor, floor_weight, trust)
    pick = np.flatnonzero((result.valid & (trust > 0)).ravel())
    shifted = result.space in (SPACE_DEPTH, SPACE_DISPARITY)
    count = len(pick)
    refused = AlignedDepth(
        depth_z_m=None,
        valid=np.zeros(shape, bool),
        space=result.space,
        factor=1.0,
        shift=0.0,
        pixels=count,
        inlier_share=0.0,
        residual=np.inf,
    )
    need = max(MIN_PIXELS, round(MIN_SHARE * result.valid.size))
    if count < need:
        return replace(refused, reason=f"{count} known pixels have new depth; at least {need} are needed")
    if count > _SAMPLES:
        pick = pick[np.linspace(0, count - 1, _SAMPLES).astype(int)]
    x = result.values.ravel()[pick].astype(float)
    log_z, w = np.log(reference.ravel()[pick]), trust.ravel()[pick]
    if shifted:
        low, high = np.quantile(log_z, [0.1, 0.9])
        if high - low < MIN_SPREAD:
            reason = f"known depths differ by a factor of {np.exp(high - low):.3f} only; that tells no shift"
            return replace(refused, reason=reason)
        sign = -1.0 if result.space == SPACE_DISPARITY else 1.0
        factor, shift = _factor_and_shift(x, log_z, w, sign, np.random.default_rng(seed))
    else:
        factor, shift, sign = float(np.exp(_mode(log_z - np.log(x), w))), 0.0, 1.0
    error = sign * np.log(np.maximum(factor * x + shift, 1e-12)) - log_z
    inlier = np.abs(error) < _INLIER
    share = float(w[inlier].sum() / w.sum())
    residual = float(np.median(np.abs(error[inlier]))) if inlier.any() else np.inf
    reason = ""
    if not (np.isfinite([factor, shift]).all() and factor > 0):
        reason = f"the fit is no depth (factor {factor:.3g}, shift {shift:.3g})"
    elif share < MIN_INLIER_SHARE:
        reason = f"only {100 * share:.0f} % of the known pixels agree on one fit"
    elif residual > MAX_RESIDUAL:
        reason = f"the fit leaves a relative error of {100 * residual:.0f} %"
    fitted = replace(refused, factor=factor, shift=shift, inlier_share=share, residual=residual, reason=reason)
    if reason:
        return fitted
    depth, valid = to_metres(result, factor, shift)
    return replace(fitted, depth_z_m=depth, valid=valid)


def to_metres(result: DepthResult, factor: float, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth [H, W] float32 and validity [H, W] of a map under `factor * value + shift` in its own space."""
    value = factor * result.values.astype(float) + shift
    valid = result.valid & (value > 1e-6)
    value = np.where(valid, value, 1.0)
    depth = 1.0 / value if result.space == SPACE_DISPARITY else value
    return np.where(valid, depth, 0.0).astype(np.float32), valid


def _mode(values: np.ndarray, weight: np.ndarray) -> float:
    """The value about which most of the weight lies; Tukey's mean about the densest window."""
    order = np.argsort(values, kind="stable")
    v, total = values[order], np.concatenate([[0.0], np.cumsum(weight[order])])
    low, high = np.searchsorted(v, v - _INLIER), np.searchsorted(v, v + _INLIER, side="right")
    centre = float(v[(total[high] - total[low]).argmax()])
    for _ in range(_ROUNDS):
        near = _tukey(values - centre, 2.0 * _INLIER) * weight
        moved = float((near * values).sum() / near.sum())
        if abs(moved - centre) < 1e-9:
            break
        centre = moved
    return centre


def _factor_and_shift(
    x: np.ndarray, log_z: np.ndarray, weight: np.ndarray, sign: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Factor a and shift b with sign * log(a x + b) = log z: best of random pairs, then reweighted least squares."""
    target = np.exp(sign * log_z)  # the reference in the model's own space
    chance = np.cumsum(weight) / weight.sum()
    i, j = (np.minimum(np.searchsorted(chance, rng.random(_DRAWS)), len(x) - 1) for _ in range(2))
    apart = np.abs(x[i] - x[j]) > 1e-9 * np.abs(x).max()
    i, j = i[apart], j[apart]
    if not len(i):
        return np.nan, np.nan
    a = (target[i] - target[j]) / (x[i] - x[j])
    b = target[i] - a * x[i]
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.abs(np.log(a[:, None] * x + b[:, None]) - sign * log_z)
    support = np.where(np.isfinite(error), np.clip(1.0 - (error / _INLIER) ** 2, 0.0, 1.0), 0.0) @ weight
    support[a <= 0] = -1.0
    best = int(support.argmax())
    fit = np.array([a[best], b[best]])
    for _ in range(_ROUNDS):
        value = fit[0] * x + fit[1]
        ok = value > 1e-9
        value = np.where(ok, value, 1.0)
        error = np.where(ok, np.log(value) - sign * log_z, 1e3)
        near = _tukey(error, 2.0 * _INLIER) * weight
        rows = np.stack([x, np.ones_like(x)], -1) / value[:, None]
        step = np.linalg.lstsq(rows * np.sqrt(near)[:, None], -error * np.sqrt(near), rcond=None)[0]
        fit = fit + step
        if np.abs(step).max() < 1e-10 * max(np.abs(fit).max(), 1e-12):
            break
    return float(fit[0]), float(fit[1])


def _tukey(error: np.ndarray, reach: float) -> np.ndarray:
    """Tukey's weight: 1 at no error, 0 beyond `reach`."""
    return np.clip(1.0 - (error / reach) ** 2, 0.0, None) ** 2


def blend_into_hole(
    depth_z_m: np.ndarray, known_z_m: np.ndarray, known: np.ndarray, *, valid: np.ndarray | None = None
) -> np.ndarray:
    """Known depth completed by aligned depth, without a step at the border of the known pixels.

    The logarithm of known over aligned depth is spread from the border into the hole like a membrane that is soft
    across the new map's own depth edges, so that the misfit of one surface does not bend another, and that slackens
    away from the border, where the alignment as a whole is the better guess.

    Args:
        depth_z_m: [H, W] aligned depth.
        known_z_m: [H, W] depth of the known pixels.
        known: [H, W] bool; these pixels come back bit for bit.
        valid: [H, W] bool: aligned depth means something; elsewhere the membrane alone says the depth.

    Returns:
        [H, W] float32, finite and positive wherever anything is known or valid.
    """
    shape = known.shape
    expect_shape("depth_z_m", depth_z_m, shape)
    expect_shape("known_z_m", known_z_m, shape)
    ok = np.isfinite(depth_z_m) & (depth_z_m > 0)
    if valid is not None:
        ok &= valid
    if known.all() or not (known | ok).any():
        return np.where(known, known_z_m, 0.0).astype(np.float32)
    anchors = known & np.isfinite(known_z_m) & (known_z_m > 0)
    typical = float(np.median(depth_z_m[ok])) if ok.any() else float(np.median(known_z_m[anchors]))
    log_new = np.log(np.where(ok, depth_z_m, typical))
    # What the model does not know either is filled from its surroundings first.
    if not ok.all():
        log_new = log_new + _membrane(np.zeros(shape), ok, np.zeros(shape), slack=0.0, start=log_new)
    if not anchors.any():
        return np.exp(log_new).astype(np.float32)
    offset = np.where(anchors, np.log(np.where(anchors, known_z_m, 1.0)) - log_new, 0.0)
    correction = _membrane(offset, anchors, log_new, slack=1.0 / (0.35 * max(shape)) ** 2)
    out = np.exp(log_new + correction).astype(np.float32)
    out[known] = known_z_m[known]
    return out


def _membrane(
    values: np.ndarray, fixed: np.ndarray, guide: np.ndarray, *, slack: float, start: np.ndarray | None = None
) -> np.ndarray:
    """[H, W]: `values` where `fixed`, elsewhere as smooth as the guide is.

    Solves the screened Laplace equation by conjugate gradients, starting from the solution at half the size. With
    `start`, the unknown is what has to be added to it.
    """
    if start is not None:
        base = np.where(fixed, start, 0.0)
        return _membrane(base, fixed, guide, slack=slack) - start
    sparse = require("scipy.sparse", extra="gen", package="scipy")
    linalg = require("scipy.sparse.linalg", extra="gen", package="scipy")
    h, w = values.shape
    if fixed.all():
        return values.copy()
    first = np.zeros((h, w))
    if min(h, w) >= 32:
        coarse = _membrane(*_halved(values, fixed, guide), slack=4.0 * slack)
        first = np.repeat(np.repeat(coarse, 2, 0), 2, 1)[:h, :w]
    index = np.full((h, w), -1)
    index[~fixed] = np.arange(int((~fixed).sum()))
    count = int((~fixed).sum())
    diagonal, rhs = np.full(count, slack + 1e-9), np.zeros(count)
    rows, cols, entries = [], [], []
    for axis in (0, 1):
        a = (slice(None, -1), slice(None)) if axis == 0 else (slice(None), slice(None, -1))
        b = (slice(1, None), slice(None)) if axis == 0 else (slice(None), slice(1, None))
        stiff = 1.0 / (1.0 + (np.abs(guide[a] - guide[b]) / 0.05) ** 2)
        for p, q in ((a, b), (b, a)):
            free = index[p] >= 0
            here = index[p][free]
            diagonal += np.bincount(here, stiff[free], count)
            edge = index[q][free] < 0
            rhs += np.bincount(here[edge], (stiff[free] * values[q][free])[edge], count)
            rows.append(here[~edge])
            cols.append(index[q][free][~edge])
            entries.append(-stiff[free][~edge])
    each = np.arange(count)
    matrix = sparse.csr_matrix(
        (np.concatenate([*entries, diagonal]), (np.concatenate([*rows, each]), np.concatenate([*cols, each]))),
        shape=(count, count),
    )
    scale = 1.0 / diagonal
    solved, _ = linalg.cg(
        matrix,
        rhs,
        x0=first[~fixed],
        rtol=1e-6,
        atol=1e-9,
        maxiter=400,
        M=linalg.LinearOperator((count, count), matvec=lambda v: scale * v),
    )
    out = values.copy()
    out[~fixed] = solved
    return out


def _halved(values: np.ndarray, fixed: np.ndarray, guide: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The problem at half the size: means of the fixed values, fixed where any of four pixels is."""
    h, w = values.shape
    pad = ((0, h % 2), (0, w % 2))

    def blocks(a: np.ndarray) -> np.ndarray:
        a = np.pad(a, pad, mode="edge")
        return a.reshape(a.shape[0] // 2, 2, a.shape[1] // 2, 2).swapaxes(1, 2).reshape(a.shape[0] // 2, -1, 4)

    some = blocks(fixed)
    count = some.sum(-1)
    mean = (blocks(values) * some).sum(-1) / np.maximum(count, 1)
    return mean, count > 0, blocks(guide).mean(-1)
