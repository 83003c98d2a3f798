"""Rendered rooms of known size for measuring how well a scale's error bar tells the truth.

Each seed gives another room, camera and furnishing; a door stands in the far wall, a person on the floor and an
AprilTag hangs on a wall or lies on the floor. Everything is drawn in closed form on `tests/rooms.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.frames import camera_pose, invert_rigid, transform_points
from lyra.worldgen.core.views import Photo
from rooms import AnalyticRoom

PHOTO_PX = (1280, 960)
DOOR_WIDTH_M = 0.9
PERSON_WIDTH_M, PERSON_DEPTH_M = 0.45, 0.3
_SKIRTING_M = 0.1


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One room with what was put into it."""

    room: AnalyticRoom
    door_y_m: float
    """Middle of the door in the far wall."""
    door_height_m: float
    person_xy_m: tuple[float, float]
    person_height_m: float
    tag_centre_m: np.ndarray
    tag_right: np.ndarray
    """[3] unit, along the tag's upper edge."""
    tag_down: np.ndarray
    """[3] unit."""
    tag_size_m: float
    photo: Photo
    depth_z_m: np.ndarray
    """[H, W] true depth at the photo's size."""

    def pixels(self, points_world: np.ndarray) -> np.ndarray:
        """[N, 2] where points are in the photo."""
        return self.room.camera.project(transform_points(invert_rigid(self.room.T_world_cam), points_world))[0]

    @property
    def door_ends(self) -> np.ndarray:
        """[2, 3] foot and top of the door's left edge."""
        x, y = self.room.hi_m[0], self.door_y_m + 0.5 * DOOR_WIDTH_M
        return np.array([[x, y, 0.0], [x, y, self.door_height_m]])

    @property
    def tag_corners(self) -> np.ndarray:
        """[4, 3] outside its white margin."""
        half = 0.65 * self.tag_size_m
        signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        return self.tag_centre_m + half * (signs[:, :1] * self.tag_right + signs[:, 1:] * self.tag_down)

    @property
    def person_ends(self) -> np.ndarray:
        """[2, 3] on the side that is seen."""
        x, y = self.person_xy_m
        return np.array([[x, y, 0.0], [x, y, self.person_height_m]])


def make_scene(seed: int) -> Scene:
    """The scene of a seed; the camera's height follows the habit of people, 1.5 m give or take 12 %.

    Furnishings are drawn again until the photo shows door, person and tag; the camera's height never is.
    """
    rng = np.random.default_rng([seed, 0x5CA1E])
    height = float(1.5 * np.exp(rng.normal(0.0, 0.12)))
    while True:
        scene = _furnished(height, rng)
        if _shows(scene, scene.door_ends) and _shows(scene, scene.person_ends) and _shows(scene, scene.tag_corners):
            return _drawn(scene, rng)


def _furnished(height: float, rng: np.random.Generator) -> Scene:
    ahead, wide = float(rng.uniform(3.0, 7.0)), float(rng.uniform(3.0, 7.0))
    left = float(rng.uniform(0.35, 0.65) * wide)
    lo, hi = (-2.0, left - wide, 0.0), (ahead, left, max(float(rng.uniform(2.4, 3.2)), height + 0.6))
    camera = PinholeCamera.from_hfov(*PHOTO_PX, np.radians(float(np.clip(rng.normal(68.0, 9.0), 50.0, 90.0))))
    pose = camera_pose(
        np.array([0.0, 0.0, height]),
        heading_rad=np.radians(rng.uniform(-20.0, 20.0)),
        pitch_rad=np.radians(rng.normal(-6.0, 4.0)),
        roll_rad=np.radians(rng.normal(0.0, 1.0)),
    )
    person_height = float(rng.normal(1.70, 0.08))
    person = (float(rng.uniform(0.5, 0.85) * ahead), float(rng.uniform(lo[1] + 0.5, hi[1] - 0.5)))
    standing = [_box(person, (PERSON_DEPTH_M, PERSON_WIDTH_M), person_height)]
    for _ in range(int(rng.integers(1, 5))):
        foot = (rng.uniform(0.4, 1.2), rng.uniform(0.4, 1.2))
        at = (rng.uniform(1.2, ahead - foot[0] / 2 - 0.02), rng.uniform(lo[1] + foot[1], hi[1] - foot[1]))
        box = _box(at, foot, float(rng.uniform(0.4, 1.1)))
        if all(_apart(box, other) for other in standing):
            standing.append(box)
    if rng.random() < 0.35:
        centre = np.array([rng.uniform(1.8, 0.9 * ahead), rng.uniform(-0.8, 0.8), 0.0])
        right, down = np.array([0.0, -1.0, 0.0]), np.array([-1.0, 0.0, 0.0])
    else:
        centre = np.array([ahead, rng.uniform(lo[1] + 0.3, hi[1] - 0.3), rng.uniform(0.9, 1.7)])
        right, down = np.array([0.0, -1.0, 0.0]), np.array([0.0, 0.0, -1.0])
    return Scene(
        room=AnalyticRoom(lo_m=lo, hi_m=hi, boxes_m=tuple(standing), camera=camera, T_world_cam=pose),
        door_y_m=float(rng.uniform(lo[1] + 0.6, hi[1] - 0.6)),
        door_height_m=float(rng.normal(2.03, 0.05)),
        person_xy_m=(person[0] - 0.5 * PERSON_DEPTH_M, person[1]),
        person_height_m=person_height,
        tag_centre_m=centre,
        tag_right=right,
        tag_down=down,
        tag_size_m=float(rng.uniform(0.16, 0.24)),
        photo=Photo(rgb_u8=np.zeros((16, 16, 3), np.uint8), name="room", sha256="0" * 64, original_size_px=PHOTO_PX),
        depth_z_m=np.zeros((16, 16)),
    )


