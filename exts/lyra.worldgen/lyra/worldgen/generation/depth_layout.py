"""The polar layout of a photo whose depth is known: boundary, standing objects, ceiling.

The photo is read in azimuth columns as in `stixels`; here every sample also has a place. Heights tell floor and
ceiling, the farthest surface that a good part of a column shows is its boundary, and what stands clearly before it is
an object. Depth corrects the labels, the column grammar then cleans them, and walls come out straight as in `walls`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import rotate_vectors
from ..core.mesh import Label
from ..core.views import PolarLayout
from .label_net import CEILING, FLOOR, OBJECT, SKY, WALL
from .photo_layout import CEILING_RANGE_M, MIN_BOUNDARY_M, UNSEEN_CEILING_M, boundary_tops
from .standing_objects import (
    KEEP_CLEAR_M,
    MIN_HEIGHT_M,
    MIN_THICKNESS_M,
    MIN_WIDTH_M,
    THICKNESS_PER_HEIGHT,
    WALL_MARGIN_M,
    StandingObjects,
    Stixels,
    group_stixels,
    running_median,
)
from .stixels import PolarView, Runs, column_runs, parse_columns
from .walls import WallEvidence, fit_walls

_SAME_SURFACE = 0.05
"""Samples of a column whose log distances differ by less lie on one surface."""
_BOUNDARY_SHARE = 0.15
"""Least share of a column's standing samples that may be its boundary."""
_NEARER = 0.08
"""What is nearer than the boundary by this part of its distance stands in front of it."""
_HIGHEST_FOOT_M = 1.2
"""What begins higher above the floor hangs or sits on the wall: a robot passes below it."""


@dataclass(frozen=True, kw_only=True)
class PolarSamples:
    """Where every sample of a polar view lies."""

    range_m: np.ndarray
    """[E, A] horizontal distance."""
    height_m: np.ndarray
    """[E, A] above the floor."""
    known: np.ndarray
    """[E, A] bool: seen, and with valid depth."""
    tolerance_m: np.ndarray
    """[E, A] how far a height may be off."""


def polar_samples(
    depth_z_m: np.ndarray, valid: np.ndarray, camera: PinholeCamera, T_world_cam: np.ndarray, view: PolarView
) -> PolarSamples:
    """Horizontal distance and height of the nearest pixel to every polar sample."""
    rays = rotate_vectors(T_world_cam, camera.rays_cam())
    u = np.clip(view.pixel_uv[..., 0], 0, camera.width_px - 1).astype(int)
    v = np.clip(view.pixel_uv[..., 1], 0, camera.height_px - 1).astype(int)
    depth = depth_z_m.astype(float)[v, u]
    # The sample lies on the pixel's surface but in its own direction: nearly level rays are sensitive to that.
    range_m = depth * np.hypot(rays[v, u, 0], rays[v, u, 1])
    height = T_world_cam[2, 3] + depth * rays[v, u, 2]
    known = view.seen & valid[v, u] & (depth > 0)
    return PolarSamples(
        range_m=np.where(known, range_m, 0.0),
        height_m=np.where(known, height, 0.0),
        known=known,
        tolerance_m=0.04 + 0.025 * np.where(known, range_m, 0.0),
    )


def ceiling_height(samples: PolarSamples, probability: np.ndarray, camera_height_m: float) -> float | None:
    """Height on which the samples that look like a ceiling agree; None where they do not."""
    looks = samples.known & (probability[CEILING] > 0.5)
    height = samples.height_m[looks]
    low, high = max(CEILING_RANGE_M[0], camera_height_m + 0.3), max(CEILING_RANGE_M[1], camera_height_m + 0.5)
    height = height[(height > low) & (height < high)]
    if len(height) < max(60, 0.004 * samples.known.sum()):
        return None
    middle = float(np.median(height))
    near = np.abs(height / middle - 1.0) < 0.1
    return float(np.median(height[near])) if near.mean() > 0.5 else None


def depth_runs(
    samples: PolarSamples, probability: np.ndarray, view: PolarView, *, ceiling_m: float | None
) -> tuple[np.ndarray, Runs]:
    """Class [E, A] of every sample (-1 outside the photo) and its runs: labels that agree with the depth.

    Args:
        samples: where the samples lie.
        probability: [5, E, A] of the label cues.
        view: azimuths and elevations.
        ceiling_m: height of the ceiling if it is seen.
    """
    p = np.maximum(probability, 1e-3)
    off = samples.height_m / samples.tolerance_m
    on_floor, above_floor = np.abs(off) < 1.0, off > 2.0
    p = _favoured(p, FLOOR, samples.known & on_floor, samples.known & above_floor)
    if ceiling_m is not None:
        under = (ceiling_m - samples.height_m) / samples.tolerance_m
        p = _favoured(p, CEILING, samples.known & (np.abs(under) < 1.0), samples.known & (under > 2.5))
    p = _favoured(p, SKY, np.zeros_like(samples.known), samples.known & (p[SKY] < 0.9))
    standing = samples.known & above_floor & (p.argmax(0) != CEILING) & (p.argmax(0) != SKY)
    first = boundary_ranges(samples, standing)
    before = samples.range_m < (1.0 - _NEARER) * first - WALL_MARGIN_M
    p = _favoured(p, OBJECT, standing & before, standing & ~before)
    p = _favoured(p, WALL, standing & ~before & np.isfinite(first), standing & before)
    labels = parse_columns(p / p.sum(0), view)
    return labels, column_runs(labels, view)


