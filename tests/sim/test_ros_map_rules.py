"""Map and episode files through a reader that was written from the rules of their readers, not from our code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pxr.Usd")
pytest.importorskip("scipy")
pytest.importorskip("PIL")

from lyra.worldgen.core.grid import Cell, OccupancyGrid
from lyra.worldgen.sim.occupancy import load_ros_map, write_ros_map
from ros_map_reader import read_episodes, read_ros_map
from sample_worlds import room_with_alcove
from strategies import grids
from task_worlds import SEEDS, write_known_worlds, write_world

JETBOT_M, CARTER_M = 0.25, 0.55
"""What MobilityGen dilates by."""


@given(grid=grids(), picture=st.sampled_from(["map.png", "map.pgm"]))
def test_files_say_what_the_grid_says(grid, picture, tmp_path_factory):
    """Any grid, either kind of picture: every cell comes back as what it is, and where it is."""
    folder = tmp_path_factory.mktemp("map")
    assert sorted(write_ros_map(folder, grid, picture=picture)) == sorted(["map.yaml", picture])
    found = read_ros_map(folder / "map.yaml")
    np.testing.assert_array_equal(found.free[::-1], grid.cells == Cell.FREE)
    np.testing.assert_array_equal(found.occupied[::-1], grid.cells == Cell.OCCUPIED)
    for row, col in np.argwhere(found.free | found.occupied):
        x, y = found.position(row, col)
        assert grid.rowcol(np.array([x, y])).tolist() == [grid.shape[0] - 1 - row, col]
        assert found.pixel(x, y) == (row, col)
    assert load_ros_map(folder / "map.yaml").cells.tolist() == grid.cells.tolist()


@pytest.mark.parametrize("free_thresh", [0.196, 0.25])
def test_unknown_stays_unknown_whatever_the_reader_assumes(free_thresh, tmp_path):
    """Also for readers that put thresholds of their own in place of the file's: Nav2 writes 0.25."""
    grid = OccupancyGrid(cells=np.array([[0, 1, 2]], np.uint8), cell_m=0.05, origin_xy_m=(0.0, 0.0))
    write_ros_map(tmp_path, grid)
    text = (tmp_path / "map.yaml").read_text().replace("0.196", str(free_thresh))
    (tmp_path / "map.yaml").write_text(text)
    found = read_ros_map(tmp_path / "map.yaml")
    assert found.free.tolist() == [[True, False, False]] and found.occupied.tolist() == [[False, True, False]]


@given(grid=grids(), radius_m=st.sampled_from([JETBOT_M, CARTER_M]))
def test_dilation_keeps_the_radius(grid, radius_m, tmp_path_factory):
    """What is left of random maps is free, and no occupied cell's middle is within the radius, in whole cells."""
    folder = tmp_path_factory.mktemp("map")
    write_ros_map(folder, grid)
    left = read_ros_map(folder / "map.yaml").dilated_free(radius_m)[::-1]
    occupied = np.argwhere(grid.cells == Cell.OCCUPIED)
    reach = int(radius_m / grid.cell_m)
    for row, col in np.argwhere(grid.cells == Cell.FREE):
        apart = ((occupied - [row, col]) ** 2).sum(1)
        assert left[row, col] == (not len(occupied) or apart.min() > reach**2)
    assert not left[grid.cells != Cell.FREE].any()


@pytest.fixture(scope="module")
def worlds(tmp_path_factory) -> list[Path]:
    """The worlds of the robot tasks' tests, and a room with a narrow alcove."""
    folder = tmp_path_factory.mktemp("worlds")
    write_known_worlds(folder, SEEDS)
    return [*(folder / f"world_{seed}" for seed in SEEDS), write_world(folder / "alcove", room_with_alcove())]


@pytest.mark.slow
def test_worlds_can_be_driven_after_dilation(worlds):
    """For a Jetbot every episode's whole way stays free; for a Nova Carter there is room in one piece."""
    ndimage = pytest.importorskip("scipy.ndimage")
    for world in worlds:
        found = read_ros_map(world / "nav" / "map.yaml")
        small, large = found.dilated_free(JETBOT_M), found.dilated_free(CARTER_M)
        assert found.resolution_m <= JETBOT_M and (large <= small).all() and (small <= found.free).all()
        episodes = read_episodes(world / "nav" / "episodes.jsonl")
        assert len(episodes) == 24, world.name
        for episode in episodes:
            assert abs(episode["start"][2]) < 0.01 and abs(episode["goal"][2]) < 0.01, "robots are put down at z = 0"
            corners = np.array(episode["waypoints"])
            np.testing.assert_allclose([corners[0], corners[-1]], [episode["start"][:2], episode["goal"][:2]])
            length = np.linalg.norm(np.diff(corners, axis=0), axis=1)
            assert episode["geodesic_m"] == pytest.approx(length.sum(), abs=0.005)
            t = np.linspace(0, 1, 200)[:, None, None]
            way = (corners[:-1] * (1 - t) + corners[1:] * t).reshape(-1, 2)
            assert all(small[found.pixel(x, y)] for x, y in way), f"{world.name} {episode['id']}"
        parts, count = ndimage.label(large)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:] * found.resolution_m**2
        assert sizes.max(initial=0.0) > 1.0, f"{world.name}: {sizes}"
