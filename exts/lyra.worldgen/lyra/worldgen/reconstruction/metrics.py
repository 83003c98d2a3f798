"""How well a picture reproduces another."""

from __future__ import annotations

import numpy as np

from ..core.errors import InputError


def psnr_db(a_u8: np.ndarray, b_u8: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio [dB] of two [H, W, 3] uint8 pictures over `mask` [H, W]; inf where they are equal.

    Raises:
        InputError: sizes differ or the mask is empty.
    """
    if a_u8.shape != b_u8.shape:
        raise InputError(f"pictures have shapes {a_u8.shape} and {b_u8.shape}; expected equal ones")
    difference = a_u8.astype(np.float64) - b_u8
    if mask is not None:
        difference = difference[mask]
    if not difference.size:
        raise InputError("mask selects no pixel, so there is no PSNR")
    error = float(np.mean(difference**2))
    return float("inf") if error == 0 else float(10 * np.log10(255.0**2 / error))
