"""A truncated signed distance field that keeps voxels near surfaces only, and the surface in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.errors import InputError
from ..core.frames import invert_rigid
from ..core.mesh import Label, TriMesh
from ..core.progress import SILENT, SupportsProgress
from ..core.views import RgbdView

SIDE = 8
"""Voxels along one edge of a block."""
FRONT_VOXELS, BACK_VOXELS = 3.0, 2.0
"""How far the distance is kept in free space and in matter; thinner walls than twice the latter may melt."""
JUMP = 0.02
"""Relative step of depth between two pixels that can be the edge of something."""
MAX_BLOCKS = 160_000
"""Bound on memory: 8 bytes for each of 512 voxels, 0.7 GB."""
MAX_TABLE = 64_000_000


class SparseVolume:
    """Signed distance [m], positive in free space, in blocks near what the views see."""

    def __init__(self, low: np.ndarray, high: np.ndarray, voxel_m: float) -> None:
        """Args are the lowest and highest corner that hold all surfaces of interest, world [m].

        Raises:
            InputError: so many voxels would be needed that not even their table fits.
        """
        self.voxel_m, self._block_m = voxel_m, SIDE * voxel_m
        self.origin = np.asarray(low, float) - self._block_m
        count = np.ceil((np.asarray(high, float) + self._block_m - self.origin) / self._block_m)
        if not np.isfinite(count).all() or count.prod() > MAX_TABLE:
            raise InputError(f"voxel_m is {voxel_m}; a world of {high - low} m needs larger voxels")
        self._marked = np.zeros(count.astype(int), bool)

    def mark(self, views: Sequence[RgbdView]) -> int:
        """Take note of the blocks near what the views see; returns how many there are."""
        from . import volume_numba

        for view in views:
            T, w = view.T_world_cam, inverse_depth(view)
            volume_numba.mark_blocks(
                self._marked,
                w,
                volume_numba.broken_quads(w, JUMP),
                _K(view),
                np.ascontiguousarray(T[:3, :3]),
                np.ascontiguousarray(T[:3, 3]),
                self.origin,
                self._block_m,
                (FRONT_VOXELS + 0.5) * self.voxel_m,
                2 if w.size > 20_000 else 1,
            )
        return int(self._marked.sum())

    def fuse(self, views: Sequence[RgbdView], *, progress: SupportsProgress = SILENT) -> None:
        """Add the views to the marked blocks; one step per view, called "fusing".

        Raises:
            InputError: more than `MAX_BLOCKS` blocks are marked.
        """
        from . import volume_numba

        where = np.argwhere(self._marked)
        if len(where) > MAX_BLOCKS:
            raise InputError(f"voxel_m is {self.voxel_m}; {len(where)} blocks of voxels are too many, use larger ones")
        self._where = where
        self._table = np.full(self._marked.shape, -1, np.int32)
        self._table[tuple(where.T)] = np.arange(len(where))
        self._distance = np.zeros((len(where), SIDE, SIDE, SIDE), np.float32)
        self._weight = np.zeros_like(self._distance)
        for view in progress.track("fusing", views):
            T_cam_world, w = invert_rigid(view.T_world_cam), inverse_depth(view)
            volume_numba.integrate(
                self._distance,
                self._weight,
                where,
                self.origin,
                self.voxel_m,
                FRONT_VOXELS * self.voxel_m,
                BACK_VOXELS * self.voxel_m,
                np.ascontiguousarray(T_cam_world[:3, :3]),
                np.ascontiguousarray(T_cam_world[:3, 3]),
                _K(view),
                w,
                volume_numba.broken_quads(w, JUMP),
            )

    def surface(self) -> TriMesh:
        """Where the distance is zero, between voxels that were seen; faces towards free space, without labels."""
        from . import volume_numba

        points, faces = volume_numba.surface_nets(
            self._distance.reshape(-1), self._weight.reshape(-1), self._where, self._table
        )
        return TriMesh(vertices=self.origin + points * self.voxel_m, faces=faces)


def usable(view: RgbdView) -> np.ndarray:
    """[H, W] bool: depth of something solid."""
    return view.valid & (view.labels != Label.SKY) & np.isfinite(view.depth_z_m) & (view.depth_z_m > 0)


def inverse_depth(view: RgbdView) -> np.ndarray:
    """[H, W] float64 1/m, 0 where there is nothing solid."""
    mask = usable(view)
    return np.where(mask, 1.0 / np.where(mask, view.depth_z_m, 1.0).astype(float), 0.0)


def _K(view: RgbdView) -> np.ndarray:
    c = view.camera
    return np.array([c.fx_px, c.fy_px, c.cx_px, c.cy_px], float)
