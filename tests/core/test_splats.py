"""Gaussian clouds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.splats import GaussianCloud, sh_from_rgb


def cloud(n: int = 5, k: int = 1) -> GaussianCloud:
    rng = np.random.default_rng(3)
    return GaussianCloud(
        means=rng.normal(size=(n, 3)).astype(np.float32),
        scales_m=np.full((n, 3), 0.02, np.float32),
        quats_wxyz=np.tile(np.array([1, 0, 0, 0], np.float32), (n, 1)),
        opacities=np.full(n, 0.9, np.float32),
        sh=rng.uniform(-1, 1, (n, k, 3)).astype(np.float32),
    )


def test_colours_survive_the_harmonics():
    """Display colours to degree-0 coefficients and back."""
    rgb = np.random.default_rng(1).uniform(0, 1, (50, 3))
    back = replace(cloud(50), sh=sh_from_rgb(rgb)).validate().rgb()
    np.testing.assert_allclose(back, rgb, atol=1e-6)


@pytest.mark.parametrize(("k", "degree"), [(1, 0), (4, 1), (9, 2), (16, 3)])
def test_degree_follows_the_coefficients(k, degree):
    """K = (degree + 1)^2."""
    assert cloud(k=k).validate().sh_degree == degree


def test_empty_cloud_is_well_formed():
    """No Gaussians is a valid cloud."""
    assert len(cloud(0).validate()) == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"scales_m": np.zeros((5, 3), np.float32)}, "scales_m"),
        ({"opacities": np.ones(5, np.float32)}, "opacities"),
        ({"opacities": np.zeros((5, 1), np.float32)}, "opacities"),
        ({"quats_wxyz": np.full((5, 4), 2, np.float32)}, "quats_wxyz"),
        ({"means": np.full((5, 3), np.inf, np.float32)}, "means"),
        ({"sh": np.zeros((5, 2, 3), np.float32)}, "sh"),
    ],
)
def test_validate_names_the_broken_part(change, named):
    """Log scales, logit opacities, column shapes and non-finite values are caught by name."""
    with pytest.raises(InputError, match=named):
        replace(cloud(), **change).validate()
