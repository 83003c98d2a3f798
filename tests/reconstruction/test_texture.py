"""The baked texture shows what the views saw, the photo first, and guesses the rest from around it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import transform_points
from lyra.worldgen.core.mesh import TriMesh
from lyra.worldgen.core.raycast import Raycaster
from lyra.worldgen.core.views import SOURCE_PAINTED, SOURCE_PHOTO
from lyra.worldgen.reconstruction.charts import GUTTER_PX, make_charts, pack_charts
from lyra.worldgen.reconstruction.mesh_extract import extract_surface, refine_near
from lyra.worldgen.reconstruction.metrics import psnr_db
from lyra.worldgen.reconstruction.surface_hits import cast_views
from lyra.worldgen.reconstruction.texture import bake_texture, capped_density, wanted_density
from lyra.worldgen.reconstruction.texture_numba import rasterise
from reconstruction.analytic_world import make_world, paint

for _package in ("xatlas", "numba", "embreex", "cv2", "scipy"):
    pytest.importorskip(_package)


@pytest.fixture(scope="module")
def world():
    return make_world(width_px=128, height_px=96, turns=5, bins=60, step_m=0.4)


@pytest.fixture(scope="module")
def surface(world) -> TriMesh:
    return refine_near(extract_surface(world), np.stack([v.T_world_cam[:3, 3] for v in world.views]))


@pytest.fixture(scope="module")
def baked(world, surface):
    return bake_texture(surface, world.views, texture_px=1024)


def test_the_photo_comes_back(world, baked):
    """From its own pose the mesh shows the photo, and from the others what they painted."""
    caster = Raycaster(baked.mesh)
    for view, limit in zip(world.views[:3], (36, 28, 28), strict=False):
        rgb = caster.render(view.camera, view.T_world_cam).shade(baked.mesh)
        assert psnr_db(rgb, view.rgb_u8, view.valid) > limit


def test_seen_texels_have_the_colour_of_their_place(baked):
    """Each texel that a view saw shows the paint of its own world point."""
    mesh = baked.mesh
    row, col = np.nonzero((baked.face_map >= 0) & baked.known)
    face = baked.face_map[row, col]
    texel = np.stack([col + 0.5, row + 0.5, np.ones(len(row))], -1)
    points = np.einsum("nij,nj->ni", baked.texel_to_world[face], texel)
    difference = np.abs(mesh.texture_u8[row, col] - paint(points, mesh.face_labels[face]))
    assert np.median(difference) < 3
    assert baked.known_share > 0.4


@given(
    st.lists(st.tuples(st.floats(0.01, 500.0), st.floats(1e-4, 50.0)), min_size=1, max_size=40), st.floats(0.01, 1.5)
)
def test_the_sharpest_places_give_texels_first(faces, share):
    """Densities are cut to one level that spends the texels allowed, and stay as they are where there is room."""
    density, area = np.array(faces).T
    texels = share * float(area @ density**2)
    capped = capped_density(density, area, texels)
    if share >= 1:
        np.testing.assert_array_equal(capped, density)
    else:
        np.testing.assert_allclose(area @ capped**2, texels, rtol=1e-6)
        np.testing.assert_allclose(capped, np.minimum(density, capped.max()))


def test_a_small_texture_keeps_far_places(surface, world):
    """In a texture that is far too small, no place has ten times more texels per metre than another seen place."""
    hits = cast_views(surface, world.views)
    wanted = wanted_density(surface, world.views, hits)
    assert surface.face_areas_m2() @ wanted**2 > 128**2, "the texture shall be too small"
    linear = bake_texture(surface, world.views, texture_px=128, hits=hits).texel_to_world[:, :, :2]
    texel_m2 = np.linalg.norm(np.cross(linear[:, :, 0], linear[:, :, 1]), axis=1)
    seen = np.unique(np.concatenate([h.face[h.face >= 0] for h in hits]))
    density = 1 / np.sqrt(texel_m2[seen])
    assert density.max() < 0.35 * wanted[seen].max()
    sharp = wanted[seen] > density.max()
    assert sharp.any() and np.ptp(np.log(density[sharp])) < np.log(2.1)


def test_the_photo_wins(world, surface):
    """Where the photo looks, a painted view that disagrees has no say beyond the photo's rim."""
    photo = world.views[0]
    rival = replace(
        photo,
        view_id=1,
        rgb_u8=np.full_like(photo.rgb_u8, 255),
        source=np.full_like(photo.source, SOURCE_PAINTED),
    )
    baked = bake_texture(surface, [photo, rival], texture_px=1024)
    rgb = Raycaster(baked.mesh).render(photo.camera, photo.T_world_cam).shade(baked.mesh)
    inner = np.zeros(photo.valid.shape, bool)
    inner[10:-10, 10:-10] = True
    assert psnr_db(rgb, photo.rgb_u8, inner & photo.valid) > 36
    assert (photo.source == SOURCE_PHOTO).all()


