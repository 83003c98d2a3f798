"""Any diffusers inpainting pipeline behind one call: what it takes and which sizes it likes is read off the pipeline.

Nothing here asks for a class by name: the call's own signature says which arguments exist, and the configurations of
the parts say how large a latent cell is, what size the model was trained at and whether guidance is built in.
"""

from __future__ import annotations

import inspect
import logging
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.config import InpaintConfig, ModelsConfig
from ..core.errors import BackendError, ConfigError, InputError, WorldgenError
from ..core.optional import require
from .residency import Residency, plan_residency, this_machine
from .weights import Weights, find_weights, quiet_libraries, reason_of
from .weights_files import absent_parts, expect_whole_pipeline, pipeline_index, pipeline_size, pipeline_variant

log = logging.getLogger(__name__)

FALLBACK_SIDE_PX = 512
"""Size of pipelines that do not say what they were trained at."""
_EXTRA = "models"


def find_pipeline(config: ModelsConfig) -> Weights:
    """The inpainting weights that `models.painter` names; `path` is their folder, which is whole. Nothing is loaded.

    Raises:
        ConfigError: `models.painter` is empty, or a model that is not here may not be fetched.
        InputError: no folder of a pipeline, or files are missing.
        BackendError: fetching failed.
    """
    weights = find_weights(
        config.painter, key="models.painter", flag="--painter-model", download=config.download
    ).in_folder("model_index.json", fetch=_fetch)
    expect_whole_pipeline(Path(weights.source))
    return weights


def plan_pipeline(config: ModelsConfig) -> str:
    """How the weights that `models.painter` names would be held, in one line; nothing is fetched or loaded.

    Raises:
        WorldgenError: as `InpaintPipeline`, as far as that shows without loading.
    """
    _expect_packages()
    try:
        weights = find_pipeline(replace(config, download=False))
    except ConfigError:
        if not (config.download and config.painter.strip()):
            raise
        return f"weights {config.painter} will be fetched"
    plan = plan_residency(pipeline_size(Path(weights.source)), this_machine(), config)
    return f"weights {weights.name}: {plan.why}"


