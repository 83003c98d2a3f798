"""Views that were exposed differently are found out by the spots they share; views that agree stay as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyra.worldgen.core.views import SOURCE_PAINTED, RgbdView
from lyra.worldgen.reconstruction.exposure import (
    LEAST_GAIN,
    balanced,
    linear_from_srgb,
    measure_exposure,
    srgb_from_linear,
)
from lyra.worldgen.reconstruction.mesh_extract import extract_surface, refine_near
from lyra.worldgen.reconstruction.surface_hits import cast_views
from lyra.worldgen.reconstruction.texture import bake_texture
from reconstruction.analytic_world import make_world, paint

for _package in ("numba", "embreex", "cv2", "scipy", "xatlas"):
    pytest.importorskip(_package)


@pytest.fixture(scope="module")
def scene():
    """Views that all show the scene's own paint, their surface and what they see of it."""
    world = make_world(width_px=96, height_px=72, turns=5, bins=60, step_m=0.4)
    views = [v if i == 0 else as_painted(v) for i, v in enumerate(world.views)]
    surface = refine_near(extract_surface(world), np.stack([v.T_world_cam[:3, 3] for v in views]))
    return views, surface, cast_views(surface, views)


def as_painted(view: RgbdView) -> RgbdView:
    return replace(view, source=np.where(view.valid, SOURCE_PAINTED, view.source).astype(np.uint8))


def exposed(view: RgbdView, gain: np.ndarray) -> RgbdView:
    """The view as a camera with another exposure and white balance would take it."""
    light = np.asarray(gain) * linear_from_srgb(view.rgb_u8 / 255.0)
    return replace(view, rgb_u8=(np.clip(srgb_from_linear(light), 0, 1) * 255 + 0.5).astype(np.uint8))


@settings(max_examples=8)
@given(seed=st.integers(0, 10_000))
def test_known_gains_are_recovered(scene, seed: int):
    """Whatever the gains of the views, within 3 % and relative to the photo's; hardly any gain counts as none."""
    views, _, hits = scene
    rng = np.random.default_rng(seed)
    gains = np.exp(rng.uniform(-0.5, 0.5, (len(views), 3)))
    gains[0] = 1.0
    taken = [exposed(view, gain) for view, gain in zip(views, gains, strict=True)]
    found = measure_exposure(taken, hits)
    np.testing.assert_array_equal(found.gains[0], 1.0)
    some = np.abs(np.log(gains)).max(1) > LEAST_GAIN + 0.03
    np.testing.assert_allclose((found.gains * gains)[some], 1.0, atol=0.03)
    np.testing.assert_allclose((found.gains * gains)[~some], 1.0, atol=LEAST_GAIN + 0.03)
    assert found.shared.min() > 100


@settings(max_examples=5)
@given(seed=st.integers(0, 10_000))
def test_strangers_in_the_picture_do_not_count(scene, seed: int):
    """A band of a fifth of each later view shows something else altogether."""
    views, _, hits = scene
    rng = np.random.default_rng(seed)
    gains = np.exp(rng.uniform(-0.3, 0.3, (len(views), 3)))
    gains[0] = 1.0
    taken = []
    for i, (view, gain) in enumerate(zip(views, gains, strict=True)):
        rgb = exposed(view, gain).rgb_u8.copy()
        if i:
            h = len(rgb)
            top = int(rng.integers(0, h - h // 5))
            rgb[top : top + h // 5] = rng.integers(30, 220, 3)
        taken.append(replace(view, rgb_u8=rgb))
    np.testing.assert_allclose(measure_exposure(taken, hits).gains * gains, 1.0, atol=0.06)


def test_views_that_agree_keep_their_bytes(scene):
    """Without differences of exposure nothing is touched, and neither is it with the noise of a sensor."""
    views, _, hits = scene
    exposure = measure_exposure(views, hits)
    np.testing.assert_array_equal(exposure.gains, 1.0)
    assert all(a is b for a, b in zip(balanced(views, exposure), views, strict=True))
    rng = np.random.default_rng(1)
    noisy = [
        replace(v, rgb_u8=np.clip(v.rgb_u8 + rng.normal(0, 3, v.rgb_u8.shape) + 0.5, 0, 255).astype(np.uint8))
        for v in views
    ]
    np.testing.assert_array_equal(measure_exposure(noisy, hits).gains, 1.0)


def test_views_that_share_nothing_keep_their_exposure(scene):
    """A view with no shared spot, and the photo alone, have gains of 1."""
    views, _, hits = scene
    dark = replace(views[1], rgb_u8=np.zeros_like(views[1].rgb_u8))
    found = measure_exposure([views[0], dark], hits[:2])
    np.testing.assert_array_equal(found.gains, 1.0)
    np.testing.assert_array_equal(measure_exposure(views[:1], hits[:1]).gains, np.ones((1, 3)))


def test_the_texture_has_one_exposure(scene):
    """Baked from balanced views, the texture has the paint's own colours, as without differences of exposure."""
    views, surface, hits = scene
    gains = np.exp(np.random.default_rng(5).uniform(-0.5, 0.5, (len(views), 3)))
    gains[0] = 1.0
    taken = [exposed(view, gain) for view, gain in zip(views, gains, strict=True)]

    def error(these: list[RgbdView]) -> float:
        baked = bake_texture(surface, these, texture_px=512, hits=hits)
        row, col = np.nonzero((baked.face_map >= 0) & baked.known)
        face = baked.face_map[row, col]
        texel = np.stack([col + 0.5, row + 0.5, np.ones(len(row))], -1)
        points = np.einsum("nij,nj->ni", baked.texel_to_world[face], texel)
        return float(np.median(np.abs(baked.mesh.texture_u8[row, col] - paint(points, surface.face_labels[face]))))

    assert error(taken) > 6
    assert error(balanced(taken, measure_exposure(taken, hits))) < error(views) + 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_srgb_round_trip(values):
    """Both directions are inverse to each other."""
    values = np.array(values)
    np.testing.assert_allclose(srgb_from_linear(linear_from_srgb(values)), values, atol=1e-6)
