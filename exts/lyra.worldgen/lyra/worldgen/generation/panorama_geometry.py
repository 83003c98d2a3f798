"""A panorama as a whole turn of known space: labels of views all around, joined before they become walls.

Each view is read as a photo whose camera is known. Their label probabilities meet in one polar grid of a full turn, so
walls, corners and furniture are found once and nothing has to be stitched: a column that two views see takes the mean
of both, weighted towards the middle of the picture, where the network knows most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ..core.camera import PinholeCamera
from ..core.config import GeometryConfig
from ..core.frames import camera_pose, rotate_vectors
from ..core.mesh import Label, TriMesh
from ..core.progress import SILENT, SupportsProgress
from ..core.raycast import Raycaster
from ..core.views import SOURCE_PHOTO, PhotoGeometry, PolarLayout, RgbdView, WorldViews
from .calibration import CameraEstimate, CameraPrior, detect_segments
from .geometry import (
    BACKDROP,
    BACKDROP_RADIUS_M,
    EXIF_SIGMA_LOG_F,
    MANHATTAN,
    PRIOR,
    Notes,
    joint_confidence,
    label_cues,
    scale_sigma,
)
from .label_cues import LabelCues
from .label_net import CEILING, SKY, WALL
from .layout_cast import cast_layout
from .panorama import Panorama
from .panorama_upright import Upright, family_of, find_upright, great_circles
from .photo_layout import backdrop_layout, build_layout
from .proxy import build_proxy, clear_start
from .stixels import AZIMUTH_BINS, ELEVATION_STEP_RAD, PolarView, column_runs, parse_columns

ROUNDS = ((8, math.radians(-14.0)), (4, math.radians(14.0)))
"""Number of views and pitch [rad] of each round: a dense one looks down at the floor and at what stands on it, one up
at the ceiling. Both pitches are usual for photos, so the label network knows them."""
LOOK_FOV_RAD = math.radians(90.0)
LOOK_PX = 480
"""Side of the views that are read; small panoramas are enlarged to it."""
FACE_FOV_RAD = math.radians(94.0)
"""The six remembered views overlap a little, so that no seam is left between them."""
FACE_PX = (96, 1024)
"""Least and greatest side of a remembered view."""
_MIN_EXPLAINED = 0.3
_PITCH_SIGMA_RAD = math.radians(0.7)
_WRAP_RAD = math.radians(50.0)
"""The turn is continued by this much on both sides while walls are fitted, so that the seam is no corner."""
_EDGE_SHARE = 0.25
_MIN_FLOOR_SHARE = 0.02


@dataclass(frozen=True, kw_only=True)
class PanoramaWorld:
    """What a panorama becomes."""

    geometry: PhotoGeometry
    """Of the view straight ahead; its layout is the whole turn."""
    views: WorldViews
    """Six views from the camera's place, the one straight ahead first, with the proxy world."""
    upright: Upright


@dataclass(frozen=True, kw_only=True)
class _Look:
    """One view that is read like a photo."""

    camera: PinholeCamera
    T_world_cam: np.ndarray
    known: np.ndarray
    """[H, W] bool."""
    estimate: CameraEstimate
    cues: LabelCues | None


def panorama_world(panorama: Panorama, cfg: GeometryConfig, *, progress: SupportsProgress = SILENT) -> PanoramaWorld:
    """A closed world from one panorama: everything around is known, only what stands behind things is not.

    The floor is as far below the camera as `cfg.camera_height_m` says. Like a photo's geometry it never fails on a
    decoded picture: what cannot be read costs confidence, down to a bare disc with a backdrop.

    Raises:
        DependencyError: OpenCV or SciPy is missing.
        Cancelled: the user stopped.
    """
    notes = Notes([])
    directions = [(2 * np.pi * k / count, pitch) for count, pitch in ROUNDS for k in range(count)]
    progress.step("panorama", 0, len(directions) + 2, "lines")
    upright = notes.attempt("upright", lambda: _upright_of(panorama))
    if upright is None:
        upright = Upright(R_level_pano=np.eye(3), tilt_rad=0.0, yaw_rad=0.0, explained=0.0, zenith_share=0.0)
    mode = MANHATTAN if upright.explained >= _MIN_EXPLAINED else PRIOR
    looks: list[_Look] = []
    for heading, pitch in directions:
        progress.step("panorama", len(looks) + 1, len(directions) + 2, "labels")
        looks.append(_look(panorama, upright, heading, pitch, cfg.camera_height_m, notes))
    layout = notes.attempt("layout", lambda: _layout_of(looks, upright, cfg, manhattan=mode == MANHATTAN))
    confidence = 0.0
    if layout is not None:
        confidence, floor_share = _confidence(looks, layout)
        if floor_share < _MIN_FLOOR_SHARE or (mode == PRIOR and confidence < 0.1):
            layout = None
    if layout is None:
        mode, confidence = BACKDROP, min(confidence, 0.1)
        radius = min(BACKDROP_RADIUS_M / 1.5 * cfg.camera_height_m, cfg.max_extent_m)
        layout = backdrop_layout(_full_view(0.0), None, camera_height_m=cfg.camera_height_m, radius_m=radius)
    layout = clear_start(layout)
    progress.step("panorama", len(directions) + 1, len(directions) + 2, "views")
    proxy = build_proxy(layout)
    views = WorldViews(
        views=_faces(panorama, upright, proxy, layout.camera_height_m), proxy=proxy, ceiling_m=layout.ceiling_m
    )
    progress.step("panorama", len(directions) + 2, len(directions) + 2)
    first = views.photo_view
    depth, labels = cast_layout(layout, first.camera, first.T_world_cam)
    geometry = PhotoGeometry(
        camera=first.camera,
        T_world_cam=first.T_world_cam,
        depth_z_m=depth,
        labels=labels,
        layout=layout,
        confidence=confidence,
        mode=mode,
        manhattan_yaw_rad=upright.yaw_rad,
        relative_scale_sigma=scale_sigma(looks[0].estimate, layout, mode),
        backend="embedded",
        notes=(f"panorama tilted by {math.degrees(upright.tilt_rad):.1f} degrees, turned upright", *notes.lines),
    )
    return PanoramaWorld(geometry=geometry, views=views, upright=upright)


