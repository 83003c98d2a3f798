"""What the space in a photo is: camera, gravity, metric scale, labels, depth and a 2.5D layout.

Backends register by name; those with a depth model are in `geometry_depth`. The embedded one needs no download: lines
give the camera, a small network and a colour
model give labels, and plain geometry gives the depth — floor pixels lie on the floor plane, everything else stands on
it. It never fails on a decoded photo: every stage that breaks costs a rung of the chain manhattan, horizon, prior,
backdrop, and confidence.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np

from ..core.camera import PinholeCamera
from ..core.config import GeometryConfig, ModelsConfig, WorldConfig
from ..core.errors import Cancelled, DependencyError
from ..core.frames import camera_pose
from ..core.mesh import Label
from ..core.optional import Registry
from ..core.progress import SILENT, SupportsProgress
from ..core.views import Photo, PhotoGeometry, PolarLayout
from .calibration import CameraEstimate, CameraPrior, calibrate, detect_segments, horizon_from_edge, segments_from_ends
from .floor_edges import floor_edges
from .floor_end import ColumnColours
from .label_cues import LabelCues, grabcut_floor, join_cues
from .label_net import SKY, load_packaged_net
from .layout_cast import cast_layout
from .photo_layout import backdrop_layout, build_layout
from .stixels import PolarView, Runs, column_runs, parse_columns, polar_view

GEOMETRIES = Registry(
    "geometry",
    {
        "embedded": "lyra.worldgen.generation.geometry:EmbeddedGeometry",
        "transformers": "lyra.worldgen.generation.geometry_depth:DepthGeometry",
        "moge": "lyra.worldgen.generation.geometry_depth:DepthGeometry",
        "depth-anything-3": "lyra.worldgen.generation.geometry_depth:DepthGeometry",
    },
)

MANHATTAN, HORIZON, PRIOR, BACKDROP = "manhattan", "horizon", "prior", "backdrop"
BACKDROP_RADIUS_M = 8.0
CLASSICAL_CONFIDENCE = 0.5
"""Most that is claimed without the network."""

_MIN_SEGMENTS = 12
_MIN_EXPLAINED = 0.3
_MIN_EVIDENCE = 9.0
"""Least number of explained segments (as segments times explained share) on which the camera may rest."""
_MIN_FLOOR_SHARE = 0.02
EXIF_SIGMA_LOG_F = 0.03
CALIBRATED_SIGMA_LOG_F = 2e-4
_STITCHED_ASPECT = 2.4
HEIGHT_SIGMA = 0.12
"""Relative doubt about the height at which people hold a camera, when only the default is known."""

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Geometry(Protocol):
    """A backend that understands photos."""

    name: str
    model: str
    """Weights that take part, for the provenance."""

    @property
    def weights_licence(self) -> str:
        """Their licence: SPDX id or short text."""
        ...

    @classmethod
    def from_config(cls, config: WorldConfig) -> Geometry:
        """The backend as the configuration wants it; cheap, raises when its settings cannot be used."""
        ...

    def estimate(self, photo: Photo, cfg: GeometryConfig, *, progress: SupportsProgress) -> PhotoGeometry: ...


def make_geometry(config: WorldConfig) -> Geometry:
    """The backend that `geometry.backend` names; `auto` is the embedded one.

    Raises:
        ConfigError: unknown backend, or one that needs `models.depth` without it.
        InputError: `models.depth` is a path that does not exist.
    """
    name = config.geometry.backend
    return GEOMETRIES.load("embedded" if name == "auto" else name).from_config(config)


def estimate_geometry(
    photo: Photo, cfg: GeometryConfig, *, models: ModelsConfig | None = None, progress: SupportsProgress = SILENT
) -> PhotoGeometry:
    """Understand a photo with the backend that `cfg` names; `auto` is the embedded one.

    Args:
        photo: upright picture.
        cfg: backend, camera height and reach.
        models: where the weights of a depth model lie; the embedded backend needs none.
        progress: one step per part.

    Raises:
        ConfigError: unknown backend, or a depth model without weights.
        InputError: the weights are a path that does not exist.
        DependencyError: a package that the backend needs is not installed.
        BackendError: a depth model does not load, runs out of memory or returns no finite number.
    """
    backend = make_geometry(WorldConfig(geometry=cfg, models=models or ModelsConfig()))
    return backend.estimate(photo, cfg, progress=progress)


@dataclass
class Notes:
    """Runs stages that may break and remembers how they did."""

    lines: list[str]

    def attempt(self, what: str, stage: Callable[[], T]) -> T | None:
        try:
            return stage()
        except (Cancelled, DependencyError):
            raise
        except Exception as error:  # the whole point of the chain: whatever breaks costs one rung, not the world
            line = f"{what} failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            _log.warning("%s", line, exc_info=_log.isEnabledFor(logging.DEBUG))
            self.lines.append(line)
            return None


class EmbeddedGeometry:
    """Lines, labels and planes; no download, about a second of one core."""

    name = "embedded"
    model = "embedded"
    weights_licence = "Apache-2.0"
    """What ships with the package is under the package's own licence."""

    @classmethod
    def from_config(cls, config: WorldConfig) -> EmbeddedGeometry:
        """Needs nothing."""
        return cls()

    def estimate(self, photo: Photo, cfg: GeometryConfig, *, progress: SupportsProgress = SILENT) -> PhotoGeometry:
        """See `estimate_geometry`."""
        notes = Notes([])
        rgb = np.ascontiguousarray(photo.rgb_u8)
        height, width = rgb.shape[:2]
        prior = prior_for(photo)
        progress.step("geometry", 0, 4, "lines")
        estimate, mode = calibrated(rgb, prior, notes)
        camera = PinholeCamera.from_hfov(width, height, estimate.hfov_rad(width, height))

        progress.step("geometry", 1, 4, "labels")
        cues = label_cues(rgb, camera, estimate, notes)

        progress.step("geometry", 2, 4, "layout")
        T_world_cam = camera_pose(
            np.array([0.0, 0.0, cfg.camera_height_m]), pitch_rad=estimate.pitch_rad, roll_rad=estimate.roll_rad
        )
        view = polar_view(camera, T_world_cam)
        runs = None if cues is None else notes.attempt("columns", lambda: _runs(cues, camera, view))
        layout = None
        if runs is not None:
            yaw = estimate.yaw_rad if mode == MANHATTAN else None
            edges = None
            if mode == MANHATTAN:
                edges = notes.attempt("edges", lambda: floor_edges(estimate, camera, T_world_cam, view))
            layout = notes.attempt(
                "layout",
                lambda: build_layout(
                    runs,
                    view,
                    camera_height_m=cfg.camera_height_m,
                    max_extent_m=cfg.max_extent_m,
                    manhattan_yaw_rad=yaw,
                    outdoors=cues is not None and cues.outdoors,
                    edges=edges,
                    colours=ColumnColours.of(rgb, camera, T_world_cam),
                ),
            )
        progress.step("geometry", 3, 4, "depth")
        confidence = 0.0
        depth, labels = np.zeros((height, width), np.float32), np.zeros((height, width), np.uint8)
        if layout is not None:
            depth, labels = cast_layout(layout, camera, T_world_cam)
            confidence = joint_confidence(estimate, prior, cues, depth, cfg.camera_height_m)
            if (labels == Label.FLOOR).mean() < _MIN_FLOOR_SHARE or (mode == PRIOR and confidence < 0.1):
                layout = None
        if layout is None:
            mode, confidence = BACKDROP, min(confidence, 0.1)
            radius = min(BACKDROP_RADIUS_M / 1.5 * cfg.camera_height_m, cfg.max_extent_m)
            layout = backdrop_layout(view, runs, camera_height_m=cfg.camera_height_m, radius_m=radius)
            depth, labels = cast_layout(layout, camera, T_world_cam)
        progress.step("geometry", 4, 4)
        return PhotoGeometry(
            camera=camera,
            T_world_cam=T_world_cam,
            depth_z_m=depth,
            labels=labels,
            layout=layout,
            confidence=confidence,
            mode=mode,
            manhattan_yaw_rad=estimate.yaw_rad,
            relative_scale_sigma=scale_sigma(estimate, layout, mode),
            backend=self.name,
            notes=tuple(notes.lines),
        )


