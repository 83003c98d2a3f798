"""Depth Anything 3: depth with its camera. Written against the package's documented interface and not run against the
real package.

`DepthAnything3.inference` returns depth along the optical axis at its own working size, and intrinsics at that size
where the preset has a camera head. The nested presets say that they are metric (`is_metric`). The monocular metric
preset (`da3metric-*`) answers for a focal length of 300 px, so it is metric once a focal length is known. Every other
preset gives depth up to a factor, the monocular one (no camera head) up to factor and shift.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..core.camera import PinholeCamera
from ..core.errors import DependencyError
from ..core.views import SPACE_DEPTH, SPACE_METRIC, SPACE_SCALE, DepthResult
from .depth import WeightsDepth, load_model, make_result, resized, running

CANONICAL_FOCAL_PX = 300.0
METRIC_PRESET = "da3metric"
INSTALL = "pip install git+https://github.com/ByteDance-Seed/Depth-Anything-3.git"


class DepthAnything3Depth(WeightsDepth):
    """Depth Anything 3 from a local folder or a hub id."""

    name = "depth-anything-3"
    _loaded: Any = None

    def estimate(self, rgb_u8: np.ndarray, camera: PinholeCamera | None) -> DepthResult:
        """See `DepthEstimator`."""
        model = self._load()
        height, width = rgb_u8.shape[:2]
        with running(self.model):
            found = model.inference([np.ascontiguousarray(rgb_u8)])
            depth = np.asarray(found.depth, np.float32)[0]
            sky = None if found.sky is None else np.asarray(found.sky)[0]
            K = None if found.intrinsics is None else np.asarray(found.intrinsics, float)[0]
        rows, cols = depth.shape
        # Its intrinsics are those of the working size; a camera that is known from elsewhere wins.
        K_px = None if K is None else K * np.array([[width / cols], [height / rows], [1.0]])
        if camera is not None:
            K_px = camera.K_px
        space = SPACE_DEPTH if K is None else SPACE_SCALE
        if bool(found.is_metric):
            space = SPACE_METRIC
        elif METRIC_PRESET in str(getattr(model, "model_name", "")) and K_px is not None:
            depth = depth * (0.5 * (K_px[0, 0] * cols / width + K_px[1, 1] * rows / height) / CANONICAL_FOCAL_PX)
            space = SPACE_METRIC
        elif METRIC_PRESET in str(getattr(model, "model_name", "")):
            space = SPACE_SCALE
        valid = None if sky is None else resized(sky.astype(np.float32), (height, width)) < 0.5
        return make_result(self.model, resized(depth, (height, width)), space=space, valid=valid, K_px=K_px)

    def _load(self) -> Any:
        if self._loaded is None:
            weights = self._weights
            try:
                from importlib import import_module

                api = import_module("depth_anything_3.api")
            except ImportError as error:
                raise DependencyError(
                    f"depth_anything_3 is needed here but cannot be imported ({error}); install it with: {INSTALL}"
                ) from error
            made, options = api.DepthAnything3.from_pretrained, {"local_files_only": weights.local_files_only}
            # It is loaded in full precision and computes in less where it sees fit.
            models = replace(self._models, dtype="float32")
            self._loaded = load_model(weights, models, lambda dtype: made(weights.source, **options)).model
        return self._loaded
