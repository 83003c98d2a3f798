"""The compiled renderer agrees with a plain one, and with closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.frames import camera_pose, invert_rigid, rotation_from_quat_wxyz
from lyra.worldgen.core.mesh import Label
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
    """Along each pixel's ray the largest strength of each splat; one after the other, no culling.

    The low-pass widens the textbook's projected covariance, which is taken as far away as the ray sees the splat.
    """
    T = invert_rigid(T_world_cam)
    v, u = np.mgrid[0 : camera.height_px, 0 : camera.width_px] + 0.5
    rays = np.stack([(u - camera.cx_px) / camera.fx_px, (v - camera.cy_px) / camera.fy_px, np.ones(u.shape)], -1)
    rgb, light, depth = np.zeros((*u.shape, 3)), np.ones(u.shape), np.zeros(u.shape)
    points = cloud.means.astype(float) @ T[:3, :3].T + T[:3, 3]
    for i in np.argsort(points[:, 2], kind="stable"):
        x, y, z = points[i]
        if z <= 0.05:
            continue
        R = T[:3, :3] @ rotation_from_quat_wxyz(cloud.quats_wxyz[i])
        scales = cloud.scales_m[i].astype(float)
        J = np.array([[camera.fx_px / z, 0, -camera.fx_px * x / z**2], [0, camera.fy_px / z, -camera.fy_px * y / z**2]])
        cov = J @ R @ np.diag(scales**2) @ R.T @ J.T
        W = (R / np.maximum(scales, 1e-3 * scales.max())).T
        along, centre = rays @ W.T, W @ points[i]
        square = (along**2).sum(-1)
        t = along @ centre / square
        farther = square / ((centre / z) ** 2).sum()
        wide = cov * farther[..., None, None] + 0.3 * np.eye(2)
        d = np.stack([u - (camera.fx_px * x / z + camera.cx_px), v - (camera.fy_px * y / z + camera.cy_px)], -1)
        alpha = cloud.opacities[i] * np.exp(-0.5 * np.einsum("hwi,hwij,hwj->hw", d, np.linalg.inv(wide), d))
        alpha = np.where((alpha < 1 / 255) | (t <= 0), 0, np.minimum(alpha, 0.999))
        alpha = np.where(light < 1e-4, 0, alpha)
        rgb += (light * alpha)[..., None] * np.clip(0.5 + 0.28209479177387814 * cloud.sh[i, 0], 0, None)
        reach = np.sqrt(2 * np.log(max(255 * float(cloud.opacities[i]), 1.0))) * np.linalg.norm(R[2] * scales)
        depth += light * alpha * np.clip(t, min(z - reach, 0.6 * z), max(z + reach, 1.7 * z))
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


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_strength_is_the_largest_along_the_ray(seed: int):
    """Where the low-pass does not matter, alpha is the opacity at the strongest point of a finely sampled ray."""
    one = cloud_in_view(1, seed)
    one = replace(one, scales_m=np.maximum(one.scales_m, 0.15))
    camera = CAMERA.resized(400, 300)
    image = render_splats(one, camera, POSE)
    rows, cols = np.nonzero(image.alpha > 0.02)
    pick = slice(None, None, max(1, len(rows) // 50))
    rays = camera.rays_cam()[rows[pick], cols[pick]] @ POSE[:3, :3].T
    points = POSE[:3, 3] + rays[:, None] * np.linspace(0.05, 10, 4000)[:, None]
    local = (points - one.means[0]) @ rotation_from_quat_wxyz(one.quats_wxyz[0]) / one.scales_m[0]
    strength = one.opacities[0] * np.exp(-0.5 * (local**2).sum(-1).min(1))
    np.testing.assert_allclose(image.alpha[rows[pick], cols[pick]], strength, atol=0.01)


def test_small_splats_are_those_of_the_rasterisers():
    """Splats of about a pixel look as the usual linear projection draws them."""
    cloud = cloud_in_view(60, 4)
    camera = CAMERA.resized(160, 120)
    small = replace(cloud, scales_m=np.minimum(cloud.scales_m, 0.02))
    points = small.means.astype(float) @ invert_rigid(POSE)[:3, :3].T + invert_rigid(POSE)[:3, 3]
    v, u = np.mgrid[0:120, 0:160] + 0.5
    light = np.ones(u.shape)
    for i in np.argsort(points[:, 2]):
        x, y, z = points[i]
        R = POSE[:3, :3].T @ rotation_from_quat_wxyz(small.quats_wxyz[i])
        J = np.array([[1, 0, -x / z], [0, 1, -y / z]]) * np.array([[camera.fx_px], [camera.fy_px]]) / z
        cov = J @ R @ np.diag(small.scales_m[i].astype(float) ** 2) @ R.T @ J.T + 0.3 * np.eye(2)
        d = np.stack([u - camera.fx_px * x / z - camera.cx_px, v - camera.fy_px * y / z - camera.cy_px], -1)
        alpha = small.opacities[i] * np.exp(-0.5 * np.einsum("hwi,ij,hwj->hw", d, np.linalg.inv(cov), d))
        light *= 1 - np.where(alpha < 1 / 255, 0, alpha)
    np.testing.assert_allclose(render_splats(small, camera, POSE).alpha, 1 - light, atol=0.03)


def test_a_wall_beside_the_camera_stays_beside_it():
    """Large discs of a wall half a metre away neither cover what is ahead nor show a wrong depth."""
    camera = PinholeCamera.from_hfov(160, 120, np.radians(75))
    x, z = (a.ravel() for a in np.meshgrid(np.arange(-2, 12, 0.12), np.arange(0, 3, 0.12)))
    wall = GaussianCloud(
        means=np.stack([x, np.full(len(x), 0.5), z], -1).astype(np.float32),
        scales_m=np.tile([0.1, 0.002, 0.1], (len(x), 1)).astype(np.float32),
        quats_wxyz=np.tile([1, 0, 0, 0], (len(x), 1)).astype(np.float32),
        opacities=np.full(len(x), 0.97, np.float32),
        sh=sh_from_rgb(np.full((len(x), 3), 0.5)),
    )
    for heading in (0.0, 0.3, -0.4, 1.2):
        pose = camera_pose(np.array([0, 0, 1.4]), heading_rad=heading)
        image = render_splats(wall, camera, pose)
        rays = camera.rays_cam() @ pose[:3, :3].T
        depth = 0.5 / np.maximum(rays[..., 1], 1e-9)
        at = pose[:3, 3] + rays * depth[..., None]
        on_wall = (rays[..., 1] > 0) & (at[..., 0] < 11.5) & (at[..., 2] > 0.3) & (at[..., 2] < 2.7)
        # The wall ends four pixels beside its vanishing line; the low-pass takes two of them.
        ahead = rays[..., 1] < 0.01 * np.abs(rays[..., 0])
        assert image.alpha[ahead].max(initial=0) < 0.05
        sure = on_wall & (depth < 4)
        if sure.any():
            assert (image.median_depth_z_m[sure] > 0).mean() > 0.999
            assert np.percentile(np.abs(image.median_depth_z_m / depth - 1)[sure], 99) < 0.02


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
    # Three pixels beside the middle a ray is longer by the secant of its angle.
    variance = (50 * 0.2 / 4) ** 2 * (1 + (3 / 50) ** 2) + 0.3
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


def test_sky_has_colour_and_no_depth():
    """Pixels whose light sky splats take show them and have no depth; others are as without labels."""
    cloud = cloud_in_view(60, 9)
    cloud = replace(cloud, opacities=np.full(60, 0.99, np.float32))
    plain = render_splats(cloud, CAMERA, POSE)
    sky = render_splats(replace(cloud, labels=np.full(60, Label.SKY, np.uint8)), CAMERA, POSE)
    walls = render_splats(replace(cloud, labels=np.full(60, Label.WALL, np.uint8)), CAMERA, POSE)
    np.testing.assert_array_equal(sky.rgb, plain.rgb)
    assert plain.median_depth_z_m.max() > 0 and sky.median_depth_z_m.max() == 0
    np.testing.assert_array_equal(walls.median_depth_z_m, plain.median_depth_z_m)
    labels = np.where(cloud.means[:, 2] > 1.6, Label.SKY, Label.WALL).astype(np.uint8)
    mixed = render_splats(replace(cloud, labels=labels), CAMERA, POSE).median_depth_z_m
    kept = mixed > 0
    assert 0 < kept.sum() < (plain.median_depth_z_m > 0).sum()
    np.testing.assert_array_equal(mixed[kept], plain.median_depth_z_m[kept])
