"""Cells lie where they say, on the surface, as fine as wanted, and know their texel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lyra.worldgen.core.mesh import Label, TriMesh, concatenate_meshes
from lyra.worldgen.reconstruction import surface_grid as module
from lyra.worldgen.reconstruction.mesh_extract import extract_surface
from lyra.worldgen.reconstruction.surface_grid import surface_grid
from lyra.worldgen.reconstruction.texture import bake_texture
from reconstruction.analytic_world import make_world

for _package in ("numba", "embreex", "cv2", "scipy", "xatlas"):
    pytest.importorskip(_package)


@pytest.fixture(scope="module")
def baked():
    world = make_world(width_px=64, height_px=48, turns=1, bins=60)
    return bake_texture(extract_surface(world), world.views, texture_px=96)


def test_cells_cover_the_surface_and_lie_on_it(baked):
    """Cells far finer than texels add up to every face's area, and lead back to the same place through the texture."""
    grid = surface_grid(baked, np.full(baked.mesh.face_count, 0.02))
    row, col = np.nonzero(grid.face_map >= 0)
    face, xy = grid.face_map[row, col], np.stack([col + 0.5, row + 0.5], -1)
    assert 0.01 < grid.cell_m.min() and grid.cell_m.max() < 0.03
    area_m2, all_m2 = np.bincount(face, grid.cell_m[face] ** 2, baked.mesh.face_count), baked.mesh.face_areas_m2()
    big = all_m2 > 0.1
    np.testing.assert_allclose(area_m2[big], all_m2[big], rtol=0.15)
    np.testing.assert_allclose(area_m2.sum(), all_m2.sum(), rtol=0.02)
    texel = np.concatenate([grid.texels(face, xy), np.ones((len(xy), 1))], -1)
    np.testing.assert_allclose(
        np.einsum("nij,nj->ni", baked.texel_to_world[face], texel), grid.points(face, xy), atol=1e-4
    )
    corner, normal = baked.mesh.triangles()[face, 0], baked.mesh.face_normals()[face]
    assert np.abs(np.einsum("ni,ni->n", grid.points(face, xy) - corner, normal)).max() < 1e-4


def test_charts_keep_apart(baked):
    """Squares of the largest aligned size never hold cells of two charts."""
    grid = surface_grid(baked, np.full(baked.mesh.face_count, 0.05))
    n = module.ALIGN
    h, w = np.array(grid.face_map.shape) // n * n
    chart = np.where(grid.face_map >= 0, grid.chart[np.maximum(grid.face_map, 0)], -1)[:h, :w]
    blocks = chart.reshape(h // n, n, w // n, n).swapaxes(1, 2).reshape(-1, n * n)
    most = blocks.max(1)
    assert ((blocks == most[:, None]) | (blocks == -1)).all()


def test_too_fine_a_wish_is_cut(baked, monkeypatch):
    """A surface that would need too many cells gets larger ones, all of it alike."""
    monkeypatch.setattr(module, "MOST_CELLS", 50_000)
    grid = surface_grid(baked, np.full(baked.mesh.face_count, 0.0001))
    assert 10_000 < (grid.face_map >= 0).sum() and grid.face_map.size < 75_000
    np.testing.assert_allclose(grid.cell_m, np.median(grid.cell_m), rtol=0.2)


@pytest.mark.parametrize("width", [0.0, 1e-7])
def test_a_chart_that_the_texture_has_no_room_for_costs_no_room(baked, width):
    """A face that lies in the texture as a line has no area there to reckon the size of a texel from."""
    mesh = baked.mesh
    thin = int(np.argmax(mesh.face_areas_m2()))
    uv, chart = mesh.uv.copy(), baked.chart.copy()
    uv[thin] = [[0.1, 0.1], [0.3, 0.2], [0.5, 0.3 + width]]
    chart[thin] = chart.max() + 1
    flat = replace(baked, mesh=replace(mesh, uv=uv), chart=chart)
    grid = surface_grid(flat, np.full(mesh.face_count, 0.05))
    plain = surface_grid(baked, np.full(mesh.face_count, 0.05))
    assert grid.face_map.size < 100 * plain.face_map.size
    assert np.isfinite(grid.chart_to_texel).all()
    others = np.arange(mesh.face_count) != thin
    np.testing.assert_allclose(grid.cell_m[others], plain.cell_m[others], rtol=0.1)


def test_slivers_take_no_room():
    """A face a metre long and a thousandth of a millimetre wide has a chart, and the grid stays as large as it was."""
    world = make_world(width_px=64, height_px=48, turns=1, bins=60)
    surface = extract_surface(world)
    sliver = TriMesh(
        vertices=np.array([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.000001]]),
        faces=np.array([[0, 1, 2]], np.int32),
        face_labels=np.array([Label.OBJECT], np.uint8),
    )
    sizes = []
    for mesh in (surface, concatenate_meshes([surface, sliver])):
        baked = bake_texture(mesh, world.views, texture_px=512)
        sizes.append(surface_grid(baked, np.full(mesh.face_count, 0.02)).face_map.size)
    assert sizes[1] < 1.1 * sizes[0]
