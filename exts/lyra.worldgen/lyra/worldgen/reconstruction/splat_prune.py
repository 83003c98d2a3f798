"""Leave out splats that hang where views see free space."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..core.frames import invert_rigid, rotation_from_quat_wxyz
from ..core.machine import map_threads
from ..core.splats import GaussianCloud
from ..core.views import SOURCE_PAINTED, SOURCE_PHOTO, SOURCE_WARPED, RgbdView

DEPTH_SHARE, DEPTH_M = 0.03, 0.03
"""A view's depth may be off by the larger of this share and this length [m] before it speaks against a splat."""
TRUST = {SOURCE_PHOTO: 2.0, SOURCE_PAINTED: 1.0, SOURCE_WARPED: 0.5}
"""What a pixel's word counts, by its source."""
CLEAR_SHARE = 2.0
"""A splat goes when this much more speaks against it than for it."""
LEAST_AGAINST = 0.4
"""But not on the word of one view from very far away."""
OWN = 2.0
"""How much more the view counts that a splat was lifted from: it says itself what it saw there."""
FULL_M = 8.0
"""Nearer pixels of the finest view count fully, farther ones in proportion to their nearness [m]."""
SURE_M = 0.06
"""A view whose depth is known to this length [m] supports fully, a less certain one in proportion: from afar, what
floats half a metre before a wall looks as if it were on it."""
NEAR_M = 0.05
LONG_M = 0.03
"""Splats with a longer axis are asked about at its ends, too [m]."""
_ROUNDS = 2
_CHUNK = 100_000


@dataclass(frozen=True, kw_only=True)
class Votes:
    """What the views say about each splat."""

    support: np.ndarray
    """[N] float32: views that see a surface where the splat is, by their trust and nearness."""
    against: np.ndarray
    """[N] float32: views that see what is behind it."""

    def floating(self) -> np.ndarray:
        """[N] bool: splats that views see through."""
        return (self.against >= LEAST_AGAINST) & (self.against > CLEAR_SHARE * self.support)


def consistent_splats(splats: GaussianCloud, view_index: np.ndarray, views: list[RgbdView]) -> np.ndarray:
    """[N] bool: splats that the depth of the views agrees with, or that no view can judge."""
    return ~judge_splats(splats, view_index, views).floating()


def trimmed_splats(splats: GaussianCloud, view_index: np.ndarray, views: list[RgbdView]) -> tuple[GaussianCloud, int]:
    """Splats with the ends cut off that views see through, and how many were cut.

    A pixel that grazes the side of a pillar is lifted to a splat along its tangent, whose ends stand in the air.

    Args:
        splats, view_index, views: as in `judge_splats`.
    """
    means, scales_m = splats.means.copy(), splats.scales_m.copy()
    cut = np.zeros(len(splats), bool)
    for axis in range(3):
        todo = np.flatnonzero(scales_m[:, axis] > LONG_M)
        for _ in range(_ROUNDS):
            if not len(todo):
                break
            along = rotation_from_quat_wxyz(splats.quats_wxyz[todo])[:, :, axis] * scales_m[todo, axis, None]
            off = []
            for sign in (1, -1):
                end = replace(splats.take(todo), means=(means[todo] + sign * along).astype(np.float32))
                # An end is a place, without an extent of its own.
                point = replace(end, scales_m=np.zeros_like(end.scales_m))
                off.append(judge_splats(point, view_index[todo], views).floating())
            shift = 0.5 * (off[1].astype(np.float32) - off[0])
            means[todo] += shift[:, None] * along
            either = off[0] | off[1]
            todo = todo[either]
            scales_m[todo, axis] *= 0.5
            cut[todo] = True
    return replace(splats, means=means.astype(np.float32), scales_m=scales_m), int(cut.sum())


def judge_splats(splats: GaussianCloud, view_index: np.ndarray, views: list[RgbdView]) -> Votes:
    """Ask every view about every splat.

    A view sees through a splat when all pixels around its centre are farther than the splat by more than the view's
    depth may be off; beside outlines some are not, and the view says nothing. Near views count more than far ones.

    Args:
        splats: N of them.
        view_index: [N] the view that each was lifted from, -1 for none.
        views: with depth.
    """
    from . import splat_numba

    support, against = np.zeros(len(splats), np.float32), np.zeros(len(splats), np.float32)
    # The part of a splat's own extent that lies along the line of sight is no error of any view.
    radius_m = np.ascontiguousarray(np.sort(splats.scales_m, 1)[:, 1], np.float32)
    prepared = [_window(view) for view in views]
    finest = max((v.camera.fx_px for v in views), default=1.0)

    def judge(start: int) -> None:
        rows = slice(start, start + _CHUNK)
        for number, (view, (nearest, farthest, trust)) in enumerate(zip(views, prepared, strict=True)):
            camera = view.camera
            splat_numba.vote(
                np.ascontiguousarray(splats.means[rows]),
                radius_m[rows],
                np.ascontiguousarray(view_index[rows]) == number,
                invert_rigid(view.T_world_cam),
                np.array([camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px, camera.fx_px / finest]),
                nearest,
                farthest,
                trust,
                np.array([DEPTH_SHARE, DEPTH_M, OWN, NEAR_M, FULL_M, SURE_M]),
                support[rows],
                against[rows],
            )

    # Chunks share no splat, so the result does not depend on who judges which.
    for _ in map_threads(judge, range(0, len(splats), _CHUNK)):
        pass
    return Votes(support=support, against=against)


def _window(view: RgbdView) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least and largest depth of 3x3 pixels [H, W] float32, and their trust, 0 where one of them means nothing."""
    known = view.valid & np.isfinite(view.depth_z_m) & (view.depth_z_m > 0)
    trust = np.zeros(known.shape, np.float32)
    for source, value in TRUST.items():
        trust[view.source == source] = value
    trust = np.where(known, trust, 0.0).astype(np.float32)
    depth = np.where(known, view.depth_z_m, np.inf).astype(np.float32)
    least, most, low = depth.copy(), np.where(known, depth, 0).astype(np.float32), trust.copy()
    for axis in range(2):
        for array, fold in ((least, np.minimum), (most, np.maximum), (low, np.minimum)):
            moved = array.copy()
            here = tuple(slice(1, None) if k == axis else slice(None) for k in range(2))
            there = tuple(slice(None, -1) if k == axis else slice(None) for k in range(2))
            fold(moved[here], array[there], out=moved[here])
            fold(moved[there], array[here], out=moved[there])
            array[...] = moved
    return least, most, low
