"""Lifted splats lie on the surface, cover it and show the photo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.frames import camera_pose, rotation_from_quat_wxyz
from lyra.worldgen.core.mesh import Label
from lyra.worldgen.core.sh import SH_C0
from lyra.worldgen.core.splats import GaussianCloud
from lyra.worldgen.core.views import SOURCE_PAINTED, SOURCE_WARPED
from lyra.worldgen.reconstruction import splat_lift
from lyra.worldgen.reconstruction.mesh_extract import extract_surface
from lyra.worldgen.reconstruction.metrics import psnr_db
from lyra.worldgen.reconstruction.splat_lift import (
    LARGEST_FIT,
    LONGEST_FAR_M,
    LONGEST_M,
    LONGEST_RAD,
    _cut_long,
    fit_colours,
    lift_splats,
)
from lyra.worldgen.reconstruction.splat_render import render_splats
from lyra.worldgen.reconstruction.surface_hits import cast_views
from reconstruction.analytic_world import make_view, make_world
from rooms import analytic_room

for _package in ("numba", "embreex", "cv2", "scipy", "xatlas"):
    pytest.importorskip(_package)


@pytest.fixture(scope="module")
def world():
    return make_world(width_px=128, height_px=96, turns=4, bins=60, step_m=0.3)


@pytest.fixture(scope="module")
def lifted(world):
    mesh = extract_surface(world)
    return lift_splats(mesh, world.views, cast_views(mesh, world.views), budget=10**7)


def test_only_new_pixels_are_lifted(world, monkeypatch):
    """One splat per photo or painted pixel before long ones are cut, none for copies, few lost to overlaps."""
    monkeypatch.setattr(splat_lift, "LONGEST_M", np.inf)
    mesh = extract_surface(world)
    lifted = lift_splats(mesh, world.views, cast_views(mesh, world.views), budget=10**7)
    fresh = sum(int((v.valid & (v.source != SOURCE_WARPED)).sum()) for v in world.views)
    assert lifted.pixels == fresh
    assert len(lifted.splats) == fresh - lifted.duplicates
    assert lifted.duplicates < 0.1 * fresh
    assert (lifted.view == 0).sum() == world.views[0].valid.sum()
    assert lifted.splats.labels is not None and set(np.unique(lifted.splats.labels)) >= {1, 2, 3}
    lifted.splats.validate()


def test_discs_lie_flat_on_the_surface(lifted):
    """Floor splats are thin along the vertical and lie in z = 0; no disc is too long."""
    cloud = lifted.splats
    floor = cloud.labels == 1
    assert np.abs(cloud.means[floor, 2]).max() < 1e-4
    axes = rotation_from_quat_wxyz(cloud.quats_wxyz[floor])
    np.testing.assert_allclose(np.abs(axes[:, 2, 2]), 1.0, atol=1e-4)
    assert (cloud.scales_m[:, 0] <= 8.01 * cloud.scales_m[:, 1]).all()
    assert (cloud.scales_m[:, 2] <= cloud.scales_m[:, 1] + 1e-9).all()
    assert cloud.scales_m[:, 2].min() >= 0.0004


def test_the_photo_comes_back(world, lifted):
    """Raw splats resemble the photo, fitted ones reproduce it, and the surface is closed."""
    photo = world.views[0]
    raw = render_splats(lifted.splats, photo.camera, photo.T_world_cam)
    fitted = fit_colours(lifted, photo, 0)
    image = render_splats(fitted.splats, photo.camera, photo.T_world_cam)
    before, after = (psnr_db(i.rgb_u8(), photo.rgb_u8, photo.valid) for i in (raw, image))
    assert before > 25 and after > max(before + 1.5, 32)
    assert image.alpha[3:-3, 3:-3].mean() > 0.995
    inner = (slice(3, -3), slice(3, -3))
    error = np.abs(image.depth_z_m - photo.depth_z_m)[inner] / photo.depth_z_m[inner]
    assert np.median(error) < 0.01
    others = lifted.view != 0
    np.testing.assert_array_equal(fitted.splats.sh[others], lifted.splats.sh[others])


def test_what_hardly_shows_keeps_its_colour(world, lifted):
    """A splat that the photo's own splats hide is not used to correct them, and no colour goes far."""
    photo = world.views[0]
    eye = photo.T_world_cam[:3, 3]
    own = np.flatnonzero(lifted.view == 0)
    behind = lifted.splats.take(own[:: max(1, len(own) // 500)])
    behind = replace(behind, means=(eye + 1.5 * (behind.means - eye)).astype(np.float32))
    both = replace(lifted.with_more(behind), view=np.r_[lifted.view, np.zeros(len(behind), np.int32)])
    change = np.abs(fit_colours(both, photo, 0).splats.sh - both.splats.sh)[:, 0].max(1) * SH_C0
    # A few at the rim of the picture are not hidden.
    assert np.quantile(change[-len(behind) :], 0.95) < 0.02 < np.quantile(change[own], 0.9)
    assert change.max() <= LARGEST_FIT + 1e-6


def test_no_holes_a_step_ahead(world, lifted):
    """Half a metre ahead the discs still cover what the photo saw."""
    photo = world.views[0]
    pose = camera_pose(np.array([0.5, 0.0, 1.5]), pitch_rad=np.radians(-6))
    alpha = render_splats(lifted.splats, photo.camera, pose).alpha[20:-20, 25:-25]
    assert np.quantile(alpha, 0.05) > 0.95


def test_the_budget_holds_and_the_picture_survives(world):
    """With a fifth of the pixels the picture stays recognisable, and never more splats than asked for."""
    mesh = extract_surface(world)
    hits = cast_views(mesh, world.views)
    photo = world.views[0]
    for budget, limit in ((12_000, 27), (700, 14)):
        few = lift_splats(mesh, world.views, hits, budget=budget)
        assert budget * 0.5 < len(few.splats) <= budget
        image = render_splats(fit_colours(few, photo, 0).splats, photo.camera, photo.T_world_cam)
        assert psnr_db(image.rgb_u8(), photo.rgb_u8, photo.valid) > limit


def test_the_photo_wins_a_contested_spot(world):
    """A view that claims to have painted what the photo shows adds nothing."""
    mesh = extract_surface(world)
    photo = world.views[0]
    rival = replace(photo, view_id=1, source=np.full_like(photo.source, SOURCE_PAINTED))
    views = [photo, rival]
    both = lift_splats(mesh, views, cast_views(mesh, views), budget=10**7)
    assert (both.view == 1).sum() == 0 and both.duplicates == photo.valid.sum()


def test_a_plain_sky_ends_at_the_photo():
    """Sky painted in one colour above the photo becomes few large splats, and none of them reaches into the photo."""
    world = make_world(width_px=128, height_px=96, turns=0, bins=60, ceiling_m=None)
    mesh, photo = extract_surface(world), world.views[0]
    photo = replace(photo, rgb_u8=photo.rgb_u8 // 3)
    above = make_view(mesh, photo.camera, camera_pose(np.array([0.0, 0.0, 1.5]), pitch_rad=np.radians(45)), world.views)
    painted = above.source == SOURCE_PAINTED
    above = replace(above, rgb_u8=np.where(painted[..., None], np.uint8(255), above.rgb_u8))
    views = [photo, above]
    budget = int(photo.valid.sum() + 0.35 * painted.sum())
    lifted = lift_splats(mesh, views, cast_views(mesh, views), budget=budget)
    assert (lifted.view == 1).sum() < 0.7 * painted.sum()
    picture = render_splats(fit_colours(lifted, photo, 0).splats, photo.camera, photo.T_world_cam).rgb_u8()
    assert psnr_db(picture, photo.rgb_u8, photo.valid) > 29


def test_same_views_same_splats(world, lifted):
    """Lifting twice gives the same bytes."""
    mesh = extract_surface(world)
    again = lift_splats(mesh, world.views, cast_views(mesh, world.views), budget=10**7).splats
    for name in ("means", "scales_m", "quats_wxyz", "opacities", "sh", "labels"):
        np.testing.assert_array_equal(getattr(again, name), getattr(lifted.splats, name))


def test_no_surface_splat_is_too_long():
    """Floor that the photo sees from afar becomes rows of short splats, so that a robot that stands on it sees the
    surface where it is."""
    room = analytic_room(width_px=96, height_px=72)
    hall = replace(room, lo_m=(-2.0, -6.0, 0.0), hi_m=(24.0, 6.0, 4.0), boxes_m=())
    mesh, views = hall.mesh(), [hall.render()]
    cloud = lift_splats(mesh, views, cast_views(mesh, views), budget=10**6).splats
    distance_m = np.linalg.norm(cloud.means - views[0].T_world_cam[:3, 3], axis=1)
    longest_m = np.maximum(np.minimum(LONGEST_RAD * distance_m, LONGEST_FAR_M), LONGEST_M)
    # Pieces lie a little beside the middle of what they were cut from.
    assert (cloud.scales_m.max(1) <= 1.05 * longest_m + 0.01).all() and len(cloud) > 96 * 72
    camera = PinholeCamera.from_hfov(64, 48, np.radians(70))
    pose = camera_pose(np.array([12.0, 0.0, 0.4]), heading_rad=0.4, pitch_rad=-0.2)
    seen = render_splats(cloud, camera, pose)
    truth = hall.render(camera, pose).depth_z_m
    solid = seen.median_depth_z_m > 0
    assert (np.abs(seen.median_depth_z_m - truth) < 0.05 + 0.03 * truth)[solid].mean() > 0.9


def test_pieces_cover_what_they_were_cut_from():
    """A long splat becomes a row along its axis: same middle, orientation, opacity and colour, and its own length."""
    long = GaussianCloud(
        means=np.array([[1.0, 2.0, 3.0]], np.float32),
        scales_m=np.array([[4 * LONGEST_M, 0.5 * LONGEST_M, 0.001]], np.float32),
        quats_wxyz=np.array([[np.sqrt(0.5), 0, 0, np.sqrt(0.5)]], np.float32),
        opacities=np.array([0.9], np.float32),
        sh=np.zeros((1, 1, 3), np.float32),
        labels=np.array([Label.FLOOR], np.uint8),
    )
    pieces, owner = _cut_long(long, np.array([7], np.int32), 100, np.array([LONGEST_M]))
    assert len(pieces) == 4 and (owner == 7).all()
    np.testing.assert_allclose(pieces.means.mean(0), long.means[0], atol=1e-6)
    assert np.ptp(pieces.means[:, 0]) < 1e-5 and np.ptp(pieces.means[:, 1]) > 3 * LONGEST_M  # turned by 90 degrees
    np.testing.assert_allclose(pieces.scales_m, np.tile([LONGEST_M, 0.5 * LONGEST_M, 0.001], (4, 1)), rtol=1e-6)
    sky = replace(long, labels=np.array([Label.SKY], np.uint8))
    assert len(_cut_long(sky, np.array([7], np.int32), 100, np.array([LONGEST_M]))[0]) == 1
    assert len(_cut_long(long, np.array([7], np.int32), 2, np.array([LONGEST_M]))[0]) == 2  # no room for more
