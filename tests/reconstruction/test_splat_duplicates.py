"""Of several views of one spot, one is lifted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lyra.worldgen.core.views import SOURCE_PAINTED
from lyra.worldgen.reconstruction.mesh_extract import extract_surface
from lyra.worldgen.reconstruction.splat_duplicates import without_duplicates
from lyra.worldgen.reconstruction.surface_hits import cast_views
from reconstruction.analytic_world import make_world

for _package in ("numba", "embreex", "cv2", "scipy", "xatlas"):
    pytest.importorskip(_package)


def test_the_photo_wins_a_contested_spot():
    """Of a view that claims to have painted what the photo shows nothing is kept, and all of the photo is."""
    world = make_world(width_px=128, height_px=96, turns=0, bins=60)
    photo = world.views[0]
    views = [photo, replace(photo, view_id=1, source=np.full_like(photo.source, SOURCE_PAINTED))]
    mesh = extract_surface(world)
    kept = without_duplicates(views, cast_views(mesh, views), [photo.valid, photo.valid])
    np.testing.assert_array_equal(kept[0], photo.valid)
    assert not kept[1].any()
