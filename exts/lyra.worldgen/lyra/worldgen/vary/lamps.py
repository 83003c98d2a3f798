"""Lamps and windows that the photo shows: bright, compact places on ceilings and walls, and where those are.

A sober look at brightness and nothing more. A place counts if it is among the brightest of the picture, much brighter
than what is around it, compact, and no part of the floor. It is lifted with the depth that the world has there. What
its light is like cannot be read from pixels that are white: power and colour of lamps are drawn, not found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.errors import WorldgenError
from ..core.mesh import Label
from ..core.optional import require
from ..core.store import load_view, view_path
from ..core.views import SOURCE_PHOTO, RgbdView
from ..core.world import World

WINDOW, CEILING_LAMP, HANGING_LAMP = "window", "ceiling lamp", "hanging lamp"
MOST = 16
"""Lamps that are kept, the surest first."""
MOST_VIEWS = 24
LEAST_PHOTO = 0.3
"""Views with less of the photo in them are not looked at."""
LEAST_LIGHT, SURE_LIGHT = 0.72, 0.96
"""Display brightness below which nothing is a lamp, and from which brightness is no doubt."""
AROUND = 0.12
"""So much darker must be what is around a lamp, in display brightness."""
LEAST_SHARE, LARGEST_SHARE = 2e-4, 0.25
"""Of the picture."""
LEAST_COMPACT = 0.4
"""Share of its own box that it fills, turned as it lies."""
LEAST_FRAMED = 0.3
"""Share of what is around a window or ceiling lamp that lies in its plane: a side of a room that is all bright is a
bright wall."""
LEAST_CONFIDENCE = 0.3
LEAST_HEIGHT_M = 0.7
"""Middles of lamps are at least so high above the floor."""
SIZES_M = (0.1, 12.0)
NARROWEST_M = 0.05


@dataclass(frozen=True, kw_only=True)
class FoundLamp:
    """A place that gives light, in the base's frame."""

    kind: str
    """`window` on a wall, `ceiling lamp` on the ceiling, or `hanging lamp` anywhere else."""
    centre_m: tuple[float, float, float]
    normal: tuple[float, float, float]
    """Where it shines to; unit."""
    along: tuple[float, float, float]
    """Direction of its width; unit, level."""
    size_m: tuple[float, float]
    """Width, and height or depth."""
    confidence: float
    """0..1: how much it looks like a lamp; nothing about its light."""

    @property
    def area_m2(self) -> float:
        return self.size_m[0] * self.size_m[1]

    def mirrored(self) -> FoundLamp:
        """Where it is in the mirror image, y becoming -y."""
        (x, y, z), (nx, ny, nz), (ax, ay, az) = self.centre_m, self.normal, self.along
        return replace(self, centre_m=(x, 0.0 - y, z), normal=(nx, 0.0 - ny, nz), along=(ax, 0.0 - ay, az))

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "kind": self.kind,
            "centre_m": list(self.centre_m),
            "normal": list(self.normal),
            "along": list(self.along),
            "size_m": list(self.size_m),
            "confidence": self.confidence,
        }


def find_lamps(world: World) -> tuple[FoundLamp, ...]:
    """What a world's photo shows of lamps, surest first; nothing for a world without a photo or memory."""
    factor = world.manifest.metres_per_unit
    found = [lamp for view in _photo_views(world) for lamp in lamps_of_view(view, metres_per_unit=factor)]
    return merged(found)


def light_shares(lamps: Sequence[FoundLamp]) -> tuple[float, ...]:
    """Share of the light of all lamps that each gives if all are equally bright: that of its area."""
    areas = np.array([lamp.area_m2 for lamp in lamps])
    return tuple(round(float(v), 6) for v in areas / areas.sum()) if len(areas) else ()


def merged(lamps: Sequence[FoundLamp]) -> tuple[FoundLamp, ...]:
    """The surest ones, without those that several views show of one lamp."""
    kept: list[FoundLamp] = []
    for lamp in sorted(lamps, key=lambda one: (-one.confidence, one.centre_m)):
        reach = [0.5 * (max(lamp.size_m) + max(other.size_m)) for other in kept]
        apart = [float(np.linalg.norm(np.subtract(lamp.centre_m, other.centre_m))) for other in kept]
        if all(d > max(0.8 * r, 0.3) for d, r in zip(apart, reach, strict=True)):
            kept.append(lamp)
    return tuple(kept[:MOST])


