"""Cameras of many robots over one set of splats a world."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("numba")

import torch

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.errors import ConfigError, InputError
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.core.mesh import Label
from lyra.worldgen.core.splats import GaussianCloud, join_splats
from lyra.worldgen.reconstruction.splat_render import render_splats
from lyra_tasks.splat_cameras import SplatCameras, camera_poses
from lyra_tasks.splat_drawers import CAMERAS_A_CALL, CpuSplats, GsplatSplats, renderer_of
from sample_worlds import sample_splats, simple_room

CAMERA = PinholeCamera.from_hfov(32, 24, math.radians(90))
COUNT = 5


@pytest.fixture(scope="module")
def clouds() -> list[GaussianCloud]:
    """Of two rooms that look different."""
    room = simple_room()
    return [sample_splats(room, 3000, seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def poses() -> torch.Tensor:
    """[N, 4, 4] in the rooms."""
    xy, yaw = torch.tensor([[0.3 * i, 0.2 * i] for i in range(COUNT)]), torch.arange(COUNT) * 1.3
    return camera_poses(xy, yaw, ahead_m=0.2, height_m=0.3, pitch_rad=0.1)


@given(*[st.floats(-3, 3)] * 3, st.floats(0, 0.5), st.floats(-1.2, 1.2))
def test_poses_are_those_of_the_package(x, y, yaw, ahead, pitch):
    """Heading to the left, pitch upwards, the camera before the robot's middle."""
    xy = torch.tensor([[x, y]], dtype=torch.float64)
    found = camera_poses(xy, torch.tensor([yaw], dtype=torch.float64), ahead_m=ahead, height_m=0.4, pitch_rad=pitch)
    place = np.array([x + math.cos(yaw) * ahead, y + math.sin(yaw) * ahead, 0.4])
    wanted = camera_pose(place, heading_rad=yaw, pitch_rad=pitch)
    np.testing.assert_allclose(found[0].numpy(), wanted, atol=1e-12)


@pytest.mark.parametrize("threads", [1, 3])
def test_every_robot_sees_its_own_world(clouds, poses, threads):
    """Picture by picture what the package's renderer draws of the robot's world from its pose."""
    world = torch.tensor([0, 1, 0, 1, 1])
    seen = SplatCameras(CpuSplats(clouds, threads=threads), world, CAMERA).render(poses)
    for i, (k, T_world_cam) in enumerate(zip(world.tolist(), poses.numpy(), strict=True)):
        alone = render_splats(clouds[k], CAMERA, T_world_cam, threads=1)
        assert np.array_equal(seen.rgb[i].numpy(), np.clip(alone.rgb, 0, 1))
        assert np.array_equal(seen.alpha[i].numpy(), alone.alpha)
        assert np.array_equal(seen.depth_z_m[i].numpy(), alone.median_depth_z_m)
        assert np.array_equal(seen.valid[i].numpy(), alone.median_depth_z_m > 0)
    assert seen.rgb.std() > 0.05 and 0.2 < seen.valid.float().mean() < 1


def test_splats_are_shared_by_all_cameras(clouds):
    """They are the caller's arrays, whatever the number of cameras."""
    few, many = (SplatCameras(CpuSplats(clouds), torch.arange(n) % 2, CAMERA) for n in (2, 512))
    for cameras in (few, many):
        for kept, given_ in zip(cameras.renderer.clouds, clouds, strict=True):
            for name in ("means", "scales_m", "quats_wxyz", "opacities", "sh"):
                assert np.shares_memory(getattr(kept, name), getattr(given_, name))
    assert few.renderer.bytes_held == many.renderer.bytes_held > 0


