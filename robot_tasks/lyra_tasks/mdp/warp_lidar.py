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


class WarpLidar(ManagerTermBase):
    """Observation [N, rays]: ranges as shares of the largest, counter-clockwise, the first ray pointing backwards."""

    def __init__(self, cfg: ObservationTermCfg, env: NavigationEnv) -> None:
        super().__init__(cfg, env)
        device = str(env.device)
        self._meshes = [_mesh(g.colliders.vertices, g.colliders.faces, device) for g in env.book.atlas.grounds]
        self._ids = wp.array([m.id for m in self._meshes], dtype=wp.uint64, device=device)
        self._world = wp.from_torch(env.book.world.to(torch.int32).contiguous())
        self._offset = wp.from_torch(env.book.offset_w.contiguous(), dtype=wp.vec3)

    def __call__(self, env: NavigationEnv, rays: int, max_range_m: float) -> torch.Tensor:
        env.drive.measure()
        shares = torch.empty(env.num_envs, rays, device=env.device)
        wp.launch(
            _cast,
            dim=(env.num_envs, rays),
            inputs=[
                self._ids,
                self._world,
                self._offset,
                wp.from_torch(env.drive.xy_w.contiguous()),
                wp.from_torch(env.drive.yaw.contiguous()),
                env.robot_spec.lidar_height_m,
                max_range_m,
            ],
            outputs=[wp.from_torch(shares)],
            device=str(env.device),
        )
        return shares


def _mesh(vertices: np.ndarray, faces: np.ndarray, device: str) -> wp.Mesh:
    return wp.Mesh(
        points=wp.array(np.ascontiguousarray(vertices, np.float32), dtype=wp.vec3, device=device),
        indices=wp.array(np.ascontiguousarray(faces.reshape(-1), np.int32), dtype=wp.int32, device=device),
    )
