"""Camera paths and captions as files, in the layout of Lyra 2.0 (our notes 1.2), and paths between key poses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.frames import quat_wxyz_from_rotation, rotation_from_quat_wxyz
from ..core.journey import POSE_SCALE
from ..core.npz import read_foreign_npz

MAX_FRAMES = 100_000
MAX_CAPTIONS_BYTES = 2**22
CHUNK_FRAMES = 80


@dataclass(frozen=True, kw_only=True)
class CameraPath:
    """One camera per frame; pixel centres at integer coordinates."""

    ws2c: np.ndarray
    """[N, 4, 4] float32 world to camera, in the file's own world and unit."""
    Ks: np.ndarray
    """[N, 3, 3] float32 for pictures of the size that was asked for."""


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """The content of a trajectory file, checked."""

    w2c: np.ndarray
    """[M, 4, 4] float64 world to camera, in the file's own world and unit."""
    intrinsics: np.ndarray
    """[M, 3, 3] float64 for pictures of the file's own size."""
    size_hw: tuple[float, float]
    """Height and width that the intrinsics are for."""

    def camera_path(
        self, size_hw: tuple[int, int], *, frames: int | None = None, pose_scale: float = POSE_SCALE
    ) -> CameraPath:
        """The first `frames` cameras (all when None) for pictures of another size, translations scaled."""
        w2c, K = self.w2c[:frames].copy(), self.intrinsics[:frames].copy()
        if self.size_hw != tuple(size_hw):
            K[:, 0] *= size_hw[1] / self.size_hw[1]
            K[:, 1] *= size_hw[0] / self.size_hw[0]
        w2c[:, :3, 3] *= pose_scale
        return CameraPath(ws2c=w2c.astype(np.float32), Ks=K.astype(np.float32))


def load_trajectory(
    path: Path, size_hw: tuple[int, int], *, frames: int | None = None, pose_scale: float = POSE_SCALE
) -> CameraPath:
    """Cameras of a trajectory file for pictures of a size; see `read_trajectory`.

    Args:
        path: the file.
        size_hw: pictures that will be made; intrinsics are scaled to them.
        frames: how many of its frames to use; all when None.
        pose_scale: factor on the translation columns.

    Raises:
        InputError: the file is damaged, too short, or holds poses that are not rigid.
    """
    trajectory = read_trajectory(path)
    count = len(trajectory.w2c)
    if frames is not None and not 0 < frames <= count:
        raise InputError(f"trajectory has {count} frames; {frames} were asked for: {path}")
    return trajectory.camera_path(size_hw, frames=frames, pose_scale=pose_scale)


def read_trajectory(path: Path) -> Trajectory:
    """Read `trajectory.npz`: `w2c` [M, 4, 4], `intrinsics` [M, 3, 3], `image_height`, `image_width`.

    Raises:
        InputError: the file is damaged, or holds poses that are not rigid.
    """
    arrays = read_foreign_npz(path, {"w2c", "intrinsics", "image_height", "image_width"})
    return trajectory_of(arrays, str(path))


def trajectory_of(arrays: Mapping[str, np.ndarray], where: str) -> Trajectory:
    """Check the arrays of a trajectory file; raises `InputError`, the place where they come from last."""
    if missing := {"w2c", "intrinsics", "image_height", "image_width"} - arrays.keys():
        raise InputError(
            f"trajectory lacks {', '.join(sorted(missing))}; expected w2c, intrinsics and the size: {where}"
        )
    w2c, K = arrays["w2c"].astype(np.float64), arrays["intrinsics"].astype(np.float64)
    count = len(w2c) if w2c.ndim else 0
    if w2c.shape != (count, 4, 4) or K.shape != (count, 3, 3) or not 0 < count <= MAX_FRAMES:
        raise InputError(
            f"trajectory has w2c {w2c.shape} and intrinsics {K.shape}; expected [M, 4, 4], [M, 3, 3]: {where}"
        )
    R = w2c[:, :3, :3]
    off = np.abs(R @ R.transpose(0, 2, 1) - np.eye(3)).max((1, 2))
    if not np.isfinite(w2c).all() or off.max() > 1e-3 or (np.linalg.det(R) < 0).any():
        bad = int(np.nanargmax(np.where(np.isfinite(off), off, np.inf)))
        raise InputError(f"w2c of frame {bad} is no rigid transform; remove scale and mirroring: {where}")
    height, width = (
        float(arrays[name].reshape(-1)[0]) if arrays[name].size else 0.0 for name in ("image_height", "image_width")
    )
    if not (0 < height < 1e6 and 0 < width < 1e6) or not np.isfinite(K).all() or (K[:, [0, 1], [0, 1]] <= 0).any():
        raise InputError(f"trajectory has size {width:g}x{height:g} or focal lengths that are not positive: {where}")
    return Trajectory(w2c=w2c, intrinsics=K, size_hw=(height, width))


