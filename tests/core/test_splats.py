"""Gaussian clouds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import rigid, rotation_from_quat_wxyz
from lyra.worldgen.core.sh import evaluate_sh
from lyra.worldgen.core.splats import GaussianCloud, sh_from_rgb, transform_splats
from strategies import rotations


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


def covariances(splats: GaussianCloud) -> np.ndarray:
    axes = rotation_from_quat_wxyz(splats.quats_wxyz) * splats.scales_m.astype(float)[:, None]
    return axes @ np.swapaxes(axes, 1, 2)


@given(R=rotations(), scale=st.floats(0.01, 100), seed=st.integers(0, 99), mirrored=st.booleans())
def test_a_similarity_moves_everything(R: np.ndarray, scale: float, seed: int, mirrored: bool):
    """Centres, covariances and the colour from a moved eye follow the transform; labels stay."""
    rng = np.random.default_rng(seed)
    quats = rng.normal(size=(6, 4))
    before = replace(
        cloud(6, 16),
        quats_wxyz=(quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        scales_m=np.exp(rng.uniform(-5, 0, (6, 3))).astype(np.float32),
        labels=np.arange(6, dtype=np.uint8),
    )
    R = R * [1, 1, -1] if mirrored else R
    T = rigid(scale * R, rng.normal(size=3))
    after = transform_splats(T, before).validate()
    np.testing.assert_allclose(after.means, before.means @ T[:3, :3].T + T[:3, 3], rtol=1e-5, atol=1e-5 * scale)
    np.testing.assert_allclose(
        covariances(after) / scale**2, R @ covariances(before) @ R.T, atol=1e-5 * covariances(before).max()
    )
    eye = rng.normal(size=3) * 5
    np.testing.assert_allclose(
        evaluate_sh(after.sh, after.means - (T[:3, :3] @ eye + T[:3, 3])),
        evaluate_sh(before.sh, before.means - eye),
        atol=2e-5,
    )
    np.testing.assert_array_equal(after.labels, before.labels)


@pytest.mark.parametrize(
    "linear",
    [
        np.diag([1.0, 1, 2]),
        np.zeros((3, 3)),
        np.full((3, 3), np.nan),
        np.eye(3) + np.eye(3, k=1),
    ],
)
def test_what_is_no_similarity_is_refused(linear):
    """Shears, uneven or no scale and NaN would leave something else than splats."""
    with pytest.raises(InputError, match="similarity"):
        transform_splats(rigid(linear, np.zeros(3)), cloud())


def test_some_of_a_cloud():
    """Masks and indices choose rows of every array."""
    some = replace(cloud(), labels=np.arange(5, dtype=np.uint8)).take(np.array([3, 1]))
    assert len(some.validate()) == 2 and some.labels is not None and some.labels.tolist() == [3, 1]
