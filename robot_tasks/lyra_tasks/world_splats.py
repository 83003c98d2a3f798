"""The splats of a world for robots' cameras: few enough for a CPU, and those that a robot sees."""

from __future__ import annotations

import logging
import math

import numpy as np

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.files import sha256_json
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.core.splats import GaussianCloud
from lyra.worldgen.core.store import load_splats, save_splats
from lyra.worldgen.core.world import load_world
from lyra.worldgen.reconstruction.splat_budget import compress_splats, seen_importance
from lyra.worldgen.sensors import load_world_splats

from .cache import cache_folder
from .ground import Ground

PLACES, HEADINGS = 12, 3
"""Views that say what robots see of a world: places spread over the free floor, and headings at each."""
VIEW = PinholeCamera.from_hfov(96, 96, math.radians(110))
_FORMAT = 1
_log = logging.getLogger(__name__)


def robot_splats(ground: Ground, *, budget: int, height_m: float) -> GaussianCloud:
    """A world's splats, merged to a budget by what robots see of them.

    Merging takes a minute for a million splats, so the result is kept in `cache.cache_folder`.

    Args:
        ground: the world and where robots may be.
        budget: most splats; 0 for all.
        height_m: of cameras above the floor.

    Raises:
        InputError: the world has no splats, or they cannot be read.
    """
    folder = ground.world.folder
    kept = cache_folder() / f"splats_{_key(ground, budget, height_m)}.npz"
    if budget and kept.is_file():
        try:
            return load_splats(kept)
        except InputError as error:
            _log.warning("splats are merged again, the copy in the cache cannot be read: %s", error)
    splats = load_world_splats(folder)
    if splats is None or not len(splats):
        raise InputError(
            "has no Gaussian splats, and colour cameras draw nothing else; generate or import the world with splats, "
            f"or drive a task whose name ends in -Depth or -Lidar there: {folder}"
        )
    if not budget or len(splats) <= budget:
        return splats
    _log.info("merging %d splats to %d: %s", len(splats), budget, folder)
    merged = compress_splats(splats, budget, seen_importance(splats, _views(ground, height_m)))
    kept.parent.mkdir(parents=True, exist_ok=True)
    save_splats(kept, merged)
    return merged


def _views(ground: Ground, height_m: float) -> list[tuple[PinholeCamera, np.ndarray]]:
    """Cameras all around at places that are evenly picked from the free floor."""
    cells = ground.cells_xy_m(ground.robot_radius_m)
    chosen = cells[np.unique(np.linspace(0, len(cells) - 1, PLACES).astype(int))]
    z = ground.world.floor_z_m + height_m
    return [
        (VIEW, camera_pose(np.array([*xy, z]), heading_rad=2 * math.pi * (k + i / len(chosen)) / HEADINGS))
        for i, xy in enumerate(chosen)
        for k in range(HEADINGS)
    ]


def _key(ground: Ground, budget: int, height_m: float) -> str:
    """Of everything that the merged splats depend on."""
    manifest = load_world(ground.world.folder).manifest
    base = None if manifest.base is None else manifest.base.sha256
    content = [manifest.content_sha256, base, budget, round(height_m, 4), round(ground.robot_radius_m, 4)]
    return sha256_json([_FORMAT, *content])[:16]
