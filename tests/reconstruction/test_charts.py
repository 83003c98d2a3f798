"""Charts keep lengths, do not overlap and fit the texture."""

from __future__ import annotations

import numpy as np
import pytest

from lyra.worldgen.core.mesh import Label
from lyra.worldgen.reconstruction.charts import GUTTER_PX, make_charts, pack_charts
from lyra.worldgen.reconstruction.mesh_extract import clean_mesh, refine_near
from reconstruction.analytic_world import polar_proxy

pytest.importorskip("xatlas")
pytest.importorskip("scipy")
EYE = np.array([0.0, 0.0, 1.5])


def charts_of(ceiling_m: float | None, density: float = 60.0):
    mesh = refine_near(clean_mesh(polar_proxy(bins=60, ceiling_m=ceiling_m)), EYE[None])
    return mesh, make_charts(mesh, np.full(mesh.face_count, density), eye=EYE, max_side_px=900)


@pytest.mark.parametrize("ceiling_m", [2.7, None])
def test_charts_keep_lengths(ceiling_m):
    """Edges on the sheet are as long as in the world; a sky dome keeps angles, within a factor of two."""
    mesh, charts = charts_of(ceiling_m)
    flat = np.linalg.norm(charts.xy_m - np.roll(charts.xy_m, 1, 1), axis=2)
    true = np.linalg.norm(mesh.triangles() - np.roll(mesh.triangles(), 1, 1), axis=2)
    sky = mesh.face_labels == Label.SKY
    np.testing.assert_allclose(flat[~sky], true[~sky], rtol=1e-6, atol=1e-9)
    assert (charts.chart >= 0).all()
    assert len(charts.density_px_m) < 40
    if ceiling_m is None:
        assert len(np.unique(charts.chart[sky])) == 1
        ray = mesh.triangles()[sky] - EYE
        ray /= np.linalg.norm(ray, axis=2, keepdims=True)
        angle = 2 * np.arcsin(0.5 * np.linalg.norm(ray - np.roll(ray, 1, 1), axis=2))
        ratio = flat[sky] / angle
        assert np.quantile(ratio, 0.95) < 2 * np.quantile(ratio, 0.05)


@pytest.mark.parametrize("ceiling_m", [2.7, None])
def test_atlas_has_no_overlap_and_gutters(ceiling_m):
    """Inside the atlas every texel belongs to one face at most, and charts keep their distance."""
    numba_kernels = pytest.importorskip("lyra.worldgen.reconstruction.texture_numba")
    _, charts = charts_of(ceiling_m)
    atlas = pack_charts(charts, texture_px=1024)
    assert max(atlas.width_px, atlas.height_px) <= 1024 and atlas.scale > 0.5
    assert atlas.xy_px.min() >= 0 and atlas.uv().min() >= 0 and atlas.uv().max() <= 1
    a, b = atlas.xy_px[:, 1] - atlas.xy_px[:, 0], atlas.xy_px[:, 2] - atlas.xy_px[:, 0]
    area_px = 0.5 * np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()
    face_map = np.full((atlas.height_px, atlas.width_px), -1, np.int32)
    inset = np.full(face_map.shape, -np.inf, np.float32)
    numba_kernels.rasterise(atlas.xy_px, atlas.chart, face_map, inset, 0.0)
    # Overlapping faces would cover fewer texels than their areas add up to.
    assert (face_map >= 0).sum() > 0.985 * area_px
    grown = np.full(face_map.shape, -1, np.int32)
    numba_kernels.rasterise(atlas.xy_px, atlas.chart, grown, np.full(face_map.shape, -np.inf, np.float32), GUTTER_PX)
    inside = face_map >= 0
    np.testing.assert_array_equal(atlas.chart[grown[inside]], atlas.chart[face_map[inside]])


def test_density_and_determinism():
    """Twice the wanted density gives twice the texels while there is room, and packing is repeatable."""
    _, coarse = charts_of(2.7, 20.0)
    _, fine = charts_of(2.7, 40.0)
    a, b = pack_charts(coarse, texture_px=2048), pack_charts(fine, texture_px=2048)
    assert a.scale == b.scale == 1.25
    area = [np.abs(np.linalg.det(x.xy_px[:, 1:] - x.xy_px[:, :1])).sum() for x in (a, b)]
    np.testing.assert_allclose(area[1] / area[0], 4.0, rtol=0.02)  # xatlas rounds charts to whole texels
    np.testing.assert_array_equal(pack_charts(fine, texture_px=2048).xy_px, b.xy_px)


def test_charts_split_where_density_jumps():
    """Faces that want less than half the texels get a chart of their own."""
    mesh = refine_near(clean_mesh(polar_proxy(bins=60)), EYE[None])
    near = np.linalg.norm(mesh.triangles().mean(1), axis=1) < 1.8
    charts = make_charts(mesh, np.where(near, 100.0, 30.0), eye=EYE, max_side_px=4000)
    floor = mesh.face_labels == Label.FLOOR
    assert not set(charts.chart[floor & near]) & set(charts.chart[floor & ~near])
