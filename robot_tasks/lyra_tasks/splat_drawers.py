"""Who draws splats for robots' cameras: the package's own renderer on a CPU, gsplat on CUDA."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch  # noqa: TID253 this module is about tensors

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.errors import ConfigError, DependencyError
from lyra.worldgen.core.machine import core_count, map_threads
from lyra.worldgen.core.mesh import Label
from lyra.worldgen.core.splats import GaussianCloud
from lyra.worldgen.reconstruction.splat_render import BLUR_PX2, NEAR_M, render_splats

from .splat_cameras import SplatPictures, SplatRenderer

AUTO, CPU, GSPLAT = "auto", "cpu", "gsplat"
RENDERERS = (AUTO, CPU, GSPLAT)
CAMERAS_A_CALL = 64
"""Cameras that gsplat draws at once: what a call holds for a while grows with them, not with all robots."""


def renderer_of(clouds: Sequence[GaussianCloud], *, name: str, device: str) -> SplatRenderer:
    """The renderer of worlds.

    Args:
        clouds: splats of every world.
        name: one of `RENDERERS`; `auto` takes gsplat with CUDA and our own elsewhere.
        device: of the simulation.

    Raises:
        ConfigError: an unknown name, or gsplat without CUDA.
        DependencyError: gsplat is not installed.
    """
    if name not in RENDERERS:
        raise ConfigError(f"renderer is '{name}'; expected one of: {', '.join(RENDERERS)}")
    cuda = device.startswith("cuda")
    if name == GSPLAT and not cuda:
        raise ConfigError(f"renderer is 'gsplat', which needs CUDA, on device '{device}'; set it to 'cpu' or 'auto'")
    if name == CPU or not cuda:
        return CpuSplats(clouds)
    return GsplatSplats(clouds, device=device)


class CpuSplats:
    """`lyra.worldgen.reconstruction.splat_render`, one camera a thread.

    Args:
        clouds: splats of every world, kept as they are.
        threads: that draw; every core when None. Pictures do not depend on it.
    """

    def __init__(self, clouds: Sequence[GaussianCloud], *, threads: int | None = None) -> None:
        self.clouds = tuple(clouds)
        self._threads = core_count() if threads is None else threads

    @property
    def bytes_held(self) -> int:
        arrays = [(c.means, c.scales_m, c.quats_wxyz, c.opacities, c.sh, c.labels) for c in self.clouds]
        return sum(a.nbytes for cloud in arrays for a in cloud if a is not None)

    def draw(self, world: int, Ts_world_cam: torch.Tensor, camera: PinholeCamera) -> SplatPictures:
        poses = Ts_world_cam.detach().cpu().double().numpy()
        count, h, w = len(poses), camera.height_px, camera.width_px
        rgb, alpha = np.empty((count, h, w, 3), np.float32), np.empty((count, h, w), np.float32)
        depth_z_m = np.empty((count, h, w), np.float32)
        # Many cameras share the cores among them; a single one has them to itself.
        inner = 1 if count > 1 else self._threads

        def draw_one(i: int) -> None:
            image = render_splats(self.clouds[world], camera, poses[i], threads=inner)
            np.clip(image.rgb, 0.0, 1.0, out=rgb[i])
            alpha[i], depth_z_m[i] = image.alpha, image.median_depth_z_m

        for _ in map_threads(draw_one, range(count), threads=min(self._threads, count)):
            pass
        depth = torch.from_numpy(depth_z_m)
        device = Ts_world_cam.device
        return SplatPictures(
            rgb=torch.from_numpy(rgb).to(device),
            alpha=torch.from_numpy(alpha).to(device),
            depth_z_m=depth.to(device),
            valid=(depth > 0).to(device),
        )


@dataclass(frozen=True, kw_only=True)
class _DeviceSplats:
    """One world's splats as gsplat takes them, those of something solid first."""

    means: torch.Tensor
    """[M, 3]."""
    quats_wxyz: torch.Tensor
    """[M, 4]."""
    scales_m: torch.Tensor
    """[M, 3] linear."""
    opacities: torch.Tensor
    """[M] in (0, 1)."""
    sh: torch.Tensor
    """[M, K, 3], constant first."""
    solid: int
    """How many are not sky."""

    @classmethod
    def of(cls, cloud: GaussianCloud, device: str) -> _DeviceSplats:
        sky = np.zeros(len(cloud), bool) if cloud.labels is None else cloud.labels == Label.SKY
        order = np.argsort(sky, kind="stable")

        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.tensor(array[order], dtype=torch.float32, device=device)

        return cls(
            means=tensor(cloud.means),
            quats_wxyz=tensor(cloud.quats_wxyz),
            scales_m=tensor(cloud.scales_m),
            opacities=tensor(cloud.opacities),
            sh=tensor(cloud.sh),
            solid=int((~sky).sum()),
        )

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        return self.means, self.quats_wxyz, self.scales_m, self.opacities, self.sh


