"""Planar lidar cast with Warp against the colliders of each robot's own world.

It needs no sensor prim and no view of the physics engine, so it is the same under Newton and OvPhysX, where Isaac Lab's
ray caster mixes up environments or allows one mesh only. It sees the static world and no other robots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import warp as wp
from isaaclab.managers import ManagerTermBase, ObservationTermCfg

from ..courses import CourseBook
from ..lidar_faults import LidarFaults
from ..rules import nearest_beams
from .events import env_indices

if TYPE_CHECKING:
    from ..navigation.env import NavigationEnv


@wp.kernel(enable_backward=False)
def _cast(
    meshes: wp.array[wp.uint64],
    world: wp.array[wp.int32],
    offset: wp.array[wp.vec3],
    xy: wp.array2d[wp.float32],
    yaw: wp.array[wp.float32],
    height: float,
    max_range: float,
    out: wp.array2d[wp.float32],
):
    env, ray = wp.tid()
    k = world[env]
    angle = yaw[env] + 2.0 * wp.pi * float(ray) / float(out.shape[1]) - wp.pi
    # Worlds stand on z = 0 of the simulation, whatever their own floor's height.
    start = wp.vec3(xy[env, 0], xy[env, 1], height) - offset[k]
    hit = wp.mesh_query_ray(meshes[k], start, wp.vec3(wp.cos(angle), wp.sin(angle), 0.0), max_range)
    out[env, ray] = 1.0
    if hit.result:
        out[env, ray] = hit.t / max_range


class WarpCaster:
    """Level rays from every robot against the colliders of its own world."""

    def __init__(self, book: CourseBook, device: str) -> None:
        self.device = device
        self._kept = [_mesh(g.colliders.vertices, g.colliders.faces, device) for g in book.atlas.grounds]
        self.meshes = wp.array([m.id for m in self._kept], dtype=wp.uint64, device=device)
        self.world = wp.from_torch(book.world.to(torch.int32).contiguous())
        self.offset = wp.from_torch(book.offset_w.contiguous(), dtype=wp.vec3)

    def shares(
        self, xy_w: torch.Tensor, yaw: torch.Tensor, *, height_m: float, rays: int, max_range_m: float
    ) -> torch.Tensor:
        """[N, rays] ranges as shares of the largest, counter-clockwise, the first ray pointing backwards.

        Args:
            xy_w: [N, 2] robots.
            yaw: [N].
            height_m: of the rays above the floor.
            rays: how many, evenly spaced.
            max_range_m: what is farther away counts as 1.
        """
        shares = torch.empty(len(xy_w), rays, device=xy_w.device)
        wp.launch(
            _cast,
            dim=(len(xy_w), rays),
            inputs=[
                self.meshes,
                self.world,
                self.offset,
                wp.from_torch(xy_w.contiguous()),
                wp.from_torch(yaw.contiguous()),
                height_m,
                max_range_m,
            ],
            outputs=[wp.from_torch(shares)],
            device=self.device,
        )
        return shares


class WarpLidar(ManagerTermBase):
    """Observation [N, rays] of several beams each: `WarpCaster.shares`, `rules.nearest_beams`, and the faults of a real
    sensor where they are asked for."""

    def __init__(self, cfg: ObservationTermCfg, env: NavigationEnv) -> None:
        super().__init__(cfg, env)
        self._faults: LidarFaults | None = None

    def reset(self, env_ids: torch.Tensor | slice | None = None) -> None:
        if self._faults is not None:
            self._faults.reset(env_indices(self._env, env_ids))

    def __call__(self, env: NavigationEnv, rays: int, max_range_m: float, beams: int = 1) -> torch.Tensor:
        env.drive.measure()
        drive, height_m = env.drive, env.robot_spec.lidar_height_m
        told = env.caster.shares(drive.xy_w, drive.yaw, height_m=height_m, rays=rays * beams, max_range_m=max_range_m)
        shares = nearest_beams(told, beams)
        wanted = env.cfg.randomisation.lidar(max_range_m)
        if wanted is None:
            return shares
        if self._faults is None:
            self._faults = LidarFaults(wanted, env_count=env.num_envs, rays=rays, device=str(env.device))
        return self._faults.apply(shares, env.common_step_counter)


def _mesh(vertices: np.ndarray, faces: np.ndarray, device: str) -> wp.Mesh:
    return wp.Mesh(
        points=wp.array(np.ascontiguousarray(vertices, np.float32), dtype=wp.vec3, device=device),
        indices=wp.array(np.ascontiguousarray(faces.reshape(-1), np.int32), dtype=wp.int32, device=device),
    )