def prior_for(photo: Photo) -> CameraPrior:
    height, width = photo.rgb_u8.shape[:2]
    prior = CameraPrior()
    if photo.hfov_rad is not None:
        focal = 0.5 * width / math.tan(0.5 * photo.hfov_rad)
        fov = 2.0 * math.atan(0.5 * max(width, height) / focal)
        sigma = CALIBRATED_SIGMA_LOG_F if photo.calibrated else EXIF_SIGMA_LOG_F
        return replace(prior, long_fov_rad=fov, sigma_log_f=sigma)
    if max(width, height) > _STITCHED_ASPECT * min(width, height):
        # Long thin pictures are crops or stitches: no habit of photographers says how wide they look.
        return replace(prior, long_fov_rad=math.radians(90.0), sigma_log_f=0.35)
    return prior


def calibrated(rgb_u8: np.ndarray, prior: CameraPrior, notes: Notes) -> tuple[CameraEstimate, str]:
    """The camera and the rung that gave it."""
    height, width = rgb_u8.shape[:2]
    estimate = notes.attempt("calibration", lambda: calibrate(detect_segments(rgb_u8), prior))
    if estimate is None:
        return calibrate(segments_from_ends(np.zeros((0, 4)), width, height), prior), PRIOR
    count = len(estimate.segments.length)
    if count >= _MIN_SEGMENTS and estimate.explained >= _MIN_EXPLAINED and count * estimate.explained >= _MIN_EVIDENCE:
        return estimate, MANHATTAN
    edge = notes.attempt("horizon", lambda: horizon_from_edge(estimate, prior, rgb_u8))
    if edge is not None:
        return edge, HORIZON
    # Few lines: believe them half.
    pitch = 0.5 * (estimate.pitch_rad + prior.pitch_rad)
    log_f = 0.5 * (estimate.log_f + prior.log_f)
    return replace(estimate, pitch_rad=pitch, roll_rad=0.5 * estimate.roll_rad, log_f=log_f), PRIOR


