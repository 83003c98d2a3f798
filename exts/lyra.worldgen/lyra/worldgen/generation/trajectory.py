"""Camera paths that reveal unseen space without entering geometry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.camera import PinholeCamera
from ..core.errors import ConfigError
from ..core.frames import camera_pose
from ..core.views import PolarLayout

CELL_M = 0.05
CLEARANCE_M = 0.35
"""A camera keeps at least this distance from everything that stands."""
TURN_VIEWS = 8
TILTED_VIEWS = 4
"""Enough per row: looking up or down by 52 degrees, a view of 80 degrees spans more than 90 of heading."""
WIDE_HFOV_RAD = np.radians(80)
PRESETS = ("auto", "forward", "loop", "turn")


@dataclass(frozen=True, kw_only=True)
class FreeSpace:
    """Clearance of camera positions on a grid, from the proxy world's layout."""

    clearance_m: np.ndarray
    """[rows, cols] distance to the nearest wall or object [m], 0 where blocked."""
    origin_xy_m: np.ndarray
    reachable: np.ndarray
    """[rows, cols] bool: connected to the origin with CLEARANCE_M to spare."""

    def clearance_at(self, xy_m: np.ndarray) -> np.ndarray:
        """[...] clearance [m] at positions [..., 2]; 0 outside the grid."""
        rc = np.floor((np.asarray(xy_m, float) - self.origin_xy_m) / CELL_M).astype(int)[..., ::-1]
        ok = (rc >= 0).all(-1) & (rc[..., 0] < self.clearance_m.shape[0]) & (rc[..., 1] < self.clearance_m.shape[1])
        rc = np.where(ok[..., None], rc, 0)
        return np.where(ok, self.clearance_m[rc[..., 0], rc[..., 1]], 0.0)

    def reachable_at(self, xy_m: np.ndarray) -> np.ndarray:
        """[...] bool: a camera may be at positions [..., 2]."""
        rc = np.floor((np.asarray(xy_m, float) - self.origin_xy_m) / CELL_M).astype(int)[..., ::-1]
        ok = (rc >= 0).all(-1) & (rc[..., 0] < self.reachable.shape[0]) & (rc[..., 1] < self.reachable.shape[1])
        rc = np.where(ok[..., None], rc, 0)
        return ok & self.reachable[rc[..., 0], rc[..., 1]]

    def nearest_reachable(self) -> Callable[[np.ndarray], np.ndarray]:
        """A function from a position [2] to the nearest one where a camera may be: itself, or the centre of a cell."""
        from scipy import ndimage

        rows, cols = self.reachable.shape
        if not self.reachable.any():
            return lambda xy_m: np.zeros(2)
        index: Any = ndimage.distance_transform_edt(~self.reachable, return_distances=False, return_indices=True)

        def nearest(xy_m: np.ndarray) -> np.ndarray:
            if self.reachable_at(xy_m):
                return np.asarray(xy_m, float)
            col, row = np.floor((np.asarray(xy_m, float) - self.origin_xy_m) / CELL_M).astype(int)
            row, col = np.clip(row, 0, rows - 1), np.clip(col, 0, cols - 1)
            return self.origin_xy_m + (index[::-1, row, col] + 0.5) * CELL_M

        return nearest

    def cells_xy_m(self) -> np.ndarray:
        """[rows, cols, 2] world positions of cell centres."""
        rows, cols = self.clearance_m.shape
        x = self.origin_xy_m[0] + (np.arange(cols) + 0.5) * CELL_M
        y = self.origin_xy_m[1] + (np.arange(rows) + 0.5) * CELL_M
        return np.stack(np.meshgrid(x, y), -1)


def free_space(
    layout: PolarLayout, *, reach_m: float = 12.0, above_m: float = 0.0, clearance_m: float = CLEARANCE_M
) -> FreeSpace:
    """Clearance within `reach_m` of the origin.

    Args:
        layout: full turn.
        reach_m: the grid ends there.
        above_m: objects that end below this height are in nobody's way.
        clearance_m: what a camera keeps; `reachable` is what it reaches from the origin.
    """
    from scipy import ndimage

    half = int(np.ceil(min(reach_m, float(layout.boundary_m.max()) + 0.5) / CELL_M))
    axis = (np.arange(-half, half) + 0.5) * CELL_M
    x, y = np.meshgrid(axis, axis)
    r, a = np.hypot(x, y), np.arctan2(y, x)
    bins = len(layout.azimuth_rad)
    b = np.floor((a - layout.azimuth_rad[0]) / layout.step_rad + 0.5).astype(int) % bins
    free = r < layout.boundary_m[b]
    free &= r < reach_m
    # Objects block radial intervals of their bin; near the origin several bins share a cell, so they are drawn densely.
    high = layout.object_top_m > above_m
    for near, far, k in zip(
        layout.object_near_m[high], layout.object_far_m[high], layout.object_bin[high], strict=True
    ):
        steps = np.arange(near, min(far, reach_m) + CELL_M / 2, CELL_M / 2)
        angles = layout.azimuth_rad[k] + layout.step_rad * np.array([-0.5, 0.0, 0.5])
        xs, ys = np.outer(steps, np.cos(angles)).ravel(), np.outer(steps, np.sin(angles)).ravel()
        col, row = np.floor(xs / CELL_M).astype(int) + half, np.floor(ys / CELL_M).astype(int) + half
        ok = (col >= 0) & (row >= 0) & (col < 2 * half) & (row < 2 * half)
        free[row[ok], col[ok]] = False
    clearance = np.asarray(ndimage.distance_transform_edt(np.pad(free, 1)))[1:-1, 1:-1] * CELL_M
    clearance = np.where(free, np.maximum(clearance - CELL_M / 2, 0.0), 0.0)
    labelled: Any = ndimage.label(clearance > clearance_m)  # (parts, count) for array input
    parts = labelled[0]
    home = parts[half, half]
    reachable = (parts == home) & (home > 0)
    return FreeSpace(clearance_m=clearance, origin_xy_m=np.array([-half * CELL_M] * 2), reachable=reachable)


