"""The compiled renderer agrees with a plain one, and with closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.frames import camera_pose, invert_rigid, rotation_from_quat_wxyz
from lyra.worldgen.core.sh import evaluate_sh
from lyra.worldgen.core.splats import GaussianCloud, sh_from_rgb
from lyra.worldgen.reconstruction.splat_render import (
    blend_splats,
    gather_splats,
    project_splats,
    render_splats,
)

pytest.importorskip("numba")
CAMERA = PinholeCamera.from_hfov(40, 30, np.radians(70))
POSE = camera_pose(np.array([0.0, 0.0, 1.5]), heading_rad=0.2, pitch_rad=-0.1, roll_rad=0.05)


def cloud_in_view(count: int, seed: int) -> GaussianCloud:
    rng = np.random.default_rng(seed)
    points_cam = rng.uniform((-2, -2, 1), (2, 2, 6), (count, 3))
    quats = rng.normal(size=(count, 4))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    return GaussianCloud(
        means=(points_cam @ POSE[:3, :3].T + POSE[:3, 3]).astype(np.float32),
        scales_m=np.exp(rng.uniform(-4.5, -1.0, (count, 3))).astype(np.float32),
        quats_wxyz=quats.astype(np.float32),
        opacities=rng.uniform(0.05, 0.99, count).astype(np.float32),
        sh=sh_from_rgb(rng.random((count, 3))),
    )


def reference(cloud: GaussianCloud, camera: PinholeCamera, T_world_cam: np.ndarray):
    """The textbook: full covariance, Jacobian, sort, blend; one splat after the other, no culling."""
    T = invert_rigid(T_world_cam)
    v, u = np.mgrid[0 : camera.height_px, 0 : camera.width_px] + 0.5
    rgb, light, depth = np.zeros((*u.shape, 3)), np.ones(u.shape), np.zeros(u.shape)
    points = cloud.means.astype(float) @ T[:3, :3].T + T[:3, 3]
    limit_x, limit_y = 1.3 * camera.cx_px / camera.fx_px, 1.3 * camera.cy_px / camera.fy_px
    for i in np.argsort(points[:, 2], kind="stable"):
        x, y, z = points[i]
        if z <= 0.05:
            continue
        R = rotation_from_quat_wxyz(cloud.quats_wxyz[i])
        sigma = T[:3, :3] @ R @ np.diag(cloud.scales_m[i].astype(float) ** 2) @ R.T @ T[:3, :3].T
        tx, ty = np.clip(x / z, -limit_x, limit_x) * z, np.clip(y / z, -limit_y, limit_y) * z
        J = np.array(
            [[camera.fx_px / z, 0, -camera.fx_px * tx / z**2], [0, camera.fy_px / z, -camera.fy_px * ty / z**2]]
        )
        cov = J @ sigma @ J.T + 0.3 * np.eye(2)
        d = np.stack([u - (camera.fx_px * x / z + camera.cx_px), v - (camera.fy_px * y / z + camera.cy_px)], -1)
        alpha = cloud.opacities[i] * np.exp(-0.5 * np.einsum("hwi,ij,hwj->hw", d, np.linalg.inv(cov), d))
        alpha = np.where(alpha < 1 / 255, 0, np.minimum(alpha, 0.999))
        alpha = np.where(light < 1e-4, 0, alpha)
        rgb += (light * alpha)[..., None] * np.clip(0.5 + 0.28209479177387814 * cloud.sh[i, 0], 0, None)
        s = np.sort(cloud.scales_m[i].astype(float))
        normal = T[:3, :3] @ R[:, np.argmin(cloud.scales_m[i])]
        hit = np.full(u.shape, z)
        if s[0] < 0.35 * s[1] and abs(normal @ points[i]) > 0.02 * np.linalg.norm(points[i]):
            rays = np.stack(
                [(u - camera.cx_px) / camera.fx_px, (v - camera.cy_px) / camera.fy_px, np.ones(u.shape)], -1
            )
            hit = 1 / np.clip(rays @ normal / (normal @ points[i]), 0.6 / z, 1.7 / z)
        depth += light * alpha * hit
        light = light * (1 - alpha)
    return rgb, 1 - light, depth


@settings(max_examples=12)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 60))
def test_equals_the_reference(seed: int, count: int):
    """Colour, alpha and depth agree within 1e-3, whatever the splats."""
    cloud = cloud_in_view(count, seed)
    image = render_splats(cloud, CAMERA, POSE)
    rgb, alpha, depth = reference(cloud, CAMERA, POSE)
    assert np.abs(image.rgb - rgb).max() < 1e-3
    assert np.abs(image.alpha - alpha).max() < 1e-3
    assert np.abs(image.depth_z_m * image.alpha - depth).max() < 1e-2


def test_flat_splats_show_the_depth_of_their_plane():
    """A floor of coarse discs seen at a low angle has the floor's own depth between the centres too."""
    camera = PinholeCamera(width_px=80, height_px=60, fx_px=70.0, fy_px=70.0, cx_px=40.0, cy_px=30.0)
    x, y = (a.ravel() for a in np.meshgrid(np.arange(1, 9, 0.1), np.arange(-4, 4, 0.1)))
    n = len(x)
    cloud = GaussianCloud(
        means=np.stack([x, y, np.zeros(n)], -1).astype(np.float32),
        scales_m=np.tile([0.08, 0.08, 0.001], (n, 1)).astype(np.float32),
        quats_wxyz=np.tile([1, 0, 0, 0], (n, 1)).astype(np.float32),
        opacities=np.full(n, 0.98, np.float32),
        sh=sh_from_rgb(np.full((n, 3), 0.5)),
    )
    pose = camera_pose(np.array([0, 0, 0.5]), pitch_rad=-0.1)
    image = render_splats(cloud, camera, pose)
    down = camera.rays_cam() @ pose[:3, :3].T
    truth = 0.5 / np.maximum(-down[..., 2], 1e-9)
    sure = (image.alpha > 0.95) & (truth < 6) & (truth > 1.5)
    assert sure.sum() > 500
    error = np.abs(image.depth_z_m / truth - 1)[sure]
    assert np.median(error) < 1e-3 and np.percentile(error, 95) < 0.02


