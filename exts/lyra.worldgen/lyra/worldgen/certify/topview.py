"""The world from straight above with the ceiling cut off: for the certificate's map and the contact sheet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.grid import Cell
from ..core.mesh import Label
from ..core.raycast import MeshImage, Raycaster
from .world_data import WorldData

FREE_TINT = np.array([64, 196, 140])
DARK = np.array([24, 27, 33])


@dataclass(frozen=True, kw_only=True)
class TopView:
    """A picture with the world's +X to the right and +Y up."""

    rgb_u8: np.ndarray
    """[H, W, 3]."""
    px_per_m: float
    left_m: float
    """World x of the left border."""
    top_m: float
    """World y of the upper border."""

    @property
    def size_m(self) -> tuple[float, float]:
        """Width and height of the picture [m]."""
        return self.rgb_u8.shape[1] / self.px_per_m, self.rgb_u8.shape[0] / self.px_per_m

    def pixels(self, xy_m: np.ndarray) -> np.ndarray:
        """Picture positions [..., 2] (right, down) of world positions [..., 2]."""
        xy = np.asarray(xy_m, float)
        return np.stack([xy[..., 0] - self.left_m, self.top_m - xy[..., 1]], -1) * self.px_per_m


def draw_top_view(world: WorldData, raycaster: Raycaster, *, long_side_px: int, tint: bool = True) -> TopView:
    """Look down from below the ceiling; free space of the map is tinted, what the map does not know is dimmed.

    Args:
        world: the world.
        raycaster: on the world's mesh without sky.
        long_side_px: longer side of the picture.
        tint: colour the free space.
    """
    lo, hi = _extent(world)
    scale = long_side_px / float(max(hi - lo))
    w, h = (max(16, round(float(side) * scale)) for side in hi - lo)
    x = lo[0] + (np.arange(w) + 0.5) / scale
    y = hi[1] - (np.arange(h) + 0.5) / scale
    origins = np.stack([*np.broadcast_arrays(x[None], y[:, None]), np.full((h, w), _cut_z(world))], -1).reshape(-1, 3)
    t, face, bary = raycaster.cast(origins, np.tile([0.0, 0.0, -1.0], (len(origins), 1)))
    image = MeshImage(depth_z_m=t.reshape(h, w), face=face.reshape(h, w), bary=bary.reshape(h, w, 3))
    rgb = image.shade(raycaster.mesh).astype(float)
    rgb[~image.hit] = DARK
    cells = world.grid.rowcol(origins[:, :2])
    inside = world.grid.inside(cells)
    safe = np.where(inside[:, None], cells, 0)
    state = np.where(inside, world.grid.cells[safe[:, 0], safe[:, 1]], Cell.UNKNOWN).reshape(h, w)
    if tint:
        free = state == Cell.FREE
        rgb[free] = 0.72 * rgb[free] + 0.28 * FREE_TINT
    unknown = state == Cell.UNKNOWN
    rgb[unknown] = 0.25 * rgb[unknown] + 0.75 * DARK
    return TopView(
        rgb_u8=np.clip(rgb, 0, 255).astype(np.uint8), px_per_m=scale, left_m=float(lo[0]), top_m=float(hi[1])
    )


def _extent(world: WorldData) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner [2] of what the map knows, with a margin [m]."""
    known = np.argwhere(world.grid.cells != Cell.UNKNOWN)
    if not len(known):
        known = np.array([[0, 0], [world.grid.shape[0] - 1, world.grid.shape[1] - 1]])
    corners = world.grid.centre_xy_m(np.stack([known.min(0), known.max(0)]))
    return corners[0] - 0.3, corners[1] + 0.3


def _cut_z(world: WorldData) -> float:
    """Height below ceilings and above most furniture [m]."""
    labels = world.mesh.face_labels
    if labels is None or not (labels == Label.CEILING).any():
        return world.floor_z_m + 2.5
    ceiling = world.mesh.triangles()[labels == Label.CEILING][..., 2].min()
    return float(np.clip(ceiling - 0.1, world.floor_z_m + 0.5, world.floor_z_m + 2.2))