@dataclass(frozen=True, kw_only=True)
class Stop:
    """One chunk of the exploration: a place and the poses looked at from there."""

    Ts_world_cam: np.ndarray
    """[T, 4, 4]."""
    camera: PinholeCamera


def sweep(xy_m: np.ndarray, height_m: float, headings_rad: np.ndarray, pitches_rad: tuple[float, ...]) -> np.ndarray:
    """Ts_world_cam [len(pitches) * len(headings), 4, 4] at one place, one full row of headings per pitch."""
    at = np.array([xy_m[0], xy_m[1], height_m])
    return np.stack([camera_pose(at, heading_rad=h, pitch_rad=p) for p in pitches_rad for h in headings_rad])


def plan_stops(
    layout: PolarLayout, space: FreeSpace, *, path: str, camera: PinholeCamera, home: Stop, places: int = 2
) -> list[Stop]:
    """Where to look from, in order: first the full turn at the photo's own place, last the photo's own view again.

    Args:
        layout: full turn.
        space: where a camera may be.
        path: one of `PRESETS`. `turn` stays; `forward` walks along the photo's heading; `loop` walks out and back;
            `auto` turns and then visits the places from which most of the floor is near.
        camera: wide camera of the painted views.
        home: the photo's own view, revisited at the end so that closing the loop is part of every world.
        places: how many places `auto` visits after the turn.

    Raises:
        ConfigError: unknown preset.
    """
    if path not in PRESETS:
        raise ConfigError(f"unknown path '{path}'; expected one of: {', '.join(PRESETS)}")
    h = layout.camera_height_m
    level = np.arange(TURN_VIEWS) * 2 * np.pi / TURN_VIEWS
    tilted = np.arange(TILTED_VIEWS) * 2 * np.pi / TILTED_VIEWS
    steep = np.radians(52)
    here = np.zeros(2)
    turn = np.concatenate([sweep(here, h, level, (0.0,)), sweep(here, h, tilted, (-steep, steep))])
    stops = [Stop(Ts_world_cam=turn, camera=camera)]
    spots = np.zeros((0, 2))
    if path == "auto":
        spots = spread_places(space, places)
    elif path != "turn":
        ahead = np.arange(0.5, 6.01, 0.5)
        along = np.stack([ahead, np.zeros_like(ahead)], 1)
        clear = np.logical_and.accumulate(space.clearance_at(along) > CLEARANCE_M)
        spots = along[clear][1::2] if clear.any() else along[:0]
        if path == "loop" and len(spots):
            spots = np.concatenate([spots, spots[-2::-1], np.zeros((1, 2))])
    around = np.arange(6) * 2 * np.pi / 6
    for spot in spots:
        heading = np.arctan2(spot[1], spot[0]) if path == "auto" and np.hypot(*spot) > 0 else 0.0
        stops.append(Stop(Ts_world_cam=sweep(spot, h, heading + around, (-np.radians(8),)), camera=camera))
    return [*stops, home]


def spread_places(space: FreeSpace, count: int, *, farthest_m: float = 7.0) -> np.ndarray:
    """[K, 2] positions spread over the reachable floor: each is the clearest cell far from all earlier ones."""
    xy = space.cells_xy_m()
    ok = space.reachable & (np.linalg.norm(xy, axis=-1) < farthest_m) & (space.clearance_m > CLEARANCE_M + 0.1)
    # Only places in a straight clear line from the start: the film walks there, and a camera never enters geometry.
    ways = xy[ok][:, None] * np.linspace(0, 1, 60)[:, None]
    straight = space.clearance_at(ways).min(1) > 0.5 * CLEARANCE_M
    candidates, clearance = xy[ok][straight], space.clearance_m[ok][straight]
    chosen = [np.zeros(2)]
    for _ in range(count):
        if not len(candidates):
            break
        gap = np.min([np.linalg.norm(candidates - c, axis=1) for c in chosen], axis=0)
        # Distance decides, clearance up to one metre breaks near-ties in favour of open places.
        score = np.minimum(gap, 5.0) + np.minimum(clearance, 1.0)
        best = int(np.argmax(score))
        if gap[best] < 1.0:
            break
        chosen.append(candidates[best])
    return np.array(chosen[1:]).reshape(-1, 2)


def film_paths(stops: list[Stop], *, frames_per_turn: int = 90) -> list[np.ndarray]:
    """For each stop [P, 4, 4] smooth poses of a walkthrough: a turn at the photo's place, then straight out and back.

    `stops` as `plan_stops` returns them: the turn first, the return home last.
    """
    first = stops[0].Ts_world_cam[0]
    start = np.asarray(first[:3, 3])
    headings = np.linspace(0, 2 * np.pi, frames_per_turn, endpoint=False)
    paths = [np.stack([camera_pose(start, heading_rad=a) for a in headings])]
    for stop in stops[1:-1]:
        goal = stop.Ts_world_cam[0, :3, 3]
        steps = max(12, int(np.linalg.norm(goal - start) / 0.05))
        heading = float(np.arctan2(goal[1] - start[1], goal[0] - start[0]))
        along = np.concatenate([np.linspace(0, 1, steps), np.linspace(1, 0, steps)])
        paths.append(np.stack([camera_pose((1 - t) * start + t * goal, heading_rad=heading) for t in along]))
    return [*paths, stops[-1].Ts_world_cam]
