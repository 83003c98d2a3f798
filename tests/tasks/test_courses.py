"""Drives are drawn by environment and number alone, keep to free space, and are as long as asked."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pxr.Usd")
pytest.importorskip("scipy")
pytest.importorskip("torch")

import torch

from known_scenes import known_scene
from lyra_tasks.atlas import choose_places, load_atlas
from lyra_tasks.courses import EPISODES, RANDOM, CourseBook, CourseOptions
from lyra_tasks.hashed import hashed_uniform
from task_worlds import write_known_worlds

SEEDS = (1000, 1004)
RADIUS_M = 0.28


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds")
    write_known_worlds(folder, SEEDS)
    return load_atlas(str(folder), robot_radius_m=RADIUS_M)


def book_of(
    atlas, *, source: str = RANDOM, stops: int = 1, revisits: bool = False, count: int = 9, seed: int = 5
) -> CourseBook:
    options = CourseOptions(
        source=source, stops=stops, revisits=revisits, min_geodesic_m=1.5, goals=16, starts=128, seed=seed
    )
    return CourseBook(atlas, options, env_count=count, device="cpu")


def test_hash_is_uniform_and_stable():
    """Mean and spread of a uniform number, no repeats along any argument, the same value for ever."""
    env, drive = torch.meshgrid(torch.arange(100), torch.arange(100), indexing="ij")
    u = hashed_uniform(3, env.reshape(-1), drive.reshape(-1), 1).numpy()
    assert 0 <= u.min() and u.max() < 1
    assert abs(u.mean() - 0.5) < 0.01 and abs(u.std() - 12**-0.5) < 0.01
    table = u.reshape(100, 100)
    for shifted in (table[1:] - table[:-1], table[:, 1:] - table[:, :-1]):
        assert abs(np.corrcoef(shifted.ravel()[1:], shifted.ravel()[:-1])[0, 1]) < 0.55
    other = hashed_uniform(4, env.reshape(-1), drive.reshape(-1), 1).numpy()
    assert abs(np.corrcoef(u, other)[0, 1]) < 0.05


def test_draws_depend_on_nothing_but_environment_and_number(atlas):
    """All at once, one by one or in another order: the n-th drive of an environment is the same."""
    one, two = book_of(atlas), book_of(atlas)
    every = torch.arange(9)
    one.begin(every)
    one.begin(every)
    for i in (4, 0, 8, 2, 6, 1, 3, 5, 7):
        two.begin(torch.tensor([i]))
        two.begin(torch.tensor([i]))
    for name in ("start_xy_w", "start_yaw", "goal_id"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    second = one.start_xy_w.clone()
    one.rewind()
    one.begin(every)
    assert not torch.equal(one.start_xy_w, second)
    assert not torch.equal(book_of(atlas, seed=6).goal_id, one.goal_id)


def test_drives_are_free_and_as_long_as_asked(atlas):
    """Starts and stops keep their distance from the room's own walls; lengths lie between minimum and limit."""
    book = book_of(atlas, stops=3)
    book.limit_m = 3.0
    scenes = [known_scene(seed, kind="room") for seed in SEEDS]
    for _ in range(4):
        book.begin(torch.arange(9))
        assert (book.goal_id[:, 1:] != book.goal_id[:, :-1]).all()
        length = book.geodesic_m(book.start_xy_w)
        assert (length > 1.4).all() and (length < 3.1).all()
        for xy_w in (book.start_xy_w, book.stop_xy_w(torch.full((9,), 2))):
            xy = (xy_w - book.env_offset_w[:, :2]).numpy()
            for i in range(9):
                assert scenes[i % 2].clearance_m(xy[i], 0.05, 0.65) > RADIUS_M


