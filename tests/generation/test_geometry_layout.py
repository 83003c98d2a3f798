"""From labels to layout: with perfect labels the layout is the room; with damaged ones it stays a room."""

from __future__ import annotations

import numpy as np
import pytest

from lyra.worldgen.core.mesh import Label
from lyra.worldgen.core.views import PolarLayout
from lyra.worldgen.generation.label_net import CEILING, FLOOR, OBJECT, SKY, WALL
from lyra.worldgen.generation.layout_cast import cast_layout
from lyra.worldgen.generation.photo_layout import backdrop_layout, build_layout
from lyra.worldgen.generation.standing_objects import Stixels, build_objects, group_stixels
from lyra.worldgen.generation.stixels import column_runs, parse_columns, polar_view
from lyra.worldgen.generation.walls import FREE, WallEvidence, fit_walls
from rooms import AnalyticRoom, analytic_room

_CLASS = {Label.FLOOR: FLOOR, Label.WALL: WALL, Label.CEILING: CEILING, Label.OBJECT: OBJECT, Label.SKY: SKY}


def label_probability(labels: np.ndarray, certainty: float = 0.9) -> np.ndarray:
    """[5, H, W] float32 that says each label with that certainty."""
    p = np.full((5, *labels.shape), (1 - certainty) / 4, np.float32)
    for label, index in _CLASS.items():
        p[index][labels == label] = certainty
    return p


def layout_from_labels(room: AnalyticRoom, probability: np.ndarray, **options) -> PolarLayout:
    view = polar_view(room.camera, room.T_world_cam)
    runs = column_runs(parse_columns(view.sample(probability, room.camera), view), view)
    settings = {"max_extent_m": 20.0, "manhattan_yaw_rad": 0.0, "outdoors": False} | options
    return build_layout(runs, view, camera_height_m=room.camera_height_m, **settings)


@pytest.fixture(scope="module")
def room() -> AnalyticRoom:
    return analytic_room(width_px=320, height_px=240, roll_deg=3.0)


@pytest.mark.parametrize("yaw_rad", [0.0, None])
def test_perfect_labels_give_the_room(room, yaw_rad):
    layout = layout_from_labels(room, label_probability(room.render().labels), manhattan_yaw_rad=yaw_rad)
    truth = room.layout(layout.azimuth_rad)
    error = np.abs(np.log(layout.boundary_m / truth.boundary_m))
    # Without main directions nothing tells how the walls go on where their foot is out of the picture.
    assert np.median(error) < 0.03 and np.quantile(error, 0.9) < (0.1 if yaw_rad is not None else 0.2)
    assert layout.ceiling_m is not None
    np.testing.assert_allclose(layout.ceiling_m, 2.8, atol=0.15)
    assert (layout.boundary_label == Label.WALL).all()


def test_furniture_is_found_in_front_of_the_wall_and_does_not_bend_it(room):
    layout = layout_from_labels(room, label_probability(room.render().labels))
    truth = room.layout(layout.azimuth_rad)
    both = np.intersect1d(layout.object_bin, truth.object_bin)
    assert len(both) > 0.8 * len(np.unique(truth.object_bin))
    near = {b: n for b, n in zip(truth.object_bin, truth.object_near_m, strict=True)}
    ratio = [n / near[b] for b, n in zip(layout.object_bin, layout.object_near_m, strict=True) if b in near]
    np.testing.assert_allclose(np.median(ratio), 1.0, atol=0.05)
    tops = np.sort(np.unique(np.round(layout.object_top_m, 1)))
    assert 0.5 < tops[0] and tops[-1] < 1.5  # boxes of 0.8 and 1.2 m
    assert (np.abs(np.log(layout.boundary_m / truth.boundary_m))[both] < 0.1).mean() > 0.9


