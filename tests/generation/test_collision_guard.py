"""Cameras stay in free space whatever path is asked for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.generation.collision_guard import keep_clear
from lyra.worldgen.generation.trajectory import CELL_M, FreeSpace


def space_with_wall() -> FreeSpace:
    """Eight by eight metres, cut by a wall with a gap at its end."""
    side = 160
    free = np.zeros((side, side), bool)
    free[4:-4, 4:-4] = True
    free[:120, 100:104] = False
    clearance = np.where(free, 1.0, 0.0)
    return FreeSpace(clearance_m=clearance, origin_xy_m=np.array([-4.0, -4.0]), reachable=free)


def poses(xy: np.ndarray, z: float = 1.5) -> np.ndarray:
    return np.stack([camera_pose(np.array([x, y, z]), heading_rad=0.3) for x, y in xy])


SPACE = space_with_wall()


@pytest.mark.slow
@settings(max_examples=12)
@given(
    st.lists(st.tuples(st.floats(-9, 9, allow_nan=False), st.floats(-9, 9, allow_nan=False)), min_size=1, max_size=12),
    st.floats(-1, 5),
)
def test_no_camera_and_no_step_between_two_leaves_free_space(corners, z):
    """Any zigzag, in and out of walls: every pose and every straight step between poses is reachable space."""
    xy = np.array([(0.0, 0.0), *corners])
    dense = np.concatenate([np.linspace(a, b, 15) for a, b in itertools.pairwise(xy)])
    out, moved = keep_clear(poses(dense, z), SPACE, height_range_m=(0.2, 2.5))
    at = out[:, :2, 3]
    assert SPACE.reachable_at(at).all()
    between = at[:-1, None] + np.linspace(0, 1, 20)[:, None] * (at[1:] - at[:-1])[:, None]
    # A step may cut a blocked cell's corner by less than the spacing at which it was tested.
    inner = SPACE.reachable_at(between)
    assert (np.diff(np.where(inner, 0, 1), axis=1) != 0).sum(1).max(initial=0) <= 2
    assert ((out[:, 2, 3] >= 0.2) & (out[:, 2, 3] <= 2.5)).all()
    np.testing.assert_allclose(moved, np.linalg.norm(out[:, :3, 3] - poses(dense, z)[:, :3, 3], axis=1))
    np.testing.assert_array_equal(out[:, :3, :3], poses(dense, z)[:, :3, :3])


def test_a_free_path_is_left_alone():
    """What never comes near anything is not changed by a bit."""
    path = poses(np.linspace((-1, -1), (0.5, 2), 40))
    out, moved = keep_clear(path, SPACE, height_range_m=(0.1, 3.0))
    np.testing.assert_array_equal(out, path)
    assert not moved.any()


def test_a_camera_slides_along_the_wall_and_through_the_gap():
    """Walking diagonally into the wall it goes on along it, finds the gap and reaches the other side."""
    out, moved = keep_clear(poses(np.linspace((0, -2), (3, 3.4), 400)), SPACE, height_range_m=(0.1, 3.0))
    assert moved.max() > 0.3
    np.testing.assert_allclose(out[-1, :2, 3], (3, 3.4), atol=2 * CELL_M)
    wall = (out[:, 0, 3] > 1.02) & (out[:, 0, 3] < 1.18) & (out[:, 1, 3] < 1.95)
    assert not wall.any()
