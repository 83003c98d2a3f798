"""A world at another size: lengths scale, pictures, directions and doubts do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import invert_rigid, transform_points
from lyra.worldgen.core.scaling import (
    expect_factor,
    scaled_geometry,
    scaled_mesh,
    scaled_splats,
    scaled_views,
)
from sample_worlds import sample_splats, simple_room


@given(st.floats(0.01, 100.0))
def test_a_scaled_view_sees_the_scaled_world(factor):
    """Points of a scaled depth map from the scaled pose are the scaled points, at the same pixels."""
    from rooms import analytic_room

    room = analytic_room(width_px=16, height_px=12)
    views = room.views((0, 90))
    scaled = scaled_views(views, factor)
    for old, new in zip(views.views, scaled.views, strict=True):
        before = transform_points(old.T_world_cam, old.camera.unproject(old.depth_z_m))
        after = transform_points(new.T_world_cam, new.camera.unproject(new.depth_z_m))
        np.testing.assert_allclose(after, factor * before, rtol=1e-5, atol=1e-5 * factor)
        np.testing.assert_array_equal(new.rgb_u8, old.rgb_u8)
        pixels, _ = PinholeCamera.project(new.camera, transform_points(invert_rigid(new.T_world_cam), after))
        np.testing.assert_allclose(pixels, np.stack(old.camera.pixel_grid(), -1), atol=1e-3)
    assert scaled.proxy is not None and views.proxy is not None
    np.testing.assert_allclose(scaled.proxy.vertices, factor * views.proxy.vertices)
    assert scaled.ceiling_m == pytest.approx(factor * 2.8)


def test_factor_one_is_the_record_itself(room):
    """Nothing is copied and nothing rounded, so worlds that nobody rescaled keep their bytes."""
    mesh, views, geometry = simple_room(), room.views(), room.geometry()
    splats = sample_splats(mesh)
    assert scaled_mesh(mesh, 1.0) is mesh and scaled_splats(splats, 1.0) is splats
    assert scaled_views(views, 1.0) is views and scaled_geometry(geometry, 1.0) is geometry


def test_a_scaled_layout_stays_consistent(room):
    """Every length of a geometry scales, angles and labels stay, infinite tops stay infinite."""
    geometry = scaled_geometry(room.geometry(), 3.0)
    assert geometry.layout.camera_height_m == pytest.approx(4.5) == geometry.T_world_cam[2, 3]
    assert geometry.layout.ceiling_m == pytest.approx(8.4)
    np.testing.assert_allclose(geometry.layout.boundary_m, 3.0 * room.geometry().layout.boundary_m)
    assert np.isinf(geometry.layout.boundary_top_m).all()
    np.testing.assert_array_equal(geometry.labels, room.geometry().labels)


def test_scaled_splats_keep_their_types_and_colours():
    """Means and sizes scale in their own type; orientation, opacity and colour stay."""
    splats = sample_splats(simple_room())
    scaled = scaled_splats(splats, 0.37).validate()
    assert scaled.means.dtype == scaled.scales_m.dtype == np.float32
    np.testing.assert_allclose(scaled.scales_m, 0.37 * splats.scales_m, rtol=1e-6)
    for name in ("quats_wxyz", "opacities", "sh", "labels"):
        assert getattr(scaled, name) is getattr(splats, name)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf"), 1e4, 1e-4])
def test_absurd_factors_are_refused(factor):
    """Slips of units do not become worlds."""
    with pytest.raises(InputError, match="metres per unit"):
        expect_factor("the factor", factor)