def test_walls_are_straight_and_vertical(room):
    layout = layout_from_labels(room, label_probability(room.render().labels))
    depth, labels = cast_layout(layout, room.camera, room.T_world_cam)
    points = room.camera.unproject(depth) @ room.T_world_cam[:3, :3].T + room.T_world_cam[:3, 3]
    truth = room.render().labels
    ahead = (labels == Label.WALL) & (truth == Label.WALL) & (np.abs(points[..., 1]) < 1.0)
    # The wall ahead is x = 5: all of its points share one x, whatever their height.
    assert np.ptp(points[ahead][:, 0]) < 0.01
    np.testing.assert_allclose(points[ahead][:, 0].mean(), 5.0, atol=0.3)


def test_noisy_labels_keep_the_room(room):
    rng = np.random.default_rng(1)
    labels = room.render().labels.copy()
    for _ in range(25):  # blotches of wrong labels
        r, c, k = rng.integers(0, 240), rng.integers(0, 320), rng.integers(4, 12)
        labels[r : r + k, c : c + k] = rng.choice([Label.FLOOR, Label.WALL, Label.OBJECT, Label.CEILING])
    layout = layout_from_labels(room, label_probability(labels, 0.7))
    truth = room.layout(layout.azimuth_rad)
    assert np.median(np.abs(np.log(layout.boundary_m / truth.boundary_m))) < 0.06


def test_floor_is_never_behind_the_first_obstacle(room):
    layout = layout_from_labels(room, label_probability(room.render().labels))
    depth, labels = cast_layout(layout, room.camera, room.T_world_cam)
    points = room.camera.unproject(depth) @ room.T_world_cam[:3, :3].T + room.T_world_cam[:3, 3]
    floor = points[labels == Label.FLOOR]
    column = np.round((np.arctan2(floor[:, 1], floor[:, 0]) - layout.azimuth_rad[0]) / layout.step_rad).astype(int)
    column = np.clip(column, 0, len(layout.boundary_m) - 1)
    assert (np.hypot(floor[:, 0], floor[:, 1]) <= layout.boundary_m[column] * 1.12 + 0.05).all()


def test_open_ground_ends_in_a_backdrop_with_a_skyline():
    room = analytic_room(width_px=160, height_px=120, boxes=False, pitch_deg=-3.0)
    rays = room.camera.rays_cam() @ room.T_world_cam[:3, :3].T
    slope = rays[..., 2] / np.hypot(rays[..., 0], rays[..., 1])
    labels = np.where(slope < -0.005, Label.FLOOR, np.where(slope < 0.12, Label.WALL, Label.SKY))
    layout = layout_from_labels(room, label_probability(labels), outdoors=True)
    assert layout.ceiling_m is None and (layout.boundary_label == Label.BACKDROP).all()
    np.testing.assert_allclose(layout.boundary_m, 20.0)
    np.testing.assert_allclose(np.median(layout.boundary_top_m), 1.5 + 0.12 * 20.0, atol=0.25)
    _, seen = cast_layout(layout, room.camera, room.T_world_cam)
    assert (seen == Label.SKY).mean() > 0.1


def test_backdrop_is_a_walkable_disc():
    room = analytic_room()
    layout = backdrop_layout(polar_view(room.camera, room.T_world_cam), None, camera_height_m=1.5, radius_m=8.0)
    assert (layout.boundary_m == 8.0).all() and not len(layout.object_bin) and layout.ceiling_m is None


def _evidence(azimuth: np.ndarray, contact: np.ndarray, **more) -> WallEvidence:
    n = len(azimuth)
    values = {"weight": np.ones(n), "at_most_rad": np.full(n, 0.5 * np.pi), "at_least_rad": np.zeros(n)}
    return WallEvidence(azimuth_rad=azimuth, contact_rad=contact, **(values | more))


