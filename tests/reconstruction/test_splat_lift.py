"""Lifted splats lie on the surface, cover it and show the photo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lyra.worldgen.core.frames import camera_pose, rotation_from_quat_wxyz
from lyra.worldgen.core.views import SOURCE_PAINTED, SOURCE_WARPED
from lyra.worldgen.reconstruction import splat_length
from lyra.worldgen.reconstruction.mesh_extract import extract_surface
from lyra.worldgen.reconstruction.metrics import psnr_db
from lyra.worldgen.reconstruction.splat_colours import fit_colours
from lyra.worldgen.reconstruction.splat_lift import lift_splats
from lyra.worldgen.reconstruction.splat_render import render_splats
from lyra.worldgen.reconstruction.surface_hits import cast_views
from reconstruction.analytic_world import make_view, make_world

for _package in ("numba", "embreex", "cv2", "scipy", "xatlas"):
    pytest.importorskip(_package)


def test_only_new_pixels_are_lifted(world, monkeypatch):
    """One splat per photo or painted pixel before long ones are cut, none for copies, few lost to overlaps."""
    monkeypatch.setattr(splat_length, "LONGEST_M", np.inf)
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
