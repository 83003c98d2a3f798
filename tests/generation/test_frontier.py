"""The robot looks where it can go and has not seen, walks there around corners, and stops when nothing is left."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import camera_pose, transform_points
from lyra.worldgen.core.mesh import Label
from lyra.worldgen.generation.frontier import (
    FOOTPRINT_CELLS,
    LEAST_GAIN_M2,
    LEAST_HITS,
    VISITED_M,
    floor_hits,
    floor_sight_m,
    next_place,
    seen_area_m2,
    seen_floor,
    walk_between,
)
from lyra.worldgen.generation.frontier_numba import cells_in_sight, geodesic
from lyra.worldgen.generation.trajectory import CELL_M, CLEARANCE_M, FreeSpace
from rooms import analytic_room

RADIUS_M = 0.25


def space_from(free: np.ndarray, origin=(0.0, 0.0), home=None, clearance_m: float = CLEARANCE_M) -> FreeSpace:
    """The record of a drawn map; reachable is what hangs together with the cell `home` (row, column)."""
    clearance = np.asarray(ndimage.distance_transform_edt(np.pad(free, 1)))[1:-1, 1:-1] * CELL_M
    clearance = np.where(free, np.maximum(clearance - CELL_M / 2, 0), 0)
    labelled: Any = ndimage.label(clearance > clearance_m)
    parts = labelled[0]
    home = tuple(np.argwhere(parts)[0]) if home is None else home
    return FreeSpace(clearance_m=clearance, origin_xy_m=np.array(origin), reachable=parts == parts[home])


def two_rooms() -> FreeSpace:
    """Rooms of 4 x 4 m side by side with a 1.2 m opening at the top of the wall between them."""
    free = np.zeros((100, 180), bool)
    free[10:90, 5:85] = free[10:90, 95:175] = True
    free[60:84, 85:95] = True
    return space_from(free)


def left_room_seen(space: FreeSpace) -> np.ndarray:
    seen = np.zeros(space.reachable.shape, bool)
    seen[:, :85] = True
    return seen


def choose(space: FreeSpace, seen: np.ndarray, **options):
    options = {"here_xy_m": np.array([2.0, 2.0]), "robot_radius_m": RADIUS_M, "sight_m": 6.0, **options}
    return next_place(space, seen, **options)


def test_the_unseen_room_is_next():
    """With the left room seen, the robot looks into or goes to the right one, and twice to the same place."""
    space = two_rooms()
    place = choose(space, left_room_seen(space))
    assert place is not None and place[0] > 4.2
    assert space.clearance_at(place) >= RADIUS_M
    np.testing.assert_array_equal(place, choose(space, left_room_seen(space)))


def test_nothing_left_is_none():
    """Seen floor, unreachable floor and specks are no goals."""
    space = two_rooms()
    everything = np.ones(space.reachable.shape, bool)
    assert choose(space, everything) is None
    specks = everything.copy()
    specks[20:80:4, 10:80:4] = False
    assert np.count_nonzero(~specks & space.reachable) * CELL_M**2 > LEAST_GAIN_M2
    assert choose(space, specks) is None
    assert choose(space, space.reachable.copy()) is None
    closed = space_from(np.where(np.arange(180) < 85, space.clearance_m > 0, False))
    assert choose(closed, left_room_seen(closed)) is None


def test_visited_places_are_not_chosen_again():
    """A place and what is near it are out once the robot has looked around there."""
    space = two_rooms()
    seen = left_room_seen(space)
    first = choose(space, seen)
    second = choose(space, seen, visited_xy_m=[first])
    assert second is not None and np.linalg.norm(second - first) > VISITED_M


@settings(max_examples=10)
@given(seed=st.integers(0, 999))
def test_no_better_place_is_missed(seed):
    """Pruning by bounds changes nothing: no candidate sees more new floor for its way than the chosen place."""
    rng = np.random.default_rng(seed)
    free = np.zeros((70, 90), bool)
    free[3:67, 3:87] = True
    for _ in range(5):
        r, c = rng.integers(8, 60), rng.integers(8, 80)
        free[r : r + rng.integers(2, 12), c : c + rng.integers(2, 12)] = False
    roomiest = np.asarray(ndimage.distance_transform_edt(free)).argmax()
    cell = divmod(int(roomiest), 90)
    space = space_from(free, home=cell, clearance_m=0.2)
    seen = np.zeros_like(free)
    seen[:, : rng.integers(20, 70)] = True
    here = space.cells_xy_m()[cell]
    place = choose(space, seen, here_xy_m=here, sight_m=1.5)
    needed = space.reachable & (space.clearance_m >= RADIUS_M + CELL_M)
    unseen = space.reachable & ~seen
    start = np.argwhere(needed)[np.linalg.norm(space.cells_xy_m()[needed] - here, axis=1).argmin()]
    way = geodesic(needed, start[0], start[1], -1)[0].reshape(free.shape) * CELL_M

    def score(row: int, col: int) -> float:
        stamp = np.zeros(free.shape, np.int32)
        gain = cells_in_sight(free, unseen, row, col, 30.0, stamp, 1)
        if gain * CELL_M**2 < LEAST_GAIN_M2 or not np.isfinite(way[row, col]):
            return 0.0
        openness = 0.5 + 0.5 * min(space.clearance_m[row, col], 1.0)
        return gain * np.exp(-way[row, col] / 10.0) * openness

    best = 0.0
    for tile_row in range(0, 70, 8):
        for tile_col in range(0, 90, 8):
            block = np.where(needed & np.isfinite(way), space.clearance_m, -1)
            part = block[tile_row : tile_row + 8, tile_col : tile_col + 8]
            if part.max() >= 0:
                r, c = np.unravel_index(part.argmax(), part.shape)
                best = max(best, score(tile_row + int(r), tile_col + int(c)))
    if place is None:
        assert best == 0
    else:
        row, col = np.floor((place[::-1] - space.origin_xy_m[::-1]) / CELL_M).astype(int)
        assert score(row, col) == pytest.approx(best)


def test_sight_ends_at_walls_and_at_its_reach():
    """Cells behind a wall and beyond the reach are not counted, all others are; on the rim rays touch a few more."""
    free = np.ones((61, 61), bool)
    stamp = np.zeros((61, 61), np.int32)
    r, c = np.mgrid[:61, :61]
    disc = np.hypot(r - 30, c - 30) <= 20
    count = cells_in_sight(free, np.ones_like(free), 30, 30, 20.0, stamp, 1)
    assert count == pytest.approx(disc.sum(), rel=0.05)
    free[:, 40] = False
    count = cells_in_sight(free, np.ones_like(free), 30, 30, 20.0, stamp, 2)
    assert count == pytest.approx((disc & (c < 40)).sum(), rel=0.05)
    assert not (stamp[:, 41:] == 2).any()


@settings(max_examples=25)
@given(seed=st.integers(0, 9999))
def test_geodesic_matches_a_sparse_graph(seed):
    """Distances equal those of Dijkstra on the explicit graph, corners not cut."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import dijkstra

    rng = np.random.default_rng(seed)
    cells = rng.random((9, 11)) < 0.7
    start = np.argwhere(cells)[0]
    pairs = []
    for r, c in np.argwhere(cells):
        for dr, dc in ((0, 1), (1, 0), (1, 1), (1, -1)):
            rr, cc = r + dr, c + dc
            if 0 <= rr < 9 and 0 <= cc < 11 and cells[rr, cc] and cells[r, cc] and cells[rr, c]:
                pairs.append((r * 11 + c, rr * 11 + cc, np.hypot(dr, dc)))
    a, b, w = np.array(pairs).reshape(-1, 3).T
    graph = coo_matrix((w, (a.astype(int), b.astype(int))), shape=(99, 99))
    want = dijkstra(graph, directed=False, indices=start[0] * 11 + start[1])
    got, previous = geodesic(cells, start[0], start[1], -1)
    np.testing.assert_allclose(got, want)
    assert (previous[np.isfinite(got)] >= -1).all() and (previous >= 0).sum() == np.isfinite(want).sum() - 1


