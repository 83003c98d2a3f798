"""The analytic denoiser against its definition, and the sampler around it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.generation.mismatch import spread_mismatch
from lyra.worldgen.generation.patch_atlas import ANY_CODE, PRIOR_SD, Source
from lyra.worldgen.generation.patch_diffusion import complete, halvings_for
from lyra.worldgen.generation.patch_exact import analytic_x0
from lyra.worldgen.generation.patch_target import Target


def texture(rng: np.random.Generator, h: int, w: int, *, smooth: float = 1.5) -> np.ndarray:
    """[h, w, 3] smooth noise in -0.8..0.8."""
    import cv2

    noise = cv2.GaussianBlur(rng.standard_normal((h, w, 3)).astype(np.float32), (0, 0), smooth)
    return (0.8 * noise / np.abs(noise).max()).astype(np.float32)


def whole(rgb: np.ndarray, **kw) -> Source:
    return Source(rgb=rgb, usable=np.ones(rgb.shape[:2], bool), **kw)


def brute_force(y, sd, atlas, centre, prior):
    """Posterior mean patch around one pixel by the formula, in float64."""
    r = atlas.patch // 2
    h, w = sd.shape
    logits, patches = [], []
    for sy, sx in np.argwhere(atlas.usable):
        p = atlas.rgb[sy - r : sy + r + 1, sx - r : sx + r + 1].astype(float)
        total = 0.0
        for j in range(-r, r + 1):
            for i in range(-r, r + 1):
                a, b = centre[0] + j, centre[1] + i
                if 0 <= a < h and 0 <= b < w:
                    total -= ((y[a, b].astype(float) - p[j + r, i + r]) ** 2).sum() / (2 * sd[a, b] ** 2)
        if prior is not None:
            total -= (prior[tuple(centre)] - atlas.prior[sy, sx]) ** 2 / (2 * PRIOR_SD**2)
        logits.append(total)
        patches.append(p)
    weight = np.exp(np.array(logits) - max(logits))
    return np.tensordot(weight / weight.sum(), np.array(patches), 1), patches[int(np.argmax(logits))]


@pytest.mark.parametrize("sd", [0.02, 0.3, 2.0])
@pytest.mark.parametrize("with_prior", [False, True])
def test_denoiser_is_the_posterior_mean(rng, sd, with_prior):
    """With one wanted patch centre per pixel the estimate equals the brute-force softmax mean."""
    rows = np.broadcast_to(np.linspace(0.04, -0.04, 16, dtype=np.float32)[:, None], (16, 16))
    source = whole(texture(rng, 16, 16), prior=rows if with_prior else None, mirror=False)
    atlas = source.atlas(0, 3)
    y = texture(rng, 9, 9)
    prior = np.broadcast_to(np.linspace(0.03, -0.03, 9, dtype=np.float32)[:, None], (9, 9)) if with_prior else None
    sds = np.full((9, 9), sd, np.float32)
    sds[:, :3] = 0.05
    wanted = np.ones((9, 9), bool)
    x0, centres, nearest = analytic_x0(y, sds, wanted, atlas, prior=prior)
    # Overlap-add of the brute-force patches under the same window.
    a = np.exp(-0.5 * ((np.arange(3) - 1) / (0.28 * 3)) ** 2)
    total, weight = np.zeros((11, 11, 3)), np.zeros((11, 11, 1))
    for (cy, cx), best in zip(centres, nearest, strict=True):
        mean, first = brute_force(y, sds, atlas, (cy, cx), prior)
        total[cy : cy + 3, cx : cx + 3] += np.outer(a, a)[..., None] * mean
        weight[cy : cy + 3, cx : cx + 3] += np.outer(a, a)[..., None]
        np.testing.assert_array_equal(atlas.rgb[best[0] - 1 : best[0] + 2, best[1] - 1 : best[1] + 2], first)
    np.testing.assert_allclose(x0, (total / weight)[1:-1, 1:-1], atol=2e-3)


def test_denoiser_limits(rng):
    """Little noise returns the nearest patch; much noise the mean of all."""
    source = whole(texture(rng, 20, 20), mirror=False)
    atlas = source.atlas(0, 5)
    middle = np.s_[6:14, 6:14]
    y = source.rgb[middle]
    wanted = np.ones((8, 8), bool)
    x0, _, _ = analytic_x0(y, np.full((8, 8), 0.01, np.float32), wanted, atlas)
    np.testing.assert_allclose(x0, y, atol=0.01)  # the photo itself is a fixed point
    x0, _, _ = analytic_x0(y, np.full((8, 8), 1e3, np.float32), wanted, atlas)
    usable = atlas.rgb[2:-2, 2:-2].mean((0, 1))
    np.testing.assert_allclose(x0.mean((0, 1)), usable, atol=0.05)
    assert np.ptp(x0, axis=(0, 1)).max() < 0.2


def test_one_colour_source_paints_that_colour(rng):
    """With nothing known and a single possible patch the sampler can only return it."""
    colour = np.array([0.3, -0.5, 0.1], np.float32)
    target = Target(rgb=np.zeros((40, 56, 3), np.float32), known=np.zeros((40, 56), bool), hole=np.ones((40, 56), bool))
    out = complete(target, whole(np.broadcast_to(colour, (48, 48, 3)).copy()), seed=1)
    np.testing.assert_allclose(out, np.broadcast_to(colour, out.shape), atol=1e-3)


@settings(max_examples=8)
@given(
    shape=st.tuples(st.integers(5, 70), st.integers(5, 70)),
    share=st.floats(0, 1),
    blocks=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_known_pixels_stay_and_nothing_breaks(shape, share, blocks, seed):
    """Any size and any mask: known pixels unchanged, the rest finite and in range."""
    rng = np.random.default_rng(seed)
    h, w = shape
    hole = rng.random((h, w)) < share
    if blocks:
        hole = np.kron(rng.random((h // 8 + 1, w // 8 + 1)) < share, np.ones((8, 8), bool))[:h, :w]
    rgb = texture(rng, h, w)
    rgb[hole] = np.nan  # undefined where unknown
    target = Target(rgb=np.where(hole[..., None], 0, rgb).astype(np.float32), known=~hole, hole=hole)
    out = complete(target, whole(texture(rng, 40, 40)), seed=seed)
    np.testing.assert_array_equal(out[~hole], rgb[~hole])
    assert np.isfinite(out).all() and np.abs(out).max() <= 1


@pytest.mark.parametrize("size", [1, 3, 8])
def test_tiny_sources_do_not_break(rng, size):
    """A source smaller than a patch still gives something to paint with."""
    target = Target(rgb=np.zeros((20, 20, 3), np.float32), known=np.zeros((20, 20), bool), hole=np.ones((20, 20), bool))
    out = complete(target, whole(texture(rng, size, size, smooth=0.5)), seed=0)
    assert np.isfinite(out).all()


def half_known(rng) -> tuple[Target, Source]:
    picture = texture(rng, 96, 128, smooth=2.5)
    hole = np.zeros((96, 128), bool)
    hole[:, 64:] = True
    target = Target(rgb=np.where(hole[..., None], 0, picture).astype(np.float32), known=~hole, hole=hole)
    return target, whole(picture[:, :64])


def test_same_bits_for_any_thread_count_and_repeat(rng):
    """Determinism; another seed changes the hole and only the hole."""
    target, source = half_known(rng)
    one = complete(target, source, seed=5)
    np.testing.assert_array_equal(one, complete(target, source, seed=5))
    np.testing.assert_array_equal(one, complete(target, dataclasses.replace(source), seed=5, threads=3))
    other = complete(target, source, seed=6)
    np.testing.assert_array_equal(one[target.known], other[target.known])
    assert np.abs(one - other)[target.hole].mean() > 0.01


def test_wrapped_denoiser_rolls_with_the_picture(rng):
    """On a closed ring no column is special."""
    atlas = whole(texture(rng, 24, 40)).atlas(0, 9)
    y = texture(rng, 24, 64)
    hole = np.zeros((24, 64), bool)
    hole[:, 50:] = hole[:, :6] = True
    sd = np.where(hole, 0.4, 0.08).astype(np.float32)
    plain, _, _ = analytic_x0(y, sd, hole, atlas, wrap=True)
    rolled, _, _ = analytic_x0(*(np.roll(a, 17, 1) for a in (y, sd, hole)), atlas, wrap=True)
    np.testing.assert_allclose(rolled, np.roll(plain, 17, 1), atol=1e-4)


def test_codes_are_kept_apart(rng):
    """Where a code is asked for, nothing of another code is copied; a code without source accepts all."""
    rgb = np.where(np.arange(64)[:, None, None] < 32, [0.8, -0.8, -0.8], [-0.8, -0.8, 0.8]) + 0.05 * texture(
        rng, 64, 64
    )
    source = whole(
        rgb.astype(np.float32), code=np.repeat(np.where(np.arange(64) < 32, 1, 2), 64).reshape(64, 64).astype(np.uint8)
    )
    everything = np.ones((48, 48), bool)
    for code, red in ((1, True), (2, False)):
        target = Target(
            rgb=np.zeros((48, 48, 3), np.float32),
            known=~everything,
            hole=everything,
            code=np.full((48, 48), code, np.uint8),
        )
        out = complete(target, source, seed=0)
        # A patch may reach over the border between the two halves by its own half width.
        share = (out[..., 0] > out[..., 2]).mean()
        assert share > 0.9 if red else share < 0.1
    target = dataclasses.replace(target, code=np.full((48, 48), 77, np.uint8))
    assert np.isfinite(complete(target, source, seed=0)).all()
    assert ANY_CODE == 255


def test_small_holes_need_no_pyramid(rng):
    """Cost follows the hole: a speck is filled at full resolution, a large hole from a coarse level."""
    target, source = half_known(rng)
    source = whole(texture(rng, 240, 320))
    speck = np.zeros_like(target.hole)
    speck[40:44, 40:44] = True
    assert halvings_for(dataclasses.replace(target, hole=speck, known=~speck), source) == 0
    assert halvings_for(target, source) > 1


def test_mismatch_spreads_smoothly():
    """A constant offset on the rim is carried into the hole and fades with distance."""
    hole = np.zeros((80, 80), bool)
    hole[:, 30:] = True
    painted = np.full((80, 80, 3), 0.2, np.float32)
    truth = np.full((80, 80, 3), 0.3, np.float32)
    out = spread_mismatch(painted, truth, ~hole, hole, wrap=False)
    np.testing.assert_allclose(out[:, 30], 0.3, atol=0.02)
    assert (np.diff(out[40, 30:, 0]) <= 1e-6).all()
    np.testing.assert_allclose(out[:, -1], 0.2, atol=0.01)
    truth[:] = 1.0  # a white object beside the hole is no reason to brighten the hole
    out = spread_mismatch(painted, truth, ~hole, hole, wrap=False)
    np.testing.assert_allclose(out[:, 30:], 0.2, atol=0.02)


def test_wrong_shapes_are_refused():
    """The argument at fault is named."""
    hole = np.ones((20, 30), bool)
    with pytest.raises(InputError, match=r"target.rgb has shape \(20, 31, 3\)"):
        complete(
            Target(rgb=np.zeros((20, 31, 3), np.float32), known=~hole, hole=hole),
            whole(np.zeros((20, 20, 3), np.float32)),
            seed=0,
        )