def load_captions(path: Path, frames: int) -> dict[int, str]:
    """Captions by the frame from which they hold; entries at or beyond `frames` are dropped.

    Raises:
        InputError: no JSON object of texts by decimal frame numbers, or nothing is left.
    """
    try:
        if path.stat().st_size > MAX_CAPTIONS_BYTES:
            raise InputError(
                f"captions hold {path.stat().st_size} bytes; at most {MAX_CAPTIONS_BYTES} are read: {path}"
            )
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"captions cannot be read ({error.strerror or error}): {path}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"captions are no JSON ({error}): {path}") from error
    good = isinstance(data, dict) and all(
        key.isascii() and key.isdecimal() and len(key) < 10 and isinstance(text, str) for key, text in data.items()
    )
    if not good:
        raise InputError(f'captions are no texts by frame number; expected {{"0": "...", "81": "..."}}: {path}')
    kept = {int(key): text for key, text in data.items() if int(key) < frames}
    if not kept:
        raise InputError(f"captions begin after the last of {frames} frames: {path}")
    return dict(sorted(kept.items()))


def caption_of_chunk(captions: Mapping[int, str], chunk: int, frames_per_chunk: int = CHUNK_FRAMES) -> str:
    """The caption with the greatest frame up to the first frame of the chunk; the first one before any."""
    start = frames_per_chunk * chunk + 1
    earlier = [frame for frame in captions if frame <= start]
    return captions[max(earlier) if earlier else min(captions)]


def interpolate_poses(ws2c: np.ndarray, key_frames: np.ndarray, count: int) -> np.ndarray:
    """[count, 4, 4] float32 w2c at frames 0, 1, ... between key poses: slerp and straight lines of the camera's pose.

    Args:
        ws2c: [K, 4, 4] at least one.
        key_frames: [K] increasing frame numbers; before the first and after the last the pose stays.
        count: frames.
    """
    Ts = np.linalg.inv(np.asarray(ws2c, np.float64))
    q = quat_wxyz_from_rotation(Ts[:, :3, :3])
    at = np.clip(np.arange(count, dtype=float), key_frames[0], key_frames[-1])
    k = np.clip(np.searchsorted(key_frames, at, side="right") - 1, 0, max(len(key_frames) - 2, 0))
    last = np.minimum(k + 1, len(key_frames) - 1)
    span = np.maximum(np.asarray(key_frames)[last] - np.asarray(key_frames)[k], 1)
    s = ((at - np.asarray(key_frames)[k]) / span)[:, None]
    a, b = q[k], q[last]
    b = np.where((a * b).sum(1, keepdims=True) < 0, -b, b)
    angle = np.arccos(np.clip((a * b).sum(1, keepdims=True), -1, 1))
    near = angle < 1e-7
    sine = np.where(near, 1.0, np.sin(angle))
    mixed = np.where(near, a, (np.sin((1 - s) * angle) * a + np.sin(s * angle) * b) / sine)
    out = np.tile(np.eye(4), (count, 1, 1))
    out[:, :3, :3] = rotation_from_quat_wxyz(mixed)
    out[:, :3, 3] = (1 - s) * Ts[k, :3, 3] + s * Ts[last, :3, 3]
    return np.linalg.inv(out).astype(np.float32)