def test_unseen_places_take_the_colours_of_their_label(world, surface):
    """With the photo alone, what lies behind the camera is filled, and a floor is filled with floor."""
    baked = bake_texture(surface, world.views[:1], texture_px=1024)
    assert baked.known_share < 0.5
    mesh = baked.mesh
    seen_floor = (baked.face_map >= 0) & baked.known
    seen_floor[seen_floor] = mesh.face_labels[baked.face_map[seen_floor]] == 1
    unseen_floor = (baked.face_map >= 0) & ~baked.known
    unseen_floor[unseen_floor] = mesh.face_labels[baked.face_map[unseen_floor]] == 1
    assert unseen_floor.sum() > 100
    np.testing.assert_allclose(mesh.texture_u8[unseen_floor].mean(0), mesh.texture_u8[seen_floor].mean(0), atol=25)


def test_no_lookup_meets_the_void(baked):
    """Bilinear lookups anywhere on the surface never touch the black between charts."""
    mesh = baked.mesh
    rng = np.random.default_rng(0)
    face = rng.integers(0, mesh.face_count, 20_000)
    bary = rng.dirichlet((0.3, 0.3, 0.3), 20_000)
    xy = np.einsum("nk,nkc->nc", bary, mesh.uv[face]) * (mesh.texture_u8.shape[1], mesh.texture_u8.shape[0])
    col = np.clip(np.floor(xy[:, 0] - 0.5).astype(int), 0, mesh.texture_u8.shape[1] - 2)
    row = np.clip(np.floor(mesh.texture_u8.shape[0] - xy[:, 1] - 0.5).astype(int), 0, mesh.texture_u8.shape[0] - 2)
    for dr in (0, 1):
        for dc in (0, 1):
            assert mesh.texture_u8[row + dr, col + dc].max(1).min() > 0


def test_gutters_are_as_wide_as_two_levels_of_a_mipmap(world, surface):
    """No square of four texels that touches a face touches another chart, gutters included."""
    hits = cast_views(surface, world.views)
    density = wanted_density(surface, world.views, hits)
    charts = make_charts(surface, density, eye=world.views[0].T_world_cam[:3, 3], max_side_px=350)
    for texture_px in (256, 1024):
        atlas = pack_charts(charts, texture_px=texture_px)
        face_map = np.full((atlas.height_px, atlas.width_px), -1, np.int32)
        inset_px = np.full(face_map.shape, -np.inf, np.float32)
        rasterise(atlas.xy_px, atlas.chart, face_map, inset_px, GUTTER_PX + 0.5)
        n = GUTTER_PX
        h, w = np.array(face_map.shape) // n * n
        chart = np.where(face_map >= 0, atlas.chart[np.maximum(face_map, 0)], -1)[:h, :w].reshape(h // n, n, w // n, n)
        touched = (inset_px[:h, :w] >= 0).reshape(chart.shape).any((1, 3))
        lowest = np.where(chart < 0, np.iinfo(np.int32).max, chart).min((1, 3))
        assert touched.sum() > 100
        np.testing.assert_array_equal(chart.max((1, 3))[touched], lowest[touched])


def test_no_mipmap_meets_the_void(baked):
    """On no level of a box-filtered mipmap is a place darker than everything that was painted."""
    texture = baked.mesh.texture_u8.astype(float)
    row, col = np.nonzero(baked.face_map >= 0)
    darkest = texture[row, col].min(0)
    for level in range(1, 9):
        h, w = np.array(texture.shape[:2]) // 2 * 2
        texture = texture[:h, :w].reshape(h // 2, 2, w // 2, 2, 3).mean((1, 3))
        r, c = np.minimum(row >> level, h // 2 - 1), np.minimum(col >> level, w // 2 - 1)
        assert (texture[r, c] >= darkest - 1).all()


def test_same_views_same_texture(world, surface, baked):
    """Baking twice gives the same bytes."""
    again = bake_texture(surface, world.views, texture_px=1024)
    np.testing.assert_array_equal(again.mesh.texture_u8, baked.mesh.texture_u8)
    np.testing.assert_array_equal(again.mesh.uv, baked.mesh.uv)


def test_small_textures_shrink_everything(world, surface):
    """A texture too small for all pixels is still complete, only coarser."""
    baked = bake_texture(surface, world.views, texture_px=256)
    assert max(baked.mesh.texture_u8.shape[:2]) <= 256 and baked.texels_per_pixel < 0.8


def test_bad_arguments(world, surface):
    """An empty mesh and an absurd texture size are refused."""
    empty = TriMesh(vertices=np.zeros((0, 3)), faces=np.zeros((0, 3), np.int32))
    with pytest.raises(InputError, match="no faces"):
        bake_texture(empty, world.views, texture_px=1024)
    with pytest.raises(InputError, match="texture_px"):
        bake_texture(surface, world.views, texture_px=10)


def test_points_lie_on_their_faces(world, surface, baked):
    """The map from texels to the world agrees with rays cast from the photo."""
    view = world.views[0]
    image = Raycaster(surface).render(view.camera, view.T_world_cam)
    points = transform_points(view.T_world_cam, view.camera.unproject(image.depth_z_m))
    uv = np.einsum("hwk,hwkc->hwc", image.bary, baked.mesh.uv[image.face])
    h, w = baked.mesh.texture_u8.shape[:2]
    texel = np.stack([uv[..., 0] * w, (1 - uv[..., 1]) * h, np.ones_like(image.depth_z_m)], -1)
    back = np.einsum("hwij,hwj->hwi", baked.texel_to_world[image.face], texel)
    assert np.abs(back - points).max() < 2e-3
