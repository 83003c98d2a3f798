"""A frame as the network takes it beside its latents: patch tokens of CLIP's image encoder (our notes, 3.6)."""

from __future__ import annotations

from typing import Any

from ...core.errors import BackendError, InputError
from ...core.optional import require

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""CLIP's own scale of red, green and blue in 0..1."""
LAYER = -2
"""Which hidden state is used: the one before the last layer."""


class ImageEncoder:
    """Embeds frames.

    Args:
        model: a `CLIPVisionModel`, placed and in its number type.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def width(self) -> int:
        return int(self.model.config.hidden_size)

    def embed(self, frame: Any) -> Any:
        """Tokens of a frame, [B, 1 + patches, width] float32 on the model's device; the class token comes first.

        The frame is stretched to a square, as the released model was trained: bicubic without antialiasing, so what a
        large frame loses is aliased rather than blurred.

        Args:
            frame: [B, 3, H, W] in -1..1; what lies outside is taken as it is.

        Raises:
            InputError: the frame has another shape.
            BackendError: the model returned NaN or infinity.
        """
        torch = require("torch", extra="models")
        shape = tuple(frame.shape)
        if len(shape) != 4 or shape[1] != 3 or not all(shape):
            raise InputError(f"frame has shape {shape}; expected (batch, 3, height, width)")
        hook = getattr(self.model, "_hf_hook", None)
        device = getattr(hook, "execution_device", None) or self.model.device
        with torch.inference_mode():
            pixels = prepare(frame.to(device), int(self.model.config.image_size)).to(self.model.dtype)
            hidden = self.model(pixel_values=pixels, output_hidden_states=True).hidden_states[LAYER].float()
        if not bool(hidden.isfinite().all()):
            raise BackendError(
                "the image encoder returned NaN or infinite values; check the weights, or run it in float32 "
                "(models.dtype)"
            )
        # A tensor of inference mode cannot take part in training.
        return hidden.clone()


def prepare(frame: Any, side_px: int) -> Any:
    """A frame [B, 3, H, W] in -1..1 as CLIP's encoder sees it: [B, 3, side, side] float32."""
    torch = require("torch", extra="models")
    square = torch.nn.functional.interpolate(
        frame.float(), size=(side_px, side_px), mode="bicubic", align_corners=False, antialias=False
    )
    mean, std = (torch.tensor(values, device=frame.device).view(1, 3, 1, 1) for values in (MEAN, STD))
    return ((square + 1) / 2 - mean) / std
