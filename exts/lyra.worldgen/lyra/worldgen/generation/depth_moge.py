"""MoGe and MoGe-2: depth with the camera it belongs to. Written against the package's documented interface and not run
against the real package.

`MoGeModel.infer` returns depth along the optical axis, intrinsics in units of the picture's width and height, and a
mask of what is no sky. Depth is metric when the model has a scale head (MoGe-2), else up to a factor.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..core.camera import PinholeCamera
from ..core.errors import DependencyError
from ..core.optional import require
from ..core.views import SPACE_METRIC, SPACE_SCALE, DepthResult
from .depth import WeightsDepth, load_model, make_result, resized, running
from .residency import Residency

CHECKPOINT = "model.pt"
INSTALL = "pip install git+https://github.com/microsoft/MoGe.git"


class MogeDepth(WeightsDepth):
    """MoGe from a checkpoint file, a folder with `model.pt`, or a hub id."""

    name = "moge"
    _loaded: Residency | None = None

    def estimate(self, rgb_u8: np.ndarray, camera: PinholeCamera | None) -> DepthResult:
        """See `DepthEstimator`."""
        residency = self._load()
        model, device = residency.model, residency.plan.device
        torch = require("torch", extra="models")
        height, width = rgb_u8.shape[:2]
        fov_deg = None if camera is None else float(np.degrees(camera.hfov_rad))
        with running(self.model):
            picture = torch.tensor(rgb_u8 / 255.0, dtype=torch.float32, device=device).permute(2, 0, 1)
            # Half precision is for GPUs; the sky is left in, because the mask says where it is.
            with torch.inference_mode():
                found = model.infer(picture, fov_x=fov_deg, apply_mask=False, use_fp16=device == "cuda")
            depth = found["depth"].float().cpu().numpy()
            K_px = found["intrinsics"].float().cpu().numpy().astype(float) * np.array([[width], [height], [1.0]])
            mask = found["mask"].cpu().numpy().astype(bool) if found.get("mask") is not None else None
        space = SPACE_METRIC if hasattr(model, "scale_head") else SPACE_SCALE
        return make_result(self.model, resized(depth, (height, width)), space=space, valid=mask, K_px=K_px)

    def _load(self) -> Residency:
        if self._loaded is None:
            weights = self._weights
            try:
                from importlib import import_module

                modules = [import_module("moge.model.v2"), import_module("moge.model.v1")]
            except ImportError as error:
                raise DependencyError(
                    f"moge is needed here but cannot be imported ({error}); install it with: {INSTALL}"
                ) from error
            where = weights.source
            if weights.path is not None and weights.path.is_dir():
                where = str(weights.path / CHECKPOINT)
            options = {} if weights.path is not None else {"local_files_only": weights.local_files_only}
            # It is loaded in full precision and computes in less where it sees fit.
            models = replace(self._models, dtype="float32")
            self._loaded = load_model(
                weights, models, lambda dtype: _first_that_fits(modules, where, options), filename=CHECKPOINT
            )
        return self._loaded


def _first_that_fits(modules: list[Any], where: str, options: dict[str, Any]) -> Any:
    """The model of the newest version whose layout the checkpoint has."""
    problems = []
    for module in modules:
        try:
            return module.MoGeModel.from_pretrained(where, **options)
        except (TypeError, KeyError, RuntimeError) as error:  # settings or tensors of another version
            problems.append(error)
    raise problems[0]
