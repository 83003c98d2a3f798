"""What every geometry of a photo must hold, and pictures that are hard to make one of."""

from __future__ import annotations

import numpy as np

from lyra.worldgen.core.mesh import Label
from lyra.worldgen.core.views import Photo, PhotoGeometry


def as_photo(rgb_u8: np.ndarray, hfov_rad: float | None = None) -> Photo:
    h, w = rgb_u8.shape[:2]
    return Photo(rgb_u8=rgb_u8, name="test.png", sha256="0" * 64, original_size_px=(w, h), hfov_rad=hfov_rad)


def expect_sound(g: PhotoGeometry) -> None:
    """What every stage downstream relies on."""
    h, w = g.camera.height_px, g.camera.width_px
    assert g.depth_z_m.shape == g.labels.shape == (h, w)
    assert g.depth_z_m.dtype == np.float32 and g.labels.dtype == np.uint8
    assert np.isfinite(g.depth_z_m).all() and 0.05 <= g.depth_z_m.min() and g.depth_z_m.max() <= 150.0
    assert 0.0 <= g.confidence <= 1.0 and g.mode in ("manhattan", "horizon", "prior", "backdrop")
    layout = g.layout
    np.testing.assert_allclose(np.diff(layout.azimuth_rad), layout.step_rad, rtol=1e-6)
    assert np.isfinite(layout.boundary_m).all() and layout.boundary_m.min() >= 0.6
    assert (layout.object_near_m >= 0.6 - 1e-9).all() and (layout.object_far_m > layout.object_near_m).all()
    assert (layout.object_near_m < layout.boundary_m[layout.object_bin]).all()
    assert set(np.unique(layout.boundary_label)) <= {Label.WALL, Label.BACKDROP}
    assert (layout.boundary_top_m > 0).all()
    if layout.ceiling_m is not None:
        assert layout.ceiling_m > layout.camera_height_m
    assert 0.0 < g.relative_scale_sigma < 1.0


def odd_pictures() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 255, (300, 400, 1), np.uint8).repeat(3, 2)
    return {
        "blank": np.zeros((480, 640, 3), np.uint8),
        "white": np.full((720, 1280, 3), 255, np.uint8),
        "noise": rng.integers(0, 255, (480, 640, 3), np.uint8),
        "grey": grey,
        "tiny": rng.integers(0, 255, (24, 31, 3), np.uint8),
        "strip": np.full((17, 832, 3), 90, np.uint8),
        "column": np.full((832, 17, 3), 90, np.uint8),
        "gradient": np.linspace(0, 255, 400).astype(np.uint8)[:, None, None].repeat(300, 1).repeat(3, 2),
    }