def _favoured(p: np.ndarray, index: int, likely: np.ndarray, unlikely: np.ndarray) -> np.ndarray:
    out = p.copy()
    out[index] = np.where(likely, p[index] * 8.0 + 0.2, np.where(unlikely, p[index] * 0.03, p[index]))
    return out


def boundary_ranges(samples: PolarSamples, standing: np.ndarray) -> np.ndarray:
    """[A] distance of the farthest surface of each column that enough of its standing samples show; NaN without one."""
    out = np.full(standing.shape[1], np.nan)
    for a in range(standing.shape[1]):
        r = np.sort(samples.range_m[standing[:, a], a])
        r = r[r > 0.05]
        if len(r) < 4:
            continue
        log_r = np.log(r)
        low = np.searchsorted(log_r, log_r - _SAME_SURFACE)
        high = np.searchsorted(log_r, log_r + _SAME_SURFACE, side="right")
        enough = np.flatnonzero(high - low >= max(4, _BOUNDARY_SHARE * len(r)))
        if len(enough):
            # The window about the last such sample may lean on a few that lie too far: go to where it is densest.
            last = enough[log_r[enough] > log_r[enough[-1]] - 2.0 * _SAME_SURFACE]
            best = last[(high - low)[last].argmax()]
            out[a] = float(np.median(r[low[best] : high[best]]))
    return out


def layout_from_depth(
    samples: PolarSamples,
    labels: np.ndarray,
    runs: Runs,
    view: PolarView,
    *,
    camera_height_m: float,
    max_extent_m: float,
    manhattan_yaw_rad: float | None,
    ceiling_m: float | None,
    outdoors: bool,
) -> PolarLayout:
    """The photo's sector as a `PolarLayout`.

    Args:
        samples: where the samples of the view lie.
        labels: [E, A] classes of `depth_runs`.
        runs: the same as runs.
        view: azimuths and elevations.
        camera_height_m: height of the camera above the floor.
        max_extent_m: farthest boundary; beyond it a backdrop stands.
        manhattan_yaw_rad: azimuth of one wall family, None without one.
        ceiling_m: height of the ceiling if it was measured.
        outdoors: there is no ceiling unless one was measured.
    """
    h, azimuth = camera_height_m, view.azimuth_rad
    step = float(azimuth[1] - azimuth[0])
    wall = samples.known & (labels == WALL)
    evidence = _evidence(samples, labels, wall, azimuth, h, max_extent_m)
    boundary, _, _ = fit_walls(evidence, height_m=h, reach_m=max_extent_m, manhattan_yaw_rad=manhattan_yaw_rad)
    capped = boundary >= 0.99 * max_extent_m
    boundary = np.clip(boundary, MIN_BOUNDARY_M, max_extent_m)
    if ceiling_m is None and not outdoors:
        seen = samples.height_m[wall & (samples.range_m < 1.1 * boundary)]
        tallest = float(np.quantile(seen, 0.98)) if len(seen) else 0.0
        ceiling_m = float(np.clip(max(UNSEEN_CEILING_M, tallest), h + 0.4, max(CEILING_RANGE_M[1], h + 0.5)))
    top = np.full(len(azimuth), np.inf) if ceiling_m is not None else boundary_tops(runs, boundary, h)
    objects = _objects(
        samples,
        labels,
        boundary,
        step_rad=step,
        height_m=h,
        top_limit_m=30.0 if ceiling_m is None else ceiling_m - 0.02,
    )
    return PolarLayout(
        azimuth_rad=azimuth,
        boundary_m=boundary,
        boundary_top_m=top,
        boundary_label=np.where(capped, Label.BACKDROP, Label.WALL).astype(np.uint8),
        object_bin=objects.column,
        object_near_m=objects.near_m,
        object_far_m=objects.far_m,
        object_top_m=objects.top_m,
        ceiling_m=ceiling_m,
        camera_height_m=h,
    )


