"""What Lyra 2.0 takes: formulas against real networks, and a table that the documentation repeats."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from lyra.worldgen.generation.lyra2 import memory_plan
from lyra.worldgen.generation.lyra2.memory_plan import CARDS, HOLDINGS, best, card_of, estimates, table_rows, vae_caches

GPU_80, GPU_48, GPU_24, GPU_16 = CARDS


def test_the_released_network_is_the_default_of_the_class():
    """The sizes are those that the network's class has when nothing is said."""
    import inspect

    from lyra.worldgen.generation.lyra2.transformer import Lyra2Transformer3DModel

    defaults = inspect.signature(Lyra2Transformer3DModel.__init__).parameters
    assert {name: defaults[name].default for name in memory_plan.RELEASED_NETWORK} == memory_plan.RELEASED_NETWORK


def test_parts_have_their_parameters():
    """VAE, text encoder and image encoder of the released sizes, counted without numbers."""
    import torch
    from diffusers import AutoencoderKLWan
    from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

    with torch.device("meta"):
        vae = AutoencoderKLWan()
        text = UMT5EncoderModel(
            UMT5Config(vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64)
        )
        image = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16, patch_size=14
            )
        )
    for model, expected in (
        (vae, memory_plan.VAE_PARAMETERS),
        (text, memory_plan.TEXT_PARAMETERS),
        (image, memory_plan.IMAGE_PARAMETERS),
    ):
        assert sum(p.numel() for p in model.parameters()) == pytest.approx(expected, rel=0.005)


@pytest.mark.parametrize(("blocks", "multiples"), [(1, (1, 2, 4, 4)), (2, (1, 2, 4, 4)), (2, (1, 2, 2, 4))])
def test_caches_of_the_vae_are_counted_to_the_byte(blocks, multiples):
    """Against what a real VAE remembers after a chunk."""
    import torch
    from diffusers import AutoencoderKLWan

    from lyra.worldgen.generation.lyra2.vae_stream import StreamingVae

    vae = StreamingVae(AutoencoderKLWan(base_dim=8, num_res_blocks=blocks, dim_mult=list(multiples)))
    with torch.no_grad():
        latents, encoder = vae.encode(torch.zeros(1, 3, 9, 16, 32))
        _, decoder = vae.decode(latents)
    got = vae_caches((16, 32), item_bytes=4, base=8, multiples=multiples, blocks=blocks)
    assert got == encoder.bytes() + decoder.bytes()


def test_less_memory_for_more_time():
    """Every step down the list of holdings needs less of the card; offloading costs time and main memory."""
    for card in CARDS:
        found = {e.holding.name: e for e in estimates(card)}
        whole, text, parts, eight, four, layers = (found[holding.name] for holding in HOLDINGS)
        assert whole.peak_bytes > text.peak_bytes > parts.peak_bytes > eight.peak_bytes > four.peak_bytes
        assert layers.peak_bytes < four.peak_bytes
        assert layers.seconds["unipc"] > text.seconds["unipc"] and layers.ram_bytes > text.ram_bytes
        for e in found.values():
            assert e.seconds["distilled"] < e.seconds["unipc"] / 10


def test_what_fits_where():
    """All of it on 80 GB, the network alone on 48 GB, layers or 4-bit matrices below; nothing on 4 GB."""
    chosen = [best(estimates(card)) for card in CARDS]
    assert [e.holding.offload for e in chosen if e] == ["none", "none", "layers", "layers"]
    assert [e.holding.text_on_gpu for e in chosen if e] == [True, False, False, False]
    assert 8 * 60 < chosen[0].seconds["unipc"] < 10 * 60, "upstream says nine minutes on an H100"
    four = next(e for e in estimates(GPU_24) if e.holding.quantize == "4bit")
    assert four.fits
    assert best(estimates(GPU_24, ram_bytes=20 * 10**9)) is None, "quantised matrices pass through main memory"
    assert best(estimates(replace(GPU_16, memory_bytes=4 * 10**9))) is None


def test_smaller_frames_take_less():
    """Half the sides: less memory, and less than a quarter of the time."""
    large, small = (estimates(GPU_48, size_hw=size)[1] for size in ((480, 832), (240, 416)))
    assert small.peak_bytes < large.peak_bytes and small.seconds["unipc"] < large.seconds["unipc"] / 4


def test_a_card_that_nobody_knows():
    """Memory is still calculated; the time is said to be unknown, and JSON has null."""
    card = card_of("here: Voodoo 2", 80 * 10**9)
    assert table_rows([card])[1][-1] == "unknown"
    assert all(e["seconds"] == {"unipc": None, "distilled": None} for e in memory_plan.estimates_to_json([card]))
    assert not math.isinf(best(estimates(card_of("NVIDIA H100 80GB HBM3", 80 * 10**9))).seconds["unipc"])


def test_the_documentation_repeats_the_table(repository: Path):
    """The page shows what `doctor` prints."""
    page = (repository / "docs" / "lyra2.md").read_text(encoding="utf-8")
    for row in table_rows():
        assert "| " + " | ".join(row) + " |" in page