class InpaintPipeline:
    """A loaded pipeline.

    Args:
        config: which weights, and how they are held.
        asked: how the pipeline is asked.

    Raises:
        ConfigError: the configuration asks for what cannot be.
        InputError: the weights are no inpainting pipeline, or incomplete.
        DependencyError: a package is missing.
        BackendError: the weights are damaged, do not load or do not fit into memory.
    """

    def __init__(self, config: ModelsConfig, asked: InpaintConfig) -> None:
        _expect_packages()
        self.weights = find_pipeline(config)
        self.asked = asked
        self._seen_prompts: set[str] = set()
        folder = Path(self.weights.source)
        self.residency = Residency(
            plan_residency(pipeline_size(folder), this_machine(), config), name=self.weights.name
        )
        with quiet_libraries(), self.weights.loading():
            pipeline = self.residency.load(_loader(folder))
        try:
            self._takes = _arguments(type(pipeline))
            if not {"image", "mask_image"} <= self._takes or "control_image" in self._takes:
                raise InputError(
                    f"models.painter is a {type(pipeline).__name__}, which does not complete pictures by itself; "
                    f"choose an inpainting or fill model: {folder}"
                )
            self.multiple_px = _multiple_px(pipeline)
            self.side_px = _native_side_px(pipeline, self.multiple_px)
        except BaseException:
            self.residency.free()
            raise

    def complete(self, rgb_u8: np.ndarray, mask: np.ndarray, *, prompt: str, seed: int) -> np.ndarray:
        """Repaint the masked pixels.

        Args:
            rgb_u8: [h, w, 3], both sides multiples of `multiple_px`; prefilled where masked.
            mask: [h, w] bool, True where the model paints.
            prompt: text; ignored by models that read none.
            seed: of the noise, which is drawn on the CPU so that it does not depend on the device.

        Returns:
            [h, w, 3] float32 in 0..255; what is not masked comes back more or less as it was.

        Raises:
            BackendError: out of memory, non-finite or misshapen output, or a safety checker withheld the picture.
        """
        from PIL import Image

        torch = require("torch", extra=_EXTRA)
        pipeline = self.residency.model
        if pipeline is None:
            raise BackendError(f"the model '{self.weights.name}' was freed; make a new painter")
        h, w = mask.shape
        offered = {
            "prompt": prompt,
            "image": Image.fromarray(rgb_u8),
            "mask_image": Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)),
            "height": h,
            "width": w,
            "strength": self.asked.strength,
            "num_inference_steps": self.asked.steps,
            "generator": torch.Generator("cpu").manual_seed(seed),
            "output_type": "np",
            "callback_on_step_end": self._check_step,
            **self._guidance(pipeline),
        }
        arguments = {name: value for name, value in offered.items() if name in self._takes}
        with quiet_libraries(), self._running():
            self._note_long_prompt(pipeline, prompt)
            with self.residency.explained("while it painted"):
                result = pipeline(**arguments)
        return self._checked(result, (h, w))

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Give errors of foreign code one class and the words that help."""
        try:
            yield
        except WorldgenError:
            raise
        except Exception as error:
            raise BackendError(
                f"the model '{self.weights.name}' failed ({reason_of(error)}); copy or fetch the weights again, or run "
                f"again with -v for the whole message: {self.weights.source}"
            ) from error

    def _note_long_prompt(self, pipeline: Any, prompt: str) -> None:
        """Say once that the end of a prompt is not read, which the libraries say at every call or never."""
        tokenizers = [part for name, part in pipeline.components.items() if name.startswith("tokenizer") and part]
        if prompt in self._seen_prompts or not tokenizers:
            return
        self._seen_prompts.add(prompt)
        limit = max(tokenizer.model_max_length for tokenizer in tokenizers)
        if all(len(tokenizer(prompt).input_ids) > tokenizer.model_max_length for tokenizer in tokenizers):
            log.warning("the prompt is longer than the %d tokens that %s reads", limit, self.weights.name)

    def _guidance(self, pipeline: Any) -> dict[str, Any]:
        """Guidance and negative prompt in the pipeline's own terms."""
        found: dict[str, Any] = {"guidance_scale": self.asked.guidance}
        if self.asked.negative_prompt:
            found["negative_prompt"] = self.asked.negative_prompt
            # With guidance built into the weights a negative prompt needs a second, explicit scale.
            found["true_cfg_scale"] = self.asked.guidance
        distilled = _setting(getattr(pipeline, "transformer", None), "guidance_embeds")
        if "true_cfg_scale" in self._takes and distilled is False:
            del found["guidance_scale"]
        return found

    def _check_step(self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """Stop at the first step that goes astray instead of decoding nonsense."""
        latents = tensors.get("latents")
        if latents is not None and not bool(latents.isfinite().all()):
            raise BackendError(
                f"the model '{self.weights.name}' computed non-finite numbers in step {step + 1} in "
                f"{self.residency.plan.dtype}; set models.dtype to bfloat16 or float32, or fetch the weights again"
            )
        return tensors

    def _checked(self, result: Any, shape: tuple[int, int]) -> np.ndarray:
        flagged = getattr(result, "nsfw_content_detected", None)
        if flagged is not None and any(np.atleast_1d(flagged)):
            raise BackendError(
                f"the safety checker of '{self.weights.name}' withheld the picture and returned a black one; change "
                "generation.prompt or seed, or choose weights without a safety checker"
            )
        images = getattr(result, "images", None)
        picture = np.asarray(images[0], np.float32) if images is not None and len(images) else np.zeros(0, np.float32)
        if picture.shape != (*shape, 3):
            raise BackendError(
                f"the model '{self.weights.name}' returned a picture of shape {picture.shape}; expected {(*shape, 3)}"
            )
        if not np.isfinite(picture).all():
            raise BackendError(
                f"the model '{self.weights.name}' returned non-finite pixels in {self.residency.plan.dtype}; set "
                "models.dtype to bfloat16 or float32, or fetch the weights again"
            )
        return 255 * np.clip(picture, 0, 1)


def _expect_packages() -> None:
    for package in ("torch", "diffusers", "transformers"):
        require(package, extra=_EXTRA)


def _loader(folder: Path) -> Callable[[Any], Any]:
    """A function of a torch dtype that loads the pipeline of a folder in the class that completes pictures."""
    diffusers = require("diffusers", extra=_EXTRA)
    wanted = pipeline_index(folder)["_class_name"]
    own = getattr(diffusers, wanted, None)
    # A text-to-image model becomes the inpainting pipeline of its family; one that inpaints already stays what it is.
    direct = own is not None and "mask_image" in _arguments(own)
    source = diffusers.DiffusionPipeline if direct else diffusers.AutoPipelineForInpainting
    options: dict[str, Any] = dict.fromkeys(absent_parts(folder))
    if variant := pipeline_variant(folder):
        options["variant"] = variant

    def load(dtype: Any) -> Any:
        try:
            pipeline = source.from_pretrained(
                str(folder), local_files_only=True, **{_dtype_argument(source): dtype}, **options
            )
        except ValueError as error:
            if direct or "AutoPipeline" not in str(error):
                raise
            raise InputError(
                f"models.painter is a {wanted[:60]}, which is no inpainting pipeline and has none in its family; "
                f"choose an inpainting or fill model: {folder}"
            ) from error
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return load


def _dtype_argument(source: Any) -> str:
    """The number type's argument, which newer releases renamed; they warn about the old name."""
    documented = inspect.getdoc(source.from_pretrained) or ""
    return "dtype" if re.search(r"^\s*dtype \(", documented, re.MULTILINE) else "torch_dtype"


def _fetch(hub_id: str) -> str:
    """Fetch a pipeline and its card from the hub; the folder in the local cache."""
    diffusers = require("diffusers", extra=_EXTRA)
    hub = require("huggingface_hub", extra=_EXTRA)
    folder = diffusers.DiffusionPipeline.download(hub_id)
    try:
        hub.hf_hub_download(hub_id, "README.md")
    except Exception as error:  # a model without a card is only one of unknown licence
        log.info("%s: no model card (%s)", hub_id, type(error).__name__)
    return str(folder)


def _arguments(pipeline_class: Any) -> set[str]:
    return set(inspect.signature(pipeline_class.__call__).parameters)


def _setting(part: Any, name: str) -> Any:
    """A value of a part's configuration; None when the part or the value is missing."""
    config: Any = getattr(part, "config", None)
    return config.get(name) if hasattr(config, "get") else getattr(config, name, None)


def _cell_px(pipeline: Any) -> int:
    """Pixels of the picture along one side of a pixel of the latent picture."""
    known = getattr(pipeline, "vae_scale_factor", None)
    if isinstance(known, int):
        return known
    blocks = _setting(getattr(pipeline, "vae", None), "block_out_channels")
    return 2 ** (len(blocks) - 1) if blocks else 8


def _multiple_px(pipeline: Any) -> int:
    """Both sides of a picture have to be multiples of this [px]."""
    cell = _cell_px(pipeline)
    patch = _setting(getattr(pipeline, "transformer", None), "patch_size")
    patch = patch if isinstance(patch, int) else 1
    processor = _setting(getattr(pipeline, "image_processor", None), "vae_scale_factor")
    return math.lcm(cell * patch, processor if isinstance(processor, int) else 1)


def _native_side_px(pipeline: Any, multiple_px: int) -> int:
    """Side of the pictures that the model was trained at [px]."""
    for value in (
        getattr(pipeline, "default_sample_size", None),
        _setting(getattr(pipeline, "unet", None), "sample_size"),
        _setting(getattr(pipeline, "transformer", None), "sample_size"),
    ):
        side = max(value) if isinstance(value, (list, tuple)) and value else value
        if isinstance(side, int) and side > 0:
            return max(multiple_px, side * _cell_px(pipeline) // multiple_px * multiple_px)
    return max(multiple_px, FALLBACK_SIDE_PX // multiple_px * multiple_px)
