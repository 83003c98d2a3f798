"""Boxes and cylinders in pictures of splats: seen where they are nearer, hidden where they are not."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("warp")
pytest.importorskip("numba")

import torch

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import camera_pose, rigid, rotation_x, rotation_z
from lyra.worldgen.core.splats import GaussianCloud, sh_from_rgb
from lyra_tasks.solids import BOX, CYLINDER, DARKEST, Solids, with_solids
from lyra_tasks.splat_cameras import SplatCameras, SplatPictures
from lyra_tasks.splat_drawers import CpuSplats

CAMERA = PinholeCamera.from_hfov(40, 30, math.radians(80))
T_WORLD_CAM = camera_pose(np.array([0.5, -0.2, 0.6]), heading_rad=0.0)
WALL_X_M = 3.0
GREEN, RED = (0.1, 0.8, 0.1), (0.9, 0.1, 0.1)


def wall() -> GaussianCloud:
    """Opaque, flat, at x = 3 m, wider than the view."""
    y, z = (v.ravel() for v in np.meshgrid(np.arange(-4, 4, 0.1), np.arange(-3, 4, 0.1)))
    n = len(y)
    return GaussianCloud(
        means=np.c_[np.full(n, WALL_X_M), y, z].astype(np.float32),
        scales_m=np.tile(np.array([0.001, 0.1, 0.1], np.float32), (n, 1)),
        quats_wxyz=np.tile(np.array([1, 0, 0, 0], np.float32), (n, 1)),
        opacities=np.full(n, 0.99, np.float32),
        sh=sh_from_rgb(np.tile(GREEN, (n, 1))),
    )


def solids(*Ts_world_body: np.ndarray, shape: int = BOX, half_m=(0.2, 0.3, 0.1)) -> Solids:
    """One body, of one environment each pose."""
    return Solids(
        Ts_world_body=torch.tensor(np.array(Ts_world_body))[:, None],
        shape=torch.tensor([shape], dtype=torch.int32),
        half_m=torch.tensor([half_m], dtype=torch.float32),
        rgb=torch.tensor([RED]),
    )


def nothing(count: int = 1) -> SplatPictures:
    """Black and empty."""
    shape = (count, CAMERA.height_px, CAMERA.width_px)
    return SplatPictures(
        rgb=torch.zeros(*shape, 3),
        alpha=torch.zeros(shape),
        depth_z_m=torch.zeros(shape),
        valid=torch.zeros(shape, dtype=torch.bool),
    )


@pytest.fixture(scope="module")
def seen() -> SplatPictures:
    """The wall, twice."""
    cameras = SplatCameras(CpuSplats([wall()]), torch.zeros(2, dtype=torch.long), CAMERA)
    pictures = cameras.render(torch.tensor(T_WORLD_CAM).expand(2, 4, 4))
    np.testing.assert_allclose(pictures.depth_z_m.numpy(), WALL_X_M - 0.5, atol=0.01)
    return pictures


def test_a_box_before_the_wall_hides_exactly_its_outline_and_one_behind_nothing(seen):
    """A box whose face is a metre away covers the rectangle of its projection and has its depth; behind the wall the
    picture stays as it is."""
    before, behind = (rigid(np.eye(3), np.array([x, 0.1, 0.55])) for x in (1.7, 3.5))
    Ts_world_cam = torch.tensor(T_WORLD_CAM).expand(2, 4, 4)
    got = with_solids(seen, Ts_world_cam, CAMERA, solids(before, behind))
    # The face at x = 1.5 m, one metre before the camera: y from -0.2 to 0.4, z from 0.45 to 0.65.
    u, v = CAMERA.pixel_grid()
    left, right = (CAMERA.cx_px - CAMERA.fx_px * (y + 0.2) for y in (0.4, -0.2))
    top, bottom = (CAMERA.cy_px - CAMERA.fy_px * (z - 0.6) for z in (0.65, 0.45))
    inside = (u > left) & (u < right) & (v > top) & (v < bottom)
    assert inside.sum() > 50
    red = got.rgb[0].numpy()
    covered = np.abs(red / red[..., :1] - np.array(RED) / RED[0]).max(-1) < 1e-3
    assert np.array_equal(covered, inside)
    np.testing.assert_allclose(got.depth_z_m[0].numpy()[inside], 1.0, atol=1e-5)
    assert torch.equal(got.rgb[0][~torch.tensor(inside)], seen.rgb[0][~torch.tensor(inside)])
    np.testing.assert_allclose(got.rgb[1].numpy(), seen.rgb[1].numpy(), atol=0.01)
    assert torch.equal(got.depth_z_m[1], seen.depth_z_m[1])
    assert seen.rgb[0, 15, 20, 1] > 0.7, "what was given stays as it was"


def test_light_that_splats_let_through_shows_what_is_behind(seen):
    """A veil of 60 % before a red box: 60 % of its own colour and 40 % of the box's."""
    veil = replace(seen, rgb=0.6 * torch.ones_like(seen.rgb), alpha=torch.full_like(seen.alpha, 0.6))
    big = solids(*[rigid(np.eye(3), np.array([4.0, 0.0, 0.6]))] * 2, half_m=(0.1, 9.0, 9.0))
    got = with_solids(veil, torch.tensor(T_WORLD_CAM).expand(2, 4, 4), CAMERA, big)
    shade = DARKEST
    wanted = 0.6 + 0.4 * shade * np.array(RED)
    np.testing.assert_allclose(got.rgb.numpy(), np.broadcast_to(wanted, got.rgb.shape), atol=1e-5)


