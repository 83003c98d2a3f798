"""Lengths between pixels of a photo in the units of its geometry, and how they would change if the camera were another.

A length is only as good as the camera that it was lifted with: pitch, roll and focal length are estimates. Each length
therefore comes with its derivative by those three, so that what two lengths have in common is not counted twice.

Everything stands on the floor: a pixel lies in the horizontal distance at which its surface meets the floor, so one
contact with the floor and one line of sight give the point (Criminisi, Reid and Zisserman, "Single View Metrology",
2000). That holds for floor, walls and objects alike; the ceiling is as high as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ..core.camera import PinholeCamera
from ..core.errors import InputError
from ..core.frames import pitch_roll_of, up_in_cam
from ..core.mesh import Label
from ..core.views import PhotoGeometry

CLICK_SIGMA_PX = 2.0
"""How well people hit a pixel, one standard deviation along each axis, in a photo of `CLICK_LONG_SIDE_PX`."""
CLICK_LONG_SIDE_PX = 1280
STEPS = np.array([math.radians(0.2), math.radians(0.2), 0.01])
"""Differences for derivatives by pitch, roll [rad] and log focal length."""
_LEAST_DEPRESSION = math.radians(0.6)
_EDGE_RATIO = 1.12
"""Depths around a click that differ by more lie on two surfaces."""
FAR = 100.0
"""Depth that stands for none where surfaces are compared."""
_NOWHERE = (Label.SKY, Label.BACKDROP)


@dataclass(frozen=True, kw_only=True)
class LiftedLength:
    """A length in the picture and what it would be with other cameras."""

    units: float
    by_camera: np.ndarray
    """[3] derivative of the log length by pitch, roll [1/rad] and log focal length."""
    sigma: float
    """Relative, from the clicks alone."""
    on_floor: bool
    """Whether both ends lie on the floor itself, whose depth no label can spoil."""


class PhotoLift:
    """Pixels of a photo to points of its world, with the estimated camera or one a little off."""

    def __init__(self, geometry: PhotoGeometry) -> None:
        self.geometry = geometry
        self.camera = geometry.camera
        self.height = float(geometry.T_world_cam[2, 3])
        self._pitch_roll = np.array(pitch_roll_of(geometry.T_world_cam))

    def rays(self, uv_px: np.ndarray, off: np.ndarray) -> np.ndarray:
        """Rays [N, 3] in a level frame (right, forward, up) of pixels [N, 2] for a camera that is off by [3]."""
        c, f = self.camera, math.exp(off[2])
        x, y = (uv_px[:, 0] - c.cx_px) / (c.fx_px * f), (uv_px[:, 1] - c.cy_px) / (c.fy_px * f)
        return np.stack([x, y, np.ones_like(x)], -1) @ self._level(off)

    def _level(self, off: np.ndarray) -> np.ndarray:
        """[3, 3] columns right, forward, up of the level frame in the camera."""
        up = up_in_cam(self._pitch_roll[0] + off[0], self._pitch_roll[1] + off[1])
        forward = np.array([0.0, 0.0, 1.0]) - up[2] * up
        forward /= np.linalg.norm(forward)
        return np.stack([np.cross(forward, up), forward, up], -1)

    def surface(self, uv_px: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Depth [N] along the axis, label [N] and whether there is one [N] at pixels [N, 2].

        Near an edge the nearer surface counts: people click on things, not behind them.
        """
        depth, labels = self.geometry.depth_z_m, self.geometry.labels
        h, w = depth.shape
        reach = max(1, round(CLICK_SIGMA_PX * max(h, w) / CLICK_LONG_SIDE_PX))
        col = np.clip(uv_px[:, 0].astype(int), 0, w - 1)
        row = np.clip(uv_px[:, 1].astype(int), 0, h - 1)
        offsets = np.array([(r, c) for r in (-reach, 0, reach) for c in (-reach, 0, reach)])
        rows = np.clip(row[:, None] + offsets[:, 0], 0, h - 1)
        cols = np.clip(col[:, None] + offsets[:, 1], 0, w - 1)
        around, solid = depth[rows, cols], ~np.isin(labels[rows, cols], _NOWHERE)
        near = np.where(solid, around, np.inf).min(1)
        own = np.where(solid[:, 4], around[:, 4], np.inf)
        take = np.where(own <= _EDGE_RATIO * near, own, near)
        every, seen = np.arange(len(uv_px)), np.asarray(solid.any(1))
        best = np.where(solid, np.abs(around - np.where(seen, take, 0.0)[:, None]), np.inf).argmin(1)
        return take, labels[rows[every, best], cols[every, best]], seen

    def points(self, uv_px: np.ndarray, depth: np.ndarray, label: np.ndarray, off: np.ndarray) -> np.ndarray:
        """Points [N, 3] (right, forward, up; the floor at 0) of pixels on surfaces, for a camera that is off by [3]."""
        none = np.zeros(3)
        plain = self.rays(uv_px, none) * depth[:, None]
        eye = np.array([0.0, 0.0, self.height])
        if not off.any():
            return plain + eye
        # Where the surface meets the floor, as a direction of the estimated camera, seen by the other one.
        contact = np.stack([plain[:, 0], plain[:, 1], np.full(len(plain), -self.height)], -1) @ self._level(none).T
        contact[:, :2] /= math.exp(off[2])
        contact = contact @ self._level(off)
        across = np.maximum(np.hypot(contact[:, 0], contact[:, 1]), 1e-9)
        steep = np.maximum(-contact[:, 2] / across, math.tan(_LEAST_DEPRESSION))
        ray = self.rays(uv_px, off)
        level = np.maximum(np.hypot(ray[:, 0], ray[:, 1]), 1e-9)
        distance = self.height / steep
        high = label == Label.CEILING
        above = np.maximum(ray[:, 2] / level, math.tan(_LEAST_DEPRESSION))
        distance = np.where(high, plain[:, 2] / above, distance)
        return ray * (distance / level)[:, None] + eye

    def between(self, ends_px: np.ndarray) -> LiftedLength:
        """The length between two pixels [2, 2] of the working picture, through the geometry's depth.

        Raises:
            InputError: an end shows the sky or nothing that has a distance.
        """
        depth, label, solid = self.surface(ends_px)
        for end, there in zip(ends_px, solid, strict=True):
            if not there:
                raise InputError(
                    f"the pixel ({end[0]:.0f}, {end[1]:.0f} at working size) shows the sky or the far backdrop, which "
                    "has no distance; click on something nearer"
                )

        def length(ends: np.ndarray, off: np.ndarray) -> float:
            z, names = (depth, label) if ends is ends_px else self.surface(ends)[:2]
            a, b = self.points(ends, z, names, off)
            return float(np.linalg.norm(b - a))

        lifted = self._derived(ends_px, length, on_floor=bool((label == Label.FLOOR).all()))
        if lifted.on_floor:
            return lifted
        return replace(lifted, sigma=math.hypot(lifted.sigma, self._unevenness(ends_px, depth)))

    def _unevenness(self, ends_px: np.ndarray, depth: np.ndarray) -> float:
        """How far the surface between two pixels is from straight, as a log depth: what stands between is doubtful.

        Along a straight line in space the inverse depth is linear in the picture.
        """
        share = np.linspace(0.0, 1.0, 33)[1:-1]
        between, _, solid = self.surface(ends_px[0] + share[:, None] * (ends_px[1] - ends_px[0]))
        straight = 1.0 / depth[0] + share * (1.0 / depth[1] - 1.0 / depth[0])
        off = np.abs(np.log(np.where(solid, between, FAR) * straight))
        return float(np.percentile(np.minimum(off, 1.0), 75))

    def upright(self, ends_px: np.ndarray) -> LiftedLength:
        """The height of something that stands on the floor, from its two ends [2, 2] at working size.

        The floor plane alone decides; neither labels nor depth take part.

        Raises:
            InputError: the lower end is not below the horizon, or what stands there is no height.
        """
        foot = int(ends_px[:, 1].argmax())
        depression = -self.rays(ends_px[[foot]], np.zeros(3))[0]
        if depression[2] <= math.tan(math.radians(1.0)) * math.hypot(depression[0], depression[1]):
            raise InputError(
                "the lower end of something that stands on the floor lies at or above the horizon; click where it "
                "touches the floor"
            )

        def length(ends: np.ndarray, off: np.ndarray) -> float:
            ray = self.rays(ends, off)
            level = np.maximum(np.hypot(ray[:, 0], ray[:, 1]), 1e-9)
            distance = self.height / max(-ray[foot, 2] / level[foot], math.tan(_LEAST_DEPRESSION))
            return self.height + distance * ray[1 - foot, 2] / level[1 - foot]

        if length(ends_px, np.zeros(3)) <= 0.01 * self.height:
            raise InputError("the upper end lies on the floor behind the lower one; click the top of what stands there")
        return self._derived(ends_px, length, on_floor=True)

    def range_at(self, uv_px: np.ndarray) -> LiftedLength:
        """Distance from the camera to the surface at one pixel [2]; raises `InputError` for the sky."""
        one = uv_px[None]
        depth, label, solid = self.surface(one)
        if not solid[0]:
            raise InputError("the pixel shows the sky or the far backdrop, which has no distance")
        eye = np.array([0.0, 0.0, self.height])

        def length(ends: np.ndarray, off: np.ndarray) -> float:
            return float(np.linalg.norm(self.points(ends, depth, label, off)[0] - eye))

        return self._derived(one, length, on_floor=bool(label[0] == Label.FLOOR))

    def typical(self) -> np.ndarray:
        """[3] derivative, by the camera, of the median log distance of everything that has one."""
        h, w = self.geometry.depth_z_m.shape
        rows, cols = np.meshgrid(np.linspace(0, h - 1, 24).astype(int), np.linspace(0, w - 1, 32).astype(int))
        rows, cols = rows.ravel(), cols.ravel()
        label = self.geometry.labels[rows, cols]
        solid = ~np.isin(label, _NOWHERE)
        if not solid.any():
            return np.zeros(3)
        rows, cols, label = rows[solid], cols[solid], label[solid]
        uv = np.stack([cols + 0.5, rows + 0.5], -1)
        depth = self.geometry.depth_z_m[rows, cols].astype(float)
        eye = np.array([0.0, 0.0, self.height])

        def log_ranges(off: np.ndarray) -> np.ndarray:
            return np.log(np.linalg.norm(self.points(uv, depth, label, off) - eye, axis=1))

        return np.array(
            [
                float(np.median(log_ranges(off) - log_ranges(-off))) / (2.0 * step)
                for off, step in zip(np.diag(STEPS), STEPS, strict=True)
            ]
        )

    def _derived(self, ends_px: np.ndarray, length, *, on_floor: bool) -> LiftedLength:
        """A length with its derivatives by the camera and its doubt by the clicks."""
        units = length(ends_px, np.zeros(3))
        if not (math.isfinite(units) and units > 1e-4 * self.height):
            raise InputError("both ends lift to the same place of the world; click two places farther apart")

        def log_length(ends: np.ndarray, off: np.ndarray) -> float:
            return math.log(max(length(ends, off), 1e-4 * self.height))

        none = np.zeros(3)
        by_camera = np.array(
            [
                (log_length(ends_px, off) - log_length(ends_px, -off)) / (2.0 * step)
                for off, step in zip(np.diag(STEPS), STEPS, strict=True)
            ]
        )
        click = CLICK_SIGMA_PX * max(self.camera.width_px, self.camera.height_px) / CLICK_LONG_SIDE_PX
        variance = 0.0
        for index in np.ndindex(ends_px.shape):
            there, back = ends_px.copy(), ends_px.copy()
            there[index] += click
            back[index] -= click
            variance += (0.5 * (log_length(there, none) - log_length(back, none))) ** 2
        return LiftedLength(units=units, by_camera=by_camera, sigma=math.sqrt(variance), on_floor=on_floor)


def working_px(ends_px: np.ndarray, photo_size_px: tuple[int, int], camera: PinholeCamera, what: str) -> np.ndarray:
    """Pixels [N, 2] of the photo at the size of its geometry; raises `InputError` for one outside the photo."""
    width, height = photo_size_px
    for x, y in ends_px:
        if not (0.0 <= x < width and 0.0 <= y < height):
            raise InputError(
                f"{what}: the pixel ({x:g}, {y:g}) lies outside the photo, which is {width} x {height} px; count "
                "pixels of the upright photo from its upper left corner"
            )
    # Viewers count pixels; their centres lie half a pixel on.
    return (ends_px + 0.5) * np.array([camera.width_px / width, camera.height_px / height])
