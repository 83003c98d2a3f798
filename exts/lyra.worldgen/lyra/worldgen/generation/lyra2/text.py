"""A caption as the network takes it: UMT5 over 512 tokens, zeros behind the caption's end (our notes, 3.6)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ...core.errors import BackendError, InputError
from ...core.optional import require

log = logging.getLogger(__name__)

TEXT_TOKENS = 512
"""Tokens of every caption; longer ones are cut, shorter ones end in zeros."""


class TextEncoder:
    """Embeds captions.

    Args:
        model: a `UMT5EncoderModel`, placed and in its number type.
        tokenizer: the tokenizer it was trained with.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer

    @property
    def width(self) -> int:
        return int(self.model.config.d_model)

    def embed(self, captions: Sequence[str]) -> Any:
        """Embeddings of some captions, [B, 512, width] float32 on the model's device.

        Blanks and line ends in a row count as one blank. Positions behind a caption's own tokens are zero; nothing
        masks them later on.

        Raises:
            InputError: no caption, or something else than text.
            BackendError: the model returned NaN or infinity.
        """
        torch = require("torch", extra="models")
        if isinstance(captions, str) or not captions or not all(isinstance(text, str) for text in captions):
            raise InputError("captions is empty or no list of texts; expected one text or more")
        cleaned = [clean(text) for text in captions]
        tokens = self.tokenizer(
            cleaned,
            padding="max_length",
            max_length=TEXT_TOKENS,
            truncation=True,
            add_special_tokens=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        ids, mask = tokens.input_ids, tokens.attention_mask
        if tuple(ids.shape) != (len(cleaned), TEXT_TOKENS) or int(ids.max()) >= self.model.config.vocab_size:
            raise InputError(
                f"the tokenizer gave {tuple(ids.shape)} tokens up to {int(ids.max())}; expected "
                f"({len(cleaned)}, {TEXT_TOKENS}) below {self.model.config.vocab_size}: it belongs to another model"
            )
        if bool(mask[:, -1].any()):
            log.warning("a caption has more than %d tokens; what is beyond them is not seen", TEXT_TOKENS)
        device = self._place()
        ids, mask = ids.to(device), mask.to(device)
        with torch.inference_mode():
            hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        # Behind the end there may be anything, NaN included; a product with the mask would keep that.
        result = torch.where(mask[..., None].bool(), hidden.float(), 0.0)
        if not bool(result.isfinite().all()):
            raise BackendError(
                "the text encoder returned NaN or infinite values; check the weights, or run it in bfloat16 or float32 "
                "(models.dtype)"
            )
        # A tensor of inference mode cannot take part in training.
        return result.clone()

    def _place(self) -> Any:
        hook = getattr(self.model, "_hf_hook", None)
        return getattr(hook, "execution_device", None) or self.model.device


def clean(text: str) -> str:
    """A caption without blanks at its ends and with single blanks inside."""
    return " ".join(text.split())
