"""Pinhole camera."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.errors import InputError
from strategies import cameras


@given(cameras())
def test_unproject_then_project_returns_the_pixel_centres(camera):
    """Depth lifts pixels to points that project back onto themselves with the same depth."""
    depth_z_m = np.linspace(0.5, 20.0, camera.width_px * camera.height_px).reshape(camera.height_px, camera.width_px)
    pixels, z = camera.project(camera.unproject(depth_z_m))
    np.testing.assert_allclose(z, depth_z_m)
    np.testing.assert_allclose(pixels, np.stack(camera.pixel_grid(), -1), atol=1e-9)


@given(cameras())
def test_matrix_round_trip(camera):
    """A camera rebuilt from its matrix is the same camera, and the matrix projects as `project` does."""
    again = PinholeCamera.from_K_px(camera.K_px, camera.width_px, camera.height_px)
    assert again == camera
    point_cam = np.array([0.3, -0.2, 2.0])
    homogeneous = camera.K_px @ point_cam
    np.testing.assert_allclose(camera.project(point_cam)[0], homogeneous[:2] / homogeneous[2])


@given(cameras())
def test_resizing_keeps_the_field_of_view(camera):
    """Another size sees the same angles."""
    other = camera.resized(camera.width_px * 3, camera.height_px * 2)
    np.testing.assert_allclose([other.hfov_rad, other.vfov_rad], [camera.hfov_rad, camera.vfov_rad], atol=1e-9)


def test_field_of_view_round_trip():
    """`from_hfov` and `hfov_rad` are inverse; the middle of the picture is the optical axis."""
    camera = PinholeCamera.from_hfov(640, 480, np.radians(80))
    np.testing.assert_allclose(camera.hfov_rad, np.radians(80))
    np.testing.assert_allclose(camera.project(np.array([0.0, 0.0, 1.0]))[0], [320, 240])


def test_pixel_centres_lie_at_one_half():
    """The first pixel's centre is (0.5, 0.5) and rays have unit depth."""
    camera = PinholeCamera.from_hfov(4, 2, 1.0)
    u, v = camera.pixel_grid()
    assert (u[0, 0], v[0, 0], u[-1, -1], v[-1, -1]) == (0.5, 0.5, 3.5, 1.5)
    np.testing.assert_array_equal(camera.rays_cam()[..., 2], 1.0)


def test_points_behind_the_camera_have_no_pixel():
    """z <= 0 gives NaN pixels instead of mirrored ones."""
    camera = PinholeCamera.from_hfov(4, 4, 1.0)
    pixels, z = camera.project(np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    assert np.isnan(pixels[:2]).all() and np.isfinite(pixels[2]).all()
    np.testing.assert_array_equal(z, [-1, 0, 1])


@pytest.mark.parametrize("hfov", [0.0, -1.0, np.pi, np.nan])
def test_impossible_field_of_view_is_refused(hfov):
    """Angles outside (0, pi) are named."""
    with pytest.raises(InputError, match="hfov_rad"):
        PinholeCamera.from_hfov(4, 4, hfov)


@pytest.mark.parametrize("change", [{"width_px": 0}, {"fx_px": -1.0}, {"cy_px": np.inf}])
def test_impossible_cameras_are_refused(change):
    """Empty pictures and non-finite intrinsics are named."""
    good = {"width_px": 4, "height_px": 4, "fx_px": 4.0, "fy_px": 4.0, "cx_px": 2.0, "cy_px": 2.0}
    with pytest.raises(InputError, match="camera"):
        PinholeCamera(**(good | change))


def test_depth_of_another_size_is_refused():
    """Depth must have the camera's size."""
    with pytest.raises(InputError, match="depth_z_m"):
        PinholeCamera.from_hfov(4, 3, 1.0).unproject(np.ones((4, 3)))
