"""The task's formulas give the same in NumPy and in torch, and what is worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from lyra.worldgen.core.errors import ConfigError
from lyra_tasks import rules
from lyra_tasks.robots import omni
from lyra_tasks.robots.catalogue import EMBEDDED, robot_of
from lyra_tasks.robots.diff_drive import SIZES

SPEC, OMNI = SIZES["medium"], omni.SIZES["medium"]
numbers = st.floats(-50.0, 50.0, width=32)


def rows(width: int):
    return st.lists(st.tuples(*[numbers] * width), min_size=1, max_size=6).map(lambda v: np.array(v, np.float32))


@given(rows(4))
def test_tensors_and_arrays_agree(table):
    """Every formula, on the same numbers."""
    tensor = torch.from_numpy(table)
    distance = np.linalg.norm(table[:, :2], axis=1)
    pairs = [
        (rules.wheel_speeds(table[:, :2], SPEC), rules.wheel_speeds(tensor[:, :2], SPEC)),
        (
            rules.goal_told(table[:, :2], distance, table[:, 2], 8.0),
            rules.goal_told(tensor[:, :2], torch.from_numpy(distance), tensor[:, 2], 8.0),
        ),
        (rules.velocity_told(table[:, 0], table[:, 1], SPEC), rules.velocity_told(tensor[:, 0], tensor[:, 1], SPEC)),
        (
            rules.velocity_told(table[:, 0], table[:, 1], OMNI, table[:, 2]),
            rules.velocity_told(tensor[:, 0], tensor[:, 1], OMNI, tensor[:, 2]),
        ),
        (rules.planar_command(table[:, :3], OMNI), rules.planar_command(tensor[:, :3], OMNI)),
        (rules.for_robot(table[:, :2], OMNI), rules.for_robot(tensor[:, :2], OMNI)),
        (
            rules.steered_wheels(table[:, :3], table[:, 2:], OMNI)[0],
            rules.steered_wheels(tensor[:, :3], tensor[:, 2:], OMNI)[0],
        ),
        (
            rules.towards(table[:, 0], table[:, 1], table[:, 2], OMNI),
            rules.towards(tensor[:, 0], tensor[:, 1], tensor[:, 2], OMNI),
        ),
        (
            rules.trail_told(table.reshape(-1, 2, 2), distance),
            rules.trail_told(tensor.reshape(-1, 2, 2), torch.from_numpy(distance)),
        ),
        (rules.yaw_of(*table.T), rules.yaw_of(*tensor.T)),
        (
            rules.at_stop(table[:, 0], table[:, 1], goal_radius_m=0.3, stop_speed_m_s=0.5),
            rules.at_stop(tensor[:, 0], tensor[:, 1], goal_radius_m=0.3, stop_speed_m_s=0.5),
        ),
    ]
    for array, found in pairs:
        np.testing.assert_allclose(found.numpy(), array, rtol=1e-4, atol=1e-4)


@given(rows(2))
def test_wheels_drive_what_was_asked(action):
    """Mean and difference of the wheels are the clipped command; reverse is slower than ahead."""
    wheels = rules.wheel_speeds(action, SPEC) * SPEC.wheel_radius_m
    share = np.clip(action, -1, 1)
    speed = np.maximum(share[:, 0] * SPEC.max_speed_m_s, -SPEC.max_reverse_m_s)
    np.testing.assert_allclose(wheels.mean(1), speed, atol=1e-5)
    np.testing.assert_allclose(
        (wheels[:, 1] - wheels[:, 0]) / SPEC.track_m, share[:, 1] * SPEC.max_turn_rad_s, atol=1e-5
    )


@given(rows(3), st.floats(-4.0, 4.0))
def test_steered_wheels_drive_what_was_asked(action, steered):
    """Wheels that are steered where they should roll by the velocity of the floor under them: both sides of a rigid
    base that moves as commanded."""
    now = np.full((len(action), 2), steered)
    aim = rules.steered_wheels(action, now, OMNI)[1]
    assert (np.abs(aim - now) <= np.pi / 2 + 1e-6).all(), "a quarter turn at most"
    rolling, kept = rules.steered_wheels(action, aim, OMNI)
    np.testing.assert_allclose(kept, aim, atol=1e-5)
    forward, left, turn = rules.planar_command(action, OMNI).T
    for k, y in enumerate((OMNI.track_m / 2, -OMNI.track_m / 2)):
        along = rolling[:, k] * OMNI.wheel_radius_m
        expected = np.stack([forward - turn * y, left], -1)
        moving = np.linalg.norm(expected, axis=1) > 2 * rules.STILL_M_S
        found = along[:, None] * np.stack([np.cos(aim[:, k]), np.sin(aim[:, k])], -1)
        np.testing.assert_allclose(found[moving], expected[moving], atol=1e-4)


def test_wheels_that_stand_still_are_not_steered():
    """No command, or one that leaves a wheel in its place."""
    aim = rules.steered_wheels(np.zeros((1, 3)), np.array([[0.7, -0.4]]), OMNI)[1]
    np.testing.assert_array_equal(aim, [[0.7, -0.4]])


def test_robots_are_named():
    """Every embedded robot by name and size; unknown ones are refused with the names that there are."""
    for name, sizes in EMBEDDED.items():
        assert {robot_of(name, size) for size in sizes} == set(sizes.values())
    with pytest.raises(ConfigError, match=r"env\.robot 'tank'.*diff_drive, omni"):
        robot_of("tank", "medium")
    with pytest.raises(ConfigError, match=r"size 'huge'.*small, medium"):
        robot_of("omni", "huge")


def test_goals_are_told_in_the_robots_frame():
    """Ahead, to the left and far away."""
    way = np.array([[0.0, 2.0], [0.0, 2.0], [-30.0, 0.0]])
    told = rules.goal_told(way, np.array([2.0, 2.0, 30.0]), np.array([np.pi / 2, 0.0, 0.0]), 8.0)
    np.testing.assert_allclose(told, [[0.25, 1, 0], [0.25, 0, 1], [1, -1, 0]], atol=1e-12)


def test_rays_tell_the_nearest_of_their_beams():
    """Three beams a ray, the first ray's own being the first beam: the last beam of all belongs to the first ray."""
    ranges = np.array([[5.0, 6, 9, 8, 7, 3, 4, 6, 2]])
    np.testing.assert_array_equal(rules.nearest_beams(ranges, 3), [[2, 7, 3]])
    np.testing.assert_array_equal(rules.nearest_beams(torch.from_numpy(ranges), 3).numpy(), [[2, 7, 3]])
    np.testing.assert_array_equal(rules.nearest_beams(ranges, 1), ranges)


