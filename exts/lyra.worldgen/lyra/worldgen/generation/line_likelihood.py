"""How likely a camera makes the line segments of a photo, by the errors that such segments have.

The search for the camera forgives a degree, so that it does not get lost. Long segments are right to a tenth of that,
and where walls are seen straight on, only so much tells the field of view: here every segment counts with its own
error. How much larger a photo's errors are than those of a clean picture (softness, a lens that bends lines) is found
together with the camera. A camera is (log f, pitch, roll, yaw); coordinates are those of `calibration`.

Source of the idea: Coughlan and Yuille, "Manhattan World" (1999), a mixture over line families with strays; constants
are our own, measured on rendered rooms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

NOISE_LEVELS = (8.0, 5.6, 4.0, 2.8, 2.0, 1.4, 1.0)
"""Errors of a photo's segments over those of a clean picture."""
_ANGLE_RAD = math.radians(0.08)
_ENDPOINT_PX = 0.4
"""Direction errors in a clean picture: one part for all segments, one that shrinks with length."""
_TAIL_SHARE, _TAIL = 0.2, 4.0
"""So many segments err so many times more: shadows, worn edges."""
_STRAY_SHARE = 0.4
"""Segments of no family may point anywhere."""
_REPEATS = 4.0
"""Segments repeat each other (both edges of a joint, pieces of one edge), so they count less than they add up to."""
_APPROACH = (8.0, 4.0, 2.0)
_STEPS, _LAST_STEPS = 12, 20
_LARGEST_STEP = np.array([0.15, 0.06, 0.04, 0.08])
_DIFFERENCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Peak:
    """A camera that no small change makes more likely."""

    x: np.ndarray
    """[4]."""
    log_posterior: float
    covariance: np.ndarray
    """[4, 4] of the posterior about the peak."""
    noise: float
    """One of `NOISE_LEVELS`."""