def _upright_of(panorama: Panorama) -> Upright:
    camera = PinholeCamera.from_hfov(LOOK_PX, LOOK_PX, LOOK_FOV_RAD)
    parts = []
    for count, pitch in ROUNDS:
        for k in range(count):
            R = camera_pose(np.zeros(3), heading_rad=2 * np.pi * k / count, pitch_rad=pitch)[:3, :3]
            rgb, known = panorama.look(camera, R)
            if known.mean() > 0.3:
                parts.append((detect_segments(rgb), camera, R))
    return find_upright(great_circles(parts))


def _look(
    panorama: Panorama, upright: Upright, heading_rad: float, pitch_rad: float, camera_height_m: float, notes: Notes
) -> _Look:
    """One level-headed view of the upright panorama with its label cues."""
    camera = PinholeCamera.from_hfov(LOOK_PX, LOOK_PX, LOOK_FOV_RAD)
    T_world_cam = camera_pose(np.array([0.0, 0.0, camera_height_m]), heading_rad=heading_rad, pitch_rad=pitch_rad)
    rgb, known = panorama.look(camera, upright.R_level_pano.T @ T_world_cam[:3, :3])
    segments = detect_segments(rgb)
    estimate = CameraEstimate(
        log_f=math.log(2.0 * camera.fx_px / camera.width_px),
        pitch_rad=pitch_rad,
        roll_rad=0.0,
        yaw_rad=upright.yaw_rad,
        explained=upright.explained,
        sigma_log_f=0.0,
        sigma_pitch_rad=_PITCH_SIGMA_RAD if upright.explained >= _MIN_EXPLAINED else 3.0 * _PITCH_SIGMA_RAD,
        segments=segments,
        family=family_of(segments, camera, T_world_cam[:3, :3], upright),
    )
    cues = label_cues(rgb, camera, estimate, notes) if known.mean() > 0.3 else None
    return _Look(camera=camera, T_world_cam=T_world_cam, known=known, estimate=estimate, cues=cues)


def _full_view(wrap_rad: float) -> PolarView:
    """The polar grid of a whole turn, continued on both sides; nothing in it is seen yet."""
    step = 2.0 * np.pi / AZIMUTH_BINS
    more = round(wrap_rad / step)
    azimuth = -np.pi + (np.arange(-more, AZIMUTH_BINS + more) + 0.5) * step
    lowest, highest = math.radians(-62.0), math.radians(60.0)
    rows = np.arange(math.floor(lowest / ELEVATION_STEP_RAD), math.ceil(highest / ELEVATION_STEP_RAD))
    elevation = (rows + 0.5) * ELEVATION_STEP_RAD
    shape = len(elevation), len(azimuth)
    return PolarView(
        azimuth_rad=azimuth,
        elevation_rad=elevation,
        pixel_uv=np.zeros((*shape, 2)),
        seen=np.zeros(shape, bool),
    )


