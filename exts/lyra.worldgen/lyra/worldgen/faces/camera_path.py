"""A camera path that somebody authors: key poses, the frames between them, and the file that `--path` reads."""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..core.camera import PinholeCamera
from ..core.errors import InputError
from ..core.frames import camera_pose, expect_rigid, invert_rigid, pitch_roll_of
from ..core.views import PhotoGeometry
from ..generation.dense_walk import TURN_PER_CHUNK_RAD, WALK_PER_CHUNK_M, moved, turned
from ..generation.paths import centre_depth, parse_path
from ..generation.trajectory_files import CHUNK_FRAMES, interpolate_poses
from ..generation.trajectory_presets import PRESETS, preset_path
from ..generation.warp import reference_K

RECORD_STEP_M = 0.25
RECORD_TURN_RAD = np.radians(12)
"""While a camera is recorded, a key pose is kept whenever it has moved or turned by this much."""
KEYS_PER_CHUNK = 4
"""A preset becomes that many key poses a chunk, few enough to edit them."""
PREVIEWED = (*PRESETS, "turn", "spin", "out-and-back")
"""Presets whose poses are known before the world is explored; the others decide on the way."""


@dataclass
class PathDraft:
    """Key poses in order; the first one is where the walk begins and stays."""

    T_world_begin: np.ndarray
    """[4, 4] where the world's exploration has arrived."""
    keys: list[np.ndarray] = field(default_factory=list)
    """[4, 4] each, `T_world_cam`."""

    def begin_at(self, T_world_begin: np.ndarray) -> None:
        """Begin elsewhere, after the world went on or back; the key poses stay."""
        self.T_world_begin = expect_rigid("T_world_begin", T_world_begin)

    def add(self, T_world_cam: np.ndarray) -> None:
        """Append a key pose."""
        self.keys.append(expect_rigid("T_world_cam", T_world_cam))

    def add_waypoint(self, xy_m: np.ndarray) -> None:
        """Append a place on the floor [2]: as high as the pose before, looking along the way there."""
        last = self.keys[-1] if self.keys else self.T_world_begin
        offset = np.asarray(xy_m, float) - last[:2, 3]
        if np.linalg.norm(offset) < 1e-3:
            raise InputError("the place is where the path is already; choose another one")
        pitch_rad, _ = pitch_roll_of(last)
        at = np.array([*np.asarray(xy_m, float), last[2, 3]])
        self.add(camera_pose(at, heading_rad=float(np.arctan2(offset[1], offset[0])), pitch_rad=pitch_rad))

    def record(self, T_world_cam: np.ndarray) -> bool:
        """Append a pose of a camera that is being recorded if it is far enough from the last one; whether it was."""
        last = self.keys[-1] if self.keys else self.T_world_begin
        step_m, turn_rad = _apart(last, T_world_cam)
        if step_m < RECORD_STEP_M and turn_rad < RECORD_TURN_RAD:
            return False
        self.add(T_world_cam)
        return True

    def remove(self, index: int) -> None:
        """Drop a key pose."""
        del self.keys[self._expect(index)]

    def replace(self, index: int, T_world_cam: np.ndarray) -> None:
        """Put a key pose elsewhere."""
        self.keys[self._expect(index)] = expect_rigid("T_world_cam", T_world_cam)

    def shift(self, index: int, by: int) -> int:
        """Visit a key pose earlier or later; its new number."""
        key = self.keys.pop(self._expect(index))
        to = min(max(index + by, 0), len(self.keys))
        self.keys.insert(to, key)
        return to

    def clear(self) -> None:
        self.keys.clear()

    @property
    def length_m(self) -> float:
        at = np.stack([self.T_world_begin, *self.keys])[:, :3, 3]
        return float(np.linalg.norm(np.diff(at, axis=0), axis=1).sum())

    @property
    def chunks(self) -> int:
        """Chunks of frames that the path takes; 0 without key poses."""
        return (len(self.poses()) - 1) // CHUNK_FRAMES if self.keys else 0

    def poses(self) -> np.ndarray:
        """[1 + n * 80, 4, 4] float64 `T_world_cam` of every frame, evenly paced, in as few whole chunks as that allows.

        Raises:
            InputError: there is no key pose, or all of them are where the path begins.
        """
        if not self.keys:
            raise InputError("the path has no key pose yet; add one with the camera, on the map, or from a preset")
        Ts = np.stack([self.T_world_begin, *self.keys])
        cost = [0.0]
        for a, b in itertools.pairwise(Ts):
            step_m, turn_rad = _apart(a, b)
            cost.append(cost[-1] + step_m / WALK_PER_CHUNK_M + turn_rad / TURN_PER_CHUNK_RAD)
        if cost[-1] < 1e-6:
            raise InputError("the path leads nowhere: all key poses are where it begins")
        frames = 1 + CHUNK_FRAMES * max(1, int(np.ceil(cost[-1] - 1e-6)))
        at = np.array(cost) / cost[-1] * (frames - 1)
        # Key poses closer than a frame cannot be told apart; the last one always counts.
        kept = [0]
        for k in range(1, len(at) - 1):
            if at[k] - at[kept[-1]] >= 1 and at[-1] - at[k] >= 1:
                kept.append(k)
        kept.append(len(at) - 1)
        ws2c = interpolate_poses(invert_rigid(Ts[kept]), at[kept], frames)
        return invert_rigid(ws2c.astype(np.float64))

    def trajectory(self, camera: PinholeCamera) -> bytes:
        """The file that `--path FILE.npz --pose-scale 1` reads, in metres; the same path gives the same bytes."""
        ws2c = invert_rigid(self.poses()).astype(np.float32)
        K = np.tile(reference_K(camera).astype(np.float32), (len(ws2c), 1, 1))
        file = io.BytesIO()
        np.savez(file, w2c=ws2c, intrinsics=K, image_height=camera.height_px, image_width=camera.width_px)
        return file.getvalue()

    def save(self, path: Path, camera: PinholeCamera) -> Path:
        """Write `trajectory` to a file."""
        path.write_bytes(self.trajectory(camera))
        return path

    def _expect(self, index: int) -> int:
        if not 0 <= index < len(self.keys):
            raise InputError(f"key pose {index + 1} does not exist; the path has {len(self.keys)}")
        return index


