"""The memory without memory: what stays in the picture stays exactly, what leaves it is gone."""

from __future__ import annotations

import numpy as np
import pytest

from lyra.worldgen.core.frames import camera_pose, transform_points
from lyra.worldgen.generation.cache import SpatialCache
from lyra.worldgen.generation.cache_fleeting import FleetingCache
from rooms import AnalyticRoom, analytic_room


def turned(room: AnalyticRoom, heading_deg: float) -> np.ndarray:
    return camera_pose(room.T_world_cam[:3, 3], heading_rad=np.radians(heading_deg))


def known_share(cache: SpatialCache, room: AnalyticRoom, T_world_cam: np.ndarray) -> float:
    """Share of a view's pixels whose colour the cache knows."""
    view = room.render(T_world_cam=T_world_cam)
    points = transform_points(T_world_cam, room.camera.unproject(view.depth_z_m).reshape(-1, 3))
    ids = cache.retrieve(room.camera, T_world_cam, count=8)
    return float(cache.recall(points, ids)[1].mean())


@pytest.fixture
def level_room() -> AnalyticRoom:
    return analytic_room(pitch_deg=0)


def test_what_stays_in_the_picture_is_kept_exactly(level_room):
    """After many views from one place every colour is the first view's, not a copy of a copy."""
    cache, first = FleetingCache(), level_room.render()
    cache.add(first)
    for view_id in range(1, 6):
        warped = level_room.render(view_id=view_id)
        cache.add(type(warped)(**{**vars(warped), "source": np.full_like(warped.source, 3)}))
    points = transform_points(first.T_world_cam, level_room.camera.unproject(first.depth_z_m).reshape(-1, 3))
    rgb, known = cache.recall(points, cache.retrieve(level_room.camera, first.T_world_cam, count=8))
    assert known.all()
    np.testing.assert_array_equal(rgb.reshape(first.rgb_u8.shape), first.rgb_u8)


@pytest.mark.parametrize("heading_deg", [20, 50, 180])
def test_what_leaves_the_picture_is_gone(level_room, heading_deg):
    """After a look aside and back only what both views showed is known; the spatial memory knows it all."""
    fleeting, spatial = FleetingCache(), SpatialCache()
    aside = level_room.render(T_world_cam=turned(level_room, heading_deg), view_id=1)
    for cache in (fleeting, spatial):
        cache.add(level_room.render())
        cache.add(aside)
    home = level_room.T_world_cam
    overlap = known_share_of_pair(level_room, heading_deg)
    assert known_share(spatial, level_room, home) == 1.0
    assert known_share(fleeting, level_room, home) == pytest.approx(overlap, abs=0.03)
    assert known_share(fleeting, level_room, aside.T_world_cam) == 1.0


def known_share_of_pair(room: AnalyticRoom, heading_deg: float) -> float:
    """Share of the first view that a level camera turned by an angle shows too, by its rays."""
    rays = room.camera.rays_cam().reshape(-1, 3)
    turn = np.radians(heading_deg)
    # To the left: what was straight ahead moves to the right.
    x = np.cos(turn) * rays[:, 0] + np.sin(turn) * rays[:, 2]
    z = np.cos(turn) * rays[:, 2] - np.sin(turn) * rays[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        u = room.camera.fx_px * x / z + room.camera.cx_px
        v = room.camera.fy_px * rays[:, 1] / z + room.camera.cy_px
    inside = (z > 0) & (u >= 0) & (u < room.camera.width_px) & (v >= 0) & (v < room.camera.height_px)
    return float(inside.mean())


def test_views_elsewhere_are_never_read(level_room):
    """A view that is kept on disk would bring back what was forgotten; it is not asked for."""
    cache = FleetingCache()
    cache.add(level_room.render())
    cache.may_release([0], lambda view_id: pytest.fail("read again"))
    cache.add(level_room.render(T_world_cam=turned(level_room, 180), view_id=1))
    assert cache.view(0).view_id == 0 and cache.next_id == 2
    assert cache.retrieve(level_room.camera, level_room.T_world_cam, count=8) == [1]
    cache.reset()
    assert len(cache) == 0 and cache.retrieve(level_room.camera, level_room.T_world_cam, count=8) == []
