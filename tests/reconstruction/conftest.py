"""A small world of known surfaces and the splats lifted from it, for whoever asks."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def world():
    from reconstruction.analytic_world import make_world

    return make_world(width_px=128, height_px=96, turns=4, bins=60, step_m=0.3)


@pytest.fixture(scope="module")
def lifted(world):
    from lyra.worldgen.reconstruction.mesh_extract import extract_surface
    from lyra.worldgen.reconstruction.splat_lift import lift_splats
    from lyra.worldgen.reconstruction.surface_hits import cast_views

    mesh = extract_surface(world)
    return lift_splats(mesh, world.views, cast_views(mesh, world.views), budget=10**7)
