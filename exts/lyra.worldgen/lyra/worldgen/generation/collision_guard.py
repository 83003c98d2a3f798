"""Camera paths kept out of known geometry. Upstream promises this in its documentation and has no code for it."""

from __future__ import annotations

import numpy as np

from .trajectory import FreeSpace

STEP_M = 0.02
"""Spacing at which a straight move is tested."""
DIRECTIONS = 32
"""In which a camera that is in contact may move on."""


def keep_clear(
    Ts_world_cam: np.ndarray, space: FreeSpace, *, height_range_m: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """The path with every camera in reachable free space, and never through anything on its way.

    Where the next pose is free and so is the way there, it is taken as it is. Else the camera slides along what is in
    its way, at about the path's own speed, and goes on with the path where that comes free again. Orientations stay.

    Args:
        Ts_world_cam: [N, 4, 4]; the first pose is where the camera stands now.
        space: reachable free space of a camera.
        height_range_m: lowest and highest position.

    Returns:
        poses [N, 4, 4] and how far each was moved [N] [m].
    """
    out = np.array(Ts_world_cam, float)
    low, high = height_range_m
    out[:, 2, 3] = np.clip(out[:, 2, 3], low, max(low, high))
    here = space.nearest_reachable()(out[0, :2, 3])
    before = out[0, :2, 3].copy()
    out[0, :2, 3] = here
    for pose in out[1:]:
        wanted = pose[:2, 3].copy()
        if _free_part(space, here, wanted) == 1.0:
            here = wanted
        else:
            here = _slide(space, here, wanted, reach_m=1.5 * float(np.linalg.norm(wanted - before)) + STEP_M)
        before = wanted
        pose[:2, 3] = here
    moved = np.linalg.norm(out[:, :3, 3] - np.asarray(Ts_world_cam, float)[:, :3, 3], axis=1)
    return out, moved


def _slide(space: FreeSpace, here_xy: np.ndarray, wanted_xy: np.ndarray, *, reach_m: float) -> np.ndarray:
    """The place that a few free moves of altogether `reach_m` bring nearest to the wanted one."""
    angles = np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS
    way = np.stack([np.cos(angles), np.sin(angles)], 1)
    for length in (reach_m / 2, reach_m / 4, reach_m / 4):
        goals = here_xy + length * np.concatenate([way, 0.25 * way])
        gaps = np.linalg.norm(goals - wanted_xy, axis=1)
        gap = float(np.linalg.norm(here_xy - wanted_xy))
        for k in np.argsort(gaps, kind="stable"):
            if gaps[k] >= gap:
                return here_xy
            if _free_part(space, here_xy, goals[k]) == 1.0:
                here_xy = goals[k]
                break
    return here_xy


def _free_part(space: FreeSpace, start_xy: np.ndarray, goal_xy: np.ndarray) -> float:
    """Share of a straight move that stays in reachable space."""
    length = float(np.linalg.norm(goal_xy - start_xy))
    steps = max(1, int(np.ceil(length / STEP_M)))
    along = np.linspace(0, 1, steps + 1)
    ok = space.reachable_at(start_xy + along[:, None] * (goal_xy - start_xy))
    ok[0] = True
    return float(along[np.logical_and.accumulate(ok)][-1])
