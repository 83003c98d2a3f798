"""A release of Lyra 2.0 with its folders, files and keys, and tiny random weights."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from golden_data import load_golden

COUNTERS = ("accum_iteration", "accum_image_sample_counter", "accum_video_sample_counter", "accum_train_in_hours")


def recorded(name: str) -> dict[str, Any]:
    import torch

    return {key: torch.from_numpy(value) for key, value in load_golden(name)[0].items()}


def release_states(*, full_names: bool = False, seed: int = 5) -> dict[str, dict[str, Any]]:
    """State dicts of the parts under the released names.

    Args:
        full_names: as many layers as the release has, so every released name occurs; else the recorded tiny network
            and VAE.
        seed: of the random numbers.
    """
    import torch
    from diffusers import AutoencoderKLWan
    from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

    from lyra.worldgen.generation.lyra2 import checkpoint_keys as keys
    from lyra.worldgen.generation.lyra2.transformer import Lyra2Transformer3DModel

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        text = UMT5EncoderModel(
            UMT5Config(vocab_size=31, d_model=32, d_kv=8, d_ff=48, num_layers=24 if full_names else 2, num_heads=4)
        )
        vision = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=32 if full_names else 3,
                num_attention_heads=2,
                image_size=28,
                patch_size=14,
                hidden_act="gelu",
            )
        )
        if full_names:
            vae = AutoencoderKLWan(base_dim=4)
            names = keys.vae_names(dict(vae.config))
            vae_state = keys.to_release(names, vae.state_dict())
            backbone = Lyra2Transformer3DModel(
                width=8, heads=1, ffn_width=8, text_width=32, image_width=32, time_width=8, squeeze_width=2
            ).state_dict()
        else:
            vae_state = recorded("vae_tiny_weights")
            backbone = recorded("dit_tiny_weights")
        states = {
            "transformer": {f"net.{key}": tensor.detach().bfloat16() for key, tensor in backbone.items()},
            "vae": {key: tensor.detach().clone() for key, tensor in vae_state.items()},
            "text_encoder": {
                key: tensor.detach().bfloat16()
                for key, tensor in keys.to_release(keys.text_names(text.config.num_layers), text.state_dict()).items()
            },
            "image_encoder": {
                key: tensor.detach().half()
                for key, tensor in keys.to_release(
                    keys.vision_names(vision.config.num_hidden_layers), vision.state_dict()
                ).items()
            },
            "negative_prompt": {"t5_text_embeddings": torch.randn(1, 512, 32).bfloat16()},
        }
        states["image_encoder"] |= {"textual.norm.weight": torch.ones(3), "log_scale": torch.tensor(1.0)}
        states["image_encoder"]["visual.head"] = torch.ones(32, 3)
        states["transformer"] |= {f"net.{name}": torch.tensor(7.0) for name in COUNTERS}
    return states


def write_release(folder: Path, states: dict[str, dict[str, Any]], *, network: str = "distributed") -> Path:
    """Write a release as its repository is laid out.

    Args:
        folder: made here.
        states: of `release_states`.
        network: distributed, pth, safetensors or shards: how the network is stored.
    """
    import torch

    base = folder / "checkpoints"
    for name in ("model", "vae", "text_encoder", "image_encoder", "lora"):
        (base / name).mkdir(parents=True)
    write_network(base / "model", states["transformer"], network)
    torch.save(states["vae"], base / "vae" / "vae.pth")
    torch.save(states["text_encoder"], base / "text_encoder" / "encoder.pth")
    torch.save(states["negative_prompt"], base / "text_encoder" / "negative_prompt.pt")
    torch.save(states["image_encoder"], base / "image_encoder" / "model.pth")
    return folder


def write_network(place: Path, state: dict[str, Any], kind: str) -> None:
    """The network's weights in one of the formats that it may come in."""
    import json

    import torch
    import torch.distributed.checkpoint as dcp
    from safetensors.torch import save_file

    if kind == "pth":
        torch.save({"model": state, "iteration": 3}, place / "model.pth")
    elif kind == "safetensors":
        save_file(state, place / "model.safetensors")
    elif kind == "shards":
        halves = [dict(list(state.items())[i::2]) for i in range(2)]
        for i, half in enumerate(halves):
            save_file(half, place / f"model-{i}.safetensors")
        where = {key: f"model-{i}.safetensors" for i, half in enumerate(halves) for key in half}
        (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    else:
        extra = {"net.blocks.0.self_attn.attn_op._extra_state": b"opaque"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns that there is only one process
            dcp.save({**state, **extra}, checkpoint_id=place / "model", no_dist=True)
