"""The index gives the picks of the exhaustive rule, whatever the views and targets are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import camera_pose, invert_rigid
from lyra.worldgen.generation.retrieval import cache_points, retrieve
from lyra.worldgen.generation.retrieval_index import RetrievalIndex

SIZE_HW = (96, 160)
K = np.array([[110.0, 0, 79.5], [0, 110.0, 47.5], [0, 0, 1]])


def box_depth(T_world_cam: np.ndarray, room: np.ndarray, pillars: np.ndarray) -> np.ndarray:
    """[H, W] depth of the inside of a box [2, 3] with square pillars [N, 2, 3] in it."""
    v, u = np.indices(SIZE_HW)
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(SIZE_HW)], -1) @ T_world_cam[:3, :3].T
    eye = T_world_cam[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.nanmin(np.maximum((room[0] - eye) / rays, (room[1] - eye) / rays), -1)
        for low, high in pillars:
            near = np.nanmax(np.minimum((low - eye) / rays, (high - eye) / rays), -1)
            far = np.nanmin(np.maximum((low - eye) / rays, (high - eye) / rays), -1)
            t = np.where((near < far) & (near > 0), np.minimum(t, near), t)
    return t.astype(np.float32)


def random_walk(rng: np.random.Generator, count: int, *, holes: bool) -> list:
    """Views of one room from random poses."""
    room = np.array([[-6.0, -4, 0], [6, 4, 3]])
    centre = rng.uniform([-5, -3, 0], [5, 3, 0], (4, 3))
    half = np.array([0.3, 0.3, 3])
    pillars = np.stack([centre - half, centre + half], 1)
    views = []
    for i in range(count):
        T = camera_pose(rng.uniform([-5, -3, 0.5], [5, 3, 2.5]), heading_rad=rng.uniform(-np.pi, np.pi))
        depth = box_depth(T, room, pillars)
        if holes:
            depth[rng.random(SIZE_HW) < 0.1] = 0
        keep = rng.random(SIZE_HW) < 0.7 if holes and i % 3 == 0 else None
        views.append(cache_points(8 * i, depth, invert_rigid(T), K, keep=keep))
    return views


def index_of(views: list) -> RetrievalIndex:
    index = RetrievalIndex()
    for view in views:
        index.add(view)
    return index


@pytest.mark.slow
@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 12),
    picks=st.integers(0, 6),
    targets=st.integers(1, 3),
    holes=st.booleans(),
    newest=st.booleans(),
)
def test_the_same_picks(seed, count, picks, targets, holes, newest):
    """Same ids in the same order, for any number of targets, with holes and with the newest view set apart."""
    rng = np.random.default_rng(seed)
    views = random_walk(rng, count, holes=holes)
    poses = np.stack(
        [
            invert_rigid(camera_pose(rng.uniform([-5, -3, 0.5], [5, 3, 2.5]), heading_rad=rng.uniform(-4, 4)))
            for _ in range(targets)
        ]
    )
    want = retrieve(views, poses, K, SIZE_HW, count=picks, cover_newest=newest)
    assert index_of(views).retrieve(poses, K, SIZE_HW, count=picks, cover_newest=newest) == want


def test_what_is_removed_is_never_picked(rng):
    """Removing a view leaves the picks of an index that never knew it."""
    views = random_walk(rng, 9, holes=False)
    index = index_of(views)
    index.remove(24)
    pose = invert_rigid(camera_pose(np.array([0.0, 0, 1.5]), heading_rad=1.0))[None]
    rest = [v for v in views if v.view_id != 24]
    assert index.retrieve(pose, K, SIZE_HW, count=5) == retrieve(rest, pose, K, SIZE_HW, count=5)
    with pytest.raises(InputError, match="not in the index"):
        index.remove(24)
    with pytest.raises(InputError, match="already in the index"):
        index.add(views[0])


def test_nothing_known_or_wanted():
    assert RetrievalIndex().retrieve(np.eye(4)[None], K, SIZE_HW, count=3) == []
    empty = cache_points(0, np.ones(SIZE_HW, np.float32), np.eye(4), K, keep=np.zeros(SIZE_HW, bool))
    assert index_of([empty]).retrieve(np.eye(4)[None], K, SIZE_HW, count=3) == []


def test_tiles_hold_every_point_once(rng):
    """Tiles are a partition of the points, and each lies in its box."""
    (view,) = random_walk(rng, 1, holes=True)
    assert view.tile_start[0] == 0 and view.tile_start[-1] == len(view.points_world)
    for t in range(len(view.tile_box)):
        points = view.points_world[view.tile_start[t] : view.tile_start[t + 1]]
        assert len(points) and (points >= view.tile_box[t, 0]).all() and (points <= view.tile_box[t, 1]).all()