def test_one_round_splat_in_closed_form():
    """A round splat on the axis has the projected width plus the low-pass, and its opacity in the middle."""
    camera = PinholeCamera(width_px=41, height_px=41, fx_px=50.0, fy_px=50.0, cx_px=20.5, cy_px=20.5)
    cloud = GaussianCloud(
        means=np.array([[4.0, 0, 1.5]], np.float32),
        scales_m=np.full((1, 3), 0.2, np.float32),
        quats_wxyz=np.array([[1, 0, 0, 0]], np.float32),
        opacities=np.array([0.8], np.float32),
        sh=sh_from_rgb(np.array([[1.0, 0.5, 0.0]])),
    )
    image = render_splats(cloud, camera, camera_pose(np.array([0, 0, 1.5])))
    variance = (50 * 0.2 / 4) ** 2 + 0.3
    np.testing.assert_allclose(image.alpha[20, 20], 0.8, rtol=1e-5)
    np.testing.assert_allclose(image.alpha[20, 23], 0.8 * np.exp(-0.5 * 9 / variance), rtol=1e-4)
    np.testing.assert_allclose(image.rgb[20, 20], [0.8, 0.4, 0.0], atol=1e-5)
    np.testing.assert_allclose(image.depth_z_m[20, 20], 4.0, rtol=1e-5)
    assert image.rgb_u8((0, 0, 1.0))[20, 20].tolist() == [204, 102, 51]


def test_threads_and_order_do_not_matter():
    """Row bands give the same picture, and so does another order of the splats."""
    cloud = cloud_in_view(200, 5)
    one, three = render_splats(cloud, CAMERA, POSE), render_splats(cloud, CAMERA, POSE, threads=3)
    np.testing.assert_array_equal(one.rgb, three.rgb)
    back = slice(None, None, -1)
    turned = GaussianCloud(
        means=cloud.means[back],
        scales_m=cloud.scales_m[back],
        quats_wxyz=cloud.quats_wxyz[back],
        opacities=cloud.opacities[back],
        sh=cloud.sh[back],
    )
    np.testing.assert_allclose(render_splats(turned, CAMERA, POSE).rgb, one.rgb, atol=1e-6)


def test_behind_beside_and_nothing():
    """Splats behind or beside the camera and an empty cloud give an empty picture."""
    cloud = cloud_in_view(50, 2)
    behind = camera_pose(np.array([0, 0, 1.5]), heading_rad=0.2 + np.pi)
    assert render_splats(cloud, CAMERA, behind).alpha.max() == 0
    empty = GaussianCloud(
        means=np.zeros((0, 3), np.float32),
        scales_m=np.ones((0, 3), np.float32),
        quats_wxyz=np.ones((0, 4), np.float32),
        opacities=np.ones(0, np.float32),
        sh=np.zeros((0, 1, 3), np.float32),
    )
    image = render_splats(empty, CAMERA, POSE)
    assert image.alpha.max() == 0 and image.depth_z_m.max() == 0


def test_gather_is_the_transpose():
    """<blend(c), r> = <c, gather(r)> for any colours and pictures."""
    rng = np.random.default_rng(0)
    projected = project_splats(cloud_in_view(80, 3), CAMERA, POSE)
    colour, picture = rng.random((len(projected.index), 3)), rng.random((30, 40, 3))
    total, weight = gather_splats(projected, picture)
    blended = blend_splats(projected, colour, CAMERA)
    np.testing.assert_allclose((blended.rgb * picture).sum(), (colour * total).sum(), rtol=1e-5)
    np.testing.assert_allclose(weight.sum(), blended.alpha.sum(), rtol=1e-5)


def test_colour_depends_on_direction_only_above_degree_zero():
    """The same splat seen from two sides differs with degree 1 and not with degree 0."""
    cloud = cloud_in_view(1, 1)
    linear = replace(cloud, sh=np.concatenate([cloud.sh, np.full((1, 3, 3), 0.4, np.float32)], 1))
    eyes = np.array([[1.0, 0, 0], [-1.0, 0, 0]])
    assert np.ptp([evaluate_sh(cloud.sh, e[None]) for e in eyes], 0).max() == 0
    assert np.ptp([evaluate_sh(linear.sh, e[None]) for e in eyes], 0).max() > 0.1
