"""Depth alone gives back a scene of known truth: its collider to millimetres, its map for a robot."""

from __future__ import annotations

import pytest

from known_collider import score_collider
from known_scenes import known_scene
from known_truth import grid_clearance, score_cells
from lyra.worldgen.core.config import SimulationConfig
from lyra.worldgen.reconstruction.mesh_extract import extract_surface
from lyra.worldgen.sim.collision import build_colliders
from lyra.worldgen.sim.occupancy import build_occupancy

pytest.importorskip("numba")


@pytest.mark.slow
def test_a_room_is_lifted_to_millimetres():
    """The limits are tighter than those of `tools/bench/bench_known_truth.py`, so that lost accuracy shows here."""
    scene = known_scene(1002)
    views = scene.lift_views(32, width_px=200, height_px=150)
    surface = extract_surface(views)
    plan = build_colliders(surface, SimulationConfig())
    space = build_occupancy(surface, plan, SimulationConfig())
    score = score_collider(scene, views.views, plan.as_mesh(), count=2000)
    assert max(score.surface_median_m, score.phantom_median_m, score.range_median_m) < 0.005
    assert max(score.surface_p95_m, score.phantom_p95_m, score.range_p95_m) < 0.02
    assert score.floor_m < 0.002 and abs(plan.floor_z_m) < 0.002
    cells = score_cells(scene, views.views, grid_clearance(space.grid))
    assert cells.blocked_found >= 0.99
    assert cells.free_found >= 0.95
