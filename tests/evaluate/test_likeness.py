"""PSNR and SSIM against scikit-image and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest

from lyra.worldgen.evaluate.likeness import BEST_PSNR_DB, psnr_db, ssim
from rooms import analytic_room

EVERYWHERE = np.ones((96, 128), bool)


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """A picture of a room, and the same with noise and less light."""
    a = analytic_room(width_px=128, height_px=96).render().rgb_u8
    noise = np.random.default_rng(7).normal(0, 9, a.shape)
    return a, np.clip(a * 0.93 + noise, 0, 255).astype(np.uint8)


def test_psnr_is_that_of_both_libraries(pair):
    metrics = pytest.importorskip("skimage.metrics")
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.image")
    ours = psnr_db(*pair, EVERYWHERE)
    np.testing.assert_allclose(ours, metrics.peak_signal_noise_ratio(*pair, data_range=255), rtol=1e-6)
    a, b = (torch.from_numpy(x.astype(np.float64)) for x in pair)
    np.testing.assert_allclose(ours, float(functional.peak_signal_noise_ratio(b, a, data_range=255.0)), rtol=1e-6)


def test_ssim_is_that_of_both_libraries(pair):
    """Away from the border, where each library extends the picture in its own way."""
    cv2 = pytest.importorskip("cv2")
    metrics = pytest.importorskip("skimage.metrics")
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.image")
    a, b = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY).astype(np.float64) for x in pair)
    inner = np.zeros(a.shape, bool)
    inner[8:-8, 8:-8] = True
    ours = ssim(*pair, inner)
    _, whole = metrics.structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, full=True
    )
    np.testing.assert_allclose(ours, whole[inner].mean(), atol=1e-9)
    _, whole = functional.structural_similarity_index_measure(
        torch.from_numpy(b)[None, None],
        torch.from_numpy(a)[None, None],
        data_range=255.0,
        return_full_image=True,
    )
    np.testing.assert_allclose(ours, whole[0, 0].numpy()[inner].mean(), atol=1e-6)


def test_equal_pictures_are_as_alike_as_can_be(pair):
    a, _ = pair
    assert psnr_db(a, a, EVERYWHERE) == BEST_PSNR_DB
    np.testing.assert_allclose(ssim(a, a, EVERYWHERE), 1.0)
    assert psnr_db(a, a, ~EVERYWHERE) is None and ssim(a, a, ~EVERYWHERE) is None
