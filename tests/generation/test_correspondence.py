"""Correspondence maps, rays and context layouts against recorded outputs of the reference."""

from __future__ import annotations

import json

import numpy as np
import pytest

from golden_data import GOLDEN, load_golden
from lyra.worldgen.core.errors import ConfigError, InputError
from lyra.worldgen.generation import correspondence as c
from lyra.worldgen.generation.context_layout import RELEASED, ContextLayout

TOLERANCE = 1e-5
LAYOUTS = json.loads((GOLDEN / "framepack_parse.json").read_text())


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_canonical_maps(slots):
    g, _ = load_golden("encodings")
    np.testing.assert_allclose(c.canonical_maps(slots, 6, 8), g[f"canonical_n{slots}"], atol=TOLERANCE)


def test_coordinates_fold_to_latents():
    g, _ = load_golden("encodings")
    np.testing.assert_array_equal(c.coordinate_latents(g["coord_pixels"][0]), g["coord_latents"][0])


def test_sine_and_cosine_groups():
    g, _ = load_golden("encodings")
    np.testing.assert_allclose(c.sincos(g["sincos_in"]), g["sincos_out_multires2"], atol=TOLERANCE)


def test_rays():
    g, _ = load_golden("encodings")
    rays = c.ray_map(g["ray_K"][0], g["ray_c2w"][0], 16, 24)
    np.testing.assert_allclose(rays, g["ray_map"][0], atol=TOLERANCE)
    latents = c.ray_latents(g["ray_map"][0])
    np.testing.assert_array_equal(latents, g["ray_latent384"][0])
    np.testing.assert_array_equal(c.ray_tokens(latents), g["ray_tokens1536"][0])


def test_sizes_that_do_not_fold_are_refused():
    with pytest.raises(InputError, match="multiples of 8"):
        c.fold_pixels(np.zeros((1, 12, 16)))


def test_depth_is_scaled_over_everything(rng):
    depth = rng.uniform(0, 7, (2, 3, 4, 5))
    scaled = c.scale_depth(depth)
    assert scaled.min() == -1 and scaled.max() == pytest.approx(1)
    assert np.isfinite(c.scale_depth(np.zeros(4))).all()


@pytest.mark.parametrize("case", [p for p in LAYOUTS["parse"] if "error" not in p], ids=lambda p: p["string"])
def test_layouts(case):
    layout = ContextLayout.parse(case["string"])
    assert [s.count for s in layout.segments] == case["splits"]
    assert [s.kernel for s in layout.segments] == case["kernel_sizes"]
    assert [s.kind for s in layout.segments] == case["kernel_types"]
    assert layout.new_latents == case["new_latent_frames"]
    assert layout.new_frames == case["num_new_video_frames"]
    assert layout.context_latents == case["num_history_latent"]
    assert layout.total_latents == case["total_latent_frames"]
    assert len(layout.temporal_positions) == case["num_temporal_hist"]
    assert layout.spatial_positions == case["spatial_history_positions"]


REFUSED = [p["string"] for p in LAYOUTS["parse"] if "error" in p]


@pytest.mark.parametrize("text", [*REFUSED, "", "f" * 10_000, "f0k1_g1"])
def test_other_strings_are_refused(text):
    with pytest.raises(ConfigError, match="context layout"):
        ContextLayout.parse(text)


@pytest.mark.parametrize("case", LAYOUTS["temporal_selection_release_string"], ids=lambda p: str(p["history_latents"]))
def test_history_is_the_first_and_the_newest(case):
    assert ContextLayout.parse(RELEASED).history_for(case["history_latents"]) == case["temporal_selected"]


def test_too_little_history():
    with pytest.raises(ConfigError, match="needs 20"):
        ContextLayout.parse(RELEASED).history_for(19)
