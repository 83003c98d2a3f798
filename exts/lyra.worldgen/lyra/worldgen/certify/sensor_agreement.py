"""Would a robot's sensors agree in this world? Splats, mesh and colliders seen from places where it can drive."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.camera import PinholeCamera
from ..core.errors import DependencyError, InputError
from ..core.frames import camera_pose
from ..core.world import locate
from ..sensors.agreement import FrameComparison, LidarComparison, compare_frame, compare_lidar, disagreement
from ..sensors.render import SensorFrame, render_sensors
from ..sensors.world import load_sensor_world
from .records import Line
from .space import FreeSpace
from .world_data import WorldData

VIEWS = 12
VIEW_PX = (240, 180)
HFOV_DEG = 80.0
HEIGHTS_M = (0.3, 0.6, 0.9, 1.2)
"""Camera heights in turn: from a vacuum cleaner to a delivery robot."""
LIDAR_HEIGHT_M = 0.35
WORST = 3
"""Views that are shown."""


@dataclass(frozen=True, kw_only=True)
class ViewRecord:
    """One robot pose."""

    position_m: tuple[float, float, float]
    heading_rad: float
    pitch_rad: float
    camera: FrameComparison
    lidar: LidarComparison

    def as_dict(self) -> dict[str, Any]:
        return {
            "position_m": [round(x, 3) for x in self.position_m],
            "heading_deg": round(math.degrees(self.heading_rad), 1),
            "pitch_deg": round(math.degrees(self.pitch_rad), 1),
            **self.camera.as_dict(),
            "lidar": self.lidar.as_dict(),
        }


@dataclass(frozen=True, kw_only=True)
class SensorEvidence:
    """What the lines rest on."""

    views: tuple[ViewRecord, ...] = ()
    worst: tuple[tuple[int, SensorFrame], ...] = ()
    """Number and pictures of the views that disagree most, the worst first."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "picture_px": list(VIEW_PX),
            "hfov_deg": HFOV_DEG,
            "views": [view.as_dict() for view in self.views],
        }


@dataclass(frozen=True, kw_only=True)
class _Measure:
    """One line: a figure of every view, pooled."""

    id: str
    title: str
    unit: str
    limit: float | None
    comparison: str
    of: Callable[[ViewRecord], float | None]
    pool: Callable[[list[float]], float]


def _mean(values: list[float]) -> float:
    return float(np.mean(values))


def _median(values: list[float]) -> float:
    return float(np.median(values))


MEASURES = (
    _Measure(
        id="sensors.depth",
        title="Depth of splats and mesh agrees from where robots look",
        unit="% of pixels off",
        limit=None,
        comparison="<=",
        of=lambda view: view.camera.disagree_percent,
        pool=_mean,
    ),
    _Measure(
        id="sensors.holes",
        title="Splats are solid where the mesh is",
        unit="% of pixels",
        limit=2.0,
        comparison="<=",
        of=lambda view: view.camera.holes_percent,
        pool=_mean,
    ),
    _Measure(
        id="sensors.lidar",
        title="A LiDAR finds colliders where surfaces are seen",
        unit="% of rays off",
        limit=5.0,
        comparison="<=",
        of=lambda view: view.lidar.disagree_percent,
        pool=_mean,
    ),
    _Measure(
        id="sensors.rgb",
        title="Pictures of splats and mesh look alike",
        unit="dB",
        limit=None,
        comparison=">=",
        of=lambda view: view.camera.psnr_db,
        pool=_median,
    ),
    _Measure(
        id="frame.colour",
        title="Colours of splats and mesh lie on one another",
        unit="°",
        limit=None,
        comparison="<=",
        of=lambda view: view.camera.shift_deg,
        pool=_median,
    ),
)