def up_of(pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """`frames.up_in_cam` for arrays, [..., 3]."""
    return np.stack([-np.sin(roll) * np.cos(pitch), -np.cos(roll) * np.cos(pitch), np.sin(pitch)], -1)


def line_directions(x: np.ndarray) -> np.ndarray:
    """[3, ..., 3] zenith and both wall directions in the camera, for cameras [..., 4]."""
    up = up_of(x[..., 1], x[..., 2])
    forward = np.array([0.0, 0.0, 1.0]) - up[..., 2:3] * up
    forward /= np.linalg.norm(forward, axis=-1, keepdims=True)
    left = np.cross(up, forward)
    c, s = np.cos(x[..., 3])[..., None], np.sin(x[..., 3])[..., None]
    return np.stack([up, c * forward + s * left, c * left - s * forward])


def off_direction(f: np.ndarray, direction: np.ndarray, mid: np.ndarray, tangent: np.ndarray) -> np.ndarray:
    """[..., N] sine of the angle between segments and the lines to the vanishing point of `direction` [..., 3].

    Args:
        f: [...] focal length.
        direction: [..., 3] in the camera.
        mid: [N, 2] midpoints of the segments.
        tangent: [N, 2] their directions, unit.
    """
    d = direction[..., None, :]
    vx = f[..., None] * d[..., 0] - mid[:, 0] * d[..., 2]
    vy = f[..., None] * d[..., 1] - mid[:, 1] * d[..., 2]
    return (vx * tangent[:, 1] - vy * tangent[:, 0]) / np.sqrt(vx * vx + vy * vy + 1e-12)


class LineLikelihood:
    """Log posterior of cameras [..., 4] under a photo's segments and a Gaussian prior."""

    def __init__(
        self,
        mid: np.ndarray,
        tangent: np.ndarray,
        length_px: np.ndarray,
        *,
        weight: np.ndarray,
        steep: np.ndarray,
        prior_mean: np.ndarray,
        prior_sigma: np.ndarray,
    ) -> None:
        """
        Args:
            mid: [N, 2] midpoints.
            tangent: [N, 2] unit directions.
            length_px: [N].
            weight: [N] how much each counts; only ratios matter.
            steep: [N] bool, the segment may point at the zenith.
            prior_mean: [4].
            prior_sigma: [4], inf for what is free.
        """
        self._mid, self._tangent, self._steep = mid, tangent, steep
        self._sigma = np.hypot(_ANGLE_RAD, np.arctan(_ENDPOINT_PX / np.maximum(length_px, 1.0)))
        self._weight = weight / (max(float(weight.mean()), 1e-9) * _REPEATS)
        self._prior_mean, self._precision = prior_mean, 1.0 / prior_sigma**2

    def __call__(self, x: np.ndarray, noise: float) -> np.ndarray:
        """[...] log posterior of cameras [..., 4] if errors are `noise` times those of a clean picture."""
        density, _ = self._densities(self._off(x), noise)
        known = np.log(_STRAY_SHARE / np.pi + density.sum(0)) @ self._weight
        return known - 0.5 * (self._precision * (x - self._prior_mean) ** 2).sum(-1)

    def climb(self, x: np.ndarray) -> Peak:
        """The nearest peak, with errors as large as make it most likely; from wide to narrow, not to miss it."""
        for noise in _APPROACH:
            x, _ = self._ascend(x, noise, _STEPS)
        noise = max(NOISE_LEVELS, key=lambda level: float(self(x, level)))
        x, value = self._ascend(x, noise, _LAST_STEPS)
        curvature, _ = self._quadratic(x, noise)
        covariance = np.linalg.inv(curvature + 1e-6 * np.eye(4))
        return Peak(x=x, log_posterior=value, covariance=covariance, noise=noise)

    def _off(self, x: np.ndarray) -> np.ndarray:
        """[3, ..., N] sines of the angles to the three families."""
        f = np.exp(x[..., 0])
        return np.stack([off_direction(f, d, self._mid, self._tangent) for d in line_directions(x)])

    def _densities(self, off: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
        """[3, ..., N] density of each family's errors, and the same with the tail at its own lower precision."""
        sigma = self._sigma * noise
        square = (off / sigma) ** 2
        core = (1.0 - _TAIL_SHARE) * np.exp(-0.5 * np.minimum(square, 80.0))
        tail = _TAIL_SHARE / _TAIL * np.exp(-0.5 * np.minimum(square / _TAIL**2, 80.0))
        share = (1.0 - _STRAY_SHARE) / 3.0 / (math.sqrt(2.0 * math.pi) * sigma)
        allowed = np.ones((3, *[1] * (off.ndim - 1))) * share
        allowed[0] *= self._steep
        return (core + tail) * allowed, (core + tail / _TAIL**2) * allowed

    def _quadratic(self, x: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
        """Curvature [4, 4] (Gauss-Newton) and gradient [4] of the log posterior."""
        shifts = _DIFFERENCE * np.eye(4)
        off = self._off(np.concatenate([x[None], x + shifts, x - shifts]))
        slope = (off[:, 1:5] - off[:, 5:]) / (2.0 * _DIFFERENCE)
        density, precise = self._densities(off[:, 0], noise)
        pull = precise / (_STRAY_SHARE / np.pi + density.sum(0)) * self._weight / (self._sigma * noise) ** 2
        curvature = np.einsum("kan,kbn,kn->ab", slope, slope, pull) + np.diag(self._precision)
        gradient = -np.einsum("kan,kn,kn->a", slope, off[:, 0], pull) + self._precision * (self._prior_mean - x)
        return curvature, gradient

    def _ascend(self, x: np.ndarray, noise: float, steps: int) -> tuple[np.ndarray, float]:
        """Levenberg-Marquardt: the camera and its log posterior."""
        value, damping = float(self(x, noise)), 1e-2
        for _ in range(steps):
            curvature, gradient = self._quadratic(x, noise)
            gain = 0.0
            for _ in range(5):
                step = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)) + 1e-9 * np.eye(4), gradient)
                step /= max(1.0, float((np.abs(step) / _LARGEST_STEP).max()))
                gain = float(self(x + step, noise)) - value
                if gain > 0.0:
                    x, value, damping = x + step, value + gain, max(0.2 * damping, 1e-6)
                    break
                damping *= 5.0
            if gain < 1e-3:
                break
        return x, value
