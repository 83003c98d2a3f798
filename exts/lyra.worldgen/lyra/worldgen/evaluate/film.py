"""A world's walk as frames in the order of time, and which two frames of it are compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.chunks import chunk_stages, read_arrays
from ..core.errors import InputError
from ..core.frames import invert_rigid, transform_points
from ..core.views import RgbdView
from ..core.world import World

BACK_FRAMES = (64, 32, 16, 8, 4, 2, 1)
"""How many frames before a frame its partner is looked for; the farthest that still shows the same is taken."""
LEAST_OVERLAP = 0.4
"""Share of a frame's pixels that the other one of a pair has to show as well."""
OCCLUDED = 0.03
"""Relative difference of depth beyond which a point is hidden in the other frame."""
_STEP_PX = 4


def load_film(world: World, views: Sequence[RgbdView]) -> list[RgbdView]:
    """The remembered frames of a world's walk, the photo first, all at the size of the first one that was painted.

    Every eighth frame of a walk is remembered, all looks of a turn, and what showed anything new: exact pixels, depth
    and poses, which its films on the disk have not.

    Args:
        world: with its chunks.
        views: all that it remembers, by their ids.

    Raises:
        InputError: the world was not explored, or its memory is damaged.
    """
    order: list[int] = []
    for number, name in chunk_stages(world.manifest.stages):
        of_chunk = [int(i) for i in world.manifest.stages[name].facts.get("views", [])]
        path = f"memory/chunks/{number:03d}.npz"
        way = read_arrays(world.path(path))["Ts_world_path"] if world.has(path) else np.zeros((0, 4, 4))
        order += _in_time(of_chunk, views, way)
    known = list(dict.fromkeys(i for i in order if i < len(views))) or list(range(len(views)))
    if 0 in known:
        known.remove(0)
    if not known:
        raise InputError(f"the world remembers nothing but its photo; extend it first: {world.folder}")
    size = views[known[0]].camera
    return [resized(views[i], size.width_px, size.height_px) for i in (0, *known)]


def _in_time(of_chunk: Sequence[int], views: Sequence[RgbdView], way: np.ndarray) -> list[int]:
    """Views of a chunk by the place of their pose on its way; key frames were painted, and so numbered, first."""
    if not len(way):
        return list(of_chunk)
    at: dict[int, int] = {}
    taken = 0
    for i in sorted(of_chunk):
        apart = np.abs(way - views[i].T_world_cam).max((1, 2))
        if apart.min() > 1e-9:  # looks around: the way is another one
            return list(of_chunk)
        same = np.flatnonzero(apart <= 1e-9)
        at[i] = int(same[0]) if len(same) == 1 else int(same[min(taken, len(same) - 1)])
        taken += len(same) > 1
    return sorted(of_chunk, key=lambda i: (at[i], i))


def resized(view: RgbdView, width_px: int, height_px: int) -> RgbdView:
    """A view at another size: colours averaged, everything else from the nearest pixel."""
    import cv2

    if (view.camera.width_px, view.camera.height_px) == (width_px, height_px):
        return view

    # OpenCV's nearest pixel is the one at the upper left.
    rows, cols = (
        ((np.arange(count) + 0.5) * old / count).astype(int)
        for count, old in ((height_px, view.camera.height_px), (width_px, view.camera.width_px))
    )

    def nearest(x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x[rows[:, None], cols])

    return RgbdView(
        view_id=view.view_id,
        camera=view.camera.resized(width_px, height_px),
        T_world_cam=view.T_world_cam,
        rgb_u8=cv2.resize(view.rgb_u8, (width_px, height_px), interpolation=cv2.INTER_AREA),
        depth_z_m=nearest(view.depth_z_m),
        valid=nearest(view.valid),
        source=nearest(view.source),
        labels=nearest(view.labels),
    )


def seen_in(source: RgbdView, target: RgbdView, *, step_px: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Where the points that a frame shows lie in another one, through the geometry.

    Args:
        source: the other frame.
        target: the frame whose pixels are asked about.
        step_px: every so many rows and columns only.

    Returns:
        uv_px [h, w, 2] pixels in `source`, and seen [h, w]: nothing hides the point there.
    """
    pick = (slice(None, None, step_px), slice(None, None, step_px))
    points_cam = target.camera.unproject(target.depth_z_m)[pick]
    T_source_target = invert_rigid(source.T_world_cam) @ target.T_world_cam
    points = transform_points(T_source_target, points_cam.reshape(-1, 3)).reshape(points_cam.shape)
    uv, z = source.camera.project(points)
    with np.errstate(invalid="ignore"):
        inside = (
            (z > 0)
            & (uv >= 0.5).all(-1)
            & (uv[..., 0] <= source.camera.width_px - 0.5)
            & (uv[..., 1] <= source.camera.height_px - 0.5)
        )
    u, v = (np.where(inside, uv[..., k], 0.5).astype(int) for k in (0, 1))
    there = source.depth_z_m[v, u]
    seen = inside & target.valid[pick] & source.valid[v, u] & (np.abs(there - z) <= OCCLUDED * np.maximum(z, 1e-6))
    return uv, seen


def film_pairs(frames: Sequence[RgbdView]) -> list[tuple[int, int]]:
    """(earlier, later) for every frame but the first: the farthest back that still shows enough of the same.

    A frame of which no earlier one tried shows `LEAST_OVERLAP` is compared with the one just before it.
    """
    pairs = []
    for j in range(1, len(frames)):
        for back in BACK_FRAMES:
            i = j - back
            if back == 1 or (i >= 0 and seen_in(frames[i], frames[j], step_px=_STEP_PX)[1].mean() >= LEAST_OVERLAP):
                pairs.append((i, j))
                break
    return pairs
