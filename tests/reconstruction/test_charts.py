"""Charts keep lengths, do not overlap and fit the texture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.reconstruction.charts import GUTTER_PX, make_charts, overlap, pack_charts
from lyra.worldgen.reconstruction.mesh_extract import clean_mesh, refine_near
from reconstruction.analytic_world import polar_proxy, quad

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


def staircase(steps: int, labels: np.ndarray) -> TriMesh:
    """Treads and risers, each a quad of two faces, that fold by 90 degrees to either side."""
    k = np.repeat(np.arange(steps + 1), 2)
    line = np.stack([k[1:], k[:-1]], -1)[: 2 * steps + 1] * 0.3
    low, high = (np.column_stack([line[:, 0], np.full(len(line), y), line[:, 1]]) for y in (0.0, 1.0))
    quads = quad(low[:-1], low[1:], high[1:], high[:-1])
    mesh = TriMesh(
        vertices=quads.reshape(-1, 3),
        faces=np.arange(quads.size // 3, dtype=np.int32).reshape(-1, 3),
        face_labels=np.concatenate([labels, labels]).astype(np.uint8),
    )
    return clean_mesh(mesh)


def total_area(charts) -> float:
    a, b = (charts.xy_m[:, k] - charts.xy_m[:, 0] for k in (1, 2))
    return float(0.5 * np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum())


def test_sharp_folds_do_not_make_small_charts():
    """A staircase is one strip; another label in its middle stays a chart of its own; lengths and area are kept."""
    plain = staircase(6, np.full(12, Label.OBJECT))
    charts = make_charts(plain, np.full(plain.face_count, 50.0), eye=EYE, max_side_px=900)
    assert len(charts.density_px_m) == 1
    np.testing.assert_allclose(total_area(charts), plain.face_areas_m2().sum(), rtol=1e-6)
    flat = np.linalg.norm(charts.xy_m - np.roll(charts.xy_m, 1, 1), axis=2)
    true = np.linalg.norm(plain.triangles() - np.roll(plain.triangles(), 1, 1), axis=2)
    np.testing.assert_allclose(flat, true, rtol=1e-6)
    labels = np.full(12, Label.OBJECT)
    labels[5:7] = Label.WALL
    mixed = staircase(6, labels)
    charts = make_charts(mixed, np.full(mixed.face_count, 50.0), eye=EYE, max_side_px=900)
    assert len(charts.density_px_m) == 3
    for c in range(3):
        assert len(np.unique(mixed.face_labels[charts.chart == c])) == 1
    # No chart grows longer than the texture allows.
    charts = make_charts(plain, np.full(plain.face_count, 50.0), eye=EYE, max_side_px=60)
    assert len(charts.density_px_m) > 1
    for c in range(len(charts.density_px_m)):
        assert np.ptp(charts.xy_m[charts.chart == c].reshape(-1, 2), 0).max() * 50 <= 60 + 1e-6


@given(st.integers(0, 10_000))
def test_overlap_is_what_points_say(seed: int):
    """Two triangles overlap exactly if some point is well inside both; sharing an edge is no overlap."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0, 1, (2, 1, 3, 2))
    a, b = (t if np.linalg.det(t[0, 1:] - t[0, :1]) > 0 else t[:, ::-1] for t in (a, b))
    points = rng.uniform(0, 1, (4000, 2))

    def depth(triangle):
        edge = np.roll(triangle, -1, 0) - triangle
        size = np.maximum(np.linalg.norm(edge, axis=1), 1e-9)
        apart = points[:, None] - triangle
        return ((edge[:, 0] * apart[..., 1] - edge[:, 1] * apart[..., 0]) / size).min(1)

    both = np.minimum(depth(a[0]), depth(b[0])).max()
    if both > 0.01:
        assert overlap(a, b)
    assert not overlap(a, a + np.array([2.0, 0.0]))
    mirrored = a[:, [1, 0, 2]].copy()
    along = (a[0, 1] - a[0, 0]) / np.linalg.norm(a[0, 1] - a[0, 0])
    off = a[0, 2] - a[0, 0]
    mirrored[0, 2] = a[0, 0] + 2 * (off @ along) * along - off
    assert not overlap(a, mirrored)
