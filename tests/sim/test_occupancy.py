"""The map, its files, and the episodes planned on it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lyra.worldgen.core.config import SimulationConfig
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.grid import Cell, OccupancyGrid
from lyra.worldgen.sim.collision import build_colliders
from lyra.worldgen.sim.episodes import DIFFICULTY, PathPlanner, sample_episodes
from lyra.worldgen.sim.occupancy import MARGIN_M, build_occupancy, load_ros_map, write_ros_map
from sample_worlds import box_corners, open_place, room_with_alcove, simple_room, star_world

CFG = SimulationConfig()


def space_of(mesh, cfg=CFG):
    return build_occupancy(mesh, build_colliders(mesh, cfg), cfg)


@pytest.fixture(scope="module")
def room():
    return space_of(simple_room())


def test_cells_say_what_is_there(room):
    """Floor is free, a low box and walls are occupied, so is the skin of what is taller; its inside is unknown."""
    grid = room.grid

    def at(x, y):
        return grid.cells[tuple(grid.rowcol(np.array([x, y])))]

    assert at(0, 0) == at(2.0, 3.0) == Cell.FREE
    assert at(1.3, -2.3) == at(3.01, -0.3) == Cell.OCCUPIED
    assert at(-1.1, 2.0) == at(3.6, -0.3) == Cell.UNKNOWN
    assert at(-4.05, 0.0) == Cell.OCCUPIED
    # Floor without the three footprints.
    assert 80 - 1.2 * 1.4 - 0.16 - 0.36 - room.stats["free_area_m2"] == pytest.approx(0.0, abs=0.3)


def test_navigable_keeps_the_robots_distance(room):
    """Where the robot's centre may be, true obstacles are at least its radius away."""
    where = room.grid.centre_xy_m(np.argwhere(room.navigable))
    assert where[:, 0].min() >= -4 + CFG.robot_radius_m and where[:, 0].max() <= 6 - CFG.robot_radius_m
    chest = np.maximum(np.abs(where - [3.6, -0.3]) - [0.6, 0.7], 0)
    assert np.linalg.norm(chest, axis=1).min() >= CFG.robot_radius_m


def test_low_things_are_rolled_over_and_high_things_driven_under():
    """A 4 cm threshold and a beam above the robot are free floor; the same beam lower is not."""

    def blocked(height_m, low=None):
        world = star_world(box_corners(-3, 3, -3, 3), objects=((box_corners(1, 1.5, -0.5, 0.5), height_m),))
        if low is not None:
            # Raise the object's underside: a beam from the ceiling.
            vertices = world.vertices.copy()
            mine = np.isin(np.arange(len(vertices)), world.faces[world.face_labels == 4])
            vertices[mine & (vertices[:, 2] == 0) & (np.abs(vertices[:, 0] - 1.25) < 0.3), 2] = low
            world = type(world)(vertices=vertices, faces=world.faces, face_labels=world.face_labels)
        return not space_of(world).grid.free_at(np.array([1.25, 0.0]))

    assert not blocked(0.04)
    assert blocked(0.2)
    assert not blocked(2.0, low=1.0)
    assert blocked(2.0, low=0.4)


def test_narrow_opening_stops_a_wide_robot():
    """The alcove is reachable for a narrow robot and cut off for a wide one."""
    mesh = room_with_alcove()
    narrow = space_of(mesh)
    wide = space_of(mesh, SimulationConfig(robot_radius_m=0.6))
    inside = tuple(narrow.grid.rowcol(np.array([3.7, 0.0])))
    assert narrow.navigable[inside] and not wide.navigable[inside]
    assert narrow.grid.free[inside] and wide.grid.free[inside]


