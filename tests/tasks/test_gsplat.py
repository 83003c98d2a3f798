"""What `GsplatSplats` hands to gsplat means there what it means here, by gsplat's own reference in PyTorch.

gsplat's rasteriser needs CUDA. Its projection, harmonics and covariances exist in plain PyTorch as well; only the last
step, blending front to back, is written out here as gsplat's kernels define it. Splats are small, for that is where the
two renderers agree (`test_small_splats_are_those_of_the_rasterisers` in tests/reconstruction).
"""

from __future__ import annotations

import inspect
import math
import warnings

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("numba")

import torch

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.mesh import Label
from lyra.worldgen.core.splats import GaussianCloud
from lyra_tasks.splat_cameras import SplatCameras, camera_poses
from lyra_tasks.splat_drawers import CpuSplats, GsplatSplats

CAMERA = PinholeCamera(width_px=40, height_px=28, fx_px=30.0, fy_px=34.0, cx_px=18.0, cy_px=15.0)
"""Nothing about it is symmetric."""


@pytest.fixture(scope="module")
def gsplat():
    """The library; importing it says that there is no CUDA."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("gsplat", reason="needs gsplat: run tools/test.sh")


def reference(gsplat):
    """`gsplat.rasterization` in PyTorch; refuses arguments that the real one does not have."""
    from gsplat.cuda import _torch_impl as impl

    signature = inspect.signature(gsplat.rasterization)

    def rasterization(**given_):
        call = signature.bind(**given_)
        call.apply_defaults()
        a = call.arguments
        covars, _ = impl._quat_scale_to_covar_preci(a["quats"], a["scales"], True, False, triu=False)
        radii, means_px, depths, conics, _ = impl._fully_fused_projection(
            a["means"], covars, a["viewmats"], a["Ks"], a["width"], a["height"],
            eps2d=a["eps2d"], near_plane=a["near_plane"], far_plane=a["far_plane"],
        )  # fmt: skip
        eyes = torch.inverse(a["viewmats"])[:, None, :3, 3]
        colours = impl._spherical_harmonics(
            a["sh_degree"], a["means"] - eyes, a["colors"].expand(len(eyes), *a["colors"].shape)
        )
        colours = (colours + 0.5).clamp(min=0.0)
        v, u = torch.meshgrid(torch.arange(a["height"]) + 0.5, torch.arange(a["width"]) + 0.5, indexing="ij")
        pictures = []
        for c in range(len(eyes)):
            rgb, light, depth = torch.zeros(*u.shape, 3), torch.ones(u.shape), torch.zeros(u.shape)
            for i in torch.argsort(depths[c], stable=True).tolist():
                if radii[c, i].min() <= 0:
                    continue
                dx, dy = u - means_px[c, i, 0], v - means_px[c, i, 1]
                xx, xy, yy = conics[c, i]
                sigma = 0.5 * (xx * dx * dx + yy * dy * dy) + xy * dx * dy
                alpha = (a["opacities"][i] * torch.exp(-sigma)).clamp(max=0.999)
                weight = torch.where(alpha < 1 / 255, 0.0, alpha) * light
                rgb += weight[..., None] * colours[c, i]
                depth += weight * depths[c, i]
                light = light - weight
            opacity = 1 - light
            columns = [rgb]
            if a["render_mode"] == "RGB+ED":
                columns.append((depth / opacity.clamp(min=1e-10))[..., None])
            pictures.append((torch.cat(columns, -1), opacity[..., None]))
        colours, opacity = (torch.stack(column) for column in zip(*pictures, strict=True))
        return colours, opacity, {}

    return rasterization


def small_splats(degree: int, seed: int, *, sky: bool) -> GaussianCloud:
    """Long thin ones of any orientation, two to four metres before the origin; sky ten times as far away."""
    rng = np.random.default_rng(seed)
    n = 400
    quats = rng.normal(size=(n, 4))
    sh = 0.25 * rng.normal(size=(n, (degree + 1) ** 2, 3))
    sh[:, 0] = rng.uniform(-1.5, 1.5, (n, 3))
    away = np.c_[np.ones(n), rng.uniform(-1.0, 1.0, (n, 2))]
    away *= rng.uniform(2, 4, (n, 1)) / np.linalg.norm(away, axis=1, keepdims=True)
    scales = np.exp(rng.uniform(-6.0, -1.8, (n, 3)))
    labels = np.full(n, Label.WALL, np.uint8)
    if sky:
        labels[rng.random(n) < 0.5] = Label.SKY
        away[labels == Label.SKY] *= 10
        scales[labels == Label.SKY] *= 10
    return GaussianCloud(
        means=away.astype(np.float32),
        scales_m=scales.astype(np.float32),
        quats_wxyz=(quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        opacities=rng.uniform(0.2, 0.95, n).astype(np.float32),
        sh=sh.astype(np.float32),
        labels=labels,
    ).validate()


@pytest.mark.parametrize(("degree", "sky"), [(0, False), (1, True), (3, False)])
def test_both_renderers_draw_the_same(gsplat, degree, sky):
    """Orientations, sizes, opacities, harmonics, poses and intrinsics: one wrong convention and nothing agrees."""
    cloud = small_splats(degree, seed=degree, sky=sky)
    poses = camera_poses(
        torch.tensor([[0.1, 0.2], [-0.2, 0.1]]),
        torch.tensor([0.3, -0.5]),
        ahead_m=0.1,
        height_m=0.2,
        pitch_rad=math.radians(12),
    )
    world = torch.zeros(2, dtype=torch.long)
    ours, theirs = (
        SplatCameras(renderer, world, CAMERA).render(poses)
        for renderer in (CpuSplats([cloud]), GsplatSplats([cloud], device="cpu", rasterization=reference(gsplat)))
    )
    assert ours.rgb.std() > 0.1 and ours.alpha.mean() > 0.15
    for mine, other in ((ours.rgb, theirs.rgb), (ours.alpha, theirs.alpha)):
        apart = (mine - other).abs()
        assert apart.mean() < 0.01 and apart.quantile(0.95) < 0.03
    both = ours.valid & theirs.valid
    assert both.sum() > 0.9 * ours.valid.sum() > 50
    # Half of the light is gone at one splat's depth, the expected depth is a mean: alike, not equal.
    assert (ours.depth_z_m - theirs.depth_z_m)[both].abs().median() < 0.3


def test_a_wrong_order_of_quaternions_would_show(gsplat):
    """The comparison itself can fail: pictures are five times as far apart, or more."""
    cloud = small_splats(0, seed=0, sky=False)
    turned = GaussianCloud(**{**vars(cloud), "quats_wxyz": np.roll(cloud.quats_wxyz, -1, axis=1)})
    poses = camera_poses(torch.zeros(1, 2), torch.zeros(1), ahead_m=0.0, height_m=0.0, pitch_rad=0.0)
    ours = CpuSplats([cloud]).draw(0, poses, CAMERA).rgb
    right, wrong = (
        GsplatSplats([c], device="cpu", rasterization=reference(gsplat)).draw(0, poses, CAMERA).rgb
        for c in (cloud, turned)
    )
    assert (wrong - ours).abs().mean() > 5 * (right - ours).abs().mean()
