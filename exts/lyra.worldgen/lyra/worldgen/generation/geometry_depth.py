"""Understanding a photo with a depth model: the model sees the shapes, the floor under the camera gives the metres.

Lines, labels and the known camera height stay in charge of what they know better: where up is to begin with, what is
floor, and how large the world is. The model's own scale, if it has one, is compared and reported. An answer that makes
no room (no floor plane, a constant map) costs confidence and the photo is understood by the embedded chain.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import numpy as np

from ..core.camera import PinholeCamera
from ..core.config import GeometryConfig, WorldConfig
from ..core.frames import camera_pose, pitch_roll_of
from ..core.mesh import Label
from ..core.optional import require
from ..core.progress import SILENT, SupportsProgress
from ..core.views import DepthResult, Photo, PhotoGeometry
from .align import to_metres
from .depth import DEPTHS, DepthEstimator
from .depth_layout import ceiling_height, depth_runs, layout_from_depth, polar_samples
from .geometry import (
    EXIF_SIGMA_LOG_F,
    HEIGHT_SIGMA,
    MANHATTAN,
    EmbeddedGeometry,
    Notes,
    calibrated,
    label_cues,
    prior_for,
)
from .ground_plane import GroundFit, fit_ground
from .label_cues import LabelCues
from .label_net import FLOOR, WALL
from .layout_cast import cast_layout
from .stixels import polar_view

FALLBACK_SHARE = 0.5
"""What remains of the embedded chain's confidence when the model's answer made no room."""
_FOV_RANGE_DEG = (15.0, 140.0)
_WORTH_SAYING = 0.25
"""Relative difference of the model's own scale above which the scale is doubted more than usual."""

_log = logging.getLogger(__name__)


class DepthGeometry:
    """Any registered depth model as a geometry backend."""

    def __init__(self, estimator: DepthEstimator) -> None:
        self.estimator = estimator

    @classmethod
    def from_config(cls, config: WorldConfig) -> DepthGeometry:
        """The backend around the depth model that `geometry.backend` names; see `DepthEstimator.from_config`."""
        return cls(DEPTHS.load(config.geometry.backend).from_config(config))

    @property
    def name(self) -> str:
        return self.estimator.name

    @property
    def model(self) -> str:
        return self.estimator.model

    @property
    def weights_licence(self) -> str:
        return self.estimator.weights_licence

    def estimate(self, photo: Photo, cfg: GeometryConfig, *, progress: SupportsProgress = SILENT) -> PhotoGeometry:
        """See `estimate_geometry`. Raises only for the model itself: its weights, its packages, memory, no number."""
        progress.step("geometry", 0, 4, f"depth model {self.model}")
        rgb = np.ascontiguousarray(photo.rgb_u8)
        result = self.estimator.estimate(rgb, _known_camera(photo))
        notes = Notes([])
        found = notes.attempt("depth", lambda: self._understood(photo, rgb, result, cfg, notes, progress))
        if isinstance(found, PhotoGeometry):
            return found
        reason = notes.lines[-1] if found is None else f"depth model {self.model}: {found}"
        _log.warning("%s; the embedded geometry is used instead", reason)
        geometry = EmbeddedGeometry().estimate(photo, cfg, progress=progress)
        return replace(
            geometry,
            confidence=FALLBACK_SHARE * geometry.confidence,
            notes=(f"{reason}; the embedded geometry is used instead", *geometry.notes),
        )

    def _understood(
        self,
        photo: Photo,
        rgb: np.ndarray,
        result: DepthResult,
        cfg: GeometryConfig,
        notes: Notes,
        progress: SupportsProgress,
    ) -> PhotoGeometry | str:
        """The geometry, or why the model's answer makes none."""
        height, width = rgb.shape[:2]
        prior = prior_for(photo)
        stated = None if photo.calibrated else result.K_px
        camera = None if stated is None else _camera_of(stated, width, height)
        if stated is not None and camera is None:
            notes.lines.append(f"depth model {self.model} gave no usable intrinsics; those of the lines are used")
        if camera is not None:
            fov = 2.0 * math.atan(0.5 * max(width, height) / camera.fx_px)
            prior = replace(prior, long_fov_rad=fov, sigma_log_f=EXIF_SIGMA_LOG_F)
        estimate, mode = calibrated(rgb, prior, notes)
        if camera is None:
            camera = PinholeCamera.from_hfov(width, height, estimate.hfov_rad(width, height))
        progress.step("geometry", 1, 4, "labels")
        cues = label_cues(rgb, camera, estimate, notes)
        if cues is None:
            return "nothing says what is floor"
        labels = cues.probability.argmax(0)
        ground = fit_ground(
            result,
            camera,
            floor=_at_size(labels == FLOOR, height, width),
            wall=_at_size(labels == WALL, height, width),
            up_cam=estimate.up_cam,
            camera_height_m=cfg.camera_height_m,
        )
        if isinstance(ground, str):
            return ground
        depth, valid = to_metres(result, ground.factor, ground.shift)
        T_world_cam = _pose(ground.up_cam, cfg.camera_height_m)

        progress.step("geometry", 2, 4, "layout")
        view = polar_view(camera, T_world_cam)
        samples = polar_samples(depth, valid, camera, T_world_cam, view)
        probability = view.sample(cues.probability, camera)
        ceiling = ceiling_height(samples, probability, cfg.camera_height_m)
        classes, runs = depth_runs(samples, probability, view, ceiling_m=ceiling)
        yaw = ground.wall_yaw_rad
        if yaw is None and mode == MANHATTAN:
            yaw = estimate.yaw_rad
        layout = layout_from_depth(
            samples,
            classes,
            runs,
            view,
            camera_height_m=cfg.camera_height_m,
            max_extent_m=cfg.max_extent_m,
            manhattan_yaw_rad=yaw,
            ceiling_m=ceiling,
            outdoors=cues.outdoors,
        )
        progress.step("geometry", 3, 4, "depth")
        cast, cast_labels = cast_layout(layout, camera, T_world_cam)
        scale_off = _scale_note(result, ground, cfg, self.model, notes)
        progress.step("geometry", 4, 4)
        return PhotoGeometry(
            camera=camera,
            T_world_cam=T_world_cam,
            depth_z_m=_joined(depth, valid, cast, cast_labels),
            labels=cast_labels,
            layout=layout,
            confidence=_confidence(ground, cues, depth, valid, cast, cast_labels),
            mode=mode,
            manhattan_yaw_rad=estimate.yaw_rad if yaw is None else yaw,
            relative_scale_sigma=float(
                np.clip(math.hypot(HEIGHT_SIGMA, ground.residual, scale_off), HEIGHT_SIGMA, 0.6)
            ),
            backend=self.name,
            notes=tuple(notes.lines),
        )


