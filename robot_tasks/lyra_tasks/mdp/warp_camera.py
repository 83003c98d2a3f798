"""Depth camera cast with Warp against the colliders of each robot's own world, as `warp_caster` does with level rays.

A pinhole on the robot: all cameras of a world share its one mesh, so that another robot costs its pixels and nothing
else. It sees the static world and what `clutter` has put there, and no other robots.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
import warp as wp
from isaaclab.managers import ManagerTermBase, ObservationTermCfg

from lyra.worldgen.core.camera import PinholeCamera

from .warp_caster import WarpCaster

if TYPE_CHECKING:
    from ..navigation.driven_env import DrivenEnv


@wp.kernel(enable_backward=False)
def _depth(
    meshes: wp.array[wp.uint64],
    world: wp.array[wp.int32],
    offset: wp.array[wp.vec3],
    xy: wp.array2d[wp.float32],
    yaw: wp.array[wp.float32],
    rays: wp.array[wp.vec3],
    ahead: float,
    height: float,
    max_depth: float,
    out: wp.array2d[wp.float32],
):
    env, pixel = wp.tid()
    k = world[env]
    cos, sin = wp.cos(yaw[env]), wp.sin(yaw[env])
    start = wp.vec3(xy[env, 0] + cos * ahead, xy[env, 1] + sin * ahead, height) - offset[env]
    ray = rays[pixel]
    along = wp.vec3(cos * ray[0] - sin * ray[1], sin * ray[0] + cos * ray[1], ray[2])
    # Rays are as long as one metre of depth: their length turns ranges into depths.
    length = wp.length(along)
    hit = wp.mesh_query_ray(meshes[k], start, along / length, max_depth * length)
    out[env, pixel] = 1.0
    if hit.result:
        out[env, pixel] = hit.t / length / max_depth


def rays_base(camera: PinholeCamera, pitch_rad: float) -> np.ndarray:
    """[H * W, 3] rays of all pixels, row by row, in the frame `base`, one metre of depth long.

    Args:
        camera: the pinhole.
        pitch_rad: by how much the optical axis points up.
    """
    right, down, forward = np.moveaxis(camera.rays_cam().reshape(-1, 3), -1, 0)
    cos, sin = math.cos(pitch_rad), math.sin(pitch_rad)
    return np.stack([cos * forward + sin * down, -right, sin * forward - cos * down], -1)


class WarpDepthCamera(ManagerTermBase):
    """Observation [N, 1, H, W] of depths along the optical axis as shares of the largest.

    The camera looks ahead from the front of the robot's hull, at the height of its lidar.
    """

    def __init__(self, cfg: ObservationTermCfg, env: DrivenEnv) -> None:
        super().__init__(cfg, env)
        params = cfg.params
        camera = PinholeCamera.from_hfov(params["width_px"], params["height_px"], math.radians(params["hfov_deg"]))
        rays = rays_base(camera, math.radians(params["pitch_deg"]))
        self._rays = wp.array(rays.astype(np.float32), dtype=wp.vec3, device=str(env.device))

    def __call__(
        self, env: DrivenEnv, width_px: int, height_px: int, hfov_deg: float, pitch_deg: float, max_depth_m: float
    ) -> torch.Tensor:
        env.drive.measure()
        spec, caster, drive = env.robot_spec, env.caster, env.drive
        shares = depth_shares(
            caster,
            self._rays,
            drive.xy_w,
            drive.yaw,
            ahead_m=spec.hull_m[0] / 2,
            height_m=spec.lidar_height_m,
            max_depth_m=max_depth_m,
        )
        return shares.unflatten(-1, (1, height_px, width_px))


def depth_shares(
    caster: WarpCaster,
    rays: wp.array,
    xy_w: torch.Tensor,
    yaw: torch.Tensor,
    *,
    ahead_m: float,
    height_m: float,
    max_depth_m: float,
) -> torch.Tensor:
    """[N, P] depths of pixels as shares of the largest.

    Args:
        caster: whose meshes are looked at.
        rays: [P] of `rays_base`.
        xy_w: [N, 2] robots.
        yaw: [N].
        ahead_m: of the camera before the robot's middle.
        height_m: of the camera above the floor.
        max_depth_m: what is deeper counts as 1.
    """
    shares = torch.empty(len(xy_w), len(rays), device=xy_w.device)
    places = [wp.from_torch(xy_w.contiguous()), wp.from_torch(yaw.contiguous()), rays]
    wp.launch(
        _depth,
        dim=shares.shape,
        inputs=[caster.meshes, caster.world, caster.offset, *places, ahead_m, height_m, max_depth_m],
        outputs=[wp.from_torch(shares)],
        device=caster.device,
    )
    if caster.clutter is not None:
        caster.clutter.hide(shares, rays, xy_w, yaw, ahead_m=ahead_m, height_m=height_m, max_range_m=max_depth_m)
    return shares
