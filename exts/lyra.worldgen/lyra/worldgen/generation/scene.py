"""The proxy world together with what the painter prepared for it: depth of every view, colours of the unseen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import transform_points
from ..core.mesh import Label, TriMesh
from ..core.raycast import Raycaster
from ..core.views import PolarLayout
from .painter import RingPanorama
from .planes import PlaneTexture
from .trajectory import FreeSpace, free_space

RANGE_TOLERANCE = 0.02
"""Relative difference of range up to which a ring pixel counts as showing the point asked for."""
_REMAP_ROWS = 30_000
"""cv2.remap addresses at most 32767 rows."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a camera is going to see: the surface behind every pixel."""

    depth_z_m: np.ndarray
    """[H, W] float32, 0 where nothing is."""
    hit: np.ndarray
    """[H, W] bool."""
    labels: np.ndarray
    """[H, W] uint8 `Label`."""
    points_world: np.ndarray
    """[H * W, 3]."""


class Scene:
    """The proxy world with what can be asked of it.

    Args:
        layout: full turn.
        mesh: its proxy.
        ring: what the painter sees around the first camera; None if it paints no ring.
    """

    def __init__(self, layout: PolarLayout, mesh: TriMesh, ring: RingPanorama | None) -> None:
        self.layout, self.mesh, self.ring = layout, mesh, ring
        self.raycaster = Raycaster(mesh)
        self.space: FreeSpace = free_space(layout)
        self.planes: dict[int, PlaneTexture] = {}
        self._eye = np.array([0.0, 0.0, layout.camera_height_m])
        self._ring_range_m = self._range_of_ring(ring) if ring is not None else None

    def surroundings(self, camera: PinholeCamera, T_world_cam: np.ndarray) -> Surroundings:
        """Depth and labels from a pose."""
        image = self.raycaster.render(camera, T_world_cam)
        depth = np.where(image.hit, image.depth_z_m, 0.0)
        return Surroundings(
            depth_z_m=depth.astype(np.float32),
            hit=image.hit,
            labels=image.labels(self.mesh),
            points_world=transform_points(T_world_cam, camera.unproject(depth).reshape(-1, 3)),
        )

    def recall_ring(self, points_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Colour [N, 3] float32 and validity [N] bool of points that the ring shows."""
        import cv2

        out = np.zeros((len(points_world), 3), np.float32)
        if self.ring is None or self._ring_range_m is None:
            return out, np.zeros(len(points_world), bool)
        offset = points_world - self._eye
        range_m = np.linalg.norm(offset, axis=1)
        elevation = np.arcsin(np.clip(offset[:, 2] / np.maximum(range_m, 1e-9), -1, 1))
        azimuth = np.arctan2(offset[:, 1], offset[:, 0])
        rows, cols = self._ring_range_m.shape
        row_step = float(self.ring.elevation_rad[0] - self.ring.elevation_rad[1])
        y = (self.ring.elevation_rad[0] - elevation) / row_step
        x = np.mod(self.ring.azimuth_rad[0] - azimuth, 2 * np.pi) / (2 * np.pi) * cols
        inside = (y >= -0.5) & (y <= rows - 0.5)
        row = np.clip(np.round(y).astype(int), 0, rows - 1)
        col = np.round(x).astype(int) % cols
        expected = self._ring_range_m[row, col]
        # At a grazing surface neighbouring rows differ much in range; the window's extremes bracket the true one.
        low, high = expected, expected
        for dr in (-1, 1):
            near = self._ring_range_m[np.clip(row + dr, 0, rows - 1), col]
            similar = np.abs(near - expected) < 0.25 * expected
            low = np.where(similar, np.minimum(low, near), low)
            high = np.where(similar, np.maximum(high, near), high)
        ok = inside & (range_m > low * (1 - RANGE_TOLERANCE)) & (range_m < high * (1 + RANGE_TOLERANCE))
        padded = np.concatenate([self.ring.rgb_u8[:, -2:], self.ring.rgb_u8, self.ring.rgb_u8[:, :2]], 1)
        pick = np.flatnonzero(ok)
        for start in range(0, len(pick), _REMAP_ROWS):
            part = pick[start : start + _REMAP_ROWS]
            map_x, map_y = (x[part] + 2).astype(np.float32)[:, None], y[part].astype(np.float32)[:, None]
            out[part] = cv2.remap(padded, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
        return out, ok

    def recall_prepared(
        self, points_world: np.ndarray, labels: np.ndarray, wanted: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """What the painter prepared for points [N] where `wanted`: pairs of colours and indices, planes first."""
        answers = []
        left = np.flatnonzero(wanted)
        for label, plane in self.planes.items():
            on_plane = labels[left] == label
            colour, ok = plane.lookup(points_world[left[on_plane]])
            answers.append((colour[ok], left[on_plane][ok]))
            on_plane[on_plane] = ok
            left = left[~on_plane]
        colour, ok = self.recall_ring(points_world[left])
        answers.append((colour[ok], left[ok]))
        return answers

    def _range_of_ring(self, ring: RingPanorama) -> np.ndarray:
        el, az = np.meshgrid(ring.elevation_rad, ring.azimuth_rad, indexing="ij")
        rays = np.stack([np.cos(el) * np.cos(az), np.cos(el) * np.sin(az), np.sin(el)], -1)
        t, _, _ = self.raycaster.cast(self._eye, rays.reshape(-1, 3))
        return t.reshape(el.shape)


_RING_ARRAYS = ("rgb_u8", "from_photo", "elevation_rad", "azimuth_rad", "source_azimuth_rad", "mirrored")


def ring_to_arrays(ring: RingPanorama | None) -> dict[str, np.ndarray]:
    """Plain arrays that `ring_from_arrays` turns back; none for no ring."""
    return {} if ring is None else {f"ring_{name}": np.asarray(getattr(ring, name)) for name in _RING_ARRAYS}


def ring_from_arrays(arrays: dict[str, np.ndarray]) -> RingPanorama | None:
    """The ring that `ring_to_arrays` took apart."""
    if "ring_rgb_u8" not in arrays:
        return None
    return RingPanorama(**{name: arrays[f"ring_{name}"] for name in _RING_ARRAYS})


def planes_to_arrays(planes: dict[int, PlaneTexture]) -> dict[str, np.ndarray]:
    """Plain arrays that `planes_from_arrays` turns back."""
    arrays = {}
    for label, plane in planes.items():
        name = Label(label).name.lower()
        arrays[f"{name}_rgb_u8"], arrays[f"{name}_known"] = plane.rgb_u8, plane.known
        arrays[f"{name}_size_m"] = np.array([plane.z_m, plane.cell_m])
    return arrays


def planes_from_arrays(arrays: dict[str, np.ndarray]) -> dict[int, PlaneTexture]:
    """The plane textures that `planes_to_arrays` took apart."""
    planes = {}
    for label in (Label.FLOOR, Label.CEILING):
        name = label.name.lower()
        if f"{name}_rgb_u8" in arrays:
            z_m, cell_m = arrays[f"{name}_size_m"].tolist()
            planes[int(label)] = PlaneTexture(
                z_m=z_m, cell_m=cell_m, rgb_u8=arrays[f"{name}_rgb_u8"], known=arrays[f"{name}_known"]
            )
    return planes
