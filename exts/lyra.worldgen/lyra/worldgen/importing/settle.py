"""A scene comes to rest: upright, floor at zero, walls along the axes, looked at from a good place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.config import SourceConfig
from ..core.errors import InputError
from ..core.frames import rigid, rotation_z
from ..core.report import Report
from ..core.scaling import scaled_poses
from .place import best_stand, eye_height_m, floor_map, tour
from .records import ImportedScale
from .samples import SurfaceSamples
from .size import Extent, estimate_scale
from .upright import AXES, Upright, find_upright, weighted_quantiles

UNSURE = 0.75
"""A way up that is not this sure is a finding."""


@dataclass(frozen=True, kw_only=True)
class FileCustoms:
    """What files of a format are usually like."""

    up_odds: Mapping[str, float]
    """Log-odds of axes to point up."""
    unit_odds: Mapping[str, float]
    """How often they are in each usual unit, `none` for no usual one."""
    defined_unit: str | None = None
    """What the format defines."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """Where a file's axes lie in the world."""

    T_scene_file: np.ndarray
    """[4, 4] rigid, in units of the file: +Z up, floor at z = 0, the origin under the viewpoint, +X its heading."""
    scale: ImportedScale
    Ts_scene_path: np.ndarray
    """[P, 4, 4] a tour, in units of the file; its first pose is the viewpoint."""
    ceiling: float | None
    """Height of the ceiling in units of the file."""
    facts: dict[str, Any]


def settle(
    samples: SurfaceSamples, cfg: SourceConfig, customs: FileCustoms, report: Report, *, said: str | None
) -> Settled:
    """Find up, size and viewpoint of a scene.

    Args:
        samples: its surface, in the axes and units of the file.
        cfg: what the user says.
        customs: what the format suggests.
        report: takes findings.
        said: axis of `samples` that points up, as the user says; None leaves it to the evidence.

    Raises:
        InputError: no floor, no free floor, or a size that no place has.
    """
    upright = find_upright(samples, said=said, prior=dict(customs.up_odds))
    if upright.confidence < UNSURE and said is None:
        report.warn(
            "import.up",
            f"{upright.up_axis} is taken to point up, but something else is about as likely; look at preview.png and "
            "say which axis it is with --up",
            confidence=round(upright.confidence, 3),
        )
    turned = samples.turned(upright.R_world_file)
    lifted = SurfaceSamples(
        points=turned.points - [0.0, 0.0, upright.floor],
        normals=turned.normals,
        weights=turned.weights,
        luma=turned.luma,
        signed=turned.signed,
    )
    extent = _extent(lifted, upright)
    scale = estimate_scale(
        upright, extent, cfg, report, unit_odds=dict(customs.unit_odds), defined_unit=customs.defined_unit
    )
    factor = scale.metres_per_unit
    ceiling_m = None if extent.ceiling is None else extent.ceiling * factor
    metric = SurfaceSamples(
        points=lifted.points * factor,
        normals=lifted.normals,
        weights=lifted.weights,
        luma=lifted.luma,
        signed=lifted.signed,
    )
    plan = floor_map(metric, ceiling_m=ceiling_m)
    stand_xy_m, heading = best_stand(plan)
    eye_m = eye_height_m(ceiling_m)
    path_m = tour(plan, stand_xy_m, heading, eye_m=eye_m)
    R_scene = rotation_z(-heading)
    shift = np.array([stand_xy_m[0] / factor, stand_xy_m[1] / factor, upright.floor])
    T = rigid(R_scene @ upright.R_world_file, -R_scene @ shift)
    path = scaled_poses(path_m, 1 / factor)
    path = rigid(R_scene, -R_scene @ np.array([*shift[:2], 0.0])) @ path
    facts = {
        "up": upright.up_axis,
        "up_tilt_deg": round(upright.tilt_deg, 3),
        "up_said": said is not None,
        "up_evidence": upright.evidence,
        "confidence": round(min(upright.confidence, float(np.exp(-2 * scale.relative_sigma))), 4),
        "ceiling_m": None if ceiling_m is None else round(ceiling_m, 4),
        "size_m": [round(v * factor, 3) for v in (extent.length, extent.width, extent.height)],
        "T_scene_file": [[round(float(v), 9) for v in row] for row in T],
    }
    return Settled(T_scene_file=T, scale=scale, Ts_scene_path=path, ceiling=extent.ceiling, facts=facts)


def turned_axis(name: str, R_new_old: np.ndarray) -> str:
    """Name of an axis after a turn [3, 3] by quarters."""
    turned = R_new_old @ np.array(AXES[name])
    return max(AXES, key=lambda other: float(np.dot(AXES[other], turned)))


def _extent(lifted: SurfaceSamples, upright: Upright) -> Extent:
    low, high = weighted_quantiles(lifted.points, lifted.weights, (0.005, 0.995))
    size = high - low
    length = float(max(size[:2]))
    if not (np.isfinite(size).all() and length > 0):
        raise InputError("nearly everything in the file lies in one place; expected a place with a floor")
    return Extent(
        length=length,
        width=max(float(min(size[:2])), 1e-6 * length),
        height=float(high[2]),
        ceiling=None if upright.ceiling is None else upright.ceiling - upright.floor,
    )
