"""Checks at the public door: shapes, dtypes and finiteness, with the argument's name in the message."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .errors import InputError


def expect_shape(name: str, array: np.ndarray, shape: Sequence[int | None]) -> np.ndarray:
    """Return `array` unchanged if its shape matches; None in `shape` accepts any size.

    Raises:
        InputError: names the argument, what it is and what it should be.
    """
    if not isinstance(array, np.ndarray):
        raise InputError(f"{name} is a {type(array).__name__}; expected a NumPy array")
    if array.ndim != len(shape) or any(w is not None and w != g for g, w in zip(array.shape, shape, strict=True)):
        wanted = "(" + ", ".join("any" if s is None else str(s) for s in shape) + ")"
        raise InputError(f"{name} has shape {array.shape}; expected {wanted}")
    return array


def expect_finite(name: str, array: np.ndarray) -> np.ndarray:
    """Return `array` unchanged if every value is finite; raises `InputError` with the count of bad values."""
    bad = int(array.size - np.count_nonzero(np.isfinite(array)))
    if bad:
        raise InputError(
            f"{name} holds {bad} NaN or infinite values of {array.size}; mark missing data in a mask instead"
        )
    return array