def preset_poses(path: str, geometry: PhotoGeometry, T_world_begin: np.ndarray) -> np.ndarray | None:
    """[N, 4, 4] poses of a named path that begins at a pose; None for one that is decided while it is walked.

    The pipeline keeps cameras out of geometry, which is not done here.

    Raises:
        ConfigError: unknown name or option.
        InputError: a number out of range.
    """
    spec = parse_path(path)
    begin = np.asarray(T_world_begin, float)
    if spec.name in PRESETS:
        cameras = preset_path(
            spec.name,
            K=reference_K(geometry.camera),
            centre_depth=centre_depth(geometry),
            frames=round(float(spec.options["frames"])),
            strength=float(spec.options["strength"]),
            direction=str(spec.options["direction"]),
        )
        Ts = invert_rigid(cameras.ws2c.astype(np.float64))
        return begin @ invert_rigid(Ts[0]) @ Ts
    if spec.name in ("turn", "spin"):
        turns = float(spec.options.get("turns", 1.0))
        return np.stack([begin, *turned(begin, -2 * np.pi * turns)])
    if spec.name == "out-and-back":
        ahead = begin[:2, 2] / max(float(np.linalg.norm(begin[:2, 2])), 1e-9)
        away = moved(begin, begin[:2, 3] + float(spec.options["distance"]) * ahead)
        return np.stack([begin, *[away, begin] * round(float(spec.options["times"]))])
    return None


def preset_keys(path: str, geometry: PhotoGeometry, T_world_begin: np.ndarray) -> list[np.ndarray]:
    """Key poses [4, 4] of a named path, to be edited.

    Raises:
        InputError: the path is decided while it is walked.
        ConfigError: see `preset_poses`.
    """
    Ts = preset_poses(path, geometry, T_world_begin)
    if Ts is None:
        raise InputError(f"the path '{path}' is decided while the world is explored; extend with it by its name")
    every = CHUNK_FRAMES // KEYS_PER_CHUNK if parse_path(path).name in PRESETS else 1
    numbers = [*range(every, len(Ts) - 1, every), len(Ts) - 1]
    return [Ts[k] for k in numbers]


def _apart(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """How far two poses are from one another [m] [rad]."""
    cosine = (np.trace(a[:3, :3].T @ b[:3, :3]) - 1) / 2
    return float(np.linalg.norm(b[:3, 3] - a[:3, 3])), float(np.arccos(np.clip(cosine, -1, 1)))
