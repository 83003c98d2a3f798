"""The camera from lines: exact scenes give their camera back, signs agree with the frames, little gives the prior."""

from __future__ import annotations

import numpy as np
import pytest

from lyra.worldgen.generation.calibration import (
    ACROSS,
    ALONG,
    VERTICAL,
    CameraPrior,
    calibrate,
    detect_segments,
    horizon_from_edge,
    segments_from_ends,
)
from rooms import analytic_room, room_lines


@pytest.mark.parametrize(
    ("size", "hfov_deg", "pitch_deg", "roll_deg", "yaw_deg"),
    [
        ((640, 480), 70, -6, 0, 20),
        ((640, 480), 60, 8, 3, 70),
        ((832, 468), 85, -12, -4, 35),
        ((480, 640), 50, -5, 2, 15),
    ],
)
def test_lines_of_a_room_give_its_camera(size, hfov_deg, pitch_deg, roll_deg, yaw_deg):
    segments = room_lines(*size, hfov_deg, pitch_deg, roll_deg, yaw_deg)
    assert len(segments.length) >= 40
    found = calibrate(segments, CameraPrior())
    np.testing.assert_allclose(np.degrees(found.hfov_rad(*size)), hfov_deg, atol=3.0)
    np.testing.assert_allclose(np.degrees([found.pitch_rad, found.roll_rad]), [pitch_deg, roll_deg], atol=1.0)
    off = (np.degrees(found.yaw_rad) - yaw_deg + 45.0) % 90.0 - 45.0
    assert abs(off) < 2.0
    assert found.explained > 0.8 and {VERTICAL, ALONG, ACROSS} <= set(found.family.tolist())


def test_camera_turned_clockwise_has_positive_roll():
    upright, turned = (calibrate(room_lines(640, 480, 70, -4, r, 25), CameraPrior()) for r in (0, 5))
    np.testing.assert_allclose(np.degrees(turned.roll_rad - upright.roll_rad), 5.0, atol=1.0)


def test_mirrored_lines_negate_roll_and_keep_the_rest():
    one = room_lines(640, 480, 70, -4, 3, 25)
    ends = one.ends_px * [-1, 1, -1, 1] + [640, 0, 640, 0]
    a, b = calibrate(one, CameraPrior()), calibrate(segments_from_ends(ends, 640, 480), CameraPrior())
    np.testing.assert_allclose(b.roll_rad, -a.roll_rad, atol=np.radians(0.5))
    np.testing.assert_allclose([b.pitch_rad, b.log_f], [a.pitch_rad, a.log_f], atol=0.03)


def test_rendered_room_gives_gravity():
    """Pixels to camera: the checker room's edges are found and explained."""
    room = analytic_room(width_px=640, height_px=480, pitch_deg=-8.0, roll_deg=3.0)
    found = calibrate(detect_segments(room.render().rgb_u8), CameraPrior())
    np.testing.assert_allclose(np.degrees([found.pitch_rad, found.roll_rad]), [-8.0, 3.0], atol=1.0)
    np.testing.assert_allclose(np.degrees(found.hfov_rad(640, 480)), 80.0, atol=4.0)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_lines_leave_the_prior(count):
    found = calibrate(segments_from_ends(np.full((count, 4), [10.0, 10.0, 10.0, 200.0]), 640, 480), CameraPrior())
    assert found.explained == 0.0 and found.log_f == CameraPrior().log_f and found.roll_rad == 0.0


def test_a_sure_focal_length_wins_over_lines():
    prior = CameraPrior(long_fov_rad=np.radians(50.0), sigma_log_f=0.03)
    found = calibrate(room_lines(640, 480, 80, -5, 0, 30), prior)
    np.testing.assert_allclose(np.degrees(found.hfov_rad(640, 480)), 50.0, atol=5.0)


def test_pictures_without_edges_have_no_segments():
    assert len(detect_segments(np.full((48, 64, 3), 128, np.uint8)).length) == 0


def _sea(row: int, slope: float = 0.0, *, sky: bool = True) -> np.ndarray:
    """Two flat colours that meet in a line."""
    v, u = np.mgrid[:480, :640]
    below = v > row + slope * (u - 320)
    upper = (150, 190, 235) if sky else (200, 190, 170)
    return np.where(below[..., None], np.array([60, 70, 80]), np.array(upper)).astype(np.uint8)


def test_horizon_of_a_sea_gives_pitch_and_roll():
    rgb = _sea(300, slope=np.tan(np.radians(3.0)))
    blind = calibrate(detect_segments(rgb), CameraPrior())
    found = horizon_from_edge(blind, CameraPrior(), rgb)
    assert found is not None
    # The horizon lies below the middle, so the camera looks up; the right end falls, so the camera leans left.
    f_px = 320 / np.tan(np.radians(35.0))
    np.testing.assert_allclose(np.degrees(found.pitch_rad), np.degrees(np.arctan(60 / f_px)), atol=0.5)
    np.testing.assert_allclose(np.degrees(found.roll_rad), -3.0, atol=0.3)
    level = found.up_cam  # the horizon's direction is perpendicular to up
    right_end = np.array([300.0, 60 + 300 * np.tan(np.radians(3.0)), f_px])
    np.testing.assert_allclose(level @ right_end / np.linalg.norm(right_end), 0.0, atol=0.01)


def test_a_skirting_board_is_no_horizon():
    rgb = _sea(300, sky=False)
    assert horizon_from_edge(calibrate(detect_segments(rgb), CameraPrior()), CameraPrior(), rgb) is None
