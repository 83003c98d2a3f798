"""From parsed columns to the polar layout of the photo's sector: walls, objects in front of them, ceiling, skyline."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..core.mesh import Label
from ..core.views import PolarLayout
from .floor_edges import FloorEdges, moved_onto_edges
from .floor_end import ColumnColours
from .foot_steps import contacts_on_the_floor, things_before_walls, things_on_their_feet, walls_on_their_feet
from .label_net import CEILING, FLOOR, OBJECT, SKY, WALL
from .occluders import free_standing
from .standing_objects import KEEP_CLEAR_M, Stixels, build_objects, joined
from .stixels import PolarView, Runs
from .walls import WallEvidence, fit_walls

CEILING_RANGE_M = (2.2, 12.0)
UNSEEN_CEILING_M = 2.7
"""Ceiling of a room whose ceiling the photo does not show, unless its walls are seen to go higher."""
INDOOR_REACH = 1.5
"""Walls of a room are trusted this many times farther than the open air: its floor leads there."""
MIN_BOUNDARY_M = 0.9
"""Nearest wall: the photographer needs room to stand."""

_WIDE_SCREEN_RAD = np.radians(15.0)
_WIDE_SCREEN_M = 2.5
_LONELY_RAD = np.radians(20.0)
_FAR_HORIZON_RAD = np.radians(1.0)
_CEILING_SIGMA_RAD = np.radians(1.5)


def build_layout(
    runs: Runs,
    view: PolarView,
    *,
    camera_height_m: float,
    max_extent_m: float,
    manhattan_yaw_rad: float | None,
    outdoors: bool,
    edges: FloorEdges | None = None,
    colours: ColumnColours | None = None,
) -> PolarLayout:
    """The photo's sector as a `PolarLayout`.

    Args:
        runs: parsed columns.
        view: azimuths and elevations of the columns.
        camera_height_m: height of the camera above the floor.
        max_extent_m: farthest boundary; beyond it a backdrop stands.
        manhattan_yaw_rad: azimuth of one wall family, None without one.
        outdoors: there is no ceiling.
        edges: straight edges that the feet of walls are moved onto.
        colours: of the photo, which say where the floor ends.
    """
    h, azimuth = camera_height_m, view.azimuth_rad
    step = float(azimuth[1] - azimuth[0])
    max_extent_m *= 1.0 if outdoors else INDOOR_REACH
    evidence, stixels = _evidence(runs, view, h, max_extent_m)
    if edges is not None:
        evidence = replace(evidence, contact_rad=moved_onto_edges(evidence.contact_rad, edges))
    if colours is not None:
        evidence = replace(evidence, contact_rad=contacts_on_the_floor(evidence, colours, height_m=h))
    boundary, line, lines = fit_walls(evidence, height_m=h, reach_m=max_extent_m, manhattan_yaw_rad=manhattan_yaw_rad)
    exact = np.zeros(len(azimuth), bool)
    if colours is not None:
        boundary, lines, exact = walls_on_their_feet(
            boundary, line, lines, evidence, colours, height_m=h, reach_m=max_extent_m
        )
        stixels = things_on_their_feet(stixels, azimuth, colours, height_m=h)
        stixels = stixels.joined(things_before_walls(boundary, evidence, colours, height_m=h, reach_m=max_extent_m))
    capped = boundary >= 0.99 * max_extent_m
    boundary = np.clip(boundary, MIN_BOUNDARY_M, max_extent_m)
    ceiling = None if outdoors else _ceiling_height(runs, boundary, capped, h)
    top = boundary_tops(runs, boundary, h) if outdoors else np.full(len(azimuth), np.inf)
    objects = build_objects(
        stixels, boundary, step_rad=step, height_m=h, top_limit_m=30.0 if ceiling is None else ceiling - 0.02
    )
    if ceiling is not None:
        boundary, uprights = free_standing(
            boundary, line, lines, azimuth, exact=exact, height_m=h, top_m=ceiling - 0.02, reach_m=max_extent_m
        )
        objects = joined(objects, uprights)
        capped = boundary >= 0.99 * max_extent_m
    return PolarLayout(
        azimuth_rad=azimuth,
        boundary_m=boundary,
        boundary_top_m=top,
        boundary_label=np.where(capped, Label.BACKDROP, Label.WALL).astype(np.uint8),
        object_bin=objects.column,
        object_near_m=objects.near_m,
        object_far_m=objects.far_m,
        object_top_m=objects.top_m,
        ceiling_m=ceiling,
        camera_height_m=h,
    )


def backdrop_layout(view: PolarView, runs: Runs | None, *, camera_height_m: float, radius_m: float) -> PolarLayout:
    """A flat disc with the photo standing around it: always walkable, claims nothing."""
    n = len(view.azimuth_rad)
    boundary = np.full(n, radius_m)
    top = np.full(n, np.inf) if runs is None else boundary_tops(runs, boundary, camera_height_m)
    return PolarLayout(
        azimuth_rad=view.azimuth_rad,
        boundary_m=boundary,
        boundary_top_m=np.maximum(top, camera_height_m),
        boundary_label=np.full(n, Label.BACKDROP, np.uint8),
        object_bin=np.zeros(0, np.int32),
        object_near_m=np.zeros(0),
        object_far_m=np.zeros(0),
        object_top_m=np.zeros(0),
        ceiling_m=None,
        camera_height_m=camera_height_m,
    )


def _evidence(runs: Runs, view: PolarView, h: float, reach: float) -> tuple[WallEvidence, Stixels]:
    """What each column says about its wall, and what stands in front of it."""
    count = len(view.azimuth_rad)
    contact, weight = np.full(count, np.nan), np.ones(count)
    at_most, at_least = np.full(count, 0.5 * np.pi), np.zeros(count)
    horizon = np.arctan2(h, reach)
    above, below = runs.next_label(), runs.previous_label()

    floor = runs.label == FLOOR
    edge = np.maximum(-runs.high_rad, 0.0)  # depression of the upper end of each run
    foot = np.maximum(-runs.low_rad, 0.0)
    # The highest floor of a column comes last and overwrites those below it.
    at_most[runs.column[floor]] = edge[floor]
    meets_wall = floor & (above == WALL)
    contact[runs.column[meets_wall]] = edge[meets_wall]
    open_end = floor & np.isin(above, (SKY, CEILING))
    contact[runs.column[open_end]] = np.minimum(edge[open_end], horizon)
    # Floor up to the top of a picture that looks down: the wall is farther than that.
    starts_as_wall = runs.first & (runs.label == WALL)
    at_least[runs.column[starts_as_wall]] = foot[starts_as_wall]

    piece = runs.label == OBJECT
    standing = piece & ((below == FLOOR) | runs.first) & (foot > _FAR_HORIZON_RAD)
    near = h / np.tan(np.maximum(foot, _FAR_HORIZON_RAD))
    seen = standing & (below == FLOOR)
    # Below the picture nobody knows where it stands: nearer than the lowest ray, yet clear of the photographer.
    near = np.where(runs.first & standing, np.maximum(0.8 * near, KEEP_CLEAR_M), near)
    shows_floor_again = piece & (above == FLOOR)
    shadow = np.where(shows_floor_again, h / np.tan(np.maximum(edge, 1e-3)) - near, np.inf)
    last_object = standing & (above != FLOOR)
    hidden = runs.column[last_object & seen]
    at_most[hidden] = np.minimum(at_most[hidden], foot[last_object & seen])
    behind = last_object & (above == WALL)
    at_least[runs.column[behind]] = np.maximum(at_least[runs.column[behind]], edge[behind])
    # An object whose wall shows behind it only above the horizon says nothing about how far that wall is.

    screens = _screens(runs, last_object & np.isin(above, (SKY, CEILING, -1)), near, view)
    screens |= _lonely(runs, last_object & seen, contact, view)
    column = runs.column[screens]
    contact[column] = np.where(near[screens] > reach, horizon, foot[screens])
    weight[column] = 0.6
    at_most[column], at_least[column] = 0.5 * np.pi, 0.0
    unseen_foot = screens & runs.first
    contact[runs.column[unseen_foot]] = np.nan
    at_least[runs.column[unseen_foot]] = foot[unseen_foot]

    far_away = np.isfinite(contact) & (contact < horizon)
    contact[far_away] = horizon
    keep = standing & ~screens & (near < reach)
    stixels = Stixels(
        column=runs.column[keep],
        near_m=near[keep],
        contact_seen=seen[keep],
        top_rad=runs.high_rad[keep],
        shadow_m=np.maximum(shadow[keep], 0.05),
    )
    return (
        WallEvidence(
            azimuth_rad=view.azimuth_rad,
            contact_rad=contact,
            weight=weight,
            at_most_rad=at_most,
            at_least_rad=at_least,
        ),
        stixels,
    )


def _screens(runs: Runs, unbacked: np.ndarray, near: np.ndarray, view: PolarView) -> np.ndarray:
    """[R] bool: objects with nothing behind them that are so wide that they end the view: hedges, rows of cars."""
    out = np.zeros(len(runs.label), bool)
    index = np.flatnonzero(unbacked)
    if not len(index):
        return out
    step = float(view.azimuth_rad[1] - view.azimuth_rad[0])
    column, distance = runs.column[index], near[index]
    split = (np.diff(column) > 3) | (np.abs(np.diff(np.log(distance))) > 0.35)
    for part in np.split(np.arange(len(index)), np.flatnonzero(split) + 1):
        angle = (column[part[-1]] - column[part[0]] + 1) * step
        if angle > _WIDE_SCREEN_RAD or angle * float(np.median(distance[part])) > _WIDE_SCREEN_M:
            out[index[part]] = True
    return out


def _lonely(runs: Runs, candidates: np.ndarray, contact: np.ndarray, view: PolarView) -> np.ndarray:
    """[R] bool: objects far in azimuth from any wall contact; they are all that is known of the boundary there."""
    known = np.flatnonzero(np.isfinite(contact))
    if not len(known):
        return candidates.copy()
    step = float(view.azimuth_rad[1] - view.azimuth_rad[0])
    right = np.clip(np.searchsorted(known, runs.column), 0, len(known) - 1)
    left = np.maximum(right - 1, 0)
    gap = np.minimum(np.abs(known[right] - runs.column), np.abs(known[left] - runs.column)) * step
    return candidates & (gap > _LONELY_RAD)


def _ceiling_height(runs: Runs, boundary: np.ndarray, capped: np.ndarray, h: float) -> float:
    """Height of the ceiling above the floor on which most columns agree.

    A column whose wall meets a ceiling says how high it is; one whose wall leaves the picture says how high it is at
    least. The vote is in elevation angle, where label edges err alike near and far.
    """
    low, high = CEILING_RANGE_M[0], max(CEILING_RANGE_M[1], h + 0.5)
    wall = (runs.label == WALL) & ~capped[runs.column] & (runs.high_rad > np.radians(2.0))
    meets = wall & (runs.next_label() == CEILING)
    cut = wall & runs.last
    distance = boundary[runs.column]
    trial = np.geomspace(max(low, h + 0.4), high, 80)
    edge = np.arctan2(trial[:, None] - h, distance)
    off = np.abs(edge - runs.high_rad) / _CEILING_SIGMA_RAD
    lower = np.maximum(runs.high_rad - edge, 0.0) / _CEILING_SIGMA_RAD
    cost = np.minimum(0.5 * off**2, 2.0) @ meets + np.minimum(0.5 * lower**2, 2.0) @ cut
    # Where nothing is seen, rooms are as high as rooms are; tall ones are tall because they are wide.
    usual = max(UNSEEN_CEILING_M, 0.25 * float(np.median(distance))) if len(distance) else UNSEEN_CEILING_M
    cost += 0.02 * max(len(boundary), 1) * (np.log(trial / usual) / 0.5) ** 2
    return float(trial[cost.argmin()])


def boundary_tops(runs: Runs, boundary: np.ndarray, h: float) -> np.ndarray:
    """[A] height of the skyline on the boundary; inf where the picture ends before the surface does."""
    above = runs.next_label()
    top = np.full(len(boundary), np.nan)
    skyline = (above == SKY) & np.isin(runs.label, (WALL, OBJECT, FLOOR, CEILING))
    column = runs.column[skyline]
    top[column] = h + boundary[column] * np.tan(np.clip(runs.high_rad[skyline], 0.0, 1.4))
    cut = runs.last & (runs.label != SKY)
    top[runs.column[cut]] = np.inf
    known = np.flatnonzero(~np.isnan(top))
    if not len(known):
        return np.full(len(boundary), np.inf)
    nearest = known[np.abs(known[None] - np.arange(len(boundary))[:, None]).argmin(1)]
    top = top[nearest]
    half = 3
    if len(top) > 2 * half:
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(top, half, mode="edge"), 2 * half + 1)
        top = np.sort(windows, -1)[:, half]  # a median that copes with inf
    return np.maximum(top, 0.3)