def _pose(draw: tuple[float, ...]) -> np.ndarray:
    a, b, x, y = draw
    return rigid(rotation_z(a) @ rotation_x(b), np.array([2.5 + x, y, 0.6 + 0.3 * x]))


@settings(max_examples=25)
@given(st.tuples(*[st.floats(-3, 3)] * 2, *[st.floats(-0.5, 0.5)] * 2), st.sampled_from([BOX, CYLINDER]))
def test_depth_is_that_of_points_on_the_body(draw, shape):
    """Unprojected pixels lie on the surface of the turned body, and nothing of it lies before them."""
    T_world_body, half = _pose(draw), np.array([0.3, 0.3, 0.5])
    body = solids(T_world_body, shape=shape, half_m=tuple(half))
    got = with_solids(nothing(), torch.tensor(T_WORLD_CAM)[None], CAMERA, body)
    valid, depth = got.valid[0].numpy(), got.depth_z_m[0].numpy().astype(float)
    assert valid.sum() > 20
    T_body_cam = np.linalg.inv(T_world_body) @ T_WORLD_CAM

    def beyond(points_cam: np.ndarray) -> np.ndarray:
        """By how much points lie outside of the body; negative inside."""
        p = points_cam @ T_body_cam[:3, :3].T + T_body_cam[:3, 3]
        if shape == BOX:
            return (np.abs(p) - half).max(-1)
        return np.maximum(np.hypot(p[:, 0], p[:, 1]) - half[0], np.abs(p[:, 2]) - half[2])

    points = CAMERA.unproject(depth)[valid]
    assert np.abs(beyond(points)).max() < 1e-4
    for share in np.linspace(0.2, 0.999, 20):
        assert beyond(share * points).min() > -1e-4
    missed = CAMERA.rays_cam()[~valid]
    for z in np.linspace(0.5, 4.0, 30):
        assert beyond(z * missed).min() > -0.02, "rays that hit nothing pass it by, but for grazing ones"


def test_absent_bodies_and_those_around_the_camera_are_not_seen(seen):
    """A body that is away in one environment is seen in the other; nobody sees the thing that it sits in."""
    T_world_body = rigid(np.eye(3), np.array([1.7, 0.1, 0.55]))
    Ts_world_cam = torch.tensor(T_WORLD_CAM).expand(2, 4, 4)
    away = replace(solids(T_world_body, T_world_body), present=torch.tensor([[True], [False]]))
    got = with_solids(seen, Ts_world_cam, CAMERA, away)
    assert not torch.equal(got.rgb[0], seen.rgb[0]) and torch.equal(got.rgb[1], seen.rgb[1])
    around = solids(*[rigid(np.eye(3), T_WORLD_CAM[:3, 3])] * 2)
    assert torch.equal(with_solids(seen, Ts_world_cam, CAMERA, around).rgb, seen.rgb)


def test_shapes_and_sizes_are_checked(seen):
    """What does not fit is named."""
    Ts_world_cam = torch.tensor(T_WORLD_CAM).expand(2, 4, 4)
    one = solids(np.eye(4))
    with pytest.raises(InputError, match=r"Ts_world_body is \[1, 1, 4, 4\]; expected \[2, 1, 4, 4\]"):
        with_solids(seen, Ts_world_cam, CAMERA, one)
    with pytest.raises(InputError, match="half_m"):
        with_solids(seen, Ts_world_cam, CAMERA, replace(solids(np.eye(4), np.eye(4)), half_m=torch.zeros(1, 3)))
