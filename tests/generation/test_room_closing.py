"""Unseen walls: they continue those at the photo's edges and meet at right angles."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyra.worldgen.core.mesh import Label
from lyra.worldgen.core.views import PolarLayout
from lyra.worldgen.generation import ring_course
from lyra.worldgen.generation.equirect import Strip
from lyra.worldgen.generation.painter import RingPanorama
from lyra.worldgen.generation.proxy import full_turn
from lyra.worldgen.generation.ring_collage import lay_out
from lyra.worldgen.generation.room_closing import close_room, corners_in, length_along
from rooms import analytic_room

COLUMNS = 720
AZIMUTH = np.pi - (np.arange(COLUMNS) + 0.5) * 2 * np.pi / COLUMNS


def seen_of_a_box(yaw_rad: float, half_span_rad: float, walls_m: tuple[float, float, float, float]):
    """Layout and ring sector of a camera in a rectangular room whose walls stand at those distances."""
    azimuth = np.linspace(-half_span_rad, half_span_rad, 500)
    full = box_distance(azimuth, yaw_rad, walls_m)
    layout = dataclasses.replace(
        analytic_room(boxes=False).layout(azimuth), boundary_m=full, boundary_top_m=np.full(500, np.inf)
    )
    inside = np.flatnonzero(np.abs(AZIMUTH) < half_span_rad)
    return layout, (int(inside[0]), int(inside[-1]) + 1)


def box_distance(azimuth: np.ndarray, yaw_rad: float, walls_m) -> np.ndarray:
    facing = np.cos(azimuth[None] - yaw_rad - np.arange(4)[:, None] * np.pi / 2)
    reach = np.where(facing > 1e-6, np.array(walls_m)[:, None] / np.maximum(facing, 1e-6), np.inf)
    return reach.min(0)


@settings(max_examples=30)
@given(
    yaw=st.floats(-0.6, 0.6),
    half_span=st.floats(0.5, 0.9),
    front=st.floats(3.0, 6.0),
    sides=st.floats(2.5, 5.0),
)
def test_a_box_is_closed_around(yaw: float, half_span: float, front: float, sides: float) -> None:
    """The outline goes on from both edges without a step, stays at arm's length, and turns by right angles only."""
    layout, sector = seen_of_a_box(yaw, half_span, (front, sides, front, sides))
    room = close_room(layout, AZIMUTH, sector, yaw)
    assert room is not None
    first, end = sector
    usual = np.median(layout.boundary_m)
    assert room.boundary_m.min() > min(0.5 * usual, 2.0)
    xy = room.boundary_m[:, None] * np.stack([np.cos(AZIMUTH), np.sin(AZIMUTH)], 1)
    outside = (end + np.arange(COLUMNS - (end - first))) % COLUMNS
    along = np.diff(xy[outside], axis=0)
    angle = np.mod(np.arctan2(along[:, 1], along[:, 0]) - yaw + np.pi / 4, np.pi / 2) - np.pi / 4
    at_corner = room.corner[outside[:-1]]
    assert np.abs(angle[~at_corner]).max() < 0.02 and at_corner.sum() <= 4


def test_a_seen_wall_runs_on_in_its_own_plane() -> None:
    """The walls at the photo's edges stay where they are, however far they run."""
    walls = (4.0, 3.0, 4.0, 3.0)
    layout, sector = seen_of_a_box(0.0, 0.8, walls)
    room = close_room(layout, AZIMUTH, sector, 0.0)
    assert room is not None
    beside = np.abs(AZIMUTH) < 2.1
    np.testing.assert_allclose(room.boundary_m[beside], box_distance(AZIMUTH, 0.0, walls)[beside], rtol=0.01)


def test_nothing_to_close_in_a_full_turn() -> None:
    """A photo that shows nearly everything needs no box."""
    layout, _ = seen_of_a_box(0.0, 3.0, (4.0, 3.0, 4.0, 3.0))
    assert close_room(layout, AZIMUTH, (10, COLUMNS - 10), 0.0) is None


def test_lengths_and_corners_along_the_walls() -> None:
    """Two metres of wall are two metres long, and the corner is found where it is."""
    azimuth = AZIMUTH[np.abs(AZIMUTH) < 1.2]
    outline = box_distance(azimuth, 0.0, (3.0, 3.0, 3.0, 3.0))
    along = length_along(outline, azimuth)
    front = np.abs(azimuth) < np.arctan2(1.0, 3.0)
    np.testing.assert_allclose(np.ptp(along[front]), 2.0, atol=0.06)
    corner = azimuth[corners_in(outline, azimuth)]
    assert len(corner) and np.abs(np.abs(corner) - np.pi / 4).max() < np.radians(3)


