"""What a depth model is, and the real ones by name. Models answer in their own space; `align` gives it metres."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol, Self

import numpy as np

from ..core.camera import PinholeCamera
from ..core.config import ModelsConfig, WorldConfig
from ..core.errors import BackendError, WorldgenError
from ..core.optional import Registry, require
from ..core.views import SPACE_METRIC, DepthResult
from .residency import GIB, Residency, ResidencyPlan, is_out_of_memory, plan_residency, this_machine
from .weights import Weights, find_weights, reason_of
from .weights_files import WeightsSize, model_size

WORKING_BYTES = GIB // 2
"""What a depth model computes with, beside its weights, for a picture of about a third of a megapixel."""
_REMEDY = "lower geometry.working_long_side_px, choose a smaller model or pass --set models.device=cpu"

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


class WeightsDepth:
    """What depth models have in common whose weights `models.depth` names; see `DepthEstimator`."""

    def __init__(self, weights: Weights, models: ModelsConfig) -> None:
        self._weights, self._models = weights, models

    @classmethod
    def from_config(cls, config: WorldConfig) -> Self:
        """See `DepthEstimator`."""
        return cls(depth_weights(config), config.models)

    @property
    def model(self) -> str:
        return self._weights.name

    @property
    def weights_licence(self) -> str:
        return self._weights.licence()


def depth_weights(config: WorldConfig) -> Weights:
    """The weights that `models.depth` names; raises as `DepthEstimator.from_config` does."""
    models = config.models
    return find_weights(models.depth, key="models.depth", flag="--depth-model", download=models.download)


def load_model(
    weights: Weights, models: ModelsConfig, make: Callable[[Any], Any], *, filename: str = "config.json"
) -> Residency:
    """A depth model in memory, ready to answer.

    Args:
        weights: which.
        models: how they are held.
        make: loads them in a torch number type.
        filename: file that every such model has.

    Raises:
        ConfigError: weights that are not here and may not be fetched, or a device or number type that cannot be had.
        DependencyError: a package is missing.
        BackendError: the weights do not load or do not fit into memory.
    """
    weights.expect_here(filename)
    residency = Residency(plan_depth(weights, models, filename=filename), name=weights.name, remedy=_REMEDY)
    with weights.loading():
        residency.load(make).eval()
    return residency


def plan_depth(weights: Weights, models: ModelsConfig, *, filename: str = "config.json") -> ResidencyPlan:
    """How a depth model is held: whole, and in full precision unless the configuration says otherwise.

    Half precision would round depth in steps of up to 0.4 %, which a wall shows. A size that cannot be read counts as
    one that fits.

    Raises:
        ConfigError: the configuration asks for what this machine cannot do.
        BackendError: the weights do not fit into main memory.
    """
    size, machine = _size_of(weights, filename), this_machine()
    wanted = replace(models, dtype="float32" if models.dtype == "auto" else models.dtype, offload="auto")
    if size is None:
        unknown = WeightsSize(parameters=0, largest_part=0)
        plan = plan_residency(unknown, machine, wanted, working_bytes=0)
        return replace(plan, why=f"weights of unknown size on {plan.device} in {plan.dtype}")
    plan = plan_residency(size, machine, wanted, working_bytes=WORKING_BYTES)
    if plan.offload == "none":
        return plan
    # No part of a depth model can leave the GPU, so one that does not fit it stays off it unless told otherwise.
    wanted = replace(wanted, device="cpu") if wanted.device == "auto" else replace(wanted, offload="none")
    return plan_residency(size, machine, wanted, working_bytes=WORKING_BYTES)


def _size_of(weights: Weights, filename: str) -> WeightsSize | None:
    """Size of a depth model as far as its files are here and say it; what is wrong with them, loading will tell."""
    place = weights.cached(filename) if weights.path is None else weights.path
    if place is None:
        return None
    if place.is_dir():
        place = place / filename
    try:
        # Beside a configuration stand the files that hold the model.
        return model_size(place.parent if place.name == "config.json" else place)
    except WorldgenError:
        return None


@contextmanager
def running(model: str) -> Iterator[None]:
    """Give failures of a model the class and the words that help."""
    try:
        yield
    except WorldgenError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise BackendError(f"depth model {model} ran out of memory; {_REMEDY}") from error
        raise BackendError(f"depth model {model} failed ({reason_of(error)})") from error


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
