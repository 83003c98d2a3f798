"""Level rays cast with Warp in a section of the colliders of each robot's own world.

They need no sensor prim and no view of the physics engine, so they are the same under Newton and OvPhysX, where Isaac
Lab's ray caster mixes up environments or allows one mesh only. They see the static world and what `clutter` has put
there, and no other robots.
"""

from __future__ import annotations

import numpy as np
import torch
import warp as wp

from ..courses import CourseBook
from ..planar_lidar import ray_angles
from ..section_grid import section_grids
from .warp_clutter import ClutterCaster


@wp.kernel(enable_backward=False)
def _cast(
    pieces: wp.array[wp.vec4],
    first: wp.array[wp.int32],
    held: wp.array[wp.int32],
    base: wp.array[wp.int32],
    shape: wp.array2d[wp.int32],
    origin: wp.array[wp.vec2],
    cell: wp.array[wp.float32],
    world: wp.array[wp.int32],
    offset: wp.array[wp.vec3],
    xy: wp.array2d[wp.float32],
    yaw: wp.array[wp.float32],
    max_range: float,
    out: wp.array2d[wp.float32],
):
    env, ray = wp.tid()
    k = world[env]
    angle = yaw[env] + 2.0 * wp.pi * float(ray) / float(out.shape[1]) - wp.pi
    dx, dy = wp.cos(angle), wp.sin(angle)
    # Straight along an axis would divide by zero; a hair beside it is the same ray.
    if wp.abs(dx) < 1.0e-9:
        dx = 1.0e-9
    if wp.abs(dy) < 1.0e-9:
        dy = 1.0e-9
    # Pieces are in the world's own frame, cells count from the grid's corner.
    px, py = xy[env, 0] - offset[env][0], xy[env, 1] - offset[env][1]
    gx, gy = px - origin[k][0], py - origin[k][1]
    size = cell[k]
    rows, cols = shape[k, 0], shape[k, 1]
    # Where the ray enters the grid, if it begins outside.
    across_x, across_y = 1.0 / dx, 1.0 / dy
    in_x, in_y = (
        wp.min(-gx * across_x, (float(cols) * size - gx) * across_x),
        wp.min(-gy * across_y, (float(rows) * size - gy) * across_y),
    )
    begun = wp.max(wp.max(in_x, in_y), 0.0)
    nearest = float(max_range)
    col = wp.clamp(int(wp.floor((gx + dx * begun) / size)), 0, cols - 1)
    row = wp.clamp(int(wp.floor((gy + dy * begun) / size)), 0, rows - 1)
    step_x, step_y = wp.where(dx > 0.0, 1, -1), wp.where(dy > 0.0, 1, -1)
    next_x = (float(col + wp.max(step_x, 0)) * size - gx) * across_x
    next_y = (float(row + wp.max(step_y, 0)) * size - gy) * across_y
    while begun < nearest and col >= 0 and row >= 0 and col < cols and row < rows:
        c = base[k] + row * cols + col
        for n in range(first[c], first[c + 1]):
            piece = pieces[held[n]]
            # Ray o + t d meets a + u e: cross both sides of a - o + u e = t d with e, and with d.
            to_x, to_y = piece[0] - px, piece[1] - py
            across = dx * piece[3] - dy * piece[2]
            if across != 0.0:
                t = (to_x * piece[3] - to_y * piece[2]) / across
                u = (to_x * dy - to_y * dx) / across
                # A hair beyond the ends, so that no ray slips through where two pieces meet.
                if t >= 0.0 and t < nearest and u >= -5.0e-6 and u <= 1.000005:
                    nearest = t
        if next_x < next_y:
            begun = next_x
            next_x += size * wp.abs(across_x)
            col += step_x
        else:
            begun = next_y
            next_y += size * wp.abs(across_y)
            row += step_y
    out[env, ray] = nearest / max_range


class WarpCaster:
    """Level rays from every robot against the colliders of its own world."""

    def __init__(self, book: CourseBook, device: str) -> None:
        self.device = device
        self._grounds = book.atlas.grounds
        self._sections: dict[float, list[wp.array]] = {}
        """By height above the floor: what `section_grid` has found there."""
        self._kept = [_mesh(g.colliders.vertices, g.colliders.faces, device) for g in book.atlas.grounds]
        self.meshes = wp.array([m.id for m in self._kept], dtype=wp.uint64, device=device)
        self.world = wp.from_torch(book.world.to(torch.int32).contiguous())
        self.offset = wp.from_torch(book.env_offset_w.contiguous(), dtype=wp.vec3)
        """[N] origin of each environment's world."""
        self.clutter = None if book.clutter is None else ClutterCaster(book.clutter, device)
        """What hides the world, if anything."""
        self._level: dict[int, wp.array] = {}

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
                *self._section(height_m),
                self.world,
                self.offset,
                wp.from_torch(xy_w.contiguous()),
                wp.from_torch(yaw.contiguous()),
                max_range_m,
            ],
            outputs=[wp.from_torch(shares)],
            device=self.device,
        )
        if self.clutter is not None:
            self.clutter.hide(shares, self._level_rays(rays), xy_w, yaw, height_m=height_m, max_range_m=max_range_m)
        return shares

    def _section(self, height_m: float) -> list[wp.array]:
        if height_m not in self._sections:
            heights = [g.world.floor_z_m + height_m for g in self._grounds]
            cut = section_grids([g.colliders for g in self._grounds], heights)
            kinds = (
                (cut.pieces, wp.vec4),
                (cut.first, wp.int32),
                (cut.held, wp.int32),
                (cut.base, wp.int32),
                (cut.shape, wp.int32),
                (cut.origin_xy_m, wp.vec2),
                (cut.cell_m, wp.float32),
            )
            self._sections[height_m] = [wp.array(values, dtype=kind, device=self.device) for values, kind in kinds]
        return self._sections[height_m]

    def _level_rays(self, rays: int) -> wp.array:
        """[rays] unit vectors in the frame `base`."""
        if rays not in self._level:
            angle = ray_angles(rays)
            along = np.stack([np.cos(angle), np.sin(angle), 0 * angle], -1)
            self._level[rays] = wp.array(along.astype(np.float32), dtype=wp.vec3, device=self.device)
        return self._level[rays]


def _mesh(vertices: np.ndarray, faces: np.ndarray, device: str) -> wp.Mesh:
    return wp.Mesh(
        points=wp.array(np.ascontiguousarray(vertices, np.float32), dtype=wp.vec3, device=device),
        indices=wp.array(np.ascontiguousarray(faces.reshape(-1), np.int32), dtype=wp.int32, device=device),
    )
