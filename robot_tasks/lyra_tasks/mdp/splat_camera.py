"""Colour camera that draws the splats of each robot's own world: `splat_cameras`, as an observation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from isaaclab.managers import ManagerTermBase, ObservationTermCfg

from lyra.worldgen.core.camera import PinholeCamera

from ..camera_faults import CameraFaults
from ..solids import Solids, with_solids
from ..splat_cameras import SplatCameras, SplatPictures, camera_poses
from ..splat_drawers import renderer_of
from ..world_splats import robot_splats
from .events import env_indices

if TYPE_CHECKING:
    from ..navigation.driven_env import DrivenEnv


class SplatCamera(ManagerTermBase):
    """Observation [N, 3, H, W] of colours in 0..1, in 256 steps as a real camera tells them.

    The camera looks ahead from the front of the robot's hull, at the height of its lidar.

    Raises:
        InputError: a world has no splats.
        ConfigError: an unknown renderer.
        DependencyError: gsplat is not installed where CUDA is to draw.
    """

    def __init__(self, cfg: ObservationTermCfg, env: DrivenEnv) -> None:
        super().__init__(cfg, env)
        params = cfg.params
        self._camera = PinholeCamera.from_hfov(
            params["width_px"], params["height_px"], math.radians(params["hfov_deg"])
        )
        self._pitch_rad = math.radians(params["pitch_deg"])
        device, height_m = str(env.device), env.robot_spec.lidar_height_m
        budget = 0 if device.startswith("cuda") and params["renderer"] != "cpu" else params["splat_budget"]
        clouds = [robot_splats(ground, budget=budget, height_m=height_m) for ground in env.atlas.grounds]
        renderer = renderer_of(clouds, name=params["renderer"], device=device)
        self.cameras = SplatCameras(renderer, env.book.world, self._camera)
        floors = torch.tensor([ground.world.floor_z_m for ground in env.atlas.grounds], device=env.device)
        self._floor_z_m = floors[env.book.world].double()
        wanted = env.cfg.randomisation.camera()
        self._faults = None if wanted is None else CameraFaults(wanted, env_count=env.num_envs, device=device)

    def reset(self, env_ids: torch.Tensor | slice | None = None) -> None:
        if self._faults is not None:
            ids = env_indices(self._env, env_ids)
            self._faults.reset(ids, self._env.book.drives[ids])

    def poses(self, env: DrivenEnv) -> torch.Tensor:
        """[N, 4, 4] `T_world_cam`, each in its robot's own world."""
        env.drive.measure()
        spec, drive = env.robot_spec, env.drive
        T = camera_poses(
            drive.xy_w - env.book.env_offset_w[:, :2],
            drive.yaw,
            ahead_m=spec.hull_m[0] / 2,
            height_m=spec.lidar_height_m,
            pitch_rad=self._pitch_rad,
        )
        T[:, 2, 3] += self._floor_z_m
        return T

    def pictures(self, env: DrivenEnv, solids: Callable[[DrivenEnv], Solids] | None = None) -> SplatPictures:
        """What the robots' cameras see, without faults."""
        Ts_world_cam = self.poses(env)
        seen = self.cameras.render(Ts_world_cam)
        return seen if solids is None else with_solids(seen, Ts_world_cam, self._camera, solids(env))

    def __call__(
        self,
        env: DrivenEnv,
        width_px: int,
        height_px: int,
        hfov_deg: float,
        pitch_deg: float,
        splat_budget: int,
        renderer: str,
        solids: Callable[[DrivenEnv], Solids] | None = None,
    ) -> torch.Tensor:
        """See the class.

        Args:
            env: the environment.
            width_px, height_px, hfov_deg: of the camera.
            pitch_deg: by how much it looks up.
            splat_budget: most splats of a world where the CPU draws; 0 for all.
            renderer: one of `splat_drawers.RENDERERS`.
            solids: what has no splats, asked for in every step.
        """
        rgb = self.pictures(env, solids).rgb
        if self._faults is not None:
            rgb = self._faults.apply(rgb)
        return (rgb * 255).round().div(255).permute(0, 3, 1, 2).contiguous()
