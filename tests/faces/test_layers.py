"""Layers as a browser gets them: the room's own surfaces, within their budgets."""

from __future__ import annotations

import numpy as np
import pytest

from lyra.worldgen.certify.space import analyse
from lyra.worldgen.core.frames import invert_rigid, transform_points
from lyra.worldgen.core.grid import Cell, OccupancyGrid
from lyra.worldgen.faces.layers import (
    FREE_RAMP,
    OCCUPIED_RGBA,
    certificate_layer,
    free_space_layer,
    outline,
    point_layer,
    splat_layer,
)
from rooms import analytic_room
from sample_worlds import sample_splats, simple_room


def test_points_lie_on_surfaces_and_keep_to_their_budget():
    """Every point is where the room has a surface, as many as allowed."""
    room = analytic_room()
    layer = point_layer(room.views().views, 500)
    assert len(layer.points_world) == 500 and layer.rgb_u8.shape == layer.points_world.shape
    eye = room.geometry().T_world_cam[:3, 3]
    way = layer.points_world - eye
    t, _ = room.cast(np.tile(eye, (len(way), 1)), way.astype(float))
    np.testing.assert_allclose(t, 1.0, atol=1e-3)


@pytest.mark.parametrize("share", [4, 16, 32])
def test_few_points_stand_in_no_columns(share):
    """However small the budget, no pixel of the picture is far from one that is shown."""
    view = analytic_room(width_px=96, height_px=72, boxes=False).render()
    kept = point_layer([view], view.valid.sum() // share).points_world
    uv, _ = view.camera.project(transform_points(invert_rigid(view.T_world_cam), kept.astype(float)))
    picture = np.stack(np.meshgrid(np.arange(96) + 0.5, np.arange(72) + 0.5), -1)[view.valid]
    nearest = np.linalg.norm(picture[:, None] - uv[None], axis=-1).min(1)
    assert nearest.max() < 2.0 * np.sqrt(share)
    assert (np.bincount(uv[:, 0].astype(int), minlength=96) > 0).mean() > 0.9


def test_splats_are_merged_to_the_budget():
    """Covariances are those of the splats; too many become fewer."""
    pytest.importorskip("numba")
    splats = sample_splats(simple_room(), 400)
    whole = splat_layer(splats, 1000)
    assert len(whole.centres_world) == whole.in_world == 400
    values = np.sort(np.linalg.eigvalsh(whole.covariances_m2.astype(float)), axis=1)
    np.testing.assert_allclose(values, np.sort(splats.scales_m.astype(float) ** 2, axis=1), rtol=1e-3, atol=1e-8)
    fewer = splat_layer(splats, 100)
    assert 0 < len(fewer.centres_world) <= 100 and fewer.in_world == 400


def test_the_map_lies_on_the_floor_as_seen_from_above():
    """Occupied is dark, unknown is clear, close to a wall is red; the first row of the picture is the highest y."""
    cells = np.full((20, 40), Cell.FREE, np.uint8)
    cells[0, :] = Cell.OCCUPIED
    cells[-1, :] = Cell.UNKNOWN
    grid = OccupancyGrid(cells=cells, cell_m=0.1, origin_xy_m=(-1.0, 2.0))
    layer = free_space_layer(analyse(grid, 0.3), 0.5)
    assert layer.size_m == pytest.approx((4.0, 2.0)) and layer.centre_world == pytest.approx((1.0, 3.0, 0.52))
    assert tuple(layer.rgba_u8[-1, 5]) == OCCUPIED_RGBA and layer.rgba_u8[0, 5, 3] == 0
    np.testing.assert_allclose(layer.rgba_u8[-2, 20, :3], FREE_RAMP[0], atol=60)
    assert layer.rgba_u8[10, 20, 2] > layer.rgba_u8[-2, 20, 2]


def test_an_outline_is_drawn_once_and_not_inside_sides():
    """A box has twelve edges, though its triangles have eighteen."""
    from lyra.worldgen.core.mesh import TriMesh
    from lyra.worldgen.sim.usd_read import _CUBE, _QUADS

    faces = np.concatenate([_QUADS[:, [0, 1, 2]], _QUADS[:, [0, 2, 3]]]).astype(np.int32)
    edges = outline(TriMesh(vertices=_CUBE, faces=faces), np.tile(np.arange(6), 2))
    assert len(edges) == 12
    np.testing.assert_allclose(np.linalg.norm(edges[:, 1] - edges[:, 0], axis=1), 1.0)


def test_a_certificate_that_makes_no_sense_shows_nothing():
    """Whatever a file says, what has no place is left out."""
    good = {"reached": True, "trace_xy_m": [[0, 0], [1, 0]]}
    missed = {"reached": False, "trace_xy_m": [[0, 0], [0, 1]]}
    look = {"position_m": [1, 2, 0.5], "heading_deg": 90, "disagree_percent": 3}
    wrong = [None, 7, {}, {"trace_xy_m": "far"}, {"trace_xy_m": [[1]]}, {"trace_xy_m": [[float("nan"), 0]]}]
    layer = certificate_layer(
        {
            "drives": [*wrong, good, missed],
            "facts": {"sensors": {"views": [*wrong, look, {**look, "heading_deg": None}]}},
        }
    )
    assert len(layer.reached) == len(layer.missed) == len(layer.looks) == 1
    np.testing.assert_allclose(layer.looks[0][0], [1, 2, 0.5])
    for nothing in ({}, {"drives": 3, "facts": []}, {"facts": {"sensors": 1}}):
        assert certificate_layer(nothing) == certificate_layer({})