def test_the_walk_leads_through_the_opening():
    """The way to the other room keeps its clearance everywhere, has few corners, and is hardly longer than needed."""
    space = two_rooms()
    a, b = np.array([1.0, 1.0]), np.array([8.0, 1.2])
    walk = walk_between(space, a, b, robot_radius_m=RADIUS_M)
    np.testing.assert_array_equal(walk[[0, -1]], [a, b])
    along = np.concatenate([p + np.linspace(0, 1, 200)[:, None] * (q - p) for p, q in itertools.pairwise(walk)])
    assert (space.clearance_at(along) >= RADIUS_M).all()
    # Around both edges of the opening, in straight lines.
    length = np.linalg.norm(np.diff(walk, axis=0), axis=1).sum()
    assert length < 1.05 * (np.hypot(3.25, 2.3) + 0.5 + np.hypot(3.25, 2.1))
    assert 4 <= len(walk) <= 8


def test_a_free_line_is_walked_straight():
    """Two places in sight are joined by one segment, also when they are the same."""
    space = two_rooms()
    a, b = np.array([1.0, 1.0]), np.array([3.0, 3.5])
    np.testing.assert_array_equal(walk_between(space, a, b, robot_radius_m=RADIUS_M), [a, b])
    assert len(walk_between(space, a, a, robot_radius_m=RADIUS_M)) == 2


