"""Floor, ceiling and sky of a scene, continued in their own planes before the first chunk is painted."""

from __future__ import annotations

import numpy as np

from ..core.mesh import Label
from ..core.views import Photo, PhotoGeometry
from .cache import SpatialCache
from .planes import PlaneTexture, continue_plane, faded_into, plane_cells, planes_to_paint
from .scene import Scene
from .seeds import derived_seed
from .sky import paint_sky


def paint_planes(photo: Photo, geometry: PhotoGeometry, scene: Scene, cache: SpatialCache, *, seed: int) -> None:
    """Continue floor and ceiling in their own planes, and the sky around the zenith."""
    if scene.ring is None:
        return
    if scene.layout.ceiling_m is None:
        sky = paint_sky(photo, geometry, scene.ring, seed=derived_seed(seed, int(Label.SKY)))
        if sky is not None:
            scene.planes[int(Label.SKY)] = sky
    eye = np.array([0.0, 0.0, scene.layout.camera_height_m])
    ring_px_per_rad = len(scene.ring.azimuth_rad) / (2 * np.pi)
    for plane in planes_to_paint(scene.layout, scene.ring.elevation_rad):
        cells, cell_m = plane_cells(plane.reach_m, plane.z_m)
        points = cells.reshape(-1, 3)
        shape = cells.shape[:2]
        rgb, from_photo = (a.reshape(*shape, *a.shape[1:]) for a in cache.recall(points, [0]))
        ring_rgb, from_ring = (a.reshape(*shape, *a.shape[1:]) for a in scene.recall_ring(points))
        distance_m = np.linalg.norm(cells[..., :2], axis=-1)
        continued = continue_plane(
            np.where(from_photo[..., None], rgb, ring_rgb),
            from_photo,
            from_ring,
            plane.wanted(cells, scene.layout),
            np.square(np.linalg.norm(cells - eye, axis=-1)) / (abs(plane.z_m - eye[2]) * ring_px_per_rad),
            cell_m,
            plain=plane.label == Label.CEILING,
            seed=derived_seed(seed, int(plane.label)),
        )
        if continued is None:
            continue
        laid = faded_into(continued[0], ring_rgb, from_ring & continued[1], distance_m, plane.reach_m)
        laid = np.where(from_photo[..., None], rgb, laid)
        scene.planes[plane.label] = PlaneTexture(
            z_m=plane.z_m,
            cell_m=cell_m,
            rgb_u8=np.clip(laid + 0.5, 0, 255).astype(np.uint8),
            known=plane.wanted(cells, scene.layout) | from_photo,
        )
