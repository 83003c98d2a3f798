"""Captions and frames as the network takes them."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from lyra.worldgen.core.errors import BackendError, InputError
from lyra.worldgen.generation.lyra2.text import TextEncoder, clean
from lyra.worldgen.generation.lyra2.vision import ImageEncoder, prepare

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def text() -> TextEncoder:
    from transformers import T5TokenizerFast, UMT5Config, UMT5EncoderModel

    tokenizer = T5TokenizerFast(
        vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0), *((c, -3.0) for c in LETTERS)],
        extra_ids=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = UMT5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2)
        return TextEncoder(UMT5EncoderModel(config).eval(), tokenizer)


@pytest.fixture
def vision() -> ImageEncoder:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
        return ImageEncoder(CLIPVisionModel(CLIPVisionConfig(**size, image_size=28, patch_size=14)).eval())


def test_a_caption_is_512_tokens_and_zeros_behind_its_end(text):
    """Own tokens as the encoder gives them when it sees nothing else; exact zeros behind."""
    embedded = text.embed(["a cat"])
    ids = text.tokenizer("a cat", return_tensors="pt").input_ids
    with torch.inference_mode():
        alone = text.model(input_ids=ids).last_hidden_state
    length = ids.shape[1]
    assert embedded.shape == (1, 512, 16) and embedded.dtype == torch.float32
    torch.testing.assert_close(embedded[:, :length], alone, atol=1e-5, rtol=0)
    assert not embedded[:, length:].any() and embedded[:, :length].any()


def test_blanks_do_not_matter_and_captions_do_not_mix(text):
    """Line ends and blanks in a row count as one; a batch gives what its members give alone."""
    assert clean("  a\n\tcat   sits ") == "a cat sits"
    both = text.embed(["a\n  cat ", "dog"])
    torch.testing.assert_close(both[:1], text.embed(["a cat"]), atol=1e-6, rtol=0)
    torch.testing.assert_close(both[1:], text.embed(["dog"]), atol=1e-6, rtol=0)


def test_a_long_caption_is_cut_and_said_so(text, caplog):
    """What is beyond 512 tokens does not count, which the log tells."""
    with caplog.at_level(logging.WARNING):
        long = text.embed(["b" * 600])
    assert "more than 512 tokens" in caplog.text
    assert torch.equal(long, text.embed(["b" * 900]))


def test_embeddings_may_take_part_in_training(text, vision):
    """Results are plain tensors: a layer with gradients may take them."""
    layer = torch.nn.Linear(16, 1)
    (layer(text.embed(["a"])).sum() + layer(vision.embed(torch.zeros(1, 3, 8, 8))).sum()).backward()
    assert layer.weight.grad is not None


def test_wrong_captions_and_tokenizers_are_refused(text):
    """No caption, a bare string, and a tokenizer of another model."""
    for captions in ([], "a cat", [3]):
        with pytest.raises(InputError, match="captions"):
            text.embed(captions)
    text.model.config.vocab_size = 10
    with pytest.raises(InputError, match="belongs to another model"):
        text.embed(["z"])


def test_nonfinite_embeddings_are_an_error(text, vision):
    """NaN in weights is told as what it is."""
    with torch.no_grad():
        text.model.encoder.final_layer_norm.weight[0] = float("nan")
        vision.model.pre_layrnorm.weight[0] = float("nan")
    with pytest.raises(BackendError, match="text encoder returned NaN"):
        text.embed(["a"])
    with pytest.raises(BackendError, match="image encoder returned NaN"):
        vision.embed(torch.zeros(1, 3, 8, 8))


def test_tokens_are_those_before_the_last_layer(vision):
    """The output of the last but one layer, class token first; the last layer does not count."""
    frame = torch.linspace(-1, 1, 3 * 10 * 14).reshape(1, 3, 10, 14)
    with torch.inference_mode():
        hidden = vision.model(pixel_values=prepare(frame, 28), output_hidden_states=True).hidden_states
    tokens = vision.embed(frame)
    assert tokens.shape == (1, 1 + 4, 16) and torch.equal(tokens, hidden[2])
    with torch.no_grad():
        for parameter in vision.model.encoder.layers[2].parameters():
            parameter.zero_()
    assert torch.equal(vision.embed(frame), tokens)


def cubic(t: np.ndarray) -> np.ndarray:
    """Weights of the four neighbours of a point a fraction t behind the second (a = -0.75)."""
    a = -0.75
    near, far = lambda x: ((a + 2) * x - (a + 3)) * x * x + 1, lambda x: ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.stack([far(t + 1), near(t), near(1 - t), far(2 - t)], -1)


def resized(line: np.ndarray, size: int) -> np.ndarray:
    """The last axis of an array, bicubic without antialiasing, edges repeated."""
    source = (np.arange(size) + 0.5) * line.shape[-1] / size - 0.5
    first = np.floor(source).astype(int)
    taps = np.clip(first[:, None] + np.arange(-1, 3), 0, line.shape[-1] - 1)
    return (line[..., taps] * cubic(source - first)).sum(-1)


def test_frames_are_stretched_without_antialiasing_and_scaled(rng):
    """Against the formula written out: stretched to a square, bicubic, then CLIP's mean and deviation."""
    frame = rng.uniform(-1, 1, (3, 40, 70))
    square = np.swapaxes(resized(np.swapaxes(resized(frame, 28), -1, -2), 28), -1, -2)
    mean = np.array([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = np.array([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    got = prepare(torch.from_numpy(frame)[None].float(), 28)[0].numpy()
    # Torch finds the place of a pixel in float32: up to 3e-6 of a pixel off at 70, times the steepest weight.
    np.testing.assert_allclose(got, ((square + 1) / 2 - mean) / std, atol=5e-5, rtol=0)


def test_frames_of_another_shape_are_refused(vision):
    """Four channels or a missing batch are named."""
    for shape in ((3, 8, 8), (1, 4, 8, 8), (1, 3, 0, 8)):
        with pytest.raises(InputError, match="frame has shape"):
            vision.embed(torch.zeros(shape))
