"""Chunks described by a model that looks: real classes with random weights say something, the same every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lyra.worldgen.core.errors import BackendError, ConfigError, InputError
from lyra.worldgen.generation.lyra2 import caption
from lyra.worldgen.generation.lyra2.caption import Captioner

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("model_libraries"), pytest.mark.xdist_group("models")]
FRAMES = [np.full((32, 48, 3), 40 * k, np.uint8) for k in (1, 5)]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """A model without conversations, which only looks."""
    import torch
    from transformers import (
        BertTokenizerFast,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    folder = tmp_path_factory.mktemp("blip")
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", *LETTERS]
    (folder / "vocab.txt").write_text("\n".join(names))
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    text = {"vocab_size": len(names), "hidden_size": 16, "encoder_hidden_size": 16, "intermediate_size": 16,
            "num_hidden_layers": 1, "num_attention_heads": 2, "bos_token_id": 5, "eos_token_id": 3, "pad_token_id": 0,
            "sep_token_id": 3}  # fmt: skip
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 32, "patch_size": 16}  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    BlipProcessor(BlipImageProcessor(size=size), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def talking(tmp_path_factory) -> Path:
    """A model that was taught conversations, with pictures in them."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    folder = tmp_path_factory.mktemp("llava")
    names = ["<pad>", "<s>", "</s>", "<unk>", "<image>", *LETTERS]
    tokens = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokens, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip
    template = (
        "{% for message in messages %}{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
    )
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**{**sizes, "num_hidden_layers": 2}, image_size=32, patch_size=16),
        text_config=LlamaConfig(
            **sizes, num_key_value_heads=2, vocab_size=len(names), max_position_embeddings=1024, pad_token_id=0,
            bos_token_id=1, eos_token_id=2,
        ),
        image_token_index=4,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(1)
        LlavaForConditionalGeneration(config).save_pretrained(folder)
    picture = {"size": {"height": 32, "width": 32}, "crop_size": {"height": 32, "width": 32}}
    LlavaProcessor(
        image_processor=CLIPImageProcessor(**picture),
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    ).save_pretrained(folder)
    return folder


def test_a_model_that_is_asked(talking):
    """It is shown both frames and asked in words; only its answer comes back."""
    from PIL import Image
    from transformers import AutoProcessor

    captioner = Captioner(str(talking), device="cpu")
    text = captioner.caption(FRAMES)
    assert text and text == captioner.caption(FRAMES)
    assert "<image>" not in text and "Describe" not in text
    processor = AutoProcessor.from_pretrained(talking)
    inputs = caption._inputs(processor, [Image.fromarray(frame) for frame in FRAMES])
    assert len(inputs["pixel_values"]) == 2
    assert int((inputs["input_ids"] == 4).sum()) == 2 * 4, "both pictures stand in the text, four patches each"


def test_a_model_that_only_looks(plain):
    """It says something about the newest frame, in one line, the same again."""
    captioner = Captioner(str(plain), device="cpu")
    text = captioner.caption(FRAMES)
    assert text and "\n" not in text and text == captioner.caption(FRAMES)


def test_models_that_are_not_there(tmp_path):
    """Nothing is fetched; a folder without a model is refused before anything is loaded."""
    with pytest.raises(InputError, match="does not exist"):
        Captioner("/nowhere/at all", device="cpu")
    with pytest.raises(InputError, match=r"holds no config\.json"):
        Captioner(str(tmp_path), device="cpu")
    with pytest.raises(ConfigError, match="not in this machine's hub cache"):
        Captioner("someone/some-model", device="cpu")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BackendError, match=r"lyra2\.caption_model cannot be loaded"):
        Captioner(str(tmp_path), device="cpu").caption(FRAMES)
