"""Inpainting pipelines small enough for a test: the real classes with random weights, written by save_pretrained.

They know nothing and paint noise; what they take, how they load and how they fail is what large ones do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def write_pipeline(kind: str, folder: Path, **options: Any) -> Path:
    """Write a pipeline and return its folder; `sd4` is one from text to image."""
    import torch

    torch.manual_seed(0)
    makers = {
        "sd9": _sd9,
        "sd4": _sd4,
        "xl": _xl,
        "flux": _flux,
        "control": _control,
        "unconditional": _unconditional,
    }
    folder.mkdir(parents=True)
    makers[kind](folder, **options)
    return folder


def _sd9(folder: Path, *, safety_threshold: float | None = None, variant: str | None = None, vae: Any = None) -> None:
    from diffusers import StableDiffusionInpaintPipeline

    checker, extractor = (None, None) if safety_threshold is None else _safety_checker(safety_threshold)
    StableDiffusionInpaintPipeline(
        vae=vae or _vae(3),
        text_encoder=_clip(1),
        tokenizer=_clip_tokenizer(folder),
        unet=_unet(9),
        scheduler=_ddim(),
        safety_checker=checker,
        feature_extractor=extractor,
        requires_safety_checker=checker is not None,
    ).save_pretrained(folder, variant=variant)


def _sd4(folder: Path) -> None:
    from diffusers import StableDiffusionPipeline

    StableDiffusionPipeline(
        vae=_vae(3),
        text_encoder=_clip(1),
        tokenizer=_clip_tokenizer(folder),
        unet=_unet(4),
        scheduler=_ddim(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def _xl(folder: Path) -> None:
    from diffusers import StableDiffusionXLInpaintPipeline
    from transformers import CLIPTextModelWithProjection

    tokenizer = _clip_tokenizer(folder)
    StableDiffusionXLInpaintPipeline(
        vae=_vae(3),
        text_encoder=_clip(2),
        text_encoder_2=CLIPTextModelWithProjection(_clip(2).config),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=_unet(
            9,
            cross_attention_dim=32,
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=16 + 6 * 4,
            use_linear_projection=True,
        ),
        scheduler=_ddim(),
        add_watermarker=False,
    ).save_pretrained(folder)


def _flux(folder: Path) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxFillPipeline, FluxTransformer2DModel
    from transformers import T5Config, T5EncoderModel, T5TokenizerFast

    tokenizer = T5TokenizerFast(
        vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0), *((c, -3.0) for c in LETTERS)],
        extra_ids=0,
    )
    vae = _vae(4, shift_factor=0.1)
    cell = 2 ** (len(vae.config.block_out_channels) - 1)
    FluxFillPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae,
        text_encoder=_clip(1),
        tokenizer=_clip_tokenizer(folder),
        text_encoder_2=T5EncoderModel(
            T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
        ),
        tokenizer_2=tokenizer,
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=2 * 16 + 4 * cell * cell,
            out_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        ),
    ).save_pretrained(folder)


def _control(folder: Path) -> None:
    from diffusers import ControlNetModel, StableDiffusionControlNetInpaintPipeline

    unet = _unet(4)
    StableDiffusionControlNetInpaintPipeline(
        vae=_vae(3),
        text_encoder=_clip(1),
        tokenizer=_clip_tokenizer(folder),
        unet=unet,
        controlnet=ControlNetModel.from_unet(unet, conditioning_channels=3),
        scheduler=_ddim(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def _unconditional(folder: Path) -> None:
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(4,),
        layers_per_block=1,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=2,
        attention_head_dim=None,
    )
    DDPMPipeline(unet=unet, scheduler=DDPMScheduler()).save_pretrained(folder)


def _vae(blocks: int, **options: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8,) * blocks,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        latent_channels=4,
        norm_num_groups=4,
        **options,
    )


def one_channel_vae() -> Any:
    """A decoder that returns grey pictures, which no caller expects."""
    return _vae(3, out_channels=1)


def _unet(in_channels: int, **options: Any) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        **{
            "sample_size": 16,
            "in_channels": in_channels,
            "out_channels": 4,
            "block_out_channels": (8, 16),
            "layers_per_block": 1,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "cross_attention_dim": 16,
            "attention_head_dim": 4,
            "norm_num_groups": 4,
            **options,
        }
    )


def _ddim() -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler(steps_offset=1, clip_sample=False)


def _clip(layers: int) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    end = 2 * len(LETTERS) + 1
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=end + 1,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=layers,
            num_attention_heads=2,
            projection_dim=16,
            bos_token_id=end - 1,
            eos_token_id=end,
            pad_token_id=end,
        )
    )


def _clip_tokenizer(folder: Path) -> Any:
    """One token a letter; made from files, as a tokenizer without the hub has to be."""
    from transformers import CLIPTokenizer

    words = [*LETTERS, *(f"{c}</w>" for c in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    place = folder / "tokenizer"
    place.mkdir()
    (place / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (place / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(place, model_max_length=77)


def _safety_checker(threshold: float) -> tuple[Any, Any]:
    """A checker that withholds everything at -2 and nothing at 2, since similarity lies between -1 and 1."""
    import torch
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
    }
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=16))
    with torch.no_grad():
        checker.concept_embeds_weights.fill_(threshold)
        checker.special_care_embeds_weights.fill_(2.0)
    return checker, CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
