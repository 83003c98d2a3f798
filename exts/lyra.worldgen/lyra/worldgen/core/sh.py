"""Real spherical harmonics of degree 0 to 3: evaluation and rotation of coefficients.

The basis, its signs and its order are those of the 3DGS reference code; coefficients are [N, K, 3] with
K = (degree + 1)^2, the constant first.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from .errors import InputError

SH_C0 = 0.28209479177387814
"""Value of the constant spherical harmonic; display colour = 0.5 + SH_C0 * DC."""
MAX_DEGREE = 3
_CHUNK = 1 << 16


def sh_degree(count: int) -> int:
    """Degree of `count` coefficients; raises `InputError` unless it is 1, 4, 9 or 16."""
    if count not in (1, 4, 9, 16):
        raise InputError(f"sh holds {count} coefficients; expected 1, 4, 9 or 16 (degree 0 to {MAX_DEGREE})")
    return round(count**0.5) - 1


def sh_basis(directions: np.ndarray, degree: int) -> np.ndarray:
    """[N, (degree + 1)^2] float64 values of the basis along unit vectors [N, 3]."""
    x, y, z = np.asarray(directions, np.float64).T
    basis = [np.full_like(x, SH_C0)]
    if degree >= 1:
        basis += [-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    if degree >= 2:
        basis += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (2 * z * z - x * x - y * y),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (x * x - y * y),
        ]
    if degree >= 3:
        basis += [
            -0.5900435899266435 * y * (3 * x * x - y * y),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (4 * z * z - x * x - y * y),
            0.3731763325901154 * z * (2 * z * z - 3 * x * x - 3 * y * y),
            -0.4570457994644658 * x * (4 * z * z - x * x - y * y),
            1.445305721320277 * z * (x * x - y * y),
            -0.5900435899266435 * x * (x * x - 3 * y * y),
        ]
    return np.stack(basis, -1)


def evaluate_sh(sh: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Colour offset [N, 3] of coefficients [N, K, 3] seen along `directions` [N, 3] (eye to splat, any length)."""
    degree = sh_degree(sh.shape[1])
    if degree == 0:
        return SH_C0 * sh[:, 0].astype(np.float64)
    unit = directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
    return np.einsum("nk,nkc->nc", sh_basis(unit, degree), sh)


def sh_rotation(R_a_b: np.ndarray, degree: int) -> np.ndarray:
    """[K, K] float64 matrix that takes coefficients in frame b to frame a; block-diagonal, one block a degree.

    What had a colour from direction d in frame b has the same colour from R d in frame a. Each block follows from the
    basis itself: its values at fixed directions, seen in both frames, determine it (the system is solved exactly).
    """
    samples, inverses = _samples(degree)
    turned = sh_basis(samples @ np.asarray(R_a_b, np.float64), degree)
    M = np.zeros((turned.shape[1],) * 2)
    for band in range(degree + 1):
        part = slice(band * band, (band + 1) ** 2)
        M[part, part] = inverses[band] @ turned[:, part]
    return M


def rotate_sh(R_a_b: np.ndarray, sh_b: np.ndarray) -> np.ndarray:
    """Coefficients [N, K, 3] float32 of frame b as those of frame a; see `sh_rotation`."""
    count = sh_b.shape[1]
    degree = sh_degree(count)
    out = np.array(sh_b, np.float32)
    if degree:
        # One product with all bands and channels at once is several times faster than one a band.
        M = np.kron(sh_rotation(R_a_b, degree)[1:, 1:].T, np.eye(3)).astype(np.float32)
        for start in range(0, len(out), _CHUNK):
            part = sh_b[start : start + _CHUNK, 1:].reshape(-1, M.shape[0])
            out[start : start + _CHUNK, 1:] = (part.astype(np.float32, copy=False) @ M).reshape(-1, count - 1, 3)
    return out


@cache
def _samples(degree: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Directions [S, 3] spread over the sphere, and per band the pseudo-inverse [2 band + 1, S] of the basis there."""
    i = np.arange(32) + 0.5
    polar, azimuth = np.arccos(1 - 2 * i / 32), np.pi * (1 + 5**0.5) * i
    samples = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], -1)
    basis = sh_basis(samples, degree)
    return samples, [np.linalg.pinv(basis[:, band**2 : (band + 1) ** 2]) for band in range(degree + 1)]