def sensor_lines(world: WorldData, space: FreeSpace) -> tuple[list[Line], SensorEvidence]:
    """Lines about sensors and what they rest on; none for a world without splats or payloads."""
    nothing = SensorEvidence()
    needed = [f"payloads/{name}.usdc" for name in ("visual", "collision", "splats")]
    if not all(locate(world.folder, name).is_file() for name in needed):
        return [], nothing
    poses = robot_poses(space, world.floor_z_m)
    if not poses:
        return [_line(m, None, "The map has no free cell to look from.") for m in MEASURES], nothing
    try:
        sensed = load_sensor_world(world.folder)
        camera = PinholeCamera.from_hfov(*VIEW_PX, math.radians(HFOV_DEG))
        views, frames = [], []
        for position, heading, pitch in poses:
            pose = camera_pose(np.array(position), heading_rad=heading, pitch_rad=pitch)
            frames.append(render_sensors(sensed, pose, camera))
            place = np.array([*position[:2], world.floor_z_m + LIDAR_HEIGHT_M])
            views.append(
                ViewRecord(
                    position_m=position,
                    heading_rad=heading,
                    pitch_rad=pitch,
                    camera=compare_frame(frames[-1]),
                    lidar=compare_lidar(sensed, place, heading),
                )
            )
    except (InputError, DependencyError) as error:
        return [_line(m, None, str(error).splitlines()[0]) for m in MEASURES], nothing
    order = sorted(range(len(views)), key=lambda i: -_badness(views[i]))
    evidence = SensorEvidence(views=tuple(views), worst=tuple((i + 1, frames[i]) for i in order[:WORST]))
    return [_line(m, _pooled(m, views), _detail(m, views)) for m in MEASURES], evidence


def robot_poses(
    space: FreeSpace, floor_z_m: float, count: int = VIEWS
) -> list[tuple[tuple[float, float, float], float, float]]:
    """Position, heading and pitch of robot cameras, spread over where a robot can be; the same on every run."""
    roomy = space.fits(0.05) & space.component if space.component.any() else space.grid.free
    places = space.spread(count, roomy, seed=31)
    rng = np.random.default_rng(32)
    turn = rng.uniform(0, 2 * math.pi)
    poses = []
    for i, (x, y) in enumerate(places.tolist()):
        # Golden angles look everywhere without a pattern.
        heading = math.remainder(turn + i * math.pi * (3 - math.sqrt(5)), 2 * math.pi)
        pitch = math.radians(float(rng.uniform(-15, 5)))
        poses.append(((x, y, floor_z_m + HEIGHTS_M[i % len(HEIGHTS_M)]), heading, pitch))
    return poses


def _badness(view: ViewRecord) -> float:
    return (view.camera.disagree_percent or 0.0) + (view.camera.holes_percent or 0.0)


def _pooled(measure: _Measure, views: list[ViewRecord]) -> float | None:
    values = [value for view in views if (value := measure.of(view)) is not None]
    return measure.pool(values) if values else None


def _line(measure: _Measure, measured: float | None, detail: str) -> Line:
    return Line(
        id=measure.id,
        title=measure.title,
        measured=measured,
        unit=measure.unit,
        limit=measure.limit,
        comparison=measure.comparison,
        detail=detail,
        picture="sensors" if measured is not None else "",
    )


def _detail(measure: _Measure, views: list[ViewRecord]) -> str:
    def spread(of: Callable[[ViewRecord], float | None]) -> tuple[float, float]:
        values = [value for view in views if (value := of(view)) is not None] or [math.nan]
        return float(np.median(values)), float(np.max(values))

    worst = max((value for view in views if (value := measure.of(view)) is not None), default=math.nan)
    if measure.id == "sensors.depth":
        median, _ = spread(lambda view: view.camera.median_cm)
        p95, _ = spread(lambda view: view.camera.p95_cm)
        return (
            f"{len(views)} robot views, cameras {HEIGHTS_M[0]:g} to {HEIGHTS_M[-1]:g} m high; off by more than 5 cm "
            f"and 3 % of the distance. Median {median:.1f} cm, 95 % {p95:.1f} cm in the median view; "
            f"worst view {worst:.1f} %."
        )
    if measure.id == "sensors.holes":
        return (
            f"Pixels of {len(views)} robot views where splats let half of the light through; worst view {worst:.2f} %."
        )
    if measure.id == "sensors.lidar":
        median, _ = spread(lambda view: view.lidar.median_cm)
        rays = sum(view.lidar.rays for view in views)
        return (
            f"{rays} rays of a planar and a 16-beam scanner, collider against mesh, off by more than 5 cm and 3 %; "
            f"median {median:.2f} cm; worst place {worst:.1f} %."
        )
    if measure.id == "sensors.rgb":
        ssim, _ = spread(lambda view: view.camera.ssim)
        return f"PSNR of the two pictures, median of {len(views)} robot views; SSIM {ssim:.3f}."
    return f"By how much one picture must be turned to lie on the other, median of {len(views)} robot views."


def difference_picture(frame: SensorFrame) -> tuple[np.ndarray, np.ndarray]:
    """[H, W] float32 depth difference [m], NaN in the sky, and [H, W] bool pixels with a surface but no splats."""
    _, error = disagreement(frame)
    return error, frame.valid & ~frame.splat_valid