@pytest.mark.parametrize("yaw_rad", [0.0, 0.4])
def test_walls_survive_outliers_and_hidden_stretches(yaw_rad):
    azimuth = (np.arange(-160, 160) + 0.5) * np.radians(0.25)
    across = np.minimum(
        *[d / np.maximum(np.cos(azimuth - n), 1e-3) for d, n in ((4.0, yaw_rad), (3.0, yaw_rad - np.pi / 2))]
    )
    truth = np.minimum(across, 2.5 / np.maximum(np.cos(azimuth - yaw_rad - np.pi / 2), 1e-3))
    contact = np.arctan2(1.5, truth)
    contact[40:70] = np.nan  # behind a sofa
    at_most = np.full(320, 0.5 * np.pi)
    at_most[40:70] = np.arctan2(1.5, 2.0)
    contact[200:212] = np.arctan2(1.5, 1.2)  # labels gone wrong
    boundary, line, lines = fit_walls(
        _evidence(azimuth, contact, at_most_rad=at_most), height_m=1.5, reach_m=20.0, manhattan_yaw_rad=yaw_rad
    )
    error = np.abs(np.log(boundary / truth))
    assert np.quantile(error, 0.95) < 0.05 and lines and (line != FREE).mean() > 0.8


def test_walls_without_any_contact_are_still_somewhere():
    azimuth = (np.arange(-80, 80) + 0.5) * np.radians(0.5)
    boundary, _, _ = fit_walls(
        _evidence(azimuth, np.full(160, np.nan)), height_m=1.5, reach_m=20.0, manhattan_yaw_rad=None
    )
    assert np.isfinite(boundary).all() and (boundary > 0).all() and (boundary <= 20.0).all()


def _stixels(**columns) -> Stixels:
    n = len(columns["column"])
    defaults = {"contact_seen": np.ones(n, bool), "shadow_m": np.full(n, np.inf)}
    return Stixels(**{k: np.asarray(v) for k, v in (defaults | columns).items()})


def test_things_at_different_distances_are_different_objects():
    s = _stixels(
        column=np.r_[0:10, 10:20, 40:50], near_m=np.r_[[2.0] * 10, [3.0] * 10, [2.0] * 10], top_rad=np.zeros(30)
    )
    group = group_stixels(s)
    assert len(set(group)) == 3 and len(set(group[:10])) == 1


def test_low_box_seen_from_above_gets_a_top_that_fits_its_far_edge():
    """A box of height 0.4 and depth 0.2 at 2 m: its label ends where the ray meets the far edge of its top."""
    top_rad = np.arctan2(0.4 - 1.5, 2.0 + 0.3)
    s = _stixels(column=np.arange(40), near_m=np.full(40, 2.0), top_rad=np.full(40, top_rad))
    built = build_objects(s, np.full(40, 5.0), step_rad=np.radians(0.25), height_m=1.5, top_limit_m=2.5)
    edge = np.arctan2(built.top_m - 1.5, built.far_m)
    np.testing.assert_allclose(edge, top_rad, atol=1e-6)
    assert np.ptp(built.top_m) == 0.0 and 0.2 < built.top_m[0] < 0.5


@pytest.mark.parametrize(
    "change",
    [
        {"top_rad": np.full(40, -0.64)},  # flat as a rug
        {"near_m": np.full(40, 4.95)},  # part of the wall's picture
        {"column": np.arange(2), "near_m": np.full(2, 2.0), "top_rad": np.zeros(2)},  # a speck
    ],
)
def test_what_is_no_object_is_left_out(change):
    columns = {"column": np.arange(40), "near_m": np.full(40, 2.0), "top_rad": np.zeros(40)} | change
    built = build_objects(
        _stixels(**columns), np.full(40, 5.0), step_rad=np.radians(0.25), height_m=1.5, top_limit_m=2.5
    )
    assert not len(built.column)


def test_nothing_stands_in_the_photographer():
    s = _stixels(column=np.arange(40), near_m=np.full(40, 0.2), top_rad=np.zeros(40))
    built = build_objects(s, np.full(40, 5.0), step_rad=np.radians(0.25), height_m=1.5, top_limit_m=2.5)
    assert (built.near_m >= 0.6).all()
