"""Which way is up in a panorama, and which way its walls run: from the straight lines all around.

A straight edge and the eye span a plane, and the plane of a vertical edge holds the zenith. All around at once the
zenith needs no focal length and no guess about pitch, so a tilt shows to a fraction of a degree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import rotation_x, rotation_y, rotation_z
from ..core.optional import require
from .calibration import ACROSS, ALONG, UNEXPLAINED, VERTICAL, Segments

MAX_TILT_RAD = math.radians(12.0)
"""Panoramas are turned upright when they are stitched; what is left is small."""
MIN_SEGMENTS = 24
_TILT_SIGMA_RAD = math.radians(3.0)
_ANGLE_SIGMA_RAD = math.radians(0.6)
_EXPLAINED_KERNEL = 0.3
_EVIDENCE = 120.0
_STEEP_RAD = math.radians(35.0)
"""A line may belong to the zenith when its plane holds a direction that close to it."""
_SEARCH_LINES = 600


@dataclass(frozen=True, kw_only=True)
class GreatCircles:
    """Straight lines all around a panorama."""

    normal_pano: np.ndarray
    """[N, 3] unit normal of the plane through line and eye, frame `pano`."""
    weight: np.ndarray
    """[N] trust, sums to one."""
    sigma_rad: np.ndarray
    """[N] how far a plane may be turned."""


@dataclass(frozen=True, kw_only=True)
class Upright:
    """How a panorama stands."""

    R_level_pano: np.ndarray
    """[3, 3] turns the panorama upright; the middle column stays ahead."""
    tilt_rad: float
    """Angle between its middle axis and the vertical."""
    yaw_rad: float
    """Azimuth of one family of walls in the level frame, in [0, pi/2)."""
    explained: float
    """Share of line weight that zenith and both wall directions explain, 0..1."""
    zenith_share: float
    """Share that the zenith explains."""

    def directions_level(self) -> np.ndarray:
        """[3, 3] rows: zenith and both wall directions in the level frame."""
        return level_directions(self.yaw_rad)


def level_directions(yaw_rad: float) -> np.ndarray:
    """[3, 3] rows: zenith and the two wall directions of that heading in a level frame."""
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    return np.array([[0.0, 0.0, 1.0], [c, s, 0.0], [-s, c, 0.0]])


def plane_normals(segments: Segments, camera: PinholeCamera, R_to_cam: np.ndarray) -> np.ndarray:
    """[N, 3] unit normals of the planes through segments and eye; `R_to_cam` [3, 3] takes camera directions there."""
    ends = segments.ends_px.reshape(-1, 2, 2)
    rays = np.stack(
        [
            (ends[..., 0] - camera.cx_px) / camera.fx_px,
            (ends[..., 1] - camera.cy_px) / camera.fy_px,
            np.ones(ends.shape[:2]),
        ],
        -1,
    )
    normal = np.cross(rays[:, 0], rays[:, 1])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    return normal @ R_to_cam.T


def great_circles(parts: list[tuple[Segments, PinholeCamera, np.ndarray]]) -> GreatCircles:
    """Lines of all views; each part holds a view's segments, its camera and R_pano_cam [3, 3]."""
    normals = [plane_normals(segments, camera, R) for segments, camera, R in parts]
    weight = np.concatenate([segments.weight for segments, _, _ in parts])
    sigma = np.concatenate([segments.sigma_rad for segments, _, _ in parts])
    order = np.argsort(-weight, kind="stable")
    total = max(float(weight.sum()), 1e-9)
    return GreatCircles(
        normal_pano=np.concatenate(normals)[order],
        weight=weight[order] / total,
        sigma_rad=np.maximum(sigma[order], _ANGLE_SIGMA_RAD),
    )


def families(normal: np.ndarray, sigma_rad: np.ndarray, directions: np.ndarray, wide: float = 1.0) -> np.ndarray:
    """[..., N] how well each plane [N, 3] holds each of the directions [..., 3]."""
    off = np.abs(directions @ normal.T)
    return np.exp(-0.5 * np.minimum((off / (sigma_rad * wide)) ** 2, 60.0))


