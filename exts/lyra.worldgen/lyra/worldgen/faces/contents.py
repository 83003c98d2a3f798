"""What a world holds at one moment, read when it is asked for and kept until the world changes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..certify.space import FreeSpace, analyse
from ..certify.world_data import WorldData, find_photo, read_path_poses, read_world, viewpoint
from ..core.camera import PinholeCamera
from ..core.errors import InputError
from ..core.mesh import Label
from ..core.raycast import Raycaster
from ..core.scaling import scaled_view
from ..core.splats import GaussianCloud
from ..core.store import load_view
from ..core.views import SOURCE_PHOTO, PhotoGeometry, RgbdView, WorldViews
from ..core.world import World
from ..generation.photo import decode_photo, read_photo_file
from ..session.summary import read_certificate
from ..sim.usd_read import ColliderMesh, read_colliders
from .layers import (
    CertificateLayer,
    FreeSpaceLayer,
    PointLayer,
    SplatLayer,
    certificate_layer,
    free_space_layer,
    point_layer,
    splat_layer,
)

T = TypeVar("T")
LAYERS = ("points", "splats", "mesh", "collider", "free space", "certificate")
_NEEDS = {
    "points": ("memory/explored.npz", "memory/geometry.npz"),
    "splats": ("memory/splats.npz",),
    "mesh": ("mesh.glb",),
    "collider": ("world_scene.usda",),
    "free space": ("nav/map.yaml",),
    "certificate": ("certificate.json",),
}
"""Files without any of which a layer has nothing to show."""
_VIEWS = "memory/views/"


class Contents:
    """A world as it is now; safe to be asked from several threads. Asking raises `InputError` for what is not there."""

    def __init__(self, world: World, *, points: int, splats: int) -> None:
        """
        Args:
            world: just loaded.
            points: most points that are shown.
            splats: most splats that are shown.
        """
        self.world = world
        self._points, self._splats = points, splats
        self._lock = threading.RLock()

    @property
    def folder(self) -> Path:
        return self.world.folder

    def has_layer(self, name: str) -> bool:
        """Whether the world is far enough for a layer."""
        return any(self.world.has(file) for file in _NEEDS[name])

    def default_layer(self) -> str:
        """What is worth looking at first; empty when there is nothing yet."""
        return next((name for name in ("splats", "mesh", "points") if self.has_layer(name)), "")

    @property
    def points(self) -> PointLayer:
        return self._ask(lambda: self._point_layer)

    @property
    def splats(self) -> SplatLayer:
        return self._ask(lambda: self._splat_layer)

    @property
    def mesh_glb(self) -> bytes:
        """glTF binary, Y up."""
        return self.world.path("mesh.glb").read_bytes()

    @property
    def collider(self) -> ColliderMesh:
        return self._ask(lambda: self._colliders)

    @property
    def free_space(self) -> FreeSpaceLayer:
        return self._ask(lambda: free_space_layer(self._space, self._data.floor_z_m))

    @property
    def findings(self) -> CertificateLayer:
        return certificate_layer(self.certificate)

    @property
    def certificate(self) -> dict[str, Any]:
        """Content of `certificate.json`; empty before it."""
        return read_certificate(self.world)

    @property
    def space(self) -> FreeSpace:
        """Clearances of the map for the world's own robot."""
        return self._ask(lambda: self._space)

    @property
    def raycaster(self) -> Raycaster:
        """Rays against the visual mesh; before it, against the geometry that the views were painted on."""
        return self._ask(lambda: self._rays)

    @property
    def views(self) -> WorldViews:
        return self._ask(lambda: self._views)

    @property
    def cloud(self) -> GaussianCloud:
        """All splats."""
        return self._ask(lambda: self._cloud)

    @property
    def geometry(self) -> PhotoGeometry:
        return self._ask(lambda: self._geometry)

    @property
    def viewpoint(self) -> tuple[PinholeCamera, np.ndarray]:
        """Camera and pose [4, 4] of the photo, or what stands in for them."""
        return viewpoint(self.folder, self.world.manifest.metres_per_unit)

    @property
    def floor_z_m(self) -> float:
        return self._ask(lambda: self._data.floor_z_m) if self.has_layer("free space") else 0.0

    @property
    def T_world_begin(self) -> np.ndarray:
        """[4, 4] where the next path begins: the end of the last one, or the photo."""
        walked = read_path_poses(self.folder) if self.world.has("memory/explored.npz") else np.zeros((0, 4, 4))
        return walked[-1] if len(walked) else self.viewpoint[1]

    def _ask(self, read: Callable[[], T]) -> T:
        with self._lock:
            return read()

    @cached_property
    def _point_layer(self) -> PointLayer:
        if self.world.has("memory/explored.npz"):
            return point_layer(self._views.views, self._points)
        # Not explored to the end yet: what is remembered so far, or the photo alone.
        files = sorted(name for name in self.world.manifest.files() if name.startswith(_VIEWS))
        factor = self.world.manifest.metres_per_unit
        views = [scaled_view(load_view(self.world.path(name)), factor) for name in files]
        return point_layer(views or [self._photo_view], self._points)

    @cached_property
    def _photo_view(self) -> RgbdView:
        """The photo at the depth that was found in it."""
        geometry, path = self._geometry, find_photo(self.folder)
        if path is None:
            raise InputError(f"the world does not hold its photo: {self.folder}")
        size = (geometry.camera.height_px, geometry.camera.width_px)
        photo = decode_photo(read_photo_file(path), path, long_side_px=max(size))
        return RgbdView(
            view_id=0,
            camera=geometry.camera,
            T_world_cam=geometry.T_world_cam,
            rgb_u8=photo.rgb_u8,
            depth_z_m=geometry.depth_z_m,
            valid=~np.isin(geometry.labels, (Label.SKY, Label.BACKDROP)),
            source=np.full(size, SOURCE_PHOTO, np.uint8),
            labels=geometry.labels,
        )

    @cached_property
    def _splat_layer(self) -> SplatLayer:
        return splat_layer(self._cloud, self._splats)

    @cached_property
    def _colliders(self) -> ColliderMesh:
        return read_colliders(self.world.path("world_scene.usda"))

    @cached_property
    def _data(self) -> WorldData:
        self.world.path("nav/map.yaml")
        return read_world(self.folder)

    @cached_property
    def _space(self) -> FreeSpace:
        return analyse(self._data.grid, self._data.robot_radius_m)

    @cached_property
    def _rays(self) -> Raycaster:
        if self.world.has("memory/mesh.npz"):
            return Raycaster(self.world.mesh())
        proxy = self._views.proxy
        if proxy is None:
            raise InputError(f"the world has no surface yet; finish it first: {self.folder}")
        return Raycaster(proxy)

    @cached_property
    def _views(self) -> WorldViews:
        return self.world.views()

    @cached_property
    def _cloud(self) -> GaussianCloud:
        return self.world.splats()

    @cached_property
    def _geometry(self) -> PhotoGeometry:
        return self.world.geometry()
