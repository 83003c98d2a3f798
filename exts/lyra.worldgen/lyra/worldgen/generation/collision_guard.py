"""Camera paths kept out of known geometry. Upstream promises this in its documentation and has no code for it."""

from __future__ import annotations

import numpy as np

from .trajectory import FreeSpace

STEP_M = 0.02
"""Spacing at which a straight move is tested."""


def keep_clear(
    Ts_world_cam: np.ndarray, space: FreeSpace, *, height_range_m: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """The path with every camera in reachable free space, and never through anything on its way.

    Where the next pose is free and so is the way there, it is taken as it is. Else the camera goes to the nearest
    reachable place, or as far towards it as the way is free: it slides along walls and goes on with the path where that
    comes free again. Orientations stay.

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
    nearest = space.nearest_reachable()
    here = nearest(out[0, :2, 3])
    out[0, :2, 3] = here
    for pose in out[1:]:
        wanted = pose[:2, 3]
        for goal in (wanted, nearest(wanted)):
            free = _free_part(space, here, goal)
            if free == 1.0:
                here = goal
                break
        else:
            goal = nearest(wanted)
            here = here + free * (goal - here)
        pose[:2, 3] = here
    moved = np.linalg.norm(out[:, :3, 3] - np.asarray(Ts_world_cam, float)[:, :3, 3], axis=1)
    return out, moved


def _free_part(space: FreeSpace, start_xy: np.ndarray, goal_xy: np.ndarray) -> float:
    """Share of a straight move that stays in reachable space."""
    length = float(np.linalg.norm(goal_xy - start_xy))
    steps = max(1, int(np.ceil(length / STEP_M)))
    along = np.linspace(0, 1, steps + 1)
    ok = space.reachable_at(start_xy + along[:, None] * (goal_xy - start_xy))
    ok[0] = True
    return float(along[np.logical_and.accumulate(ok)][-1])
