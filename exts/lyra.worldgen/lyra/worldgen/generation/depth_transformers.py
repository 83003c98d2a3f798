"""Any depth model of the transformers library: Depth Anything, DPT, ZoeDepth, Depth Pro, GLPN and others.

How a model's numbers relate to metres is read from its outputs and its own configuration, never from its name. The
first line that fits decides:

1. The output has a field `field_of_view`: the map is inverse depth for a picture as wide as its focal length. Metric
   with that field of view or with a known camera, else depth up to a factor.
2. The configuration has `depth_estimation_type`: `metric` is metres, `relative` inverse depth up to factor and shift.
3. The configuration has a largest depth (`max_depth`, or one in its `bin_configurations`): metres.
4. Otherwise: inverse depth up to factor and shift, which is what such heads are trained for.

A model whose configuration says too little (DPT heads fine-tuned on metric data) is set right by adding
`"depth_estimation_type": "metric"` to its `config.json`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..core.camera import PinholeCamera
from ..core.optional import require
from ..core.views import SPACE_DISPARITY, SPACE_METRIC, SPACE_SCALE, DepthResult
from .depth import WeightsDepth, load_model, make_result, resized, running


class TransformersDepth(WeightsDepth):
    """`AutoModelForDepthEstimation` with its image processor, from a local folder or a hub id."""

    name = "transformers"
    _loaded: tuple[Any, Any] | None = None

    def estimate(self, rgb_u8: np.ndarray, camera: PinholeCamera | None) -> DepthResult:
        """See `DepthEstimator`."""
        processor, model = self._load()
        with running(self.model):
            values, space, K_px = _infer(processor, model, np.ascontiguousarray(rgb_u8), camera)
        return make_result(self.model, values, space=space, K_px=K_px)

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            transformers = require("transformers", extra="models")
            weights = self._weights
            weights.expect_here("config.json")
            options = {"local_files_only": weights.local_files_only, "trust_remote_code": False}

            def make(dtype: Any) -> Any:
                return transformers.AutoModelForDepthEstimation.from_pretrained(weights.source, dtype=dtype, **options)

            with _without_bars(transformers):
                with weights.loading():
                    processor = transformers.AutoImageProcessor.from_pretrained(weights.source, **options)
                self._loaded = processor, load_model(weights, self._models, make).model
        return self._loaded


@contextmanager
def _without_bars(transformers: Any) -> Iterator[None]:
    """The library's own progress bars would write over ours."""
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()


def depth_space(config: Any, output: Any) -> str:
    """`SPACE_*` of a model's raw map by the rule of this module, line 1 taken as depth up to a factor."""
    if hasattr(output, "field_of_view"):
        return SPACE_SCALE
    kind = getattr(config, "depth_estimation_type", None)
    if kind is not None:
        return SPACE_METRIC if kind == "metric" else SPACE_DISPARITY
    bins = getattr(config, "bin_configurations", None) or ()
    if getattr(config, "max_depth", None) is not None or any("max_depth" in entry for entry in bins):
        return SPACE_METRIC
    return SPACE_DISPARITY


def _infer(
    processor: Any, model: Any, rgb_u8: np.ndarray, camera: PinholeCamera | None
) -> tuple[np.ndarray, str, np.ndarray | None]:
    """Map [H, W] at the picture's size, its space, and intrinsics if the model has or was given them."""
    torch = require("torch", extra="models")
    height, width = rgb_u8.shape[:2]
    inputs = processor(images=rgb_u8, return_tensors="pt")
    inputs = inputs.to(model.device, dtype=model.dtype)
    with torch.inference_mode():
        output = model(**inputs)
    space = depth_space(model.config, output)
    values = _unpadded(processor, output, rgb_u8)
    if not hasattr(output, "field_of_view"):
        return resized(values, (height, width)), space, None if camera is None else camera.K_px
    inverse = resized(values, (height, width))
    if camera is None and output.field_of_view is not None:
        fov_deg = float(output.field_of_view.float().reshape(-1)[0])
        if 1.0 < fov_deg < 179.0:
            camera = PinholeCamera.from_hfov(width, height, math.radians(fov_deg))
    depth = 1.0 / np.clip(inverse, 1e-4, 1e4)
    if camera is None:
        return depth, SPACE_SCALE, None
    return depth * (camera.fx_px / width), SPACE_METRIC, camera.K_px


def _unpadded(processor: Any, output: Any, rgb_u8: np.ndarray) -> np.ndarray:
    """The raw map [h, w] float32 without the border that the processor added to the picture."""
    raw = output.predicted_depth
    if not getattr(processor, "do_pad", False):
        return raw[0].float().cpu().numpy()
    height, width = rgb_u8.shape[:2]
    values = raw[0].float().cpu().numpy()
    if "source_sizes" in inspect.signature(processor.post_process_depth_estimation).parameters:
        # ZoeDepth's border, added before the picture is reduced: 3 sqrt(side / 2) pixels of the picture on each side.
        # Its processor takes it off again with torchvision only.
        across, down = int(3.0 * math.sqrt(width / 2.0)), int(3.0 * math.sqrt(height / 2.0))
        full = resized(values, (height + 2 * down, width + 2 * across))
        return full[down : down + height, across : across + width]
    # Padded after it was reduced, evenly on both sides: the size without padding says how much belongs to the picture.
    full = processor(images=rgb_u8, return_tensors="np")["pixel_values"].shape[-2:]
    bare = processor(images=rgb_u8, return_tensors="np", do_pad=False)["pixel_values"].shape[-2:]
    low = [((f - b) // 2) * n / f for f, b, n in zip(full, bare, values.shape, strict=True)]
    size = [b * n / f for f, b, n in zip(full, bare, values.shape, strict=True)]
    rows, cols = (slice(round(a), max(round(a + s), round(a) + 1)) for a, s in zip(low, size, strict=True))
    return values[rows, cols]