def test_another_camera_costs_its_pixels(clouds):
    """What is held after and at most while drawing grows by the pixels of the pictures; not by splats, of which 20 000
    would be megabytes a camera."""
    cloud = join_splats([sample_splats(simple_room(), 10_000, seed) for seed in (1, 2)])
    renderer = CpuSplats([cloud], threads=1)
    pixel_bytes = CAMERA.width_px * CAMERA.height_px * (3 + 1 + 1) * 4

    def peak_bytes(count: int) -> int:
        xy, yaw = torch.zeros(count, 2), torch.linspace(0, 6, count)
        Ts_world_cam = camera_poses(xy, yaw, ahead_m=0.0, height_m=0.3, pitch_rad=0.0)
        cameras = SplatCameras(renderer, torch.zeros(count, dtype=torch.long), CAMERA)
        cameras.render(Ts_world_cam[:1].expand(count, 4, 4))  # whatever is made on first use
        tracemalloc.start()
        cameras.render(Ts_world_cam)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    extra = (peak_bytes(34) - peak_bytes(2)) / 32
    assert extra < 1.5 * pixel_bytes, f"{extra:.0f} bytes more a camera, its pixels are {pixel_bytes}"


def test_numbers_must_fit(clouds, poses):
    """As many poses as robots; a renderer that exists, and CUDA for gsplat."""
    cameras = SplatCameras(CpuSplats(clouds), torch.zeros(COUNT + 1, dtype=torch.long), CAMERA)
    with pytest.raises(InputError, match=r"expected \[6, 4, 4\]"):
        cameras.render(poses)
    with pytest.raises(ConfigError, match="auto, cpu, gsplat"):
        renderer_of(clouds, name="vulkan", device="cpu")
    with pytest.raises(ConfigError, match="needs CUDA"):
        renderer_of(clouds, name="gsplat", device="cpu")
    assert isinstance(renderer_of(clouds, name="auto", device="cpu"), CpuSplats)


class FakeRasterizer:
    """Keeps what it was called with; opaque grey at 2 m for what is solid, half of it white for sky."""

    def __init__(self) -> None:
        self.calls: list[dict] = []

    def __call__(self, **given_):
        self.calls.append(given_)
        shape = (len(given_["viewmats"]), given_["height"], given_["width"])
        depth = given_["render_mode"] == "RGB+ED"
        colours = torch.full((*shape, 4 if depth else 3), 0.2 if depth else 0.5)
        if depth:
            colours[..., 3] = 2.0
        return colours, torch.full((*shape, 1), 0.75 if depth else 0.5), {}


def test_gsplat_gets_slices_of_one_set_of_tensors(clouds):
    """Calls of at most so many cameras, over tensors that were made once; sky comes after, into what light is left."""
    labels = np.where(np.arange(3000) % 3 == 0, Label.SKY, Label.WALL).astype(np.uint8)
    cloud = GaussianCloud(**{**vars(clouds[0]), "labels": labels})
    fake = FakeRasterizer()
    renderer = GsplatSplats([cloud], device="cpu", rasterization=fake)
    count = CAMERAS_A_CALL + 6
    xy, yaw = torch.zeros(count, 2), torch.linspace(0, 6, count)
    Ts_world_cam = camera_poses(xy, yaw, ahead_m=0.0, height_m=0.3, pitch_rad=0.0)
    held = renderer.bytes_held
    seen = SplatCameras(renderer, torch.zeros(count, dtype=torch.long), CAMERA).render(Ts_world_cam)
    assert renderer.bytes_held == held
    assert [len(call["viewmats"]) for call in fake.calls] == [CAMERAS_A_CALL, CAMERAS_A_CALL, 6, 6]
    shared = renderer.worlds[0]
    for call in fake.calls:
        solid = call["render_mode"] == "RGB+ED"
        assert len(call["means"]) == (2000 if solid else 1000)
        for name, tensor in (("means", shared.means), ("quats", shared.quats_wxyz), ("colors", shared.sh)):
            assert call[name].untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
    np.testing.assert_allclose(fake.calls[0]["viewmats"][0] @ Ts_world_cam[0].float(), np.eye(4), atol=1e-6)
    np.testing.assert_allclose(seen.rgb.numpy(), 0.2 + 0.25 * 0.5, atol=1e-6)
    np.testing.assert_allclose(seen.alpha.numpy(), 0.75 + 0.25 * 0.5, atol=1e-6)
    assert seen.valid.all() and (seen.depth_z_m == 2.0).all()
