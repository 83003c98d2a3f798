"""The likelihood of line segments: cameras come out as exactly as the lines allow, and their doubt is honest."""

from __future__ import annotations

import numpy as np
import pytest

from lyra.worldgen.core.frames import up_in_cam
from lyra.worldgen.generation.calibration import CameraPrior, calibrate, segments_from_ends
from lyra.worldgen.generation.line_likelihood import (
    LineLikelihood,
    Peak,
    line_directions,
    off_direction,
    up_of,
)
from rooms import room_lines

FREE = {"prior_mean": np.zeros(4), "prior_sigma": np.full(4, np.inf)}


def likelihood(segments, **prior) -> LineLikelihood:
    return LineLikelihood(
        segments.mid,
        segments.tangent,
        segments.length * segments.half_long_px,
        weight=np.ones(len(segments.length)),
        steep=np.abs(segments.tangent[:, 1]) > 0.8,
        **{**FREE, **prior},
    )


def true_camera(hfov_deg: float, pitch_deg: float, roll_deg: float, yaw_deg: float) -> np.ndarray:
    """[4] of a landscape picture."""
    angles = np.radians([pitch_deg, roll_deg, yaw_deg])
    return np.array([-np.log(np.tan(np.radians(0.5 * hfov_deg))), *angles])


def test_directions_are_orthonormal_and_agree_with_frames(rng):
    x = rng.normal(0.0, 0.5, (20, 4))
    directions = np.moveaxis(line_directions(x), 0, 1)
    np.testing.assert_allclose(
        directions @ np.swapaxes(directions, 1, 2), np.broadcast_to(np.eye(3), (20, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(up_of(x[:, 1], x[:, 2]), [up_in_cam(p, r) for _, p, r, _ in x], atol=1e-12)


def test_lines_to_a_vanishing_point_are_not_off(rng):
    f, direction = np.array(1.3), np.array([0.3, -0.1, 0.8])
    mid = rng.uniform(-1, 1, (30, 2))
    towards = f * direction[:2] / direction[2] - mid
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    np.testing.assert_allclose(off_direction(f, direction, mid, towards), 0.0, atol=1e-9)
    across = towards[:, ::-1] * [1, -1]
    np.testing.assert_allclose(np.abs(off_direction(f, direction, mid, across)), 1.0, atol=1e-9)


@pytest.mark.parametrize("yaw_deg", [3.0, 20.0, 45.0])
def test_climbing_ends_at_the_camera_of_clean_lines(yaw_deg):
    """Nearly parallel to a wall as well, where a degree of forgiveness hides the field of view."""
    camera = true_camera(72, -6, 1, yaw_deg)
    lines = likelihood(room_lines(832, 624, 72, -6, 1, yaw_deg, noise_px=0.05))
    peak = lines.climb(camera + np.array([0.08, 0.03, -0.01, 0.02]))
    np.testing.assert_allclose(peak.x[0], camera[0], atol=0.03)
    np.testing.assert_allclose(peak.x[1:], camera[1:], atol=np.radians(0.35))
    assert peak.log_posterior >= float(lines(camera, peak.noise)) - 1e-6


def test_noise_of_the_lines_is_found():
    camera = true_camera(70, -5, 0, 25)
    levels = [likelihood(room_lines(832, 624, 70, -5, 0, 25, noise_px=n)).climb(camera).noise for n in (0.1, 1.0, 3.0)]
    assert levels[0] < levels[1] < levels[2]


def test_stated_doubt_covers_the_error():
    """Over many rooms the field of view errs by about the stated deviation, not by several."""
    ratios = []
    for yaw in (4, 10, 20, 30, 45, 60, 75, 84):
        found = calibrate(room_lines(832, 624, 66, -7, 1, yaw, noise_px=0.4), CameraPrior())
        ratios.append(abs(found.log_f - true_camera(66, -7, 1, yaw)[0]) / found.sigma_log_f)
    assert np.mean(ratios) < 1.2 and max(ratios) < 3.0


def test_less_seen_is_doubted_more():
    """A wall seen straight on says little about the field of view."""
    frontal, turned = (calibrate(room_lines(832, 624, 70, -6, 0, yaw), CameraPrior()) for yaw in (0, 35))
    assert frontal.sigma_log_f > 2.0 * turned.sigma_log_f


def test_prior_decides_where_there_are_no_lines():
    none = segments_from_ends(np.array([[10.0, 10.0, 11.0, 10.0]]), 640, 480)
    mean, sigma = np.array([0.3, -0.1, 0.0, 0.0]), np.array([0.2, 0.1, 0.1, 1.0])
    peak = likelihood(none, prior_mean=mean, prior_sigma=sigma).climb(mean + 0.05)
    assert isinstance(peak, Peak)
    np.testing.assert_allclose(peak.x[:2], mean[:2], atol=0.03)
    np.testing.assert_allclose(np.sqrt(np.diag(peak.covariance))[:2], sigma[:2], rtol=0.05)
