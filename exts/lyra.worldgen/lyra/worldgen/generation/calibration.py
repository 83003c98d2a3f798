"""The camera of one photo from its straight lines: field of view, pitch, roll and the heading of the walls.

Maximum a posteriori over (log focal length, pitch, roll, yaw). Man-made scenes have three orthogonal line directions;
each line segment is explained by the best of them or by none. Image coordinates are centred and divided by half the
long side, so that focal lengths and tolerances mean the same in portrait and landscape.

Sources: Coughlan and Yuille, "Manhattan World" (1999); Xian et al., "UprightNet" (2019) for the parametrisation by the
up vector; the kernel and its constants are our own, chosen on rendered scenes and on crops of panoramas.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from ..core.frames import up_in_cam
from ..core.optional import require
from .line_likelihood import LineLikelihood, Peak, line_directions, off_direction, up_of

DETECT_LONG_SIDE_PX = 960
MAX_SEGMENTS = 450
MIN_LENGTH_SHARE = 0.025
"""Shortest segment as a share of the long side."""

_SOFT_LONG_SIDE_PX = 320
_SOFT_LEVELS = 1.5

VERTICAL, ALONG, ACROSS, UNEXPLAINED = 0, 1, 2, -1
"""Line families: the zenith, the two horizontal directions of the walls, none."""

_ANGLE_SIGMA_RAD = math.radians(0.8)
_ENDPOINT_SIGMA_PX = 0.8
_LENGTH_CAP = 0.5
_LENGTH_POWER = 0.7
_STEEP = 0.8
"""Only segments whose tangent points this much up or down may belong to the zenith."""
_EVIDENCE = 120.0
"""Weight of the explained share against the prior; less trusts the prior too much, more follows accidents."""
_EXPLAINED_KERNEL = 0.3
_SEARCH_SEGMENTS = 150
_STARTS = 6
_BASIN = np.array([0.1, math.radians(2.5), math.radians(1.5), 1.0])
"""Candidates closer than this in every respect climb the same peak."""


@dataclass(frozen=True, kw_only=True)
class CameraPrior:
    """What is believed about a camera before its lines are seen."""

    long_fov_rad: float = math.radians(70.0)
    """Field of view across the long side."""
    sigma_log_f: float = 0.22
    pitch_rad: float = math.radians(-3.0)
    sigma_pitch_rad: float = math.radians(11.0)
    sigma_roll_rad: float = math.radians(2.5)

    @property
    def log_f(self) -> float:
        """Logarithm of the focal length in units of half the long side."""
        return -math.log(math.tan(0.5 * self.long_fov_rad))


@dataclass(frozen=True, kw_only=True)
class Segments:
    """Straight line segments of a picture, longest first."""

    ends_px: np.ndarray
    """[N, 4] u0, v0, u1, v1 in the picture's pixels."""
    mid: np.ndarray
    """[N, 2] midpoints, centred, in half long sides."""
    tangent: np.ndarray
    """[N, 2] unit."""
    length: np.ndarray
    """[N] in half long sides."""
    half_long_px: float

    @property
    def weight(self) -> np.ndarray:
        """[N] long lines count more, but not without bound."""
        return np.minimum(self.length, _LENGTH_CAP) ** _LENGTH_POWER

    @property
    def sigma_rad(self) -> np.ndarray:
        """[N] how far a segment's direction may be off."""
        return _ANGLE_SIGMA_RAD + np.arctan(_ENDPOINT_SIGMA_PX / np.maximum(self.length * self.half_long_px, 1.0))


@dataclass(frozen=True, kw_only=True)
class CameraEstimate:
    """A calibrated camera and how sure its lines are."""

    log_f: float
    """Logarithm of the focal length in units of half the long side."""
    pitch_rad: float
    roll_rad: float
    yaw_rad: float
    """World angle (left positive) of one family of walls, in [0, pi/2)."""
    explained: float
    """Share of line weight that the three directions explain, 0..1."""
    sigma_log_f: float
    sigma_pitch_rad: float
    segments: Segments
    family: np.ndarray
    """[N] int8 line family of each segment."""

    @property
    def up_cam(self) -> np.ndarray:
        """[3] world +Z in the camera."""
        return up_in_cam(self.pitch_rad, self.roll_rad)

    def hfov_rad(self, width_px: int, height_px: int) -> float:
        """Horizontal field of view of a picture of that shape [rad]."""
        return 2.0 * math.atan(width_px / (max(width_px, height_px) * math.exp(self.log_f)))