def _evidence(
    samples: PolarSamples, labels: np.ndarray, wall: np.ndarray, azimuth: np.ndarray, h: float, reach: float
) -> WallEvidence:
    """What the depth of each column says about its wall."""
    count = len(azimuth)
    distance = boundary_ranges(samples, wall)
    shown = wall.sum(0)
    floor = samples.known & (labels == FLOOR)
    # Floor is seen up to here, so the wall is no nearer.
    farthest = np.array(
        [np.quantile(samples.range_m[f, a], 0.95) if (f := floor[:, a]).any() else 0.0 for a in range(count)]
    )
    at_most = np.where(farthest > 0.1, np.arctan2(h, 0.97 * np.maximum(farthest, 0.1)), 0.5 * np.pi)
    contact = np.where(
        np.isfinite(distance), np.arctan2(h, np.minimum(np.nan_to_num(distance, nan=1.0), reach)), np.nan
    )
    # Nothing stands between floor and sky: the floor goes on to the reach.
    open_end = ~np.isfinite(distance) & (labels == SKY).any(0) & floor.any(0) & ~(labels == OBJECT).any(0)
    contact = np.where(open_end, np.arctan2(h, reach), contact)
    return WallEvidence(
        azimuth_rad=azimuth,
        contact_rad=contact,
        weight=np.where(open_end, 0.6, np.clip(shown / 12.0, 0.3, 1.0)),
        at_most_rad=at_most,
        at_least_rad=np.zeros(count),
    )


def _objects(
    samples: PolarSamples,
    labels: np.ndarray,
    boundary: np.ndarray,
    *,
    step_rad: float,
    height_m: float,
    top_limit_m: float,
) -> StandingObjects:
    """What stands in front of the boundary, as pieces of columns; specks and what hangs are left out."""
    pieces = _pieces(samples, labels, boundary)
    group = group_stixels(
        Stixels(
            column=pieces[:, 0].astype(int),
            near_m=pieces[:, 1],
            contact_seen=np.ones(len(pieces), bool),
            top_rad=np.zeros(len(pieces)),
            shadow_m=np.full(len(pieces), np.inf),
        )
    )
    kept: list[np.ndarray] = []
    for g in range(int(group.max(initial=-1)) + 1):
        part = pieces[group == g]
        part = part[np.argsort(part[:, 0], kind="stable")]
        column = part[:, 0].astype(int)
        near = np.maximum(running_median(part[:, 1], 5), KEEP_CLEAR_M)
        top = np.clip(running_median(part[:, 3], 9), 0.0, top_limit_m)
        if np.percentile(top, 85) < 1.2 * max(np.percentile(top, 15), 0.05):
            top = np.full_like(top, np.median(top))  # a flat top is a flat top
        # Seen from above, an object shows how deep it is; else tall things are thick.
        seen_depth = float(np.median(part[:, 2] - part[:, 1]))
        looked_onto = float(np.median(top)) < height_m - 0.15
        thickness = max(seen_depth if looked_onto else THICKNESS_PER_HEIGHT * float(np.median(top)), MIN_THICKNESS_M)
        far = np.minimum(near + thickness, boundary[column] - 0.02)
        ok = (near < boundary[column] - WALL_MARGIN_M) & (far > near + 0.05) & (top > 0.04)
        if (
            len(column) < 3
            or np.median(top) < MIN_HEIGHT_M
            or ok.sum() * step_rad * float(np.median(near)) < MIN_WIDTH_M
        ):
            continue
        kept.append(np.stack([column, near, far, top], -1)[ok])
    found = np.concatenate(kept) if kept else np.zeros((0, 4))
    found = found[np.lexsort((found[:, 1], found[:, 0]))]
    return StandingObjects(
        column=found[:, 0].astype(np.int32), near_m=found[:, 1], far_m=found[:, 2], top_m=found[:, 3]
    )


def _pieces(samples: PolarSamples, labels: np.ndarray, boundary: np.ndarray) -> np.ndarray:
    """[S, 4] column, near, far and top [m] of every vertical piece that stands before the boundary."""
    before = (
        samples.known
        & (samples.height_m > np.maximum(MIN_HEIGHT_M, samples.tolerance_m))
        & (labels != SKY)
        & (labels != CEILING)
        & (samples.range_m < (1.0 - _NEARER) * boundary - WALL_MARGIN_M)
    )
    found = []
    for a in np.flatnonzero(before.any(0)):
        rows = np.flatnonzero(before[:, a])
        r = samples.range_m[rows, a]
        cuts = (
            np.flatnonzero((np.diff(rows) > 2) | (np.abs(np.diff(np.log(np.maximum(r, 0.05)))) > 3.0 * _SAME_SURFACE))
            + 1
        )
        for part in np.split(np.arange(len(rows)), cuts):
            z = samples.height_m[rows[part], a]
            if len(part) >= 3 and z.min() < _HIGHEST_FOOT_M:
                found.append((a, np.quantile(r[part], 0.1), np.quantile(r[part], 0.95), np.quantile(z, 0.95)))
    return np.array(found, float).reshape(-1, 4)
