"""Physics, sensing and resets on every engine, in eight worlds at once: faults here raise no error, only numbers.

World 0 is the plain room of `sample_worlds`, whose walls are known to the millimetre.
"""

from __future__ import annotations

import numpy as np
import pytest

from lab_cases import CASES
from lyra_tasks.robots.diff_drive import SIZES

SPEC = SIZES["medium"]
HALF_HULL_M = SPEC.hull_m[0] / 2
WORLDS = 8


def track_of(result: dict[str, np.ndarray], case: str) -> np.ndarray:
    """[T, 7] x, y, z, heading, speed, turn rate, speed to the left of a robot of world 0, in that world's frame: its
    offset is zero."""
    return result["track"][:, WORLDS * list(CASES).index(case)]


def test_worlds_are_shared_out(driven):
    """Environment i lives in world i % 8, and starts there."""
    _, result = driven
    np.testing.assert_array_equal(result["world"], np.arange(64) % WORLDS)
    assert len(np.unique(result["offset_m"], axis=0)) == WORLDS


def test_lidar_agrees_with_the_clearance_map(driven):
    """64 environments, 8 worlds: the shortest range is the clearance, to 2 cm; mixed up rows would be far off."""
    _, result = driven
    np.testing.assert_allclose(result["lidar_m"].min(1), result["clearance_m"], atol=0.02)


@pytest.mark.parametrize(
    ("case", "axis", "stop_m"),
    [
        ("wall_east", 0, 6.0 - HALF_HULL_M),
        ("oblique", 0, 6.0 - HALF_HULL_M),
        ("wall_south", 1, -3.5 + HALF_HULL_M),
        ("chest", 0, 3.0 - HALF_HULL_M),
    ],
)
def test_walls_stop_robots_where_they_are(driven, case, axis, stop_m):
    """A robot that drives into a wall comes to rest with its hull at the wall, to 1 cm, and stays on the floor."""
    _, result = driven
    track = track_of(result, case)
    np.testing.assert_allclose(track[-1, axis], stop_m, atol=0.01)
    beyond = (track[:, axis] - stop_m) * np.sign(stop_m - track[0, axis])
    assert beyond.max() < 0.01
    assert track[:, 2].min() > SPEC.hull_z_m - 0.01 and track[:, 2].max() < SPEC.hull_z_m + 0.02


def test_worlds_are_hollow(driven):
    """Robots that stand still in furnished rooms stay put: no collider is replaced by its hull."""
    _, result = driven
    still = np.arange(64) % WORLDS != 0
    track = result["track"][:, still]
    assert np.linalg.norm(track[-1, :, :2] - track[0, :, :2], axis=1).max() < 0.01
    assert np.abs(track[..., 2] - SPEC.hull_z_m).max() < 0.01


def test_no_robot_gets_into_an_obstacle(driven):
    """All drive ahead until something is in the way: middles stay the hull's half width away from everything."""
    _, result = driven
    assert result["ahead"][..., -1].min() > SPEC.hull_m[1] / 2
    assert np.abs(result["ahead"][..., 2] - SPEC.hull_z_m).max() < 0.05


def test_straight_ahead_is_straight(driven):
    """0.8 m/s for three seconds: the asked speed to 5 %, no drift to the side, no turning."""
    _, result = driven
    track = track_of(result, "straight")
    seconds = (len(track) - 1) * 0.04
    assert track[-1, 4] == pytest.approx(0.8, rel=0.05)
    assert track[-1, 0] - track[0, 0] == pytest.approx(0.8 * seconds, rel=0.08)
    assert np.abs(track[:, 1] - track[0, 1]).max() < 0.01 and np.abs(track[1:, 3]).max() < 0.01


def test_turning_on_the_spot_is_turning(driven):
    """Half the largest turn rate: the asked rate to 5 %, the middle stays within a centimetre."""
    _, result = driven
    track = track_of(result, "spin")
    assert track[-1, 5] == pytest.approx(0.5 * SPEC.max_turn_rad_s, rel=0.05)
    assert np.linalg.norm(track[:, :2] - track[0, :2], axis=1).max() < 0.01


def test_reverse_is_slow(driven):
    """Full reverse is the robot's own largest reverse speed."""
    _, result = driven
    assert track_of(result, "reverse")[-1, 4] == pytest.approx(-SPEC.max_reverse_m_s, rel=0.05)


def test_resets_are_the_seeds_and_nothing_else(driven, worlds):
    """Three resets in a row put robots where a course book without a simulator puts them, on every engine."""
    import torch

    from lyra_tasks.atlas import load_atlas
    from lyra_tasks.courses import RANDOM, CourseBook, CourseOptions

    _, result = driven
    atlas = load_atlas(str(worlds), robot_radius_m=SPEC.footprint_radius_m + 0.05)
    options = CourseOptions(source=RANDOM, stops=1, min_geodesic_m=1.0, goals=64, starts=256, seed=0)
    book = CourseBook(atlas, options, env_count=64, device="cpu")
    for found in result["starts"]:
        book.begin(torch.arange(64))
        np.testing.assert_allclose(found[:, :2], book.start_xy_w, atol=1e-3)
        np.testing.assert_allclose(np.exp(1j * found[:, 2]), np.exp(1j * book.start_yaw.numpy()), atol=1e-3)
        np.testing.assert_allclose(found[:, 3:], book.goal_xy_w, atol=1e-4)