def detect_segments(rgb_u8: np.ndarray) -> Segments:
    """Line segments of a picture [H, W, 3] uint8."""
    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    grey = cv2.cvtColor(rgb_u8, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    scale = min(1.0, DETECT_LONG_SIDE_PX / max(width, height))
    # Edges of soft pictures (enlarged, out of focus) are found best at the size that still holds their detail.
    if scale * max(width, height) >= 2 * _SOFT_LONG_SIDE_PX and _detail_lost(grey, 0.5 * scale) < _SOFT_LEVELS:
        scale *= 0.5
    if scale < 1.0:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found = cv2.createLineSegmentDetector(cv2.LSD_REFINE_STD).detect(grey)[0]
    ends = np.zeros((0, 4)) if found is None else found.reshape(-1, 4).astype(np.float64)
    # The detector puts pixel centres on whole numbers; ours lie at +0.5.
    ends = (ends + 0.5) / scale
    length_px = np.hypot(ends[:, 2] - ends[:, 0], ends[:, 3] - ends[:, 1])
    keep = np.flatnonzero(length_px > MIN_LENGTH_SHARE * max(width, height))
    keep = keep[np.argsort(-length_px[keep], kind="stable")][:MAX_SEGMENTS]
    return segments_from_ends(ends[keep], width, height)


def _detail_lost(grey: np.ndarray, scale: float) -> float:
    """Root mean square of what a picture [H, W] loses when it is reduced by `scale` [grey levels of 255]."""
    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    height, width = grey.shape
    reduced = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    restored = cv2.resize(reduced, (width, height), interpolation=cv2.INTER_CUBIC)
    return float(np.sqrt(np.mean((grey.astype(np.float32) - restored) ** 2)))


def segments_from_ends(ends_px: np.ndarray, width_px: int, height_px: int) -> Segments:
    """Segments [N, 4] of a picture of that size, in the calibration's coordinates."""
    half = 0.5 * max(width_px, height_px)
    centre = np.array([0.5 * width_px, 0.5 * height_px])
    a, b = (ends_px[:, :2] - centre) / half, (ends_px[:, 2:] - centre) / half
    length = np.linalg.norm(b - a, axis=1)
    return Segments(
        ends_px=ends_px,
        mid=0.5 * (a + b),
        tangent=(b - a) / np.maximum(length, 1e-9)[:, None],
        length=length,
        half_long_px=half,
    )


class _Objective:
    """Log posterior of (log f, pitch, roll, yaw); every method takes arrays of equal shape [...]."""

    def __init__(self, segments: Segments, prior: CameraPrior) -> None:
        self.prior = prior
        self.mid, self.tangent = segments.mid, segments.tangent
        self.sigma = segments.sigma_rad
        self.steep = np.abs(segments.tangent[:, 1]) > _STEEP
        weight = segments.weight
        self.weight = weight / max(float(weight.sum()), 1e-9)
        self.evidence = _EVIDENCE * min(1.0, len(weight) / 40.0)

    def kernel(self, f: np.ndarray, direction: np.ndarray, wide: float) -> np.ndarray:
        """[..., N] how well each segment points at the vanishing point of `direction` [..., 3]."""
        sine = off_direction(f, direction, self.mid, self.tangent)
        return np.exp(-0.5 * np.minimum((sine / (self.sigma * wide)) ** 2, 60.0))

    def log_prior(self, log_f: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
        p = self.prior
        return -0.5 * (
            ((log_f - p.log_f) / p.sigma_log_f) ** 2
            + ((pitch - p.pitch_rad) / p.sigma_pitch_rad) ** 2
            + (roll / p.sigma_roll_rad) ** 2
        )

    def shortened(self, count: int) -> _Objective:
        """The same objective over the longest segments only, for searching."""
        if len(self.weight) <= count:
            return self
        short = copy(self)
        for name in ("mid", "tangent", "sigma", "steep"):
            setattr(short, name, getattr(self, name)[:count])
        short.weight = self.weight[:count] / self.weight[:count].sum()
        return short

    def upright(self, log_f: np.ndarray, pitch: np.ndarray, roll: np.ndarray, wide: float) -> np.ndarray:
        """[...] log posterior of the zenith alone."""
        kernel = self.kernel(np.exp(log_f), up_of(pitch, roll), wide) * self.steep
        return self.evidence * kernel @ self.weight + self.log_prior(log_f, pitch, roll)

    def families(self, x: np.ndarray, wide: float) -> np.ndarray:
        """[3, ..., N] kernels of zenith and both wall directions at x [..., 4]."""
        f = np.exp(x[..., 0])
        kernels = np.stack([self.kernel(f, direction, wide) for direction in line_directions(x)])
        kernels[0] *= self.steep
        return kernels

    def __call__(self, x: np.ndarray, wide: float) -> np.ndarray:
        """[...] log posterior at x [..., 4]."""
        score = self.families(x, wide).max(0) @ self.weight
        return self.evidence * score + self.log_prior(x[..., 0], x[..., 1], x[..., 2])


def calibrate(segments: Segments, prior: CameraPrior) -> CameraEstimate:
    """The camera that explains the segments best; the prior alone where there are fewer than four."""
    if len(segments.length) < 4:
        return CameraEstimate(
            log_f=prior.log_f,
            pitch_rad=prior.pitch_rad,
            roll_rad=0.0,
            yaw_rad=0.0,
            explained=0.0,
            sigma_log_f=prior.sigma_log_f,
            sigma_pitch_rad=prior.sigma_pitch_rad,
            segments=segments,
            family=np.full(len(segments.length), UNEXPLAINED, np.int8),
        )
    objective = _Objective(segments, prior)
    coarse, value = _search(objective.shortened(_SEARCH_SEGMENTS))
    peaks = _climb(objective.shortened(_SEARCH_SEGMENTS), _apart(coarse, value), 1.5)
    likelihood = _likelihood(segments, prior)
    # Where focal length and heading trade against each other the posterior is a ridge with many small peaks.
    starts = np.concatenate([peaks, _best_per_focal_length(coarse, value)])
    x, sigma = _posterior([likelihood.climb(start) for start in starts])
    kernels = objective.families(x, 1.0)
    best = kernels.max(0)
    return CameraEstimate(
        log_f=float(x[0]),
        pitch_rad=float(x[1]),
        roll_rad=float(x[2]),
        yaw_rad=float(np.mod(x[3], 0.5 * np.pi)),
        explained=float(best @ objective.weight),
        sigma_log_f=float(sigma[0]),
        sigma_pitch_rad=float(sigma[1]),
        segments=segments,
        family=np.where(best < _EXPLAINED_KERNEL, UNEXPLAINED, kernels.argmax(0)).astype(np.int8),
    )


def _search(objective: _Objective) -> tuple[np.ndarray, np.ndarray]:
    """Coarse candidates [K, 4] and their log posterior [K]: zenith first, then the walls' heading."""
    p = objective.prior
    spread = np.linspace(-2.2, 2.2, 17)
    pitches = np.clip(p.pitch_rad + spread * p.sigma_pitch_rad, -1.2, 1.2)
    rolls = np.linspace(-2.2, 2.2, 9) * p.sigma_roll_rad
    pitch, roll = (a.ravel() for a in np.meshgrid(pitches, rolls, indexing="ij"))
    yaws = np.radians(np.arange(0.0, 90.0, 2.0))
    candidates, values = [], []
    for log_f in p.log_f + np.linspace(-2.2, 2.2, 9) * p.sigma_log_f:
        upright = objective.upright(np.full(len(pitch), log_f), pitch, roll, 2.0)
        top = np.argsort(-upright, kind="stable")[:8]
        x = np.empty((len(top), len(yaws), 4))
        x[..., 0] = log_f
        x[..., 1], x[..., 2], x[..., 3] = pitch[top, None], roll[top, None], yaws
        value = objective(x, 2.0)
        best = value.argmax(1)
        candidates.append(x[np.arange(len(top)), best])
        values.append(value[np.arange(len(top)), best])
    return np.concatenate(candidates), np.concatenate(values)


def _apart(x: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The best few candidates [P, 4] that do not lie in each other's basin."""
    starts: list[np.ndarray] = []
    for i in np.argsort(-value, kind="stable"):
        away = [np.abs(x[i] - other) / _BASIN for other in starts]
        if all(gap[:3].max() > 1.0 for gap in away):
            starts.append(x[i])
        if len(starts) == _STARTS:
            break
    return np.array(starts)


def _best_per_focal_length(x: np.ndarray, value: np.ndarray) -> np.ndarray:
    """[F, 4] the best of the candidates [K, 4] that `_search` tried with each focal length."""
    _, index = np.unique(x[:, 0], return_inverse=True)
    return np.array([x[np.where(index == k, value, -np.inf).argmax()] for k in range(index.max() + 1)])


def _climb(objective: _Objective, starts: np.ndarray, wide: float) -> np.ndarray:
    """Peaks [P, 4] by pattern search from all starts at once.

    Axes and diagonals are tried together, because focal length and pitch trade against each other.
    """
    axes = np.diag([0.06, 0.03, 0.015, 0.03])
    pairs = [axes[i] + sign * axes[j] for i in range(4) for j in range(i) for sign in (1.0, -1.0)]
    moves = np.concatenate([axes, np.array(pairs)])
    moves = np.concatenate([moves, -moves, np.zeros((1, 4))])
    x, step = starts, np.ones(len(starts))
    for _ in range(24):
        trial = x[:, None] + step[:, None, None] * moves
        score = objective(trial, wide)
        best = score.argmax(1)
        x = trial[np.arange(len(x)), best]
        step = np.where(best == len(moves) - 1, 0.5 * step, step)
        if step.max() < 0.06:
            break
    return x


def _likelihood(segments: Segments, prior: CameraPrior) -> LineLikelihood:
    return LineLikelihood(
        segments.mid,
        segments.tangent,
        segments.length * segments.half_long_px,
        weight=segments.weight,
        steep=np.abs(segments.tangent[:, 1]) > _STEEP,
        prior_mean=np.array([prior.log_f, prior.pitch_rad, 0.0, 0.0]),
        prior_sigma=np.array([prior.sigma_log_f, prior.sigma_pitch_rad, prior.sigma_roll_rad, np.inf]),
    )


def _posterior(peaks: list[Peak]) -> tuple[np.ndarray, np.ndarray]:
    """Mean camera [4] and its standard deviations [4]: between two fields of view the middle errs less than a guess."""
    # A broad peak holds more of the posterior than a narrow one of the same height.
    mass = np.array([peak.log_posterior + 0.5 * float(np.linalg.slogdet(peak.covariance)[1]) for peak in peaks])
    best = peaks[int(mass.argmax())].x
    away: list[np.ndarray] = []
    share, variance = [], []
    for i in np.argsort(-mass, kind="stable"):
        off = peaks[i].x - best
        off[3] = (off[3] + 0.25 * np.pi) % (0.5 * np.pi) - 0.25 * np.pi
        # Several starts reach the same peak, which still counts once.
        if all((np.abs(off - other) > 0.5 * _BASIN).any() for other in away):
            away.append(off)
            share.append(math.exp(mass[i] - mass.max()))
            variance.append(np.diag(peaks[i].covariance) + off**2)
    mean = np.average(away, axis=0, weights=share)
    return best + mean, np.sqrt(np.average(variance, axis=0, weights=share) - mean**2)


def horizon_from_edge(estimate: CameraEstimate, prior: CameraPrior, rgb_u8: np.ndarray) -> CameraEstimate | None:
    """The camera from one long straight, nearly level edge under a sky (a sea or a plain), None where there is none.

    The skirting board of an empty room is such an edge, too: what lies above has to be brighter and bluer than what
    lies below.
    """
    segments = estimate.segments
    level = np.abs(segments.tangent[:, 1]) < 0.07
    if not level.any():
        return None
    mid, tangent, length = segments.mid[level], segments.tangent[level], segments.length[level]
    rows = mid[:, 1] - mid[:, 0] * tangent[:, 1] / np.where(np.abs(tangent[:, 0]) < 1e-6, 1e-6, tangent[:, 0])
    best, best_share = None, 0.4
    for i in np.argsort(-length, kind="stable")[:12]:
        same = np.abs(rows - rows[i]) < 0.015
        share = float(length[same].sum()) / 2.0
        if share > best_share:
            best, best_share = same, share
    if best is None or not _sky_above(rgb_u8, float(np.median(rows[best]))):
        return None
    row = float(np.average(rows[best], weights=length[best]))
    slope = float(np.average(np.arctan2(tangent[best, 1], tangent[best, 0]) % np.pi, weights=length[best]))
    slope = slope - np.pi if slope > 0.5 * np.pi else slope
    return replace(
        estimate,
        log_f=prior.log_f,
        pitch_rad=math.atan(row * math.cos(slope) / math.exp(prior.log_f)),
        # Content tilted clockwise (the edge falls to the right) means that the camera was turned the other way.
        roll_rad=-slope,
        sigma_log_f=prior.sigma_log_f,
        sigma_pitch_rad=math.radians(3.0),
    )


def _sky_above(rgb_u8: np.ndarray, row: float) -> bool:
    """Whether the picture [H, W, 3] above a level line looks like sky against what is below."""
    height, width = rgb_u8.shape[:2]
    v = round(0.5 * height + row * 0.5 * max(height, width))
    if not 0.1 * height < v < 0.9 * height:
        return False
    upper, lower = (part.reshape(-1, 3).astype(np.float64).mean(0) for part in (rgb_u8[:v], rgb_u8[v:]))
    return bool(upper.mean() > lower.mean() + 15.0 and upper[2] - upper[0] > lower[2] - lower[0] + 8.0)