def test_a_walk_into_the_wall_is_refused():
    """A goal off the reachable floor, or behind an opening too narrow for the robot, is an error that says so."""
    space = two_rooms()
    with pytest.raises(InputError, match="no reachable floor"):
        walk_between(space, np.array([1.0, 1.0]), np.array([20.0, 1.0]), robot_radius_m=RADIUS_M)
    with pytest.raises(InputError, match="no way of clearance"):
        walk_between(space, np.array([1.5, 1.5]), np.array([7.5, 1.5]), robot_radius_m=0.6)


@given(height=st.floats(0.3, 3.0), pixel=st.floats(0.001, 0.03))
def test_footprints_end_the_sight(height, pixel):
    """At the stated sight a pixel's footprint is as long as allowed; a steep camera too coarse for it sees nothing."""
    sight = floor_sight_m(height, pixel)
    if sight > 0:
        assert pixel * (sight**2 + height**2) / height == pytest.approx(FOOTPRINT_CELLS * CELL_M)
    else:
        assert pixel * height >= FOOTPRINT_CELLS * CELL_M


def test_floor_beyond_sight_or_grid_is_not_hit():
    """Points beyond the sight, and points outside the grid, leave no hits; near ones do."""
    space = space_from(np.ones((200, 200), bool))
    eye, pixel = np.array([5.0, 5.0, 1.5]), 1 / 150
    sight = floor_sight_m(1.5, pixel)
    for offset, hit in ((0.9 * sight, True), (1.1 * sight, False), (30.0, False)):
        for direction in ((1.0, 0.0), (0.0, -1.0)):
            points = eye[:2] + offset * np.array([direction])
            inside = ((points > 0) & (points < 10)).all()
            assert floor_hits(space, points, eye_m=eye, pixel_rad=pixel).any() == (hit and inside)
    assert floor_hits(space, np.zeros((0, 2)), eye_m=eye, pixel_rad=pixel).sum() == 0


def test_a_turn_sees_the_room_but_not_behind_boxes():
    """Pixels of exact views mark the analytic room's floor: nearly all that is in sight and nothing under boxes."""
    room = analytic_room(width_px=128, height_px=96)
    x, y = np.meshgrid(-2.5 + (np.arange(160) + 0.5) * CELL_M, -3.5 + (np.arange(140) + 0.5) * CELL_M)
    free = room.free_at(np.stack([x, y], -1))
    space = space_from(free, origin=(-2.5, -3.5), home=(70, 50))
    camera = PinholeCamera.from_hfov(128, 96, np.radians(80))
    eye = np.array([0.0, 0.0, 1.5])
    hits = np.zeros(free.shape, np.int32)
    areas = []
    for pitch, count in ((0.0, 8), (-52.0, 4)):
        for k in range(count):
            T = camera_pose(eye, heading_rad=k * 2 * np.pi / count, pitch_rad=np.radians(pitch))
            view = room.render(camera, T)
            points = transform_points(T, camera.unproject(view.depth_z_m.astype(float)))[view.labels == Label.FLOOR]
            hits += floor_hits(space, points[:, :2], eye_m=eye, pixel_rad=1 / camera.fx_px)
            areas.append(seen_area_m2(space, seen_floor(space, hits)))
    assert np.all(np.diff(areas) >= 0)
    seen = seen_floor(space, hits)
    assert not (seen & ~free).any()
    # What a straight line from the eye reaches on the floor, by the room's own rays.
    centres = np.stack([x, y, np.zeros_like(x)], -1)
    way = (centres - eye).reshape(-1, 3)
    in_sight = (room.cast(eye, way)[0] > 0.999).reshape(free.shape) & free
    in_sight &= np.hypot(x, y) < floor_sight_m(1.5, 1 / camera.fx_px) - 0.1
    assert np.mean(seen[in_sight]) > 0.99
    near_by = np.asarray(ndimage.binary_dilation(in_sight, iterations=4), bool) | (np.hypot(x, y) > 4.0)
    assert not (seen & ~near_by).any()
    assert LEAST_HITS > 1 and areas[-1] == pytest.approx(np.count_nonzero(seen & space.reachable) * CELL_M**2)
