"""Pillars and wall ends leave the boundary and stand before what goes on behind them."""

from __future__ import annotations

import numpy as np

from lyra.worldgen.generation.occluders import PILLAR_WIDTH_M, WALL_THICKNESS_M, free_standing
from lyra.worldgen.generation.walls import FREE, Line

AZIMUTH = np.radians(np.arange(-30.0, 30.0, 0.25))
WALL = Line(normal_rad=0.0, distance_m=8.0)


def opened(boundary_m: np.ndarray, line: np.ndarray):
    return free_standing(
        boundary_m, line, [WALL], AZIMUTH, exact=np.zeros(len(AZIMUTH), bool), height_m=1.5, top_m=2.5, reach_m=20.0
    )


def test_a_straight_wall_stays():
    wall = WALL.range_m(AZIMUTH)
    boundary, objects = opened(wall, np.zeros(len(wall), int))
    np.testing.assert_allclose(boundary, wall, rtol=1e-12)
    assert not len(objects.column)


def test_a_pillar_becomes_an_object_before_the_wall():
    wall = WALL.range_m(AZIMUTH)
    pillar = np.abs(AZIMUTH) < np.radians(3.0)
    boundary, objects = opened(np.where(pillar, 4.0, wall), np.where(pillar, FREE, 0))
    np.testing.assert_allclose(boundary, wall, rtol=0.02)
    np.testing.assert_array_equal(objects.column, np.flatnonzero(pillar))
    width = 4.0 * np.radians(6.0)
    assert width < PILLAR_WIDTH_M
    # Its middle lies where its sides were seen.
    assert (objects.near_m < 4.0).all() and (objects.far_m > 4.0).all()
    np.testing.assert_allclose(objects.far_m - objects.near_m, 1.1 * width, rtol=0.1)
    assert (objects.top_m == 2.5).all()


def test_behind_the_end_of_a_wall_there_is_room_to_pass():
    wall = WALL.range_m(AZIMUTH)
    near = AZIMUTH > np.radians(2.0)
    boundary, objects = opened(np.where(near, 3.0, wall), np.where(near, FREE, 0))
    behind = near & (boundary > 4.0)
    np.testing.assert_array_equal(np.flatnonzero(behind), objects.column)
    assert behind[np.flatnonzero(near)[0]] and not behind[-1]
    assert 3.0 * np.ptp(AZIMUTH[behind]) > 0.5
    assert (objects.far_m - objects.near_m >= WALL_THICKNESS_M - 1e-9).all()


def test_a_ramp_of_few_columns_is_an_edge():
    wall = WALL.range_m(AZIMUTH)
    middle = int(np.argmin(np.abs(AZIMUTH)))
    smeared = np.where(AZIMUTH > 0, 3.0, wall)
    smeared[middle - 1 : middle + 2] = (7.0, 5.0, 3.5)
    boundary, _ = opened(smeared, np.full(len(wall), FREE))
    assert not ((boundary > 3.2) & (boundary < 6.0)).any()


def test_a_pillar_whose_foot_is_known_stays_where_it_is():
    wall = WALL.range_m(AZIMUTH)
    pillar = np.abs(AZIMUTH) < np.radians(3.0)
    _, objects = free_standing(
        np.where(pillar, 4.0, wall),
        np.where(pillar, FREE, 0),
        [WALL],
        AZIMUTH,
        exact=pillar,
        height_m=1.5,
        top_m=2.5,
        reach_m=20.0,
    )
    np.testing.assert_array_equal(objects.column, np.flatnonzero(pillar))
    np.testing.assert_allclose(objects.near_m, 4.0)
    np.testing.assert_allclose(objects.far_m - objects.near_m, 1.1 * 4.0 * np.radians(6.0), rtol=0.1)
