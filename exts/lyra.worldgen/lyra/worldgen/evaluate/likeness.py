"""How alike two pictures of the same size are: PSNR, SSIM, colour, and how far things have moved."""

from __future__ import annotations

import numpy as np

from ..core.arrays import expect_shape

BEST_PSNR_DB = 99.0
"""Stands for equal pictures, so that medians and plots have a number."""
_WINDOW_PX, _SIGMA_PX = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr_db(a_u8: np.ndarray, b_u8: np.ndarray, where: np.ndarray) -> float | None:
    """Peak signal-to-noise ratio [dB] of pictures [H, W, 3] over `where` [H, W]; None when that selects nothing."""
    _expect_pair(a_u8, b_u8, where)
    if not where.any():
        return None
    error = float(np.mean((a_u8[where].astype(np.float32) - b_u8[where]) ** 2, dtype=np.float64))
    return BEST_PSNR_DB if error == 0 else min(float(10 * np.log10(255.0**2 / error)), BEST_PSNR_DB)


def ssim(a_u8: np.ndarray, b_u8: np.ndarray, where: np.ndarray) -> float | None:
    """Structural similarity of brightness (Wang et al. 2004, Gaussian window of 11 pixels), mean over `where`.

    Args:
        a_u8, b_u8: [H, W, 3].
        where: [H, W] bool; None is returned when it selects nothing.
    """
    import cv2

    _expect_pair(a_u8, b_u8, where)
    if not where.any():
        return None
    a, b = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY).astype(np.float64) for x in (a_u8, b_u8))

    def blurred(x: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(x, (_WINDOW_PX, _WINDOW_PX), _SIGMA_PX, borderType=cv2.BORDER_REFLECT)

    mean_a, mean_b = blurred(a), blurred(b)
    var_a, var_b = blurred(a * a) - mean_a**2, blurred(b * b) - mean_b**2
    covariance = blurred(a * b) - mean_a * mean_b
    value = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    value /= (mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2)
    return float(value[where].mean())


def colour_change(a_u8: np.ndarray, b_u8: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean signed and mean absolute change from a to b, each [3] in grey levels of 255, where the mask is set."""
    _expect_pair(a_u8, b_u8, where)
    change = b_u8[where].astype(np.float64) - a_u8[where]
    return change.mean(0), np.abs(change).mean(0)


def flow_px(a_u8: np.ndarray, b_u8: np.ndarray) -> np.ndarray:
    """[H, W] how far what is in a has moved in b [px], by dense optical flow (DIS) of brightness."""
    import cv2

    _expect_pair(a_u8, b_u8, np.ones(a_u8.shape[:2], bool))
    a, b = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (a_u8, b_u8))
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return np.linalg.norm(search.calc(a, b, None), axis=-1)  # pyright: ignore


def _expect_pair(a_u8: np.ndarray, b_u8: np.ndarray, where: np.ndarray) -> None:
    h, w, _ = expect_shape("a_u8", a_u8, (None, None, 3)).shape
    expect_shape("b_u8", b_u8, (h, w, 3))
    expect_shape("where", where, (h, w))
