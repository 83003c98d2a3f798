"""Turns and visits as one walk without cuts, for painters that only paint films."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.frames import quat_wxyz_from_rotation, rotation_from_quat_wxyz, rotation_z
from .trajectory import CLEARANCE_M, FreeSpace, spread_places

TURN_PER_CHUNK_RAD = 2 * np.pi
WALK_PER_CHUNK_M = 4.0
"""How far one chunk turns or walks; as the films `spin` and `out-and-back` do."""
_KEY_RAD = np.radians(15)
"""Turns are led through poses this far apart, so that a tilted camera keeps its tilt."""


def dense_walk(path: str, T_world_begin: np.ndarray, space: FreeSpace, *, frames: int, turn_first: bool) -> np.ndarray:
    """[1 + n * frames, 4, 4] poses; the first one is where the walk begins.

    Args:
        path: `turn` looks around; `forward` walks on as far as there is room, `loop` also comes back; `auto` visits the
            place from which most of the remaining floor is near, and looks around there.
        T_world_begin: [4, 4].
        space: where a camera may be.
        frames: of a chunk.
        turn_first: look around before going anywhere; always so for `turn`.
    """
    begin = np.asarray(T_world_begin, float)
    keys = [begin]
    if turn_first or path == "turn":
        keys += turned(keys[-1], -2 * np.pi)
    if path in ("forward", "loop"):
        goal = _ahead(begin, space)
        if np.linalg.norm(goal - begin[:2, 3]) > 0:
            keys.append(moved(keys[-1], goal))
            keys += turned(keys[-1], -2 * np.pi) if path == "forward" else [moved(keys[-1], begin[:2, 3])]
    elif path == "auto":
        for place in spread_places(space, 1):
            keys += _turn_towards(keys[-1], place)
            keys.append(moved(keys[-1], place))
            keys += turned(keys[-1], -2 * np.pi)
    if len(keys) == 1:  # no place to go to
        keys += turned(begin, -2 * np.pi)
    return through(keys, frames=frames)


def turned(T_world_cam: np.ndarray, angle_rad: float) -> list[np.ndarray]:
    """Poses of a turn on the spot about the vertical, positive to the left, without the first one."""
    count = max(1, int(np.ceil(abs(angle_rad) / _KEY_RAD - 1e-9)))
    return [_yawed(T_world_cam, angle_rad * (i + 1) / count) for i in range(count)]


def moved(T_world_cam: np.ndarray, xy_m: np.ndarray) -> np.ndarray:
    """The pose carried to another place at the same height."""
    out = T_world_cam.copy()
    out[:2, 3] = xy_m
    return out


def through(keys: Sequence[np.ndarray], *, frames: int) -> np.ndarray:
    """[1 + n * frames, 4, 4]: evenly paced poses through key poses, in as few whole chunks as the pace allows."""
    Ts = np.stack(keys)
    steps_m = np.linalg.norm(np.diff(Ts[:, :3, 3], axis=0), axis=1)
    q = quat_wxyz_from_rotation(Ts[:, :3, :3])
    cosine = np.abs((q[1:] * q[:-1]).sum(1))
    turns_rad = 2 * np.arccos(np.clip(cosine, 0, 1))
    at = np.concatenate([[0], np.cumsum(steps_m / WALK_PER_CHUNK_M + turns_rad / TURN_PER_CHUNK_RAD)])
    chunks = max(1, int(np.ceil(at[-1] - 1e-6)))
    where = np.linspace(0, at[-1], 1 + chunks * frames)
    k = np.clip(np.searchsorted(at, where, side="right") - 1, 0, len(at) - 2)
    s = ((where - at[k]) / np.maximum(at[k + 1] - at[k], 1e-12))[:, None]
    a, b = q[k], q[k + 1]
    b = np.where((a * b).sum(1, keepdims=True) < 0, -b, b)
    # Keys are at most 15 degrees apart in turns: normalised mixing is even to a hundredth of a degree.
    mixed = (1 - s) * a + s * b
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    out = np.tile(np.eye(4), (len(where), 1, 1))
    out[:, :3, :3] = rotation_from_quat_wxyz(mixed)
    out[:, :3, 3] = (1 - s) * Ts[k, :3, 3] + s * Ts[k + 1, :3, 3]
    out[0] = Ts[0]
    return out


def _yawed(T_world_cam: np.ndarray, angle_rad: float) -> np.ndarray:
    out = T_world_cam.copy()
    out[:3, :3] = rotation_z(angle_rad) @ T_world_cam[:3, :3]
    return out


def _turn_towards(T_world_cam: np.ndarray, xy_m: np.ndarray) -> list[np.ndarray]:
    offset = np.asarray(xy_m, float) - T_world_cam[:2, 3]
    if np.linalg.norm(offset) < 1e-6:
        return []
    heading = np.arctan2(T_world_cam[1, 2], T_world_cam[0, 2])
    angle = np.arctan2(offset[1], offset[0]) - heading
    angle = float((angle + np.pi) % (2 * np.pi) - np.pi)
    return turned(T_world_cam, angle) if abs(angle) > 1e-6 else []


def _ahead(T_world_cam: np.ndarray, space: FreeSpace) -> np.ndarray:
    """[2] the farthest place in the camera's heading with clear space all the way, at most 6 m."""
    ahead = T_world_cam[:2, 2] / max(float(np.linalg.norm(T_world_cam[:2, 2])), 1e-9)
    along = T_world_cam[:2, 3] + np.arange(0, 6.01, 0.25)[:, None] * ahead
    clear = np.logical_and.accumulate(space.clearance_at(along) > CLEARANCE_M)
    return along[clear][-1] if clear.any() else along[0]
