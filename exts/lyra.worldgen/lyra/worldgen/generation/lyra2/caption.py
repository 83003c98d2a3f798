"""What is to be painted, said by a model that looks at the film so far; for worlds without a prompt.

Any image-text-to-text model of the transformers library will do. Upstream asks a vision-language model for 80 to 100
words about a motionless scene and its camera; what is asked here says the same in our own words.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core.errors import BackendError
from ...core.optional import require
from ..weights import Weights, find_weights, quiet_libraries

REQUEST = (
    "The first picture is where a slow walk through a place began, the last one is where it is now. Describe the place "
    "in 80 to 100 words as one paragraph: what stands where, materials, colours and light, and what is likely to come "
    "into view next. Nothing in it moves. Do not mention pictures or the camera operator."
)
MAX_NEW_TOKENS = 160
MAX_CHARACTERS = 1000


class Captioner:
    """Describes what a film shows; the model is in memory only while it is asked.

    Args:
        model: local folder of the model.
        device: cpu or cuda.

    Raises:
        ConfigError: nothing is named.
        InputError: the folder does not exist or holds no model.
    """

    def __init__(self, model: str, *, device: str) -> None:
        weights = find_weights(model, key="lyra2.caption_model", flag="--set lyra2.caption_model", download=False)
        self._weights: Weights = weights.in_folder("config.json", fetch=lambda name: name)
        self._device = device

    def caption(self, frames_u8: Sequence[np.ndarray]) -> str:
        """One paragraph about frames [H, W, 3], in the order of time.

        Raises:
            DependencyError: a package is missing.
            BackendError: the model does not load, or said nothing.
        """
        torch = require("torch", extra="models")
        transformers = require("transformers", extra="models")
        image = require("PIL.Image", extra="core", package="pillow")
        pictures = [image.fromarray(frame) for frame in frames_u8]
        with quiet_libraries(), self._weights.loading():
            place = {"local_files_only": True, "trust_remote_code": False}
            processor = transformers.AutoProcessor.from_pretrained(self._weights.source, **place)
            model = transformers.AutoModelForImageTextToText.from_pretrained(self._weights.source, **place)
            model = model.to(self._device).eval()
            inputs = _inputs(processor, pictures).to(self._device)
            with torch.inference_mode():
                tokens = model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
            told = inputs["input_ids"].shape[1] if "input_ids" in inputs and not model.config.is_encoder_decoder else 0
            text = processor.batch_decode(tokens[:, told:], skip_special_tokens=True)[0]
        del model
        gc.collect()
        text = " ".join(str(text).split())[:MAX_CHARACTERS]
        if not text:
            raise BackendError(
                f"lyra2.caption_model '{self._weights.name}' said nothing about the picture; give a --prompt or choose "
                "another model"
            )
        return text


def _inputs(processor: Any, pictures: list[Any]) -> Any:
    """What the model is asked: a conversation where it was taught one, else the newest picture alone."""
    if getattr(processor, "chat_template", None):
        content = [{"type": "image", "image": picture} for picture in pictures]
        messages = [{"role": "user", "content": [*content, {"type": "text", "text": REQUEST}]}]
        return processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
    return processor(images=pictures[-1], return_tensors="pt")
