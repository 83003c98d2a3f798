"""The proxy world together with what the painter prepared for it: depth of every view, colours of the unseen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import invert_rigid, rotate_vectors, transform_points
from ..core.mesh import Label, TriMesh
from ..core.raycast import Raycaster
from ..core.views import PolarLayout
from .painter import RingPanorama
from .planes import PlaneTexture
from .rooms import RoomPlan, free_space_of_rooms
from .sky import SkyTexture
from .trajectory import CLEARANCE_M, FreeSpace, free_space

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


@dataclass(frozen=True, kw_only=True)
class _Vantage:
    """One place that the ring was painted for: the photo's, or the origin of a room that repeats the photo's."""

    T_ring_world: np.ndarray
    """[4, 4]; a mirror image when the room is one."""
    range_m: np.ndarray | None
    """[R, C] of what every pixel of the ring shows; inf where it shows another room through a door."""


class Scene:
    """The proxy world with what can be asked of it.

    Args:
        layout: full turn of the photo's room.
        mesh: the proxy of all rooms.
        ring: what the painter sees around the first camera; None if it paints no ring.
        plan: the rooms; None for the photo's alone.
    """

    def __init__(
        self, layout: PolarLayout, mesh: TriMesh, ring: RingPanorama | None, plan: RoomPlan | None = None
    ) -> None:
        self.layout, self.mesh, self.ring, self.plan = layout, mesh, ring, plan
        self.raycaster = Raycaster(mesh)
        self.space: FreeSpace = free_space(layout) if plan is None else free_space_of_rooms(plan)
        self.planes: dict[int, PlaneTexture | SkyTexture] = {}
        self._eye = np.array([0.0, 0.0, layout.camera_height_m])
        rooms = [(np.eye(4), False)] if plan is None else [(r.T_world_room, r.mirrored) for r in plan.rooms]
        self._vantages = [self._vantage(index, T, mirrored) for index, (T, mirrored) in enumerate(rooms)]

    def robot_space(self, robot_radius_m: float) -> FreeSpace:
        """Where a robot of that radius, or the camera that it carries, may be."""
        clearance = max(CLEARANCE_M, robot_radius_m)
        if self.plan is not None:
            return free_space_of_rooms(self.plan, clearance_m=clearance)
        reach = float(self.layout.boundary_m.max()) + 1.0
        return free_space(self.layout, reach_m=reach, clearance_m=clearance)

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
        """Colour [N, 3] float32 and validity [N] bool of points that the ring shows, from the origin of any room."""
        out = np.zeros((len(points_world), 3), np.float32)
        found = np.zeros(len(points_world), bool)
        if self.ring is None:
            return out, found
        for vantage in self._vantages:
            left = np.flatnonzero(~found)
            if not len(left):
                break
            colour, ok = self._recall_from(self.ring, vantage, points_world[left])
            out[left[ok]] = colour[ok]
            found[left[ok]] = True
        return out, found

    def _recall_from(
        self, ring: RingPanorama, vantage: _Vantage, points_world: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        import cv2

        assert vantage.range_m is not None, "there is a ring"
        out = np.zeros((len(points_world), 3), np.float32)
        offset = transform_points(vantage.T_ring_world, points_world) - self._eye
        range_m = np.linalg.norm(offset, axis=1)
        elevation = np.arcsin(np.clip(offset[:, 2] / np.maximum(range_m, 1e-9), -1, 1))
        azimuth = np.arctan2(offset[:, 1], offset[:, 0])
        rows, cols = vantage.range_m.shape
        row_step = float(ring.elevation_rad[0] - ring.elevation_rad[1])
        y = (ring.elevation_rad[0] - elevation) / row_step
        x = np.mod(ring.azimuth_rad[0] - azimuth, 2 * np.pi) / (2 * np.pi) * cols
        inside = (y >= -0.5) & (y <= rows - 0.5)
        row = np.clip(np.round(y).astype(int), 0, rows - 1)
        col = np.round(x).astype(int) % cols
        expected = vantage.range_m[row, col]
        inside &= np.isfinite(expected)
        expected = np.where(inside, expected, 1.0)
        # At a grazing surface neighbouring rows differ much in range; the window's extremes bracket the true one.
        low, high = expected, expected
        for dr in (-1, 1):
            near = vantage.range_m[np.clip(row + dr, 0, rows - 1), col]
            similar = np.abs(near - expected) < 0.25 * expected
            low = np.where(similar, np.minimum(low, near), low)
            high = np.where(similar, np.maximum(high, near), high)
        ok = inside & (range_m > low * (1 - RANGE_TOLERANCE)) & (range_m < high * (1 + RANGE_TOLERANCE))
        padded = np.concatenate([ring.rgb_u8[:, -2:], ring.rgb_u8, ring.rgb_u8[:, :2]], 1)
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
            for vantage in self._vantages:
                on_plane = left[labels[left] == label]
                colour, ok = plane.lookup(transform_points(vantage.T_ring_world, points_world[on_plane]))
                answers.append((colour[ok], on_plane[ok]))
                left = np.setdiff1d(left, on_plane[ok], assume_unique=True)
        colour, ok = self.recall_ring(points_world[left])
        answers.append((colour[ok], left[ok]))
        return answers

    def _vantage(self, index: int, T_world_room: np.ndarray, mirrored: bool) -> _Vantage:
        mirror = np.diag([1.0, -1.0 if mirrored else 1.0, 1.0, 1.0])
        T_ring_world = mirror @ invert_rigid(T_world_room)
        if self.ring is None:
            return _Vantage(T_ring_world=T_ring_world, range_m=None)
        el, az = np.meshgrid(self.ring.elevation_rad, self.ring.azimuth_rad, indexing="ij")
        rays = np.stack([np.cos(el) * np.cos(az), np.cos(el) * np.sin(az), np.sin(el)], -1).reshape(-1, 3)
        T_world_ring = T_world_room @ mirror
        rays_world = rotate_vectors(T_world_ring, rays)
        eye_world = transform_points(T_world_ring, self._eye[None])[0]
        t, _, _ = self.raycaster.cast(eye_world, rays_world)
        if self.plan is not None:
            # A little before the hit, so that a wall counts as part of its own room.
            hits = eye_world + np.maximum(np.where(np.isfinite(t), t, 0) - 0.02, 0)[:, None] * rays_world
            t = np.where(self.plan.room_of(hits[:, :2]) == index, t, np.inf)
        return _Vantage(T_ring_world=T_ring_world, range_m=t.reshape(el.shape))


_RING_ARRAYS = ("rgb_u8", "from_photo", "elevation_rad", "azimuth_rad", "source_azimuth_rad", "mirrored")
_RING_OPTIONAL = ("boundary_m", "stretch")


def ring_to_arrays(ring: RingPanorama | None) -> dict[str, np.ndarray]:
    """Plain arrays that `ring_from_arrays` turns back; none for no ring."""
    if ring is None:
        return {}
    values = {name: getattr(ring, name) for name in (*_RING_ARRAYS, *_RING_OPTIONAL)}
    return {f"ring_{name}": np.asarray(value) for name, value in values.items() if value is not None}


def ring_from_arrays(arrays: dict[str, np.ndarray]) -> RingPanorama | None:
    """The ring that `ring_to_arrays` took apart."""
    if "ring_rgb_u8" not in arrays:
        return None
    return RingPanorama(
        **{name: arrays[f"ring_{name}"] for name in (*_RING_ARRAYS, *_RING_OPTIONAL) if f"ring_{name}" in arrays}
    )


def planes_to_arrays(planes: dict[int, PlaneTexture | SkyTexture]) -> dict[str, np.ndarray]:
    """Plain arrays that `planes_from_arrays` turns back."""
    arrays = {}
    for label, plane in planes.items():
        name = Label(label).name.lower()
        arrays[f"{name}_rgb_u8"], arrays[f"{name}_known"] = plane.rgb_u8, plane.known
        if isinstance(plane, SkyTexture):
            arrays[f"{name}_size"] = np.array([plane.eye_m, plane.rad_per_cell])
        else:
            arrays[f"{name}_size_m"] = np.array([plane.z_m, plane.cell_m])
    return arrays


def planes_from_arrays(arrays: dict[str, np.ndarray]) -> dict[int, PlaneTexture | SkyTexture]:
    """The textures that `planes_to_arrays` took apart."""
    planes: dict[int, PlaneTexture | SkyTexture] = {}
    if "sky_rgb_u8" in arrays:
        eye_m, rad_per_cell = arrays["sky_size"].tolist()
        planes[int(Label.SKY)] = SkyTexture(
            eye_m=eye_m, rad_per_cell=rad_per_cell, rgb_u8=arrays["sky_rgb_u8"], known=arrays["sky_known"]
        )
    for label in (Label.FLOOR, Label.CEILING):
        name = label.name.lower()
        if f"{name}_rgb_u8" in arrays:
            z_m, cell_m = arrays[f"{name}_size_m"].tolist()
            planes[int(label)] = PlaneTexture(
                z_m=z_m, cell_m=cell_m, rgb_u8=arrays[f"{name}_rgb_u8"], known=arrays[f"{name}_known"]
            )
    return planes
