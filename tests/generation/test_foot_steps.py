"""The foot of walls and things from colours: found below skirtings and behind joints, not where nothing changes."""

from __future__ import annotations

import numpy as np
import pytest

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.frames import camera_pose, rotate_vectors
from lyra.worldgen.generation.floor_end import ColumnColours, end_of_floor, foot_of, median_of_seen
from lyra.worldgen.generation.foot_steps import (
    contacts_on_the_floor,
    things_before_walls,
    things_on_their_feet,
    walls_on_their_feet,
)
from lyra.worldgen.generation.standing_objects import Stixels
from lyra.worldgen.generation.walls import FREE, Line, WallEvidence

HEIGHT_M = 1.5
Z = np.linspace(-0.36, 0.2, 180)
SEEN = np.ones(len(Z), bool)
PIXEL = 0.012
AZIMUTH = np.radians(np.arange(-20.0, 20.0, 0.25))
FLOOR_RGB, WALL_RGB, SKIRTING_RGB, THING_RGB = (130, 100, 60), (170, 180, 200), (70, 75, 85), (60, 120, 70)


def profile(*pieces: tuple[float, tuple[float, float]]) -> np.ndarray:
    """[Z, 2] tints that begin at heights, blurred by a pixel."""
    tint = np.zeros((len(Z), 2))
    for start, colour in pieces:
        tint[start <= Z] = colour
    size = round(PIXEL / (Z[1] - Z[0])) | 1
    padded = np.pad(tint, ((size // 2, size // 2), (0, 0)), mode="edge")
    return np.stack([np.convolve(padded[:, k], np.ones(size) / size, "valid") for k in (0, 1)], 1)


@pytest.mark.parametrize("foot", [-0.08, -0.03, 0.0, 0.04])
def test_floor_ends_at_its_last_colour(foot):
    found = end_of_floor(profile((-1, (5, 20)), (foot, (0, 0)), (foot + 0.053, (-8, -4))), Z, SEEN, PIXEL)
    np.testing.assert_allclose(found, foot, atol=0.5 * PIXEL)


def test_joints_do_not_end_the_floor():
    found = end_of_floor(profile((-1, (5, 20)), (-0.09, (2, 8)), (-0.075, (5, 20)), (0.01, (0, 0))), Z, SEEN, PIXEL)
    np.testing.assert_allclose(found, 0.01, atol=0.5 * PIXEL)


def test_one_colour_says_nothing():
    assert end_of_floor(profile((-1, (5, 20))), Z, SEEN, PIXEL) is None
    assert end_of_floor(profile((-1, (5, 20)), (0.0, (5.5, 21))), Z, SEEN, PIXEL) is None


def test_a_restless_floor_has_to_be_left_clearly(rng):
    restless = profile((-1, (5, 20)), (0.0, (8, 22))) + np.where(Z < -0.12, rng.normal(0, 4, len(Z)), 0)[:, None]
    assert end_of_floor(restless, Z, SEEN, PIXEL) is None


def picture(wall_m: float, *, thing_m: float | None = None, skirting_m: float = 0.08) -> ColumnColours:
    """A photo of a wall across the view, darker towards its foot, and of a box of 0.5 m before it."""
    camera = PinholeCamera.from_hfov(832, 624, np.radians(70))
    T = camera_pose(np.array([0.0, 0.0, HEIGHT_M]), pitch_rad=np.radians(-7), roll_rad=np.radians(1))
    fine = camera.resized(1664, 1248)
    rays = rotate_vectors(T, fine.rays_cam())
    to_wall = wall_m / np.maximum(rays[..., 0], 1e-6)
    height = HEIGHT_M + to_wall * rays[..., 2]
    fall = np.maximum(-rays[..., 2], 1e-6)
    floor_x = HEIGHT_M / fall * rays[..., 0]
    rgb = np.where((height < skirting_m)[..., None], SKIRTING_RGB, WALL_RGB).astype(float)
    shade = 0.7 + 0.3 * np.clip((wall_m - floor_x) / 0.4, 0, 1)
    rgb = np.where((height < 0)[..., None], np.array(FLOOR_RGB) * shade[..., None], rgb)
    if thing_m is not None:
        t = thing_m / np.maximum(rays[..., 0], 1e-6)
        y, z = t * rays[..., 1], HEIGHT_M + t * rays[..., 2]
        rgb = np.where(((np.abs(y) < 0.25) & (z > 0) & (z < 0.8))[..., None], THING_RGB, rgb)
    small = rgb.reshape(624, 2, 832, 2, 3).mean((1, 3)).round().astype(np.uint8)
    return ColumnColours.of(small, camera, T)


def wall_evidence(range_m: np.ndarray) -> WallEvidence:
    ones = np.ones(len(AZIMUTH))
    return WallEvidence(
        azimuth_rad=AZIMUTH,
        contact_rad=np.arctan2(HEIGHT_M, range_m),
        weight=ones,
        at_most_rad=0.5 * np.pi * ones,
        at_least_rad=0.0 * ones,
    )


@pytest.mark.parametrize("wall_m", [3.0, 6.0, 12.0])
@pytest.mark.parametrize("error", [0.96, 1.0, 1.06, 1.1])
def test_walls_stand_where_the_floor_ends(wall_m, error):
    """Labels that end at the skirting's upper edge, or anywhere near, put the wall in the wrong place."""
    colours = picture(wall_m)
    true_m, supposed_m = wall_m / np.cos(AZIMUTH), error * wall_m / np.cos(AZIMUTH)
    z = foot_of(colours, AZIMUTH, supposed_m, height_m=HEIGHT_M)
    np.testing.assert_allclose(supposed_m / (1 - z), true_m, rtol=0.012)
    for line, lines in (
        (np.zeros(len(AZIMUTH), int), [Line(normal_rad=0.0, distance_m=error * wall_m)]),
        (np.full(len(AZIMUTH), FREE), []),
    ):
        boundary, moved, found = walls_on_their_feet(
            supposed_m, line, lines, wall_evidence(supposed_m), colours, height_m=HEIGHT_M, reach_m=30.0
        )
        np.testing.assert_allclose(boundary, true_m, rtol=0.012)
        assert found.all() and all(abs(one.distance_m / wall_m - 1) < 0.012 for one in moved)


def test_noisy_contacts_move_onto_the_wall(rng):
    true_m = 5.0 / np.cos(AZIMUTH)
    evidence = wall_evidence(true_m * 1.04 * np.exp(rng.normal(0, 0.01, len(AZIMUTH))))
    evidence.contact_rad[30] = np.nan
    moved = contacts_on_the_floor(evidence, picture(5.0), height_m=HEIGHT_M)
    assert np.isnan(moved[30])
    np.testing.assert_allclose(np.delete(moved, 30), np.delete(np.arctan2(HEIGHT_M, true_m), 30), atol=np.radians(0.25))


def test_a_thing_that_labels_take_for_wall_stands_before_it():
    found = things_before_walls(
        6.0 / np.cos(AZIMUTH),
        wall_evidence(6.0 / np.cos(AZIMUTH)),
        picture(6.0, thing_m=5.4),
        height_m=HEIGHT_M,
        reach_m=30.0,
    )
    expected = np.flatnonzero(np.abs(np.tan(AZIMUTH)) < 0.25 / 5.4)
    assert abs(len(found.column) - len(expected)) <= 4 and abs(found.column.mean() - expected.mean()) <= 1
    np.testing.assert_allclose(found.near_m, 5.4, rtol=0.02)
    top_m = HEIGHT_M + found.near_m * np.tan(found.top_rad)
    np.testing.assert_allclose(top_m, 0.8, atol=0.12)


def test_a_bare_wall_has_nothing_before_it():
    bare = things_before_walls(
        6.0 / np.cos(AZIMUTH), wall_evidence(6.0 / np.cos(AZIMUTH)), picture(6.0), height_m=HEIGHT_M, reach_m=30.0
    )
    assert len(bare.column) == 0


def test_things_stand_where_the_floor_ends():
    column = np.flatnonzero(np.abs(np.tan(AZIMUTH)) < 0.24 / 3.0)
    count = len(column)
    stixels = Stixels(
        column=column,
        near_m=np.full(count, 3.1),
        contact_seen=np.ones(count, bool),
        top_rad=np.full(count, -0.2),
        shadow_m=np.full(count, np.inf),
    )
    moved = things_on_their_feet(stixels, AZIMUTH, picture(8.0, thing_m=3.0), height_m=HEIGHT_M)
    np.testing.assert_allclose(moved.near_m * np.cos(AZIMUTH[column]), 3.0, rtol=0.012)


def test_outside_the_picture_is_nothing():
    colours = picture(4.0)
    lab = colours.sample(np.array([0.0, 2.5]), np.zeros((3, 2)))
    assert np.isfinite(lab[:, 0]).all() and np.isnan(lab[:, 1]).all()
    assert foot_of(colours, np.full(9, 2.5), np.full(9, 4.0), height_m=HEIGHT_M) is None


def test_slow_changes_are_reflections():
    """A polished floor takes on the wall's colour long before it ends; its edge is not known from that."""
    share = np.clip((Z + 0.14) / 0.2, 0, 1)[:, None]
    assert end_of_floor((1 - share) * [5.0, 20.0] + share * [0.0, 0.0], Z, SEEN, PIXEL) is None


def test_median_of_what_is_seen(rng):
    lab = rng.uniform(0, 255, (40, 7, 3)).astype(np.float32)
    lab[rng.random((40, 7)) < 0.3] = np.nan
    lab[0, :6] = np.nan
    lab[0, 6] = 5.0
    np.testing.assert_array_equal(median_of_seen(lab), np.nanmedian(lab, 1))
