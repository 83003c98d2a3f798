"""Clutter stands beside the way and never in it; distances are those of its shapes; draws follow from the seed."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pxr.Usd")
pytest.importorskip("scipy")
pytest.importorskip("torch")

import torch

from lyra_tasks.atlas import load_atlas
from lyra_tasks.clutter import SHAPES, ClutterBook, ClutterOptions
from lyra_tasks.courses import RANDOM, STRIDE_M, CourseBook, CourseOptions
from lyra_tasks.robots.diff_drive import SIZES
from lyra_tasks.rules import PATROL, POINT_GOAL, DriveRules
from sample_worlds import simple_room
from task_worlds import write_known_worlds, write_world

SPEC = SIZES["medium"]
PASSAGE_M = SPEC.footprint_radius_m + 0.15
ENVS, THINGS = 48, 4


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds")
    write_world(folder / "plain", simple_room())
    write_known_worlds(folder, (1000,))
    return load_atlas(str(folder), robot_radius_m=SPEC.footprint_radius_m + POINT_GOAL.planning_margin_m)


def begun(atlas, drive: DriveRules = POINT_GOAL, seed: int = 7, count: int = THINGS) -> CourseBook:
    options = CourseOptions(source=RANDOM, stops=drive.stops, min_geodesic_m=1.5, goals=16, starts=64, seed=0)
    book = CourseBook(atlas, options, env_count=ENVS, device="cpu")
    things = ClutterOptions(count=count, passage_m=PASSAGE_M, seed=seed)
    book.clutter = ClutterBook(atlas, things, env_count=ENVS, device="cpu")
    book.begin(torch.arange(ENVS))
    return book


@pytest.mark.parametrize("drive", [POINT_GOAL, PATROL], ids=["point_goal", "patrol"])
def test_the_way_stays_free(atlas, drive):
    """Along a route of nearly the shortest length a robot keeps its radius from walls and things, and more from things;
    most drives have something beside it."""
    book = begun(atlas, drive)
    clutter = book.clutter
    assert clutter is not None and clutter.there.float().mean() > 0.5
    route, whole = book.routes(torch.arange(ENVS))
    part = torch.linspace(0, 1, 11)[:, None, None, None]
    dense = (route[:, :-1] * (1 - part) + route[:, 1:] * part).permute(0, 2, 1, 3) + book.env_offset_w[:, :2]
    assert book.clearance_m(dense)[..., whole].min() > SPEC.footprint_radius_m
    assert clutter.distance_m(dense).min() > PASSAGE_M
    beside = clutter.distance_m(dense).amin((0, 1))
    assert (beside < PASSAGE_M + 0.5).float().mean() > 0.5
    assert not clutter.there[~whole].any(), "where no route was found, nothing stands"


def test_routes_lead_from_start_to_stop(atlas):
    """Every way is followed to its end in strides, and is hardly longer than the shortest."""
    book = begun(atlas)
    route, whole = book.routes(torch.arange(ENVS))
    assert whole.float().mean() > 0.95
    steps = route.diff(dim=1).norm(dim=-1)
    assert steps.max() < 2 * STRIDE_M + 1e-4
    assert (steps.sum(1) < 1.15 * book.way_m + 0.5)[whole].all()


def test_things_stand_on_free_floor_apart_from_one_another(atlas):
    """Clear of walls by their own size, and of each other."""
    book = begun(atlas)
    clutter = book.clutter
    assert clutter is not None
    reach = clutter.half_m.norm(dim=-1) + clutter.radius_m
    for thing in range(THINGS):
        clearance = book._own_clearance.at(clutter.xy_w[:, thing] - book.env_offset_w[:, :2])
        there = clutter.there[:, thing]
        assert (clearance[there] > reach[there, thing] - 0.03).all()
    for i in range(ENVS):
        xy, r = clutter.xy_w[i][clutter.there[i]], reach[i][clutter.there[i]]
        apart = torch.cdist(xy, xy) - (r[:, None] + r) + 10 * torch.eye(len(xy))
        assert not len(xy) or apart.min() > -1e-4


def test_draws_follow_from_the_seed(atlas):
    """Equal seeds give equal clutter, another seed other clutter; a new drive moves only its own."""
    a, b, c = begun(atlas), begun(atlas), begun(atlas, seed=8)
    assert a.clutter and b.clutter and c.clutter
    assert torch.equal(a.clutter.xy_w, b.clutter.xy_w) and not torch.equal(a.clutter.xy_w, c.clutter.xy_w)
    before = a.clutter.xy_w.clone()
    a.begin(torch.tensor([3, 10]))
    moved = (a.clutter.xy_w != before).flatten(1).any(1)
    assert moved[[3, 10]].all() and moved.sum() == 2


def test_distances_are_those_of_the_shapes(atlas):
    """Around each thing, against its outline sampled densely; inside they are negative; the clearance includes them."""
    book = begun(atlas)
    clutter = book.clutter
    assert clutter is not None
    rng = np.random.default_rng(2)
    turn = np.linspace(0, 2 * np.pi, 2000)
    for i in range(0, ENVS, 5):
        if not clutter.there[i].any():
            continue
        outline = []
        for k in np.flatnonzero(clutter.there[i].numpy()):
            if clutter.radius_m[i, k] > 0:
                shape = float(clutter.radius_m[i, k]) * np.stack([np.cos(turn), np.sin(turn)], -1)
            else:
                h, edge = clutter.half_m[i, k].numpy(), np.linspace(-1, 1, 500)[:, None]
                one = np.ones_like(edge)
                shape = np.concatenate([np.c_[edge, one], np.c_[edge, -one], np.c_[one, edge], np.c_[-one, edge]]) * h
            yaw = float(clutter.yaw[i, k])
            rotation = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
            outline.append(shape @ rotation.T + clutter.xy_w[i, k].numpy())
        at = clutter.xy_w[i][clutter.there[i]][0].numpy() + rng.uniform(-1, 1, (40, 2))
        nearest = np.linalg.norm(at[:, None] - np.concatenate(outline), axis=-1).min(1)
        xy_w = torch.zeros(40, ENVS, 2) + book.start_xy_w
        xy_w[:, i] = torch.tensor(at, dtype=torch.float32)
        found = clutter.distance_m(xy_w)[:, i]
        np.testing.assert_allclose(found.abs(), nearest, atol=2e-3)
        assert (book.clearance_m(xy_w)[:, i] <= found + 1e-6).all()
    middles = clutter.xy_w[:, 0]
    assert (clutter.distance_m(middles)[clutter.there[:, 0]] < 0).all()


def test_without_things_nothing_changes(atlas):
    """A book without clutter, and a clutter of no things that had room, have the same clearance."""
    with_none = begun(atlas)
    assert with_none.clutter is not None
    with_none.clutter.there[:] = False
    plain = begun(atlas)
    plain.clutter = None
    xy = plain.start_xy_w
    assert torch.equal(plain.clearance_m(xy), with_none.clearance_m(xy))


def test_shapes_fit_where_robots_fit():
    """Every shape stands on floor that the smallest robot may be on."""
    assert max(s.reach_m for s in SHAPES) < SIZES["medium"].footprint_radius_m
