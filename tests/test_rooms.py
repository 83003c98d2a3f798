"""The ground truth itself: the analytic room agrees with its own mesh, layout and free space."""

from __future__ import annotations

import numpy as np

from lyra.worldgen.core.frames import transform_points
from lyra.worldgen.core.mesh import Label
from rooms import analytic_room


def test_depth_lifts_onto_the_surfaces():
    """Every pixel's point lies on a wall, the floor, the ceiling or a box."""
    room = analytic_room(pitch_deg=-10, roll_deg=3)
    view = room.render()
    points = transform_points(room.T_world_cam, room.camera.unproject(view.depth_z_m.astype(float))).reshape(-1, 3)
    room_gap = np.minimum(np.abs(points - room.lo_m), np.abs(points - room.hi_m)).min(-1)
    on_box = [((points > np.array(a) - 1e-4) & (points < np.array(b) + 1e-4)).all(-1) for a, b in room.boxes_m]
    assert (np.minimum(room_gap, np.where(np.any(on_box, 0), 0, np.inf)) < 1e-4).all()
    assert set(np.unique(view.labels)) >= {Label.FLOOR, Label.WALL, Label.OBJECT}


def test_layout_distances_match_the_depth_picture():
    """Casting along the layout's azimuths at camera height meets the boundary where no tall box stands."""
    room = analytic_room(boxes=False)
    azimuth = np.linspace(-np.pi, np.pi, 72, endpoint=False)
    layout = room.layout(azimuth)
    directions = np.stack([np.cos(azimuth), np.sin(azimuth), np.zeros(72)], -1)
    t, _ = room.cast(np.array([0.0, 0.0, 1.5]), directions)
    np.testing.assert_allclose(layout.boundary_m, t)
    assert np.isclose(layout.step_rad * 72, 2 * np.pi)


def test_objects_of_the_layout_stand_before_the_boundary():
    """Objects are nearer than the wall behind them and have depth."""
    layout = analytic_room().geometry().layout
    assert len(layout.object_bin) and (layout.object_near_m < layout.object_far_m).all()
    assert (layout.object_far_m < layout.boundary_m[layout.object_bin]).all()


def test_free_space_knows_walls_boxes_and_radius():
    """A disc needs its radius of clearance everywhere."""
    room = analytic_room()
    assert room.free_at(np.array([0.0, 0.0]))
    assert not room.free_at(np.array([2.9, -1.4])), "inside a box"
    assert room.free_at(np.array([4.9, 0.0])) and not room.free_at(np.array([4.9, 0.0]), 0.25), "too near a wall"
    assert np.isclose(room.floor_area_m2, 42 - 0.8 - 0.72)


def test_views_agree_on_colour():
    """Two views of one surface show the same colour at the same point: the room is consistent by construction."""
    room = analytic_room()
    views = room.views().views
    assert [v.view_id for v in views] == list(range(6))
    assert (views[0].rgb_u8 != views[3].rgb_u8).any()