def _known_camera(photo: Photo) -> PinholeCamera | None:
    """Intrinsics that the photo's file states."""
    height, width = photo.rgb_u8.shape[:2]
    return None if photo.hfov_rad is None else PinholeCamera.from_hfov(width, height, photo.hfov_rad)


def _camera_of(K_px: np.ndarray, width: int, height: int) -> PinholeCamera | None:
    """The camera of a model's intrinsics; None if nobody builds such cameras."""
    if not np.isfinite(K_px).all() or min(K_px[0, 0], K_px[1, 1]) <= 0:
        return None
    camera = PinholeCamera.from_K_px(K_px, width, height)
    sane = 0.0 < camera.cx_px < width and 0.0 < camera.cy_px < height and 0.5 < camera.fx_px / camera.fy_px < 2.0
    low, high = _FOV_RANGE_DEG
    return camera if sane and low < math.degrees(max(camera.hfov_rad, camera.vfov_rad)) < high else None


def _at_size(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """A small mask at the size of the photo."""
    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    return cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)


def _pose(up_cam: np.ndarray, camera_height_m: float) -> np.ndarray:
    """T_world_cam of a camera above the origin with heading 0 and this up direction."""
    frame = np.eye(4)
    frame[2, :3] = up_cam
    pitch, roll = pitch_roll_of(frame)
    return camera_pose(np.array([0.0, 0.0, camera_height_m]), pitch_rad=pitch, roll_rad=roll)


def _scale_note(result: DepthResult, ground: GroundFit, cfg: GeometryConfig, model: str, notes: Notes) -> float:
    """Say how far a metric model's own scale is from the camera height; returns what that adds to the doubt."""
    if not result.metric:
        return 0.0
    ratio = ground.own_height / cfg.camera_height_m
    word = "above" if ratio >= 1.0 else "below"
    notes.lines.append(
        f"depth model {model} puts the camera {ground.own_height:.2f} m above the floor, "
        f"{100 * abs(ratio - 1.0):.0f} % {word} the camera height of {cfg.camera_height_m:g} m, which is used"
    )
    off = abs(math.log(ratio))
    return 0.5 * off if off > _WORTH_SAYING else 0.0


def _joined(depth: np.ndarray, valid: np.ndarray, cast: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[H, W] float32: the model's depth; the floor exactly flat, and the layout's where the model knows nothing."""
    solid = valid & ~np.isin(labels, (Label.SKY, Label.BACKDROP))
    near_plane = (labels == Label.FLOOR) & (np.abs(np.log(np.where(valid, depth, 1.0) / cast)) < 0.1)
    return np.clip(np.where(solid & ~near_plane, depth, cast), 0.05, 150.0).astype(np.float32)


def _confidence(
    ground: GroundFit, cues: LabelCues, depth: np.ndarray, valid: np.ndarray, cast: np.ndarray, labels: np.ndarray
) -> float:
    """0..1: how flat the floor is, how far both floor cues agree, and how much of the depth the layout explains."""
    floor = min(ground.inlier_share / 0.8, 1.0) * math.exp(-ground.residual / 0.05)
    upright = math.exp(-0.5 * (ground.tilt_rad / math.radians(8.0)) ** 2)
    solid = valid & ~np.isin(labels, (Label.SKY, Label.BACKDROP))
    if not solid.any():
        return 0.1
    off = float(np.median(np.abs(np.log(depth[solid] / cast[solid]))))
    explained = float(np.clip(math.exp(-off / 0.2), 0.2, 1.0))
    return float(np.clip(floor * upright * explained * max(cues.agreement, 0.5) ** 0.5, 0.0, 1.0))
