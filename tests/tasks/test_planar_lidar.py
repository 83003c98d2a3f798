"""Ranges in a section against ray casting in the mesh, and against rooms in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("embreex")

from known_scenes import known_scene
from lyra.worldgen.core.mesh import TriMesh
from lyra.worldgen.core.raycast import Raycaster
from lyra_tasks.planar_lidar import PlanarLidar, ray_angles
from sample_worlds import box_corners, star_world

SCENES = {seed: known_scene(seed, kind="room").truth for seed in (1000, 1004)}
CASTERS = {seed: Raycaster(mesh) for seed, mesh in SCENES.items()}


@given(
    st.sampled_from(sorted(SCENES)),
    st.floats(0.05, 2.0),
    st.floats(-2.0, 2.0),
    st.floats(-2.0, 2.0),
    st.floats(-4.0, 4.0),
)
def test_sections_are_what_rays_hit(seed, height_m, x, y, yaw):
    """The same ranges as Embree, wherever the robot is and at whatever height."""
    found = PlanarLidar(SCENES[seed], height_m).ranges_m(np.array([x, y]), yaw, rays=36, max_range_m=6.0)
    angle = yaw + ray_angles(36)
    way = np.stack([np.cos(angle), np.sin(angle), np.zeros(36)], -1)
    cast = np.minimum(CASTERS[seed].cast(np.array([x, y, height_m]), way)[0], 6.0)
    # A ray along the very edge of a thing may be on either side of it.
    assert (np.abs(found - cast) > 1e-4).sum() <= 1


def test_walls_with_an_edge_at_the_lidars_height_are_seen():
    """A box room whose walls are split exactly at the plane: no ray escapes, distances are the room's."""
    room = star_world(box_corners(-2, 4, -3, 3), ceiling_m=2.0)
    low = room.vertices.copy()
    low[:, 2] *= 0.25
    high = room.vertices.copy()
    high[:, 2] = 0.5 + 0.75 * high[:, 2]
    split = TriMesh(
        vertices=np.concatenate([low, high]), faces=np.concatenate([room.faces, room.faces + len(room.vertices)])
    )
    ranges = PlanarLidar(split, 0.5).ranges_m(np.array([1.0, 0.0]), 0.0, rays=4, max_range_m=50.0)
    np.testing.assert_allclose(ranges, [3, 3, 3, 3], atol=1e-6)
    angle = ray_angles(500)
    ranges = PlanarLidar(split, 0.5).ranges_m(np.array([1.0, 0.0]), 0.0, rays=500, max_range_m=50.0)
    np.testing.assert_allclose(ranges, 3 / np.maximum(np.abs(np.cos(angle)), np.abs(np.sin(angle))), atol=1e-6)


def test_nothing_at_that_height_is_far_away():
    """Above the room there is nothing to see."""
    lidar = PlanarLidar(SCENES[1000], 50.0)
    np.testing.assert_array_equal(lidar.ranges_m(np.zeros(2), 0.0, rays=8, max_range_m=6.0), 6.0)
