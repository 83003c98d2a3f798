"""The tiny network that the recordings of the Lyra 2.0 reference were made with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from golden_data import load_golden

if TYPE_CHECKING:
    import torch

TINY_LAYOUT = "f1k1f1s2f1s1f4k4f2k2f1k1_g4"
TINY = {
    "layout": TINY_LAYOUT,
    "width": 64,
    "layers": 2,
    "heads": 2,
    "ffn_width": 128,
    "text_width": 32,
    "image_width": 32,
    "squeeze_width": 16,
}


def recorded_model() -> Any:
    """The network with its recorded weights, in float32."""
    from lyra.worldgen.generation.lyra2.transformer import Lyra2Transformer3DModel

    model = Lyra2Transformer3DModel(**TINY)
    weights = {name: x for name, x in golden_tensors("dit_tiny_weights").items() if not name.startswith("accum_")}
    model.load_state_dict(weights)
    return model.eval()


def golden_tensors(name: str) -> dict[str, torch.Tensor]:
    """A recording as tensors."""
    import torch

    return {key: torch.from_numpy(x) for key, x in load_golden(name)[0].items()}


def structural_validity() -> torch.Tensor:
    """[14] bool: positions of the tiny layout that carry correspondence."""
    import torch

    from lyra.worldgen.generation.context_layout import ContextLayout

    layout = ContextLayout.parse(TINY_LAYOUT)
    valid = torch.zeros(layout.total_latents, dtype=torch.bool)
    valid[layout.spatial_positions] = True
    valid[layout.context_latents :] = True
    return valid


def recorded_inputs(case: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Arguments of the network's forward from a recording `dit_case_*`."""
    return {
        "latents": case["in_x"],
        "cond": case["in_y"],
        "buffer": case["in_buffer"],
        "buffer_valid": structural_validity(),
        "timestep": case["in_timestep"][0],
        "text": case["in_text"],
        "image": case["in_clip"],
    }


def golden_vae() -> Any:
    """The recorded tiny video VAE."""
    import torch
    from diffusers import AutoencoderKLWan

    from lyra.worldgen.generation.lyra2 import checkpoint_keys as keys

    release = {name: torch.from_numpy(value) for name, value in load_golden("vae_tiny_weights")[0].items()}
    config = keys.vae_config({key: tuple(tensor.shape) for key, tensor in release.items()})
    vae = AutoencoderKLWan(**config)
    vae.load_state_dict(keys.to_ours(keys.vae_names(config), release))
    return vae.eval().requires_grad_(False)


def write_tiny_folder(path: Path, seed: int = 0) -> Path:
    """A converted folder of a tiny Lyra 2.0 with random weights, every part written by its own library.

    The network has the recorded layout and sizes, the VAE those of the recordings; the tokenizer has one token a
    letter. Two adapters lie in it: `dmd_distillation` and `realism_boost`.
    """
    import torch
    from diffusers import AutoencoderKLWan
    from safetensors.torch import save_file
    from transformers import CLIPVisionConfig, CLIPVisionModel, T5TokenizerFast, UMT5Config, UMT5EncoderModel

    from lyra.worldgen.generation.lyra2.model_folder import FORMAT, LICENCE
    from lyra.worldgen.generation.lyra2.transformer import Lyra2Transformer3DModel

    path.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        Lyra2Transformer3DModel(**TINY).save_pretrained(path / "transformer")
        AutoencoderKLWan(base_dim=8, num_res_blocks=1).save_pretrained(path / "vae")
        letters = "abcdefghijklmnopqrstuvwxyz"
        tokenizer = T5TokenizerFast(
            vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0), *((c, -3.0) for c in letters)],
            extra_ids=0,
        )
        tokenizer.save_pretrained(path / "tokenizer")
        text = UMT5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
        UMT5EncoderModel(text).save_pretrained(path / "text_encoder")
        vision = CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
            hidden_act="gelu",
        )
        CLIPVisionModel(vision).save_pretrained(path / "image_encoder")
        save_file({"text": torch.randn(1, 512, 32)}, path / "negative_prompt.safetensors")
        (path / "lora").mkdir()
        for name in ("dmd_distillation", "realism_boost"):
            low_rank = {
                f"diffusion_model.blocks.{i}.self_attn.{layer}.lora_{half}.weight": 0.1 * torch.randn(*shape)
                for i in range(TINY["layers"])
                for layer in "qkvo"
                for half, shape in (("A", (4, 64)), ("B", (64, 4)))
            }
            save_file(low_rank, path / "lora" / f"{name}.safetensors")
    index = {"format": FORMAT, "model": "Lyra 2.0", "licence": LICENCE, "parts": {}}
    (path / "lyra2.json").write_text(json.dumps(index), encoding="utf-8")
    return path
