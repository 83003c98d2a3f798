"""Spherical harmonics: the basis, and coefficients under rotation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.sh import evaluate_sh, rotate_sh, sh_rotation
from strategies import rotations


def sphere(count: int) -> np.ndarray:
    i = np.arange(count) + 0.5
    polar, azimuth = np.arccos(1 - 2 * i / count), np.pi * (1 + 5**0.5) * i
    return np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], -1)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_basis_is_orthonormal(degree: int):
    """Over the sphere each basis function has norm one and no two overlap, which pins every constant."""
    n, d = (degree + 1) ** 2, sphere(20_000)
    values = np.stack([evaluate_sh(np.tile(np.eye(n)[k][None, :, None], (len(d), 1, 3)), d)[:, 0] for k in range(n)], 1)
    np.testing.assert_allclose(4 * np.pi * values.T @ values / len(d), np.eye(n), atol=2e-3)


@given(R=rotations(), degree=st.integers(0, 3), seed=st.integers(0, 99))
def test_rotated_colour_is_unchanged_from_the_rotated_direction(R: np.ndarray, degree: int, seed: int):
    """What had a colour from d has it from R d, for every band and any rotation."""
    rng = np.random.default_rng(seed)
    sh = rng.normal(size=(20, (degree + 1) ** 2, 3)).astype(np.float32)
    d = sphere(20)
    np.testing.assert_allclose(evaluate_sh(rotate_sh(R, sh), d @ R.T), evaluate_sh(sh, d), atol=2e-6)


@given(first=rotations(), second=rotations())
def test_rotations_compose(first: np.ndarray, second: np.ndarray):
    """The matrices are orthogonal and follow the group: one turn after the other is the turn of the product."""
    M = sh_rotation(first, 3)
    np.testing.assert_allclose(M @ M.T, np.eye(16), atol=1e-12)
    np.testing.assert_allclose(sh_rotation(second @ first, 3), sh_rotation(second, 3) @ M, atol=1e-12)


def test_bands_keep_to_themselves():
    """A rotation mixes coefficients of one degree only."""
    M = np.abs(sh_rotation(np.array([[0.0, -1, 0], [0.6, 0, -0.8], [0.8, 0, 0.6]]), 3))
    for band in range(4):
        M[band**2 : (band + 1) ** 2, band**2 : (band + 1) ** 2] = 0
    assert M.max() == 0


def test_odd_counts_are_refused():
    """Five coefficients belong to no degree."""
    with pytest.raises(InputError, match="5 coefficients"):
        rotate_sh(np.eye(3), np.zeros((2, 5, 3), np.float32))