def _joined_labels(looks: list[_Look], *, outdoors: bool) -> tuple[np.ndarray, PolarView]:
    """Label probabilities [5, E, A] of the whole turn and where they are known."""
    view = _full_view(0.0)
    el, az = view.elevation_rad, view.azimuth_rad
    direction = np.stack(
        [
            np.cos(el)[:, None] * np.cos(az),
            np.cos(el)[:, None] * np.sin(az),
            np.broadcast_to(np.sin(el)[:, None], view.seen.shape),
        ],
        -1,
    )
    total = np.zeros((5, *view.seen.shape))
    weight = np.zeros(view.seen.shape)
    for look in looks:
        if look.cues is None:
            continue
        camera = look.camera
        uv, depth = camera.project(rotate_vectors(look.T_world_cam.T, direction))
        uv = np.where(depth[..., None] > 0.02, uv, -1e4)
        across = np.minimum(uv[..., 0], camera.width_px - uv[..., 0]) / camera.width_px
        down = np.minimum(uv[..., 1], camera.height_px - uv[..., 1]) / camera.height_px
        inside = (across > 0) & (down > 0)
        u = np.clip(uv[..., 0], 0, camera.width_px - 1).astype(int)
        v = np.clip(uv[..., 1], 0, camera.height_px - 1).astype(int)
        share = np.where(
            inside & look.known[v, u], np.clip(np.minimum(across, down) / _EDGE_SHARE, 0.02, 1.0) ** 2, 0.0
        )
        part = replace(view, pixel_uv=np.where(inside[..., None], uv, 0.0))
        total += share * part.sample(look.cues.probability.astype(np.float32), camera)
        weight += share
    p = total / np.maximum(weight, 1e-9)
    # One sky for all: what single views took for a ceiling or a sky has to agree.
    away, instead = (CEILING, WALL) if outdoors else (SKY, CEILING)
    p[instead] += p[away]
    p[away] = 0.0
    return p, replace(view, seen=weight > 0)


def _layout_of(looks: list[_Look], upright: Upright, cfg: GeometryConfig, *, manhattan: bool) -> PolarLayout:
    """The layout of the whole turn."""
    votes = [look.cues.outdoors for look in looks if look.cues is not None]
    outdoors = sum(votes) > 0.5 * len(votes)
    p, turn = _joined_labels(looks, outdoors=outdoors)
    wide = _full_view(_WRAP_RAD)
    more = (len(wide.azimuth_rad) - AZIMUTH_BINS) // 2
    columns = np.arange(-more, AZIMUTH_BINS + more) % AZIMUTH_BINS
    wide = replace(wide, seen=turn.seen[:, columns])
    layout = build_layout(
        column_runs(parse_columns(p[:, :, columns], wide), wide),
        wide,
        camera_height_m=cfg.camera_height_m,
        max_extent_m=cfg.max_extent_m,
        manhattan_yaw_rad=upright.yaw_rad if manhattan else None,
        outdoors=outdoors,
    )
    return _cut(layout, more)


def _cut(layout: PolarLayout, more: int) -> PolarLayout:
    """The middle turn of a layout that was continued by `more` bins on both sides."""
    middle = slice(more, more + AZIMUTH_BINS)
    keep = (layout.object_bin >= more) & (layout.object_bin < more + AZIMUTH_BINS)
    return replace(
        layout,
        azimuth_rad=layout.azimuth_rad[middle],
        boundary_m=layout.boundary_m[middle],
        boundary_top_m=layout.boundary_top_m[middle],
        boundary_label=layout.boundary_label[middle],
        object_bin=(layout.object_bin[keep] - more).astype(np.int32),
        object_near_m=layout.object_near_m[keep],
        object_far_m=layout.object_far_m[keep],
        object_top_m=layout.object_top_m[keep],
    )


def _confidence(looks: list[_Look], layout: PolarLayout) -> tuple[float, float]:
    """0..1 mean over the views of how far their cues agree with the layout, and the share of floor in it."""
    prior = CameraPrior(sigma_log_f=EXIF_SIGMA_LOG_F)
    values, floors = [], []
    for look in looks:
        depth, labels = cast_layout(layout, look.camera, look.T_world_cam)
        floors.append(float((labels == Label.FLOOR).mean()))
        if look.cues is not None:
            values.append(joint_confidence(look.estimate, prior, look.cues, depth, layout.camera_height_m))
    return float(np.mean(values)) if values else 0.0, float(np.mean(floors))


def _faces(panorama: Panorama, upright: Upright, proxy: TriMesh, camera_height_m: float) -> list[RgbdView]:
    """Six views all around, ahead first: colour of the panorama, depth of the proxy world."""
    side = int(np.clip(2.0 * math.tan(0.5 * FACE_FOV_RAD) * panorama.px_per_rad, *FACE_PX))
    camera = PinholeCamera.from_hfov(side, side, FACE_FOV_RAD)
    caster = Raycaster(proxy)
    eye = np.array([0.0, 0.0, camera_height_m])
    poses = [camera_pose(eye, heading_rad=k * 0.5 * np.pi) for k in range(4)]
    poses += [camera_pose(eye, pitch_rad=sign * 0.5 * np.pi) for sign in (1.0, -1.0)]
    views = []
    for view_id, T_world_cam in enumerate(poses):
        rgb, known = panorama.look(camera, upright.R_level_pano.T @ T_world_cam[:3, :3])
        image = caster.render(camera, T_world_cam)
        valid = image.hit & known
        views.append(
            RgbdView(
                view_id=view_id,
                camera=camera,
                T_world_cam=T_world_cam,
                rgb_u8=rgb,
                depth_z_m=np.where(image.hit, image.depth_z_m, 0.0).astype(np.float32),
                valid=valid,
                source=np.where(valid, SOURCE_PHOTO, 0).astype(np.uint8),
                labels=image.labels(proxy),
            )
        )
    return views
