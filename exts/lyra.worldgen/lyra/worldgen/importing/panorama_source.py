"""An equirectangular panorama as an imported scene."""

from __future__ import annotations

import math

from ..core.config import WorldConfig
from ..core.errors import InputError
from ..core.progress import SILENT, SupportsProgress
from ..core.scaling import expect_factor
from ..generation.geometry import BACKDROP, HEIGHT_SIGMA
from ..generation.panorama import load_panorama
from ..generation.panorama_geometry import PanoramaWorld, panorama_world
from .records import ImportedScale, ImportedScene, Source

CEILING_SIGMA = 0.03
"""Relative error of the ceiling's height in the panorama's own unit, the camera's height above the floor."""
LEAST_CONFIDENCE = 0.15
"""Below this neither the floor nor the walls of a panorama are worth a collider."""


def read_panorama_source(source: Source, config: WorldConfig, *, progress: SupportsProgress = SILENT) -> ImportedScene:
    """Six views from the panorama's place in a closed world, the one straight ahead first.

    One unit is a metre if the camera stood `geometry.camera_height_m` above the floor; a measured ceiling says better.

    Raises:
        InputError: no panorama, or one in which floor and walls cannot be told apart.
        DependencyError: OpenCV or SciPy is missing.
    """
    _expect_no_foreign_hints(source, config)
    panorama = load_panorama(source.path)
    world = panorama_world(panorama, config.geometry, progress=progress)
    geometry = world.geometry
    if geometry.mode == BACKDROP or geometry.confidence < LEAST_CONFIDENCE:
        raise InputError(
            f"floor and walls cannot be told apart in this panorama (confidence {geometry.confidence:.2f}, expected at "
            f"least {LEAST_CONFIDENCE}); give an upright one of a place with a floor, taken from standing height: "
            f"{source.path}"
        )
    width, height = panorama.original_size_px
    return ImportedScene(
        scale=_scale(world, config, source),
        views=world.views,
        geometry=geometry,
        backend=geometry.backend,
        facts={
            "confidence": round(geometry.confidence, 4),
            "mode": geometry.mode,
            "size_px": [width, height],
            "shown_share": round(float(panorama.known.mean()), 4),
            "tilt_deg": round(math.degrees(world.upright.tilt_rad), 2),
            "lines_explained": round(world.upright.explained, 4),
            "camera_height_m": geometry.layout.camera_height_m,
            "ceiling_m": None if geometry.layout.ceiling_m is None else round(geometry.layout.ceiling_m, 4),
            "notes": list(geometry.notes),
        },
    )


def _expect_no_foreign_hints(source: Source, config: WorldConfig) -> None:
    told = config.source
    for name, said in (
        ("up", told.up != "auto"),
        ("units", told.units != "auto"),
        ("metres_per_unit", bool(told.metres_per_unit)),
        ("measure3d", bool(told.measure3d)),
    ):
        if said:
            raise InputError(
                f"source.{name} says nothing about a panorama, which has neither axes nor a unit; give the height of "
                f"the camera (geometry.camera_height_m) or of the ceiling (source.ceiling_height_m): {source.path}"
            )


def _scale(world: PanoramaWorld, config: WorldConfig, source: Source) -> ImportedScale:
    geometry, stated_m = world.geometry, config.source.ceiling_height_m
    sigma, known = geometry.relative_scale_sigma, config.scale.camera_height_sigma
    without_height = math.sqrt(max(sigma**2 - HEIGHT_SIGMA**2, 0.0))
    if stated_m:
        ceiling_m = geometry.layout.ceiling_m
        if ceiling_m is None:
            raise InputError(
                f"source.ceiling_height_m is {stated_m}, but the panorama shows no ceiling; give the height of the "
                f"camera instead: {source.path}"
            )
        told = {"kind": "ceiling", "says": f"ceiling {stated_m:g} m high", "used": True}
        return ImportedScale(
            metres_per_unit=expect_factor("the scale", stated_m / ceiling_m),
            source="ceiling height",
            relative_sigma=math.hypot(CEILING_SIGMA, without_height),
            evidence=(told | {"stated_m": stated_m, "in_world_m": round(ceiling_m, 4)},),
        )
    height_m = geometry.layout.camera_height_m
    told = {"kind": "camera height", "says": f"camera {height_m:g} m above the floor", "used": True}
    return ImportedScale(
        metres_per_unit=1.0,
        source="camera height" if known else "usual camera height",
        relative_sigma=math.hypot(known, without_height) if known else sigma,
        evidence=(told | {"stated_m": height_m, "in_world_m": height_m},),
    )
