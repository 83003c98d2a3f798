"""Blocks merge where nothing is lost, and dearly along outlines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lyra.worldgen.core.mesh import Label
from lyra.worldgen.reconstruction.mesh_extract import extract_surface
from lyra.worldgen.reconstruction.splat_blocks import merge_costs, merge_threshold
from lyra.worldgen.reconstruction.surface_hits import cast_views
from reconstruction.analytic_world import make_world

for _package in ("numba", "embreex", "cv2", "scipy", "xatlas"):
    pytest.importorskip(_package)


@pytest.fixture(scope="module")
def blocks():
    world = make_world(width_px=128, height_px=96, turns=0, bins=60)
    photo = replace(world.views[0], rgb_u8=np.full_like(world.views[0].rgb_u8, 120))
    mesh = extract_surface(world)
    hit = cast_views(mesh, [photo])[0]
    return merge_costs(photo, hit, photo.valid, mesh.face_normals()), hit, mesh


def test_one_colour_on_one_plane_costs_nothing(blocks):
    """Four pixels of one colour on a wall ahead merge for free; four that lie on two planes never do."""
    levels, hit, mesh = blocks
    pairs = levels[1].cost
    face = hit.face[: 2 * len(pairs), : 2 * pairs.shape[1]].reshape(len(pairs), 2, pairs.shape[1], 2)
    normals = mesh.face_normals()[face]
    turn = np.ptp(normals, axis=(1, 3)).max(-1)
    ahead = (turn < 1e-6) & (levels[1].label == Label.WALL)
    assert (pairs[ahead] < 1e-3).mean() > 0.9
    assert np.isinf(pairs[turn > 0.2]).all() and (turn > 0.2).any()


def test_the_threshold_saves_enough(blocks):
    """Merging all blocks up to the threshold brings the count down to the budget, and no merge is wasted."""
    levels, _, _ = blocks
    count = int(np.isfinite(levels[0].cost).sum())
    assert merge_threshold([levels], count, count) == -1.0
    threshold = merge_threshold([levels], count, count // 2)
    saved = 3 * sum(int((level.cost <= threshold).sum()) for level in levels[1:])
    assert saved >= count - count // 2
    fewer = 3 * sum(int((level.cost < threshold).sum()) for level in levels[1:])
    assert fewer < count - count // 2
    assert merge_threshold([levels], count, 1) == np.inf
