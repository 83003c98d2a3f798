"""What the page says about a world, and where its visitors start."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..certify.space import analyse
from ..certify.world_data import WorldData, origin_of
from ..core.frames import heading_of
from ..core.licences import is_research_only, stated_licence
from ..core.raycast import Raycaster
from ..preview.run import read_certificate, traces_of

DATA_FORMAT = 1
"""Version of `site.json`."""
MOST_STARTS = 8
AHEAD_M = 1.5
"""A visitor who looks along the photo's heading sees at least this far."""
PROBE_M = 1.0
"""Rays that look for the floor begin this far above it [m]."""


def describe(
    world: WorldData, *, photo_licence: str, certificate_page: str, shown: int, in_world: int
) -> list[dict[str, str]]:
    """Rows of the page's panel: `label`, `text`, and where it helps `tone` (passed, failed) and `link`.

    Args:
        world: the world.
        photo_licence: as the caller states it, in place of what the world says; empty if unknown.
        certificate_page: file name of the certificate beside the page; empty if there is none.
        shown: splats of the finest level.
        in_world: splats that the world has.
    """
    manifest = world.manifest
    rows = [_certificate_row(world, certificate_page)]
    area_m2 = analyse(world.grid, world.robot_radius_m).connected_area_m2
    rows.append({"label": "free floor", "text": f"{area_m2:.0f} m² in one piece"})
    scale = manifest.get("scale")
    if isinstance(scale, dict) and isinstance(sigma := scale.get("relative_sigma"), int | float):
        source = str(scale.get("source", "")).replace("_", " ")
        rows.append({"label": "scale", "text": f"± {100 * sigma:.0f} %{f', from {source}' if source else ''}"})
    origin = origin_of(manifest)
    if origin.get("name"):
        kind = "photo" if not world.imported else str(origin.get("kind", "import"))
        licence = photo_licence or stated_licence(manifest)
        rows.append({"label": kind, "text": str(origin["name"])})
        rows.append({"label": "its licence", "text": licence or "not stated; its owner's to give"})
    if not world.imported and isinstance(weights := manifest.get("licence"), str):
        row = {"label": "painter", "text": f"weights: {weights}" if weights != "none" else "no foreign weights"}
        if is_research_only(weights):
            row |= {"text": f"{row['text']} (research only)", "tone": "failed"}
        rows.append(row)
    if in_world:
        text = f"{shown:,}" if shown == in_world else f"{shown:,}, merged from {in_world:,}"
        rows.append({"label": "splats", "text": text})
    if manifest.get("generator"):
        rows.append({"label": "made by", "text": f"{manifest['generator']}, seed {manifest.get('seed', 0)}"})
    rows.append({"label": "software", "text": "licences", "link": "licences.txt"})
    return rows


def start_points(world: WorldData, certificate: dict[str, Any], solid: Raycaster) -> list[dict[str, Any]]:
    """Where visitors may start: `feet_m` [x, y, z], `yaw_rad`, `pitch_rad`, `source`.

    The robot of the certificate stood at these places in PhysX. First comes the one nearest to the photo's camera of
    all that it passed, then where its drives began. Where it reached nothing, planned episodes stand in, and after them
    the place under the photo's camera.

    Args:
        world: the world.
        certificate: content of `certificate.json`, may be empty.
        solid: the collider.
    """
    ways = [trace for trace, reached in traces_of(certificate.get("drives")) if reached]
    source = "driven" if ways else "planned"
    ways = ways or [np.array([e.start_xy_m, e.goal_xy_m]) for e in world.episodes]
    photo_xy, heading_rad = world.T_world_photo[:2, 3], heading_of(world.T_world_photo)
    ways.sort(key=lambda way: float(np.linalg.norm(way[0] - photo_xy)))
    if source == "driven":
        # The end of a drive is left out: it leads nowhere.
        passed = [way[k:] for way in ways for k in range(len(way) - 1)]
        ways.insert(0, min(passed, key=lambda way: float(np.linalg.norm(way[0] - photo_xy))))
    points = []
    for way in ways[:MOST_STARTS]:
        z = _floor_below(solid, way[0], world.floor_z_m)
        if z is None:
            continue
        yaw_rad = _way_ahead(way)
        if not points and _free_ahead(solid, way[0], z, heading_rad):
            yaw_rad = heading_rad
        feet = _rounded([*way[0], z])
        points.append({"feet_m": feet, "yaw_rad": round(yaw_rad, 4), "pitch_rad": 0.0, "source": source})
    if not points:
        z = _floor_below(solid, photo_xy, world.floor_z_m)
        feet = _rounded([*photo_xy, world.floor_z_m if z is None else z])
        points.append({"feet_m": feet, "yaw_rad": round(heading_rad, 4), "pitch_rad": 0.0, "source": "photo"})
    return points


def _certificate_row(world: WorldData, page: str) -> dict[str, str]:
    certificate = read_certificate(world.folder)
    verdict = certificate.get("verdict")
    summary = certificate.get("summary")
    text = summary if isinstance(summary, str) and summary else "not measured"
    row = {"label": "certificate", "text": text}
    if verdict in ("passed", "failed"):
        row["tone"] = verdict
    if page:
        row["link"] = page
    return row


def _floor_below(solid: Raycaster, xy: np.ndarray, floor_z_m: float) -> float | None:
    """Height of the collider at a place, near the world's floor."""
    top = floor_z_m + PROBE_M
    t, _, _ = solid.cast(np.array([[*xy, top]]), np.array([[0.0, 0.0, -1.0]]))
    return float(top - t[0]) if t[0] < 2 * PROBE_M else None


def _free_ahead(solid: Raycaster, xy: np.ndarray, z: float, yaw_rad: float) -> bool:
    heights = z + np.array([0.4, 1.0, 1.5])
    origins = np.c_[np.tile(xy, (len(heights), 1)), heights]
    direction = np.array([math.cos(yaw_rad), math.sin(yaw_rad), 0.0])
    return bool(solid.cast(origins, np.tile(direction, (len(heights), 1)))[0].min() > AHEAD_M)


def _way_ahead(way_xy: np.ndarray) -> float:
    """Heading in which a path leaves its first point."""
    away = way_xy - way_xy[0]
    far = np.flatnonzero(np.linalg.norm(away, axis=1) > 0.3)
    dx, dy = away[far[0]] if len(far) else away[-1]
    return math.atan2(dy, dx)


def _rounded(values: list[float]) -> list[float]:
    return [round(float(v), 4) for v in values]
