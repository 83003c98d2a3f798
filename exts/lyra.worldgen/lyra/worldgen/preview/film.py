"""`walkthrough.mp4`: the textured mesh along the explored path."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import camera_pose, quat_wxyz_from_rotation, rigid, rotation_from_quat_wxyz
from ..core.machine import map_threads
from ..core.progress import SupportsProgress
from ..core.video import write_video
from .raster import MeshRasteriser

SIZE_PX = (848, 480)
HFOV_RAD = math.radians(85)
FPS = 20
SHORTEST_S, LONGEST_S = 5.0, 10.0
WALK_M_S, TURN_RAD_S = 1.2, math.radians(50)
HURRY = 1.4
"""A long path is walked this much faster before the film ends short of its end."""


def film_poses(Ts_world_path: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Evenly timed camera poses [K, 4, 4] along a path [P, 4, 4]; one full turn at `start` when there is no path.

    A path that would make a film longer than `LONGEST_S` even in a hurry is shown up to there.
    """
    if len(Ts_world_path) < 2:
        turns = np.linspace(0, 2 * math.pi, 9)
        Ts_world_path = np.stack([camera_pose(start[:3, 3], heading_rad=-a) for a in turns])
    step_m = np.linalg.norm(np.diff(Ts_world_path[:, :3, 3], axis=0), axis=1)
    q = quat_wxyz_from_rotation(Ts_world_path[:, :3, :3])
    for i in range(1, len(q)):  # the shorter way round
        q[i] = -q[i] if q[i] @ q[i - 1] < 0 else q[i]
    angle = 2 * np.arccos(np.clip((q[1:] * q[:-1]).sum(1), -1, 1))
    time = np.concatenate([[0], np.cumsum(np.maximum(step_m / WALK_M_S, angle / TURN_RAD_S) + 1e-6)])
    seconds = min(max(time[-1], SHORTEST_S), LONGEST_S)
    at = np.linspace(0, min(time[-1], LONGEST_S * HURRY), round(seconds * FPS))
    k = np.clip(np.searchsorted(time, at, side="right") - 1, 0, len(time) - 2)
    s = ((at - time[k]) / (time[k + 1] - time[k]))[:, None]
    position = Ts_world_path[k, :3, 3] * (1 - s) + Ts_world_path[k + 1, :3, 3] * s
    # A box filter over a third of a second rounds the corners of the path.
    return np.stack([rigid(R, p) for R, p in zip(_slerp(q[k], q[k + 1], s), _smooth(position), strict=True)])


def write_film(path: Path, rasteriser: MeshRasteriser, poses: np.ndarray, progress: SupportsProgress) -> None:
    """Encode MPEG-4 aside and rename it.

    Raises:
        DependencyError: OpenCV or numba is missing.
        BackendError: this build of OpenCV has no encoder.
    """
    camera = PinholeCamera.from_hfov(*SIZE_PX, HFOV_RAD)
    frames = map_threads(lambda T_world_cam: rasteriser.render(camera, T_world_cam).rgb_u8, poses)
    write_video(path, progress.track("film", frames, len(poses)), size_px=SIZE_PX, fps=FPS)


def _slerp(a: np.ndarray, b: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Rotations [K, 3, 3] between unit quaternions [K, 4]."""
    dot = np.clip((a * b).sum(1, keepdims=True), -1, 1)
    angle = np.arccos(dot)
    small = angle < 1e-6
    safe = np.where(small, 1.0, np.sin(angle))
    wa = np.where(small, 1 - s, np.sin((1 - s) * angle) / safe)
    wb = np.where(small, s, np.sin(s * angle) / safe)
    return rotation_from_quat_wxyz(wa * a + wb * b)


def _smooth(position: np.ndarray) -> np.ndarray:
    width = min(9, len(position) // 2 * 2 - 1)
    if width < 3:
        return position
    padded = np.pad(position, ((width // 2, width // 2), (0, 0)), mode="edge")
    return np.stack([np.convolve(padded[:, c], np.ones(width) / width, "valid") for c in range(3)], -1)
