"""Pillars and the free ends of walls: what ends the view in some columns while the room goes on behind it.

A boundary with one distance per azimuth would close the room along the line of sight past every such edge. Instead the
near surface becomes a thing of its own thickness, and the surface behind it goes on far enough for somebody to pass.
"""

from __future__ import annotations

import itertools

import numpy as np

from .standing_objects import USUAL_HEIGHT_M, StandingObjects
from .walls import FREE, Line

WALL_THICKNESS_M = 0.15
MARGIN_M = 0.6
"""How far behind an edge, measured across the line of sight at the edge, the surface behind it is taken to go on."""
PILLAR_WIDTH_M = 1.2
"""What has two edges and is no wider stands free and is about as deep as it is wide."""
_EDGE_RATIO, _EDGE_M = 1.12, 0.3
"""The boundary jumps where its distance changes by both from one column to the next."""
_RAMP_COLUMNS, _RAMP_LOG = 2, 0.25
"""A surface whose distance changes so much (log) over so many columns to either side is no wall but an edge."""
_TREND_RAD = np.radians(2.0)


def free_standing(
    boundary_m: np.ndarray,
    line: np.ndarray,
    lines: list[Line],
    azimuth_rad: np.ndarray,
    *,
    exact: np.ndarray,
    height_m: float,
    top_m: float,
    reach_m: float,
) -> tuple[np.ndarray, StandingObjects]:
    """The boundary [A] without pillars and wall ends, and these as objects.

    Args:
        boundary_m: [A] distance of what ends the view.
        line: [A] which of `lines` each column follows, `walls.FREE` for none.
        lines: of `walls.fit_walls`.
        azimuth_rad: [A] evenly spaced.
        exact: [A] bool, the distance is that of the surface and not of a label near it.
        height_m: camera height; sizes are meant for `USUAL_HEIGHT_M` and grow with it.
        top_m: how high the objects are.
        reach_m: farthest boundary.
    """
    count = len(boundary_m)
    step = float(azimuth_rad[1] - azimuth_rad[0])
    boundary_m = _steps_for_ramps(boundary_m)
    unit = height_m / USUAL_HEIGHT_M
    ratio = np.log(boundary_m[1:] / boundary_m[:-1])
    jump = (np.abs(ratio) > np.log(_EDGE_RATIO)) & (np.abs(np.diff(boundary_m)) > _EDGE_M * unit)
    behind = np.full(count, -np.inf)
    pieces = _pieces(jump, count)
    width = np.array([(b - a) * step * float(np.median(boundary_m[a:b])) for a, b in pieces])
    thickness = np.full(count, WALL_THICKNESS_M * unit)
    for k, (a, b) in enumerate(pieces):
        nearer_left = k > 0 and ratio[a - 1] < 0
        nearer_right = k + 1 < len(pieces) and ratio[b - 1] > 0
        pillar = nearer_left and nearer_right and width[k] < PILLAR_WIDTH_M * unit
        for nearer, edge, far, inwards in ((nearer_left, a, a - 1, 1), (nearer_right, b - 1, b, -1)):
            if not nearer:
                continue
            reach = b - a if pillar else max(1, round(MARGIN_M * unit / (boundary_m[edge] * step)))
            columns = edge + inwards * np.arange(min(reach, b - a))
            surface = _continued(boundary_m, line, lines, azimuth_rad, far, pieces[k - inwards], columns)
            behind[columns] = np.maximum(behind[columns], np.minimum(surface, reach_m))
        if pillar and exact[a:b].all():
            thickness[a:b] = np.maximum(boundary_m[a:b].min() + 1.1 * width[k] - boundary_m[a:b], thickness[a:b])
        elif pillar:
            # The sides of a pillar meet the floor beside its middle; its front stands nearer.
            near = np.minimum(boundary_m[a:b], np.quantile(boundary_m[a:b], 0.2))
            boundary_m[a:b] = np.maximum(near - 0.3 * width[k], 0.5 * near)
            thickness[a:b] = max(WALL_THICKNESS_M * unit, 1.1 * float(width[k]))
        elif b - a > 2:
            # A wall seen at a flat angle is thicker along the line of sight.
            slope = np.gradient(np.log(boundary_m[a:b])) / step
            thickness[a:b] *= np.minimum(np.hypot(1.0, slope), 3.0)
    far = boundary_m + thickness
    opened = behind > far + 0.1 * unit
    column = np.flatnonzero(opened)
    return np.where(opened, behind, boundary_m), StandingObjects(
        column=column.astype(np.int32),
        near_m=boundary_m[column],
        far_m=far[column],
        top_m=np.full(len(column), top_m),
    )


def _steps_for_ramps(boundary_m: np.ndarray) -> np.ndarray:
    """[A] distances without the few columns in which one surface seems to run into another one behind it."""
    half = _RAMP_COLUMNS
    if len(boundary_m) <= 2 * half:
        return boundary_m.copy()
    log_m = np.log(boundary_m)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(log_m, half, mode="edge"), 2 * half + 1)
    low, high = windows.min(1), windows.max(1)
    steep = high - low > _RAMP_LOG
    return np.exp(np.where(steep, np.where(log_m - low < high - log_m, low, high), log_m))


def _pieces(jump: np.ndarray, count: int) -> list[tuple[int, int]]:
    """First column and end of every stretch without jumps."""
    ends = [0, *(np.flatnonzero(jump) + 1).tolist(), count]
    return list(itertools.pairwise(ends))


def _continued(
    boundary_m: np.ndarray,
    line: np.ndarray,
    lines: list[Line],
    azimuth_rad: np.ndarray,
    far: int,
    piece: tuple[int, int],
    columns: np.ndarray,
) -> np.ndarray:
    """[N] distance of the surface that is seen at column `far`, gone on into `columns` that do not show it."""
    if line[far] != FREE:
        found = lines[line[far]].range_m(azimuth_rad[columns])
    else:
        # Inverse distance is linear along a wall.
        step = float(azimuth_rad[1] - azimuth_rad[0])
        size = max(2, round(_TREND_RAD / step))
        part = np.arange(max(piece[0], far - size), min(piece[1], far + size + 1))
        inverse = 1.0 / boundary_m[part]
        slope = float(np.polyfit(azimuth_rad[part], inverse, 1)[0]) if len(part) > 3 else 0.0
        found = 1.0 / np.maximum(1.0 / boundary_m[far] + slope * (azimuth_rad[columns] - azimuth_rad[far]), 1e-3)
    return np.clip(found, 0.6 * boundary_m[far], 1.6 * boundary_m[far])
