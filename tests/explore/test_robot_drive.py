"""The robot that is driven by hand never leaves free space."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.certify.space import FreeSpace, analyse
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.grid import Cell, OccupancyGrid
from lyra.worldgen.explore.robot_drive import RobotDrive

RADIUS_M = 0.25
CELL_M = 0.05


def room_with_wall() -> FreeSpace:
    """4 x 4 m with a wall of a single cell at x = 1 and a door of 1 m in it."""
    cells = np.full((80, 80), Cell.FREE, np.uint8)
    cells[:, 60] = Cell.OCCUPIED
    cells[10:30, 60] = Cell.FREE
    cells[[0, -1]] = cells[:, 0] = cells[:, -1] = Cell.OCCUPIED
    return analyse(OccupancyGrid(cells=cells, cell_m=CELL_M, origin_xy_m=(-2.0, -2.0)), RADIUS_M)


@given(st.lists(st.tuples(st.floats(-3.2, 3.2), st.floats(-6, 6)), max_size=12))
def test_no_move_leads_into_a_wall(moves):
    """However far and in whatever direction: the robot's hull stays free, and a stop is said to be one."""
    drive = RobotDrive(room_with_wall())
    drive.place_anywhere()
    for angle_rad, distance_m in moves:
        drive.turn(angle_rad)
        before = np.array(drive.state.xy_m)
        state = drive.go(distance_m)
        assert state.clearance_m >= 0
        near = np.array(state.xy_m) + RADIUS_M * np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0]])
        assert room_with_wall().grid.free_at(near * (1 - 1e-9)).all()
        way_m = np.linalg.norm(np.array(state.xy_m) - before)
        assert state.blocked == (way_m < abs(distance_m) - 1e-6)


def test_a_thin_wall_stops_and_a_door_lets_through():
    """A step longer than the wall is thick does not pass it."""
    drive = RobotDrive(room_with_wall())
    drive.place((0.0, 1.0))
    state = drive.go(3.0)
    assert state.blocked and state.xy_m[0] == pytest.approx(1.0 - RADIUS_M, abs=CELL_M) and state.clearance_m < CELL_M
    drive.place((0.0, -1.0))
    assert not drive.go(1.5).blocked and drive.state.xy_m[0] == pytest.approx(1.5)


def test_it_is_placed_where_it_fits():
    """Beside a wall, outside and before placing: refused in words."""
    drive = RobotDrive(room_with_wall())
    for move in (lambda: drive.go(1.0), lambda: drive.turn(1.0)):
        with pytest.raises(InputError, match="nowhere"):
            move()
    for place in ((0.9, 1.0), (50.0, 0.0)):
        with pytest.raises(InputError, match="does not fit"):
            drive.place(place)
    assert drive.state is None
    full = OccupancyGrid(cells=np.full((9, 9), Cell.OCCUPIED, np.uint8), cell_m=CELL_M, origin_xy_m=(0.0, 0.0))
    with pytest.raises(InputError, match="fits anywhere"):
        RobotDrive(analyse(full, RADIUS_M)).place_anywhere()