def family_of(segments: Segments, camera: PinholeCamera, R_level_cam: np.ndarray, upright: Upright) -> np.ndarray:
    """[N] int8 family of each segment of a view: `VERTICAL`, `ALONG`, `ACROSS` or `UNEXPLAINED`."""
    if not len(segments.length):
        return np.zeros(0, np.int8)
    normal = plane_normals(segments, camera, R_level_cam)
    kernel = families(normal, segments.sigma_rad, upright.directions_level())
    kernel[0] *= np.abs(segments.tangent[:, 1]) > math.sin(_STEEP_RAD)
    names = np.array([VERTICAL, ALONG, ACROSS], np.int8)
    return np.where(kernel.max(0) < _EXPLAINED_KERNEL, np.int8(UNEXPLAINED), names[kernel.argmax(0)])


def find_upright(circles: GreatCircles) -> Upright:
    """Tilt and wall heading that explain the lines best; upright as it is where there are too few."""
    if len(circles.weight) < MIN_SEGMENTS:
        return Upright(R_level_pano=np.eye(3), tilt_rad=0.0, yaw_rad=0.0, explained=0.0, zenith_share=0.0)
    short = GreatCircles(
        normal_pano=circles.normal_pano[:_SEARCH_LINES],
        weight=circles.weight[:_SEARCH_LINES] / circles.weight[:_SEARCH_LINES].sum(),
        sigma_rad=circles.sigma_rad[:_SEARCH_LINES],
    )
    angles = np.linspace(-MAX_TILT_RAD, MAX_TILT_RAD, 25)
    tilts = np.stack(np.meshgrid(angles, angles, indexing="ij"), -1).reshape(-1, 2)
    zenith = np.stack([_rotation(a, b)[2] for a, b in tilts])
    upright = families(short.normal_pano, short.sigma_rad, zenith, 2.0) @ short.weight
    score = _EVIDENCE * upright - 0.5 * (tilts**2).sum(1) / _TILT_SIGMA_RAD**2
    yaws = np.radians(np.arange(0.0, 90.0, 1.5))
    best: tuple[float, np.ndarray] = (-np.inf, np.zeros(3))
    for index in np.argsort(-score, kind="stable")[:8]:
        start = np.array([[*tilts[index], yaw] for yaw in yaws])
        value = _objective(short, start, 2.0)
        k = int(value.argmax())
        if value[k] > best[0]:
            best = float(value[k]), start[k]
    x = best[1]
    optimize = require("scipy.optimize", extra="gen", package="scipy")
    for wide in (1.5, 1.0):
        found = optimize.minimize(
            lambda z, wide=wide: -float(_objective(circles, z[None], wide)[0]),
            x,
            method="Nelder-Mead",
            options={
                "maxiter": 160,
                "initial_simplex": np.vstack([x, x + np.diag([0.01, 0.01, 0.02])]),
                "xatol": 1e-4,
                "fatol": 1e-3,
            },
        )
        x = found.x
    R = _rotation(x[0], x[1])
    kernel = families(circles.normal_pano, circles.sigma_rad, _directions(x[None])[0])
    return Upright(
        R_level_pano=R,
        tilt_rad=float(math.acos(np.clip(R[2, 2], -1.0, 1.0))),
        yaw_rad=float(np.mod(x[2], 0.5 * np.pi)),
        explained=float(kernel.max(0) @ circles.weight),
        zenith_share=float(kernel[0] @ circles.weight),
    )


def _rotation(about_x_rad: float, about_y_rad: float) -> np.ndarray:
    """R_level_pano of two small turns about the horizontal axes; the heading of the middle column stays zero."""
    R = rotation_x(about_x_rad) @ rotation_y(about_y_rad)
    ahead = R[:, 0]
    return rotation_z(-math.atan2(ahead[1], ahead[0])) @ R


def _directions(x: np.ndarray) -> np.ndarray:
    """[K, 3, 3] zenith and wall directions in the frame `pano` at x [K, 3] of two tilts and the yaw."""
    out = np.empty((len(x), 3, 3))
    for k, (a, b, yaw) in enumerate(x):
        out[k] = level_directions(yaw) @ _rotation(a, b)
    return out


def _objective(circles: GreatCircles, x: np.ndarray, wide: float) -> np.ndarray:
    """[K] log posterior at x [K, 3] of two tilts and the yaw."""
    kernel = families(circles.normal_pano, circles.sigma_rad, _directions(x), wide)
    score = kernel.max(-2) @ circles.weight
    return _EVIDENCE * score - 0.5 * (x[:, :2] ** 2).sum(1) / _TILT_SIGMA_RAD**2