def test_objects_move_with_their_wall() -> None:
    """A ring that lays a copy twice as far away takes what stands before the wall along, at its own height."""
    layout: PolarLayout = analytic_room(boxes=False).layout(np.linspace(-0.7, 0.7, 300))
    layout = dataclasses.replace(
        layout,
        object_bin=np.arange(140, 160, dtype=np.int32),
        object_near_m=np.full(20, 2.0),
        object_far_m=np.full(20, 2.4),
        object_top_m=np.full(20, 0.9),
    )
    inside = np.abs(AZIMUTH) < 0.7
    copied = np.where(inside, AZIMUTH, 0.0)
    boundary = np.interp(copied, layout.azimuth_rad, layout.boundary_m) * np.where(inside, 1.0, 2.0)
    ring = RingPanorama(
        rgb_u8=np.zeros((4, COLUMNS, 3), np.uint8),
        from_photo=np.zeros((4, COLUMNS), bool),
        elevation_rad=np.array([0.2, 0.1, 0.0, -0.1]),
        azimuth_rad=AZIMUTH,
        source_azimuth_rad=copied,
        mirrored=np.zeros(COLUMNS, bool),
        boundary_m=boundary,
        stretch=np.where(inside, 1.0, 2.0),
    )
    whole = full_turn(layout, ring)
    away = np.abs(whole.azimuth_rad[whole.object_bin])
    assert (away > 0.72).any() and (away < 0.68).any()
    np.testing.assert_allclose(whole.object_near_m[away > 0.72], 4.0)
    np.testing.assert_allclose(whole.object_near_m[away < 0.68], 2.0)
    np.testing.assert_allclose(whole.object_top_m, 0.9)
    far = np.abs(whole.azimuth_rad) > 0.8
    np.testing.assert_allclose(whole.boundary_m[far], boundary[~inside][0], rtol=1e-6)


@pytest.mark.parametrize("most_blur", [ring_course.MOST_BLUR, -1.0])
def test_what_is_level_stays_level_on_the_rooms_walls(most_blur: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the photo's walls are unrolled or laid column by column, a line at one height stays at that height."""
    monkeypatch.setattr(ring_course, "MOST_BLUR", most_blur)
    height_m = 0.8
    azimuth = np.pi - (np.arange(COLUMNS) + 0.5) * 2 * np.pi / COLUMNS
    elevation = np.linspace(0.7, -0.7, 240)
    layout, sector = seen_of_a_box(0.3, 0.8, (5.0, 4.0, 5.0, 4.0))
    first, end = sector
    room = close_room(layout, azimuth, sector, 0.3)
    assert room is not None
    own_m = np.interp(azimuth[first:end], layout.azimuth_rad, layout.boundary_m)
    # Red below the line, blue above, both with marks that tell columns apart.
    rng = np.random.default_rng(3)
    above = np.tan(elevation)[:, None] * np.pad(own_m, (first, COLUMNS - end), mode="edge")[None] > height_m
    marks = rng.integers(60, 200, (1, COLUMNS, 1)) * np.ones((240, 1, 1))
    rgb = np.concatenate([np.where(above[..., None], 0, 255), marks, np.where(above[..., None], 255, 0)], -1)
    inside = np.zeros((240, COLUMNS), bool)
    inside[:, first:end] = True
    strip = Strip(
        rgb=rgb.astype(np.float32),
        labels=np.full((240, COLUMNS), Label.WALL, np.uint8),
        from_photo=inside,
        elevation_rad=elevation,
        azimuth_rad=azimuth,
        sector=sector,
    )
    course = ring_course.plan_course(strip, seed=0, boundary_m=own_m, room=room)
    assert course.boundary_m is not None
    np.testing.assert_array_equal(course.boundary_m, room.boundary_m)
    ring = lay_out(strip, course, seamless=False)
    blue = ring.rgb[..., 2] > ring.rgb[..., 0]
    line_m = np.tan(elevation[blue.sum(0).clip(0, 239)]) * room.boundary_m
    outside = ~inside.any(0)
    assert np.median(np.abs(line_m[outside] - height_m)) < 0.03
    assert np.percentile(np.abs(line_m[outside] - height_m), 90) < 0.3