def test_ros_map_reads_back_as_written(room, tmp_path):
    """Grid -> map.yaml and map.png -> grid is the identity; the picture's first row is the highest y."""
    from PIL import Image

    write_ros_map(tmp_path, room.grid)
    back = load_ros_map(tmp_path / "map.yaml")
    np.testing.assert_array_equal(back.cells, room.grid.cells)
    assert back.cell_m == room.grid.cell_m
    np.testing.assert_allclose(back.origin_xy_m, room.grid.origin_xy_m)
    lone = OccupancyGrid(cells=np.full((3, 4), Cell.UNKNOWN, np.uint8), cell_m=0.1, origin_xy_m=(0.0, 0.0))
    lone.cells[0, 1] = Cell.FREE
    write_ros_map(tmp_path, lone)
    with Image.open(tmp_path / "map.png") as image:
        grey = np.asarray(image)
    # Thresholds of MobilityGen: free above 205, occupied below 89.25.
    assert grey[2, 1] > 205 and 89.25 < grey[0, 1] <= 205


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "image: ../../x.png",
        "image: map.png\nresolution: -1\norigin: [0, 0, 0]\nnegate: 0\noccupied_thresh: 0.65\nfree_thresh: 0.196",
        "image: ../map.png\nresolution: 1\norigin: [0, 0, 0]\nnegate: 0\noccupied_thresh: 0.65\nfree_thresh: 0.196",
        "image: none.png\nresolution: 1\norigin: [0, 0, 0]\nnegate: 0\noccupied_thresh: 0.65\nfree_thresh: 0.196",
        "{",
    ],
)
def test_hostile_map_is_refused_in_words(tmp_path, text):
    """A broken or escaping map file is an input error."""
    (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(InputError):
        load_ros_map(tmp_path / "map.yaml")


@pytest.fixture(scope="module")
def episodes(room):
    return sample_episodes(room, count=40, seed=7)


def test_episodes_are_drivable_and_honest(room, episodes):
    """Every leg stays navigable, the length is that of its corners and no shorter than the straight line."""
    planner = PathPlanner(room)
    assert len(episodes) == 40 and [e.index for e in episodes] == list(range(40))
    for e in episodes:
        path = np.array(e.waypoints_xy_m)
        legs = np.linalg.norm(np.diff(path, axis=0), axis=1)
        assert e.geodesic_m == pytest.approx(legs.sum(), abs=0.005)
        assert e.geodesic_m >= np.linalg.norm(path[-1] - path[0]) - 0.005
        assert all(planner.sees(a, b) for a, b in itertools.pairwise(path))
        assert e.clearance_m >= CFG.robot_radius_m + MARGIN_M - 1e-3
        assert dict((n, (a, b)) for n, a, b in DIFFICULTY)[e.difficulty][0] <= e.geodesic_m
    share = [sum(e.difficulty == name for e in episodes) for name, _, _ in DIFFICULTY]
    assert min(share) >= 10


def test_episodes_repeat_with_their_seed_only(room, episodes):
    """The seed decides, and nothing else."""
    assert sample_episodes(room, count=40, seed=7) == episodes
    assert sample_episodes(room, count=40, seed=8) != episodes


def test_path_round_a_corner_is_nearly_the_shortest(room):
    """Past the chest the straightened path is within 2 % of the taut string around its inflated corners."""
    planner = PathPlanner(room)
    start, goal = np.array([2.0, -0.3]), np.array([5.2, -0.3])
    _, previous = planner.field(planner.node_at(start))
    path = planner.path_xy_m(previous, planner.node_at(goal))
    length = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
    reach = CFG.robot_radius_m + MARGIN_M
    low, high = 3.0 - reach * 0.7, 4.2 + reach * 0.7
    side = 0.4 + reach * 0.7 + 0.3
    taut = np.hypot(low - start[0], side) + (high - low) + np.hypot(goal[0] - high, side)
    assert 0.97 * taut < length < 1.06 * taut


def test_no_room_gives_no_episodes():
    """A closet smaller than the robot has no navigable cell and no episode."""
    space = space_of(star_world(box_corners(-0.4, 0.4, -0.4, 0.4)), SimulationConfig(robot_radius_m=0.5))
    assert not space.navigable.any()
    assert sample_episodes(space, count=5, seed=0) == []


def test_outdoors_the_free_space_ends_at_the_backdrop():
    """Under open sky the map is still closed."""
    space = space_of(open_place())
    edge = np.zeros(space.grid.shape, bool)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    assert space.grid.free.sum() * space.grid.cell_m**2 > 250
    assert not (space.grid.free & edge).any()