def _shows(scene: Scene, points_world: np.ndarray) -> bool:
    """Whether the photo shows all of some points [N, 3], with a margin."""
    uv = scene.pixels(points_world)
    if not (np.isfinite(uv).all() and (uv > 12).all() and (uv < np.array(PHOTO_PX) - 12).all()):
        return False
    eye = scene.room.T_world_cam[:3, 3]
    t, _ = scene.room.cast(eye, points_world - eye)
    return bool((t > 0.98).all())


def _box(at: tuple[float, float], foot: tuple[float, float], height: float):
    (x, y), (dx, dy) = at, foot
    return ((x - dx / 2, y - dy / 2, 0.0), (x + dx / 2, y + dy / 2, height))


def _apart(a, b) -> bool:
    return bool(
        (np.array(a[1][:2]) + 0.3 < np.array(b[0][:2])).any() or (np.array(b[1][:2]) + 0.3 < np.array(a[0][:2])).any()
    )


def _drawn(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with its picture: a lamp's light with falloff, the lens's softness and the sensor's noise."""
    room, (width, height) = scene.room, PHOTO_PX
    base = 150.0 + 0.55 * (rng.uniform(60, 230, (8, 3)) - 150.0) + rng.uniform(-45, 45, (8, 1))
    base[5] = rng.uniform(215, 245)  # ceilings are bright
    tile = float(rng.uniform(0.3, 0.7))
    code = _tag_bits(int(rng.integers(0, 100)))
    rays = room.camera.rays_cam().reshape(-1, 3) @ room.T_world_cam[:3, :3].T
    t, surface = room.cast(room.T_world_cam[:3, 3], rays)
    points = room.T_world_cam[:3, 3] + t[:, None] * rays
    rgb = _colour(scene, points, surface, base, tile, code).reshape(height, width, 3)
    soft = rgb.copy()
    for axis in (0, 1):
        soft = 0.25 * np.roll(soft, 1, axis) + 0.5 * soft + 0.25 * np.roll(soft, -1, axis)
    soft += rng.normal(0.0, 2.0, soft.shape)
    photo = replace(scene.photo, rgb_u8=np.clip(soft + 0.5, 0, 255).astype(np.uint8))
    return replace(scene, photo=photo, depth_z_m=t.reshape(height, width))


def _colour(scene: Scene, points, surface, base, tile, code) -> np.ndarray:
    room = scene.room
    rgb = base[np.minimum(surface, 6)].copy()
    floor = surface == 4
    joint = (np.abs(points[:, :2] / tile % 1.0 - 0.5) > 0.485).any(1)
    rgb[floor] *= np.where(joint[floor], 0.72, 1.0)[:, None]
    shade = (np.floor(points[:, 0] / tile) * 7 + np.floor(points[:, 1] / tile) * 13) % 5 / 5.0
    rgb[floor] *= (0.92 + 0.08 * shade[floor])[:, None]
    wall = surface < 4
    rgb[wall & (points[:, 2] < _SKIRTING_M)] *= 0.6
    y = points[:, 1] - scene.door_y_m
    door = (surface == 1) & (np.abs(y) < 0.5 * DOOR_WIDTH_M) & (points[:, 2] < scene.door_height_m)
    rgb[door] = base[7] * 0.8
    frame = door & ((np.abs(y) > 0.5 * DOOR_WIDTH_M - 0.05) | (points[:, 2] > scene.door_height_m - 0.05))
    rgb[frame] *= 0.6
    lamp = np.array([0.4 * room.hi_m[0], 0.0, room.hi_m[2] - 0.2])
    rgb *= (0.6 + 0.8 / (1.0 + (np.linalg.norm(points - lamp, axis=1) / 3.0) ** 2))[:, None]
    rgb[surface >= 6] *= (0.8 + 0.2 * (points[surface >= 6, 2:] > 0.02)) * 0.9
    if code is not None:
        local = (points - scene.tag_centre_m) / scene.tag_size_m
        across, below = local @ scene.tag_right, local @ scene.tag_down
        off = np.abs(local @ np.cross(scene.tag_right, scene.tag_down))
        near = (off < 0.02) & (np.abs(across) < 0.625) & (np.abs(below) < 0.625)
        n = len(code)
        col = np.floor((across[near] + 0.5) * n).astype(int)
        row = np.floor((below[near] + 0.5) * n).astype(int)
        inside = (col >= 0) & (col < n) & (row >= 0) & (row < n)
        value = np.full(near.sum(), 235.0)
        value[inside] = np.where(code[row[inside], col[inside]], 235.0, 25.0)
        rgb[near] = value[:, None]
    return rgb


def _tag_bits(number: int) -> np.ndarray:
    """[N, N] bool, white where True, of a tag of the family 36h11."""
    import cv2

    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
    return cv2.aruco.generateImageMarker(dictionary, number, 8, borderBits=1) > 127