class GsplatSplats:
    """`gsplat.rasterization` (release 1.5): many cameras over the one set of tensors of their world.

    gsplat projects every splat as if all of it were seen along one direction, and its depth is the expected one of the
    splats' centres: large splats beside a camera and outlines differ from the CPU's pictures, everything else agrees.
    Sky is drawn behind what is solid, where it belongs, and has no depth.

    The call was checked against gsplat's own reference in PyTorch (`tests/tasks/test_gsplat.py`); it has not been run
    on CUDA.

    Args:
        clouds: splats of every world, copied to the device once.
        device: of CUDA.
        rasterization: with the arguments of `gsplat.rasterization`; that one when None.

    Raises:
        DependencyError: gsplat is not installed.
    """

    def __init__(
        self, clouds: Sequence[GaussianCloud], *, device: str, rasterization: Callable[..., Any] | None = None
    ) -> None:
        self._rasterization = rasterization or _gsplat()
        self.worlds = tuple(_DeviceSplats.of(cloud, device) for cloud in clouds)
        self._device = device

    @property
    def bytes_held(self) -> int:
        return sum(t.numel() * t.element_size() for world in self.worlds for t in world.tensors)

    @torch.no_grad()
    def draw(self, world: int, Ts_world_cam: torch.Tensor, camera: PinholeCamera) -> SplatPictures:
        views = torch.linalg.inv(Ts_world_cam.double()).float().to(self._device)
        parts = [self._draw(self.worlds[world], some, camera) for some in views.split(CAMERAS_A_CALL)]
        rgb, alpha, depth = (torch.cat(column).to(Ts_world_cam.device) for column in zip(*parts, strict=True))
        valid = depth > 0
        return SplatPictures(rgb=rgb, alpha=alpha, depth_z_m=depth, valid=valid)

    def _draw(
        self, splats: _DeviceSplats, views: torch.Tensor, camera: PinholeCamera
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Colour [C, H, W, 3], opacity [C, H, W] and depth [C, H, W], 0 where nothing solid is seen."""
        shape = (len(views), camera.height_px, camera.width_px)
        rgb, alpha = torch.zeros(*shape, 3, device=self._device), torch.zeros(shape, device=self._device)
        depth = torch.zeros(shape, device=self._device)
        if splats.solid:
            colours, opacity = self._rasterise(splats, slice(0, splats.solid), views, camera, "RGB+ED")
            rgb, alpha, expected = colours[..., :3], opacity[..., 0], colours[..., 3]
            # As on the CPU: depth is of where half of the light is gone.
            depth = torch.where(alpha >= 0.5, expected, 0.0)
        if splats.solid < len(splats.means):
            sky, behind = self._rasterise(splats, slice(splats.solid, None), views, camera, "RGB")
            light = (1 - alpha).unsqueeze(-1)
            rgb, alpha = rgb + light * sky[..., :3], alpha + (light * behind)[..., 0]
        return rgb.clamp(0.0, 1.0), alpha, depth

    def _rasterise(
        self, splats: _DeviceSplats, rows: slice, views: torch.Tensor, camera: PinholeCamera, mode: str
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """[C, H, W, 3 or 4] and [C, H, W, 1]; slices of the shared tensors, not copies."""
        means, quats, scales, opacities, sh = (t[rows] for t in splats.tensors)
        K_px = torch.tensor(camera.K_px, dtype=torch.float32, device=self._device)
        colours, opacity, _ = self._rasterization(
            means=means,
            quats=quats,
            scales=scales,
            opacities=opacities,
            colors=sh,
            viewmats=views,
            Ks=K_px.expand(len(views), 3, 3).contiguous(),
            width=camera.width_px,
            height=camera.height_px,
            near_plane=NEAR_M,
            eps2d=BLUR_PX2,
            sh_degree=round(sh.shape[1] ** 0.5) - 1,
            packed=True,
            render_mode=mode,
        )
        return colours, opacity


def _gsplat() -> Callable[..., Any]:
    try:
        from gsplat import rasterization
    except ImportError as error:
        raise DependencyError(
            f"gsplat is needed to draw splats on CUDA but cannot be imported ({error}); install it with "
            "'pip install gsplat', or let the CPU draw: env.observations.camera.rgb.params.renderer=cpu"
        ) from error
    return rasterization