@pytest.mark.parametrize("source", [RANDOM, EPISODES])
def test_ways_go_over_all_stops(atlas, source):
    """Start to first stop to second stop: as if each leg were looked up while the robot stands at its beginning."""
    book = book_of(atlas, source=source, stops=2)
    book.begin(torch.arange(9))
    book.begin(torch.tensor([3, 4]))
    way = book.geodesic_m(book.start_xy_w)
    book.go_on(torch.ones(9, dtype=torch.bool))
    way += book.geodesic_m(book.stop_xy_w(torch.zeros(9, dtype=torch.long)))
    torch.testing.assert_close(book.way_m, way)


def test_lookups_equal_the_ground(atlas):
    """Tensors answer what NumPy answers, each environment in its own world."""
    book = book_of(atlas)
    book.begin(torch.arange(9))
    clearance = book.clearance_m(book.start_xy_w).numpy()
    for i in range(9):
        xy = (book.start_xy_w[i] - book.env_offset_w[i, :2]).numpy().astype(float)
        assert clearance[i] == pytest.approx(atlas.grounds[i % 2].clearance_at(xy), abs=1e-4)
    # Several positions each, on the map and beyond its border, and every environment its own field.
    around_w = book.start_xy_w + torch.tensor(np.random.default_rng(2).uniform(-4, 4, (7, 9, 2)), dtype=torch.float32)
    places = [choose_places(g, goals=16, starts=128, seed=5, key=k) for k, g in enumerate(atlas.grounds)]
    found = book.geodesic_m(around_w).numpy()
    for i in range(9):
        xy = (around_w[:, i] - book.env_offset_w[i, :2]).numpy().astype(float)
        expected = places[i % 2].fields.at(int(book.goal_id[i, 0]), xy)
        np.testing.assert_allclose(found[:, i], expected, atol=2e-3)
    at_goal = book.geodesic_m(book.goal_xy_w)
    assert (at_goal < 0.12).all(), "the field of a goal is lowest at the goal"


def test_episodes_are_shared_out(atlas):
    """The environments of a world drive its certified episodes, each once before any is repeated."""
    book = book_of(atlas, source=EPISODES, count=6)
    seen: list[list[int]] = [[], []]
    for _ in range(8):
        book.begin(torch.arange(6))
        for i in range(6):
            seen[i % 2].append(int(book.goal_id[i, 0]))
    for k, ground in enumerate(atlas.grounds):
        assert sorted(seen[k]) == list(range(len(ground.world.episodes)))
    episode = atlas.grounds[1].world.episodes[int(book.goal_id[1, 0])]
    np.testing.assert_allclose(book.start_xy_w[1] - book.env_offset_w[1, :2], episode.start_xy_m, atol=1e-4)
    np.testing.assert_allclose(book.goal_xy_w[1] - book.env_offset_w[1, :2], episode.goal_xy_m, atol=1e-4)
    assert float(book.start_yaw[1]) == pytest.approx(episode.start_yaw_rad, abs=1e-4)


@pytest.mark.parametrize("source", [RANDOM, EPISODES])
def test_patrols_come_back(atlas, source):
    """The third stop is the first again; no stop follows itself; episodes are chained."""
    book = book_of(atlas, source=source, stops=5, revisits=True)
    book.begin(torch.arange(9))
    assert torch.equal(book.goal_id[:, 2], book.goal_id[:, 0])
    assert (book.goal_id[:, 1:] != book.goal_id[:, :-1]).all()
    if source == EPISODES:
        assert torch.equal(book.goal_id[:, 1], book.goal_id[:, 0] + 1)


def test_first_episodes_stand_for_all(atlas):
    """Fewer episodes of every world, in their order; floor, places and the original stay as they are."""
    few = atlas.with_first_episodes(4)
    for whole, part in zip(atlas.grounds, few.grounds, strict=True):
        assert part.world.episodes == whole.world.episodes[:4] and len(whole.world.episodes) > 4
        assert (part.navigable == whole.navigable).all() and part.colliders is whole.colliders
    assert (few.offsets_m == atlas.offsets_m).all()
    book = book_of(few, source=EPISODES, count=9)
    book.begin(torch.arange(9))
    assert int(book.goal_id.max()) < 4
