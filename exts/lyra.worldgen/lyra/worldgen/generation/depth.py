"""What a depth model is, and the real ones by name. Models answer in their own space; `align` gives it metres."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from ..core.camera import PinholeCamera
from ..core.config import ModelsConfig, WorldConfig
from ..core.errors import BackendError, WorldgenError
from ..core.optional import Registry, require
from ..core.views import SPACE_METRIC, DepthResult
from .foreign_weights import WeightsSource, find_weights

DEPTHS = Registry(
    "depth model",
    {
        "transformers": "lyra.worldgen.generation.depth_transformers:TransformersDepth",
        "moge": "lyra.worldgen.generation.depth_moge:MogeDepth",
        "depth-anything-3": "lyra.worldgen.generation.depth_da3:DepthAnything3Depth",
    },
)


class DepthEstimator(Protocol):
    """A depth model behind a seam. Weights are loaded at the first estimate, so making one is cheap."""

    name: str
    """As registered."""
    model: str
    """Hub id or folder name of the weights; goes into the world's provenance."""

    @property
    def weights_licence(self) -> str:
        """SPDX id or short text; goes into the world's provenance."""
        ...

    @classmethod
    def from_config(cls, config: WorldConfig) -> DepthEstimator:
        """The model that `models.depth` names.

        Raises:
            ConfigError: `models.depth` is empty.
            InputError: it is a path that does not exist.
        """
        ...

    def estimate(self, rgb_u8: np.ndarray, camera: PinholeCamera | None) -> DepthResult:
        """Depth of a picture [H, W, 3] at its own size.

        Args:
            rgb_u8: sRGB.
            camera: intrinsics where they are known (EXIF, or a frame that was painted for a camera); None lets the
                model say them if it can.

        Raises:
            ConfigError: weights that are not on this machine and may not be fetched.
            DependencyError: a package is missing.
            BackendError: the weights do not load, memory runs out, or no value is finite.
        """
        ...


def depth_weights(config: WorldConfig) -> WeightsSource:
    """The weights that `models.depth` names; raises as `DepthEstimator.from_config` does."""
    models = config.models
    return find_weights(models.depth, key="models.depth", flag="--depth-model", download=models.download)


def device_and_dtype(models: ModelsConfig) -> tuple[str, Any]:
    """Device name and torch number type that a depth model runs with."""
    torch = require("torch", extra="models")
    device = "cuda" if models.device != "cpu" and torch.cuda.is_available() else "cpu"
    return device, torch.float32 if device == "cpu" or models.dtype == "auto" else getattr(torch, models.dtype)


@contextmanager
def running(model: str) -> Iterator[None]:
    """Give failures of a model the class and the words that help."""
    try:
        yield
    except WorldgenError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        if isinstance(error, MemoryError) or "memory" in reason.lower():
            raise BackendError(
                f"depth model {model} ran out of memory; lower geometry.working_long_side_px, choose a smaller model "
                "or pass --set models.device=cpu"
            ) from error
        raise BackendError(f"depth model {model} failed ({type(error).__name__}: {reason})") from error


def resized(values: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """[H, W] float32 bilinear; a non-finite value spoils what it touches."""
    if values.shape == hw:
        return np.ascontiguousarray(values, np.float32)
    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    return cv2.resize(np.ascontiguousarray(values, np.float32), (hw[1], hw[0]), interpolation=cv2.INTER_LINEAR)


def make_result(
    model: str,
    values: np.ndarray,
    *,
    space: str,
    valid: np.ndarray | None = None,
    K_px: np.ndarray | None = None,
) -> DepthResult:
    """The record of a map [H, W] at the picture's size; marks what is not finite and positive.

    Raises:
        BackendError: no value is finite.
    """
    finite = np.isfinite(values)
    if not finite.any():
        raise BackendError(
            f"depth model {model} returned no finite number; check its weights, or pass --set models.dtype=float32"
        )
    ok = finite & (values > 0)
    if valid is not None:
        ok &= valid
    values = np.where(finite, values, 0.0).astype(np.float32)
    if space == SPACE_METRIC:
        return DepthResult(valid=ok, space=space, depth_z_m=values, K_px=K_px)
    return DepthResult(valid=ok, space=space, rel_depth=values, K_px=K_px)
