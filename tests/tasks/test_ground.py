"""Clearance, geodesic distances, atlas and baseline, judged by rooms whose distances are known in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pxr.Usd")
pytest.importorskip("scipy")

from known_scenes import known_scene
from lyra.worldgen.core.errors import InputError
from lyra_tasks.atlas import MOST_COPIES, choose_places, load_atlas, place_side_by_side, sampled
from lyra_tasks.ground import load_ground
from lyra_tasks.pursuit import PurePursuit, plan
from lyra_tasks.worlds import load_navigation_world
from task_worlds import write_world

RADIUS_M = 0.28
FOOTPRINT_M = 0.23


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A furnished room, twice: the second under another name and not certified."""
    folder = tmp_path_factory.mktemp("worlds")
    write_world(folder / "a", known_scene(1004, kind="room").truth)
    return folder


@pytest.fixture(scope="module")
def ground(folder):
    return load_ground(load_navigation_world(folder / "a"), robot_radius_m=RADIUS_M)


def test_clearance_is_exact(ground):
    """Not the map's to a cell, but the room's own to a tenth of a millimetre."""
    xy = ground.grid.centre_xy_m(np.argwhere(ground.navigable))
    truth = known_scene(1004, kind="room").clearance_m(xy, 0.05, 0.65)
    np.testing.assert_allclose(ground.clearance_m[ground.navigable], truth, atol=2e-4)
    assert ground.clearance_m[ground.navigable].min() >= RADIUS_M
    assert not ground.clearance_m[~ground.grid.free].any()


def test_fields_agree_with_planned_episodes(ground):
    """Grid distance exceeds the straightened path by at most a diagonal's share, and never undercuts it by a cell."""
    episodes = ground.world.episodes[:6]
    fields = ground.fields_to(np.array([e.goal_xy_m for e in episodes]))
    starts = ground.world.starts_xy_yaw()[:6, :2]
    found = np.diagonal(sampled(fields, starts))
    planned = np.array([e.geodesic_m for e in episodes])
    # The episodes keep 0.30 m, these fields 0.28: paths may be a little shorter.
    assert (found > 0.95 * planned - 0.1).all() and (found < 1.09 * planned + 0.1).all()


def test_a_goal_in_a_wall_is_refused(ground):
    """Fields start where the robot fits."""
    with pytest.raises(InputError, match="does not fit"):
        ground.fields_to(np.array([[50.0, 0.0]]))
    with pytest.raises(InputError, match="does not fit into the world"):
        load_ground(ground.world, robot_radius_m=5.0)


def test_places_are_seeded_and_free(ground):
    """The same seed gives the same places, another one others; all keep their distance from obstacles."""
    first, again = (choose_places(ground, goals=8, starts=32, seed=3) for _ in range(2))
    other = choose_places(ground, goals=8, starts=32, seed=3, key=1)
    np.testing.assert_array_equal(first.start_distance_m, again.start_distance_m)
    assert not np.array_equal(first.goals_xy_m, other.goals_xy_m)
    truth = known_scene(1004, kind="room")
    for xy in (first.goals_xy_m, first.starts_xy_m):
        assert truth.clearance_m(xy, 0.05, 0.65).min() > RADIUS_M
    straight = np.linalg.norm(first.goals_xy_m[:, None] - first.starts_xy_m, axis=2)
    assert (first.start_distance_m > straight - 0.1).all()


def test_worlds_do_not_touch(ground):
    """Placed maps keep the gap, floors lie at zero, one world stays where it is."""
    offsets = place_side_by_side([ground.world] * 7, gap_m=10.0)
    np.testing.assert_array_equal(offsets[0], 0.0)
    size = np.array(ground.grid.shape[::-1]) * ground.grid.cell_m
    apart = np.abs(offsets[:, None, :2] - offsets[None, :, :2]) - size
    assert (apart.max(-1)[~np.eye(7, dtype=bool)] > 9.0).all()
    np.testing.assert_array_equal(offsets * 2, np.round(offsets * 2))


def test_atlas_assigns_worlds_in_turn(folder):
    """Environment i lives in world i % K."""
    atlas = load_atlas(str(folder), robot_radius_m=RADIUS_M)
    assert len(atlas) == 1 and atlas.world_of(3).tolist() == [0, 0, 0]


def test_crowded_worlds_are_copied(folder, ground):
    """As many copies as give robots their floor, apart from one another, in which robots take turns."""
    atlas = load_atlas(str(folder), robot_radius_m=RADIUS_M)
    floor_m2 = np.count_nonzero(ground.navigable) * ground.grid.cell_m**2
    assert len(atlas.with_room(100, 0.0).offsets_m) == 1
    assert len(atlas.with_room(int(floor_m2), 0.99).offsets_m) == 1
    many = atlas.with_room(int(3 * floor_m2), 0.99)
    assert len(many) == 1 and len(many.offsets_m) == 3 and len({many.prim_path(s) for s in range(3)}) == 3
    offsets = many.env_offsets_m(7)
    np.testing.assert_array_equal(offsets, many.offsets_m[[0, 1, 2, 0, 1, 2, 0]])
    assert (many.world_of(7) == 0).all()
    size = np.array(ground.grid.shape[::-1]) * ground.grid.cell_m
    apart = np.abs(many.offsets_m[:, None, :2] - many.offsets_m[None, :, :2]) - size
    assert (apart.max(-1)[~np.eye(3, dtype=bool)] > 9.0).all()
    assert len(atlas.with_room(10**6, 100.0).offsets_m) == MOST_COPIES


def test_baseline_drives_every_episode(ground):
    """An ideal differential drive under pure pursuit reaches all goals on near-shortest paths without touching."""
    truth, world = known_scene(1004, kind="room"), ground.world
    start, goals = world.starts_xy_yaw()[:8], world.goals_xy_m()[:8]
    xy, yaw = start[:, :2].copy(), start[:, 2].copy()
    driver = PurePursuit(len(goals))
    for i, goal in enumerate(goals):
        driver.follow(i, plan(ground, xy[i], goal, footprint_radius_m=FOOTPRINT_M))
    driven, reached, nearest = np.zeros(len(goals)), np.zeros(len(goals), bool), np.full(len(goals), np.inf)
    for _ in range(600):
        speed, turn = driver.act(xy, yaw).T * ~reached
        yaw += 2.0 * turn * 0.04
        xy += 0.04 * speed[:, None] * np.stack([np.cos(yaw), np.sin(yaw)], -1)
        driven += 0.04 * speed
        nearest = np.minimum(nearest, truth.clearance_m(xy, 0.05, 0.65))
        reached |= np.linalg.norm(xy - goals, axis=1) < 0.3
    assert reached.all() and nearest.min() > FOOTPRINT_M
    assert np.mean(world.geodesics_m()[:8] / np.maximum(driven, world.geodesics_m()[:8])) > 0.9