def lamps_of_view(view: RgbdView, *, metres_per_unit: float = 1.0) -> list[FoundLamp]:
    """Lamps that one view shows.

    Args:
        view: only its pixels of the photo are looked at.
        metres_per_unit: of the memory.
    """
    cv2 = require("cv2", extra="recon", package="opencv-python-headless")
    seen = view.valid & (view.source == SOURCE_PHOTO)
    if seen.sum() < 100:
        return []
    light = (view.rgb_u8 @ np.array([0.2126, 0.7152, 0.0722], np.float32)) / np.float32(255)
    usual = float(np.median(light[seen]))
    threshold = max(LEAST_LIGHT, min(SURE_LIGHT, float(np.quantile(light[seen], 0.995)) - 0.03), usual + AROUND)
    allowed = seen & (view.labels != Label.FLOOR)
    bright = (allowed & (light >= threshold)).astype(np.uint8)
    # Mullions and lamp shades part what is one window or lamp.
    bright = cv2.morphologyEx(bright, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    count, regions, stats, _ = cv2.connectedComponentsWithStats(bright, connectivity=8)
    lamps = []
    for k in range(1, count):
        area = stats[k, cv2.CC_STAT_AREA]
        if not LEAST_SHARE * bright.size <= area <= LARGEST_SHARE * bright.size:
            continue
        region = regions == k
        if (lamp := _lift(view, region, light, seen, metres_per_unit)) is not None:
            lamps.append(lamp)
    return lamps


def _lift(
    view: RgbdView, region: np.ndarray, light: np.ndarray, seen: np.ndarray, metres_per_unit: float
) -> FoundLamp | None:
    """A bright region in the world, or None where it does not look like a lamp."""
    cv2 = require("cv2", extra="recon", package="opencv-python-headless")
    mask = region.astype(np.uint8)
    span = max(2, round(0.15 * np.sqrt(mask.sum())))
    near = cv2.dilate(mask, np.ones((3, 3), np.uint8))
    far = cv2.dilate(near, np.ones((2 * span + 1, 2 * span + 1), np.uint8))
    ring = (far > near) & seen
    if ring.sum() < 12:
        return None
    inside = float(np.mean(light[region]))
    # Most of what is around must be darker: what goes on in brightness is a bright wall.
    contrast = inside - float(np.quantile(light[ring], 0.75))
    outline, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    (_, box, _) = cv2.minAreaRect(np.concatenate(outline))
    compact = float(mask.sum() / max((box[0] + 1) * (box[1] + 1), 1.0))
    if contrast < AROUND or compact < LEAST_COMPACT:
        return None
    points, label = _points(view, region, metres_per_unit)
    kind, centre, normal, along, size = _shape(points, label, view.T_world_cam[:3, 3] * metres_per_unit)
    if centre[2] < LEAST_HEIGHT_M or min(size) < NARROWEST_M or not SIZES_M[0] <= max(size) <= SIZES_M[1]:
        return None
    if kind != HANGING_LAMP:
        around, _ = _points(view, ring, metres_per_unit)
        reach = np.maximum(0.06, 0.015 * np.linalg.norm(around - view.T_world_cam[:3, 3] * metres_per_unit, axis=1))
        if (np.abs((around - centre) @ normal) < reach).mean() < LEAST_FRAMED:
            return None
    sure = np.clip(contrast / 0.4, 0, 1) * np.clip(compact / 0.75, 0, 1)
    sure *= np.clip((inside - LEAST_LIGHT) / (SURE_LIGHT - LEAST_LIGHT), 0, 1)
    confidence = round(float(sure), 3)
    if confidence < LEAST_CONFIDENCE:
        return None

    def three(values: np.ndarray) -> tuple[float, float, float]:
        x, y, z = (round(float(v), 4) + 0.0 for v in values)
        return x, y, z

    return FoundLamp(
        kind=kind,
        centre_m=three(centre),
        normal=three(normal),
        along=three(along),
        size_m=(round(size[0], 3), round(size[1], 3)),
        confidence=confidence,
    )


def _points(view: RgbdView, region: np.ndarray, metres_per_unit: float) -> tuple[np.ndarray, int]:
    """World points [N, 3] in metres of a region's pixels, and the label of most of them."""
    rays = view.camera.rays_cam()[region]
    cam = rays / rays[:, 2:] * view.depth_z_m[region][:, None]
    T = view.T_world_cam
    points = (np.einsum("ij,nj->ni", T[:3, :3], cam) + T[:3, 3]) * metres_per_unit
    return points, int(np.bincount(view.labels[region], minlength=8).argmax())


def _shape(
    points: np.ndarray, label: int, eye: np.ndarray
) -> tuple[str, np.ndarray, np.ndarray, np.ndarray, tuple[float, float]]:
    """Kind, middle [3], direction of its light [3] and of its width [3], and size of what points [N, 3] show."""
    middle = np.median(points, axis=0)
    flat = points[:, :2] - middle[:2]
    _, axes = np.linalg.eigh(flat.T @ flat)
    u = np.array([*axes[:, 1], 0.0])
    if label == Label.CEILING:
        normal = np.array([0.0, 0.0, -1.0])
        kind, v = CEILING_LAMP, np.array([-u[1], u[0], 0.0])
    else:
        normal = np.array([*axes[:, 0], 0.0])
        normal *= 1.0 if normal[:2] @ (eye - middle)[:2] >= 0 else -1.0
        kind, v = (HANGING_LAMP if label == Label.OBJECT else WINDOW), np.array([0.0, 0.0, 1.0])
    low = np.array([np.quantile((points - middle) @ axis, 0.02) for axis in (u, v)])
    high = np.array([np.quantile((points - middle) @ axis, 0.98) for axis in (u, v)])
    centre = middle + u * (low + high)[0] / 2 + v * (low + high)[1] / 2
    # Extremes of the middle 96 % of an even spread lie 2 % inside on either side.
    size = (high - low) / 0.96
    return kind, centre, normal, u, (float(max(size[0], 0.02)), float(max(size[1], 0.02)))


def _photo_views(world: World) -> Iterator[RgbdView]:
    """Views of a memory that show the photo; ends where the memory does."""
    for index in range(MOST_VIEWS):
        path = view_path(world.folder / "memory", index)
        if not path.is_file():
            return
        try:
            view = load_view(path)
        except WorldgenError:
            return
        if (view.source == SOURCE_PHOTO).mean() >= LEAST_PHOTO:
            yield view