def label_cues(rgb_u8: np.ndarray, camera: PinholeCamera, estimate: CameraEstimate, notes: Notes) -> LabelCues | None:
    """Label probabilities of a photo; None when nothing can be said."""
    net = notes.attempt(
        "label network",
        lambda: load_packaged_net().label(rgb_u8, log_f=estimate.log_f, up_cam=estimate.up_cam),
    )
    floor = notes.attempt("floor colours", lambda: grabcut_floor(rgb_u8, camera, estimate))
    return notes.attempt("labels", lambda: join_cues(rgb_u8, camera, estimate, net, floor))


def _runs(cues: LabelCues, camera: PinholeCamera, view: PolarView) -> Runs:
    return column_runs(parse_columns(view.sample(cues.probability, camera), view), view)


def joint_confidence(
    estimate: CameraEstimate,
    prior: CameraPrior,
    cues: LabelCues | None,
    depth_z_m: np.ndarray,
    camera_height_m: float,
) -> float:
    """0..1: how far lines, both floor cues and the network's own depth agree."""
    lines = float(np.clip(estimate.explained / 0.5, 0.2, 1.0))
    if prior.sigma_log_f > 2.0 * EXIF_SIGMA_LOG_F:
        lines *= max(0.2, math.exp(-0.5 * (estimate.sigma_log_f / 0.2) ** 2))
    if cues is None:
        return 0.0
    floor = float(np.clip(cues.agreement, 0.2, 1.0))
    if cues.log_depth is None:
        return min(CLASSICAL_CONFIDENCE, lines * floor)
    h, w = cues.log_depth.shape
    rows = np.minimum((np.arange(h) + 0.5) * depth_z_m.shape[0] / h, depth_z_m.shape[0] - 1).astype(int)
    cols = np.minimum((np.arange(w) + 0.5) * depth_z_m.shape[1] / w, depth_z_m.shape[1] - 1).astype(int)
    mine = np.log(depth_z_m[rows[:, None], cols] / camera_height_m)
    solid = cues.probability[SKY] < 0.5
    agree = 0.2
    if solid.any():
        agree = float(np.clip(math.exp(-float(np.median(np.abs(mine - cues.log_depth)[solid])) / 0.35), 0.2, 1.0))
    return lines * floor * agree


def scale_sigma(estimate: CameraEstimate, layout: PolarLayout, mode: str) -> float:
    """One standard deviation of metres per unit: the guessed camera height and what the horizon's doubt makes of it.

    The distance of a contact at depression e moves by a factor dp / (sin e cos e) when the pitch is off by dp.
    """
    if mode == BACKDROP:
        return 0.6
    typical = float(np.median(layout.boundary_m))
    depression = math.atan2(layout.camera_height_m, typical)
    per_pitch = 1.0 / max(math.sin(depression) * math.cos(depression), 0.1)
    pitch_sigma = math.hypot(estimate.sigma_pitch_rad, math.radians(0.5))
    sigma = math.hypot(HEIGHT_SIGMA, 0.5 * per_pitch * pitch_sigma, 0.5 * estimate.sigma_log_f)
    return float(np.clip(sigma, HEIGHT_SIGMA, 0.6))
