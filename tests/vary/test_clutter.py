"""Things on the floor: where they stand, that they stand, and that they keep out of the way."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pxr.Usd")
pytest.importorskip("scipy")

from hypothesis import given, settings
from hypothesis import strategies as st

from lyra.worldgen.core.mesh import Label
from lyra.worldgen.sim.convex_pieces import ConvexPiece, hull_volume_m3
from lyra.worldgen.sim.episodes import densified
from lyra.worldgen.sim.occupancy import MARGIN_M
from lyra.worldgen.vary.base import read_base
from lyra.worldgen.vary.clutter import GAP_M, SHAPES, Thing, place_clutter, things_mesh, way_is_free
from lyra.worldgen.vary.config import ClutterVariation
from lyra.worldgen.vary.splats import thing_splats

things = st.builds(
    Thing,
    shape=st.sampled_from(sorted(SHAPES)),
    xy_m=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    yaw_rad=st.floats(0, 6.28),
    width_m=st.floats(0.05, 1.0),
    height_m=st.floats(0.1, 1.5),
)


@pytest.fixture(scope="module")
def base(made_room):
    return read_base(made_room)


@given(thing=things, floor_z_m=st.floats(-1, 1))
def test_things_are_convex_and_stand_on_the_floor(thing, floor_z_m):
    """The surface is closed, wound outward and convex, and the centre of mass is well over the foot."""
    mesh = thing.mesh(floor_z_m)
    triangles, normals = mesh.triangles(), mesh.face_normals()
    volume = (triangles[:, 0] * np.cross(triangles[:, 1], triangles[:, 2])).sum() / 6
    hull = hull_volume_m3(ConvexPiece(vertices=mesh.vertices, label=int(Label.OBJECT)))
    assert volume == pytest.approx(hull, rel=1e-6) and volume > 0
    offset = (mesh.vertices[None] - triangles[:, :1]) @ normals[:, :, None]
    assert offset.max() < 1e-9  # no corner lies before any face
    n = SHAPES[thing.shape].corners
    foot = mesh.vertices[:n]
    assert np.all(foot[:, 2] == floor_z_m) and np.all(mesh.vertices[n:, 2] > floor_z_m)
    centre = (triangles.sum(1) * (triangles[:, 0] * np.cross(triangles[:, 1], triangles[:, 2])).sum(1)[:, None]).sum(0)
    centre = centre / 24 / volume
    # The foot's corners are at least half of its width apart from the middle, the edges a little less.
    assert np.linalg.norm(centre[:2] - thing.xy_m) < 1e-6 * max(1.0, np.abs(thing.xy_m).max())
    reach = np.linalg.norm(foot[:, :2] - thing.xy_m, axis=1).min() * np.cos(np.pi / n)
    assert reach > 0.25 * thing.width_m


@given(thing=things)
def test_splats_of_a_thing_lie_on_its_surface(thing):
    """Every disc is on a face and looks along its normal."""
    cloud = thing_splats(thing, 0.0, np.array([0.2, 0.4, 0.6])).validate()
    mesh = thing.mesh(0.0)
    normals = mesh.face_normals()
    height = np.einsum("nfc,fc->nf", cloud.means[:, None].astype(float) - mesh.triangles()[None, :, 0], normals)
    assert np.abs(height.max(1)).max() < 1e-5  # before no face, and on one
    np.testing.assert_allclose(cloud.rgb(), np.tile([0.2, 0.4, 0.6], (len(cloud), 1)), atol=1e-6)
    w, x, y, z = cloud.quats_wxyz.T.astype(float)
    axis = np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], -1)
    assert (axis @ normals.T).max(1).min() > 1 - 1e-5


@settings(max_examples=12)
@given(index=st.integers(0, 500), count=st.integers(0, 12))
def test_things_keep_clear(base, index, count):
    """Of walls, of one another, of the viewpoint and of every episode's way, by what a robot needs."""
    cfg = ClutterVariation(count=(0, 12), width_m=(0.1, 0.5))
    robot = base.robot
    placed = place_clutter(count, cfg, base.grid, base.episodes, floor_z_m=0.0, robot=robot, seed=1000, index=index)
    assert len(placed.things) <= count
    again = place_clutter(count, cfg, base.grid, base.episodes, floor_z_m=0.0, robot=robot, seed=1000, index=index)
    assert again.things == placed.things
    for i, thing in enumerate(placed.things):
        x, y = thing.xy_m
        assert -4 + thing.radius_m <= x <= 6 - thing.radius_m and -3.5 + thing.radius_m <= y <= 4.5 - thing.radius_m
        assert np.hypot(x, y) >= 1.0 + thing.radius_m - 0.1
        for other in placed.things[:i]:
            assert np.hypot(x - other.xy_m[0], y - other.xy_m[1]) >= thing.radius_m + other.radius_m + GAP_M - 1e-6
        for episode in base.episodes:
            way = densified(np.array(episode.waypoints_xy_m), 0.02)
            clear = np.linalg.norm(way - thing.xy_m, axis=1).min() - thing.radius_m
            assert clear >= robot.robot_radius_m + MARGIN_M
    assert all(way_is_free(placed.space, episode) for episode in base.episodes)
    assert not (placed.space.grid.free & ~base.grid.free).any()
    blocked = placed.space.grid.free_at(np.array([t.xy_m for t in placed.things]).reshape(-1, 2))
    assert not blocked.any()
    assert things_mesh(placed.things, 0.0).face_count == sum(4 * SHAPES[t.shape].corners - 4 for t in placed.things)


def test_blocking_is_only_done_when_asked(base):
    """With `blocking`, some thing stands in some episode's way; without, none ever does."""
    cfg = ClutterVariation(count=(12, 12), width_m=(0.4, 0.6), blocking=True)
    blocked = []
    for index in range(4):
        placed = place_clutter(
            12, cfg, base.grid, base.episodes, floor_z_m=0.0, robot=base.robot, seed=1000, index=index
        )
        blocked += [not way_is_free(placed.space, episode) for episode in base.episodes]
    assert any(blocked)