def test_patrols_repeat_their_last_stop_but_one():
    """Five stops: a, b, a, c, d; without revisits each leg is its own."""
    assert [rules.repeated_leg(leg, True) for leg in range(6)] == [0, 1, 0, 3, 4, 3]
    assert [rules.repeated_leg(leg, False) for leg in range(6)] == [0, 1, 2, 3, 4, 5]
    assert [rules.episode_goal(6, leg, revisits=True, count=8) for leg in range(5)] == [6, 7, 6, 1, 2]


def test_limits_are_whole_steps():
    """The least time, or what the way takes at the pace, in steps of 40 ms; no way makes exploring take longer."""
    way = np.array([0.0, 10.0, 15.0, 15.011, 54.6])
    limit = rules.step_limit(way, time_limit_s=30.0, pace_m_s=0.5)
    np.testing.assert_array_equal(limit, [750, 750, 750, 751, 2730])
    tensor = rules.step_limit(torch.from_numpy(way), time_limit_s=30.0, pace_m_s=0.5)
    np.testing.assert_array_equal(tensor.numpy(), limit)
    drive = rules.EXPLORE
    assert (rules.step_limit(way, time_limit_s=drive.time_limit_s, pace_m_s=drive.pace_m_s) == 2250).all()


def test_explorations_of_large_worlds_have_more_time():
    """The least time for a small room, then by the floor, and longer for a slower robot; in NumPy and in torch."""
    floor = np.array([20.0, 400.0, 800.0])
    options = {"near_m": 2.0, "time_limit_s": 90.0, "sweep_share": 0.5}
    limit = rules.explore_step_limit(floor, SPEC, **options)
    np.testing.assert_array_equal(limit, [2250, 5000, 10000])
    np.testing.assert_array_equal(rules.explore_step_limit(torch.from_numpy(floor), SPEC, **options).numpy(), limit)
    assert rules.explore_step_limit(floor, SIZES["small"], **options)[1] > 1.5 * limit[1]
    assert (rules.explore_step_limit(floor, SPEC, **(options | {"sweep_share": math.inf})) == 2250).all()
