"""The memory keeps its promises whatever it holds in RAM, and its compiled loop agrees with the plain one."""

from __future__ import annotations

import numpy as np

from lyra.worldgen.core.frames import camera_pose, transform_points
from lyra.worldgen.generation.cache import SpatialCache
from lyra.worldgen.generation.warp import gather
from rooms import AnalyticRoom, analytic_room


def looks(room: AnalyticRoom, count: int):
    for i in range(count):
        T = camera_pose(np.array([0.2 * i, 0.05 * i, 1.4]), heading_rad=0.4 * i)
        yield room.render(T_world_cam=T, view_id=i)


def points_of(view) -> np.ndarray:
    cam = view.camera.unproject(view.depth_z_m.astype(float)).reshape(-1, 3)
    return transform_points(view.T_world_cam, cam)


def test_recall_answers_wherever_the_plain_version_does() -> None:
    """Where `gather` sees a point so does the memory, with the same colour; it adds only grazing surfaces."""
    room = analytic_room(width_px=96, height_px=72)
    views = list(looks(room, 2))
    cache = SpatialCache()
    cache.add(views[0])
    points = points_of(views[1])
    rgb, known = cache.recall(points, [0])
    view = views[0]
    want, seen, _ = gather(
        points,
        camera=view.camera,
        T_world_cam=view.T_world_cam,
        depth_z_m=view.depth_z_m,
        rgb=view.rgb_u8,
        usable=view.valid,
    )
    assert known[seen].all() and (known & ~seen).mean() < 0.05
    np.testing.assert_allclose(rgb[seen], want[seen], atol=1.5)  # cv2 rounds its bilinear weights


def test_a_small_memory_gives_the_same_answers() -> None:
    """Views that were let go are read again; nothing that is recalled or retrieved changes."""
    room = analytic_room(width_px=96, height_px=72)
    views = {v.view_id: v for v in looks(room, 8)}
    read: list[int] = []

    def load(view_id: int):
        read.append(view_id)
        return views[view_id]

    large, small = SpatialCache(), SpatialCache(held_bytes=200_000)
    for view in views.values():
        large.add(view)
        small.add(view)
        small.may_release([view.view_id], load)
    target = room.render(T_world_cam=camera_pose(np.array([0.5, 0.3, 1.3]), heading_rad=1.0), view_id=99)
    ids = large.retrieve(target.camera, target.T_world_cam, count=8)
    assert len(ids) > 2 and ids == small.retrieve(target.camera, target.T_world_cam, count=8)
    for a, b in zip(large.recall(points_of(target), ids), small.recall(points_of(target), ids), strict=True):
        np.testing.assert_array_equal(a, b)
    assert read and len(small) == 8
    assert [v.view_id for v in small.views] == list(range(8)) == [v.view_id for v in small.views[:]]
    assert len(small.views[2:5]) == 3


def test_only_own_pixels_answer_unless_asked() -> None:
    """A copied pixel is no memory; a memory without rules reads it all the same."""
    room = analytic_room(width_px=48, height_px=36)
    view = room.render()
    view.source[:] = 3
    cache = SpatialCache()
    cache.add(view)
    points = points_of(view)
    assert not cache.recall(points, [0])[1].any()
    assert cache.recall(points, [0], own_pixels_only=False)[1].mean() > 0.9
