"""Tiny depth models of random weights, saved as folders like those that real ones come in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

Lesson = tuple[np.ndarray, np.ndarray]
"""A picture [H, W, 3] and the map [H, W] that the model is to give for it."""
CARD = "---\nlicense: {licence}\nlibrary_name: transformers\n---\n# A model of random weights\n"
KINDS = ("depth-anything-relative", "depth-anything-metric", "dpt", "zoedepth")


def save_tiny(folder: Path, kind: str, *, licence: str = "apache-2.0", teach: Lesson | None = None) -> Path:
    """A folder with model, image processor and model card.

    Args:
        folder: where to.
        kind: one of `KINDS`.
        licence: as the model card states it; no card when empty.
        teach: one picture and what the model is to answer for it; random weights when None.
    """
    import torch
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = _MODELS[kind]()
        if kind == "zoedepth":
            processor = transformers.ZoeDepthImageProcessor(size={"height": 64, "width": 64}, ensure_multiple_of=16)
        elif kind == "dpt":
            processor = transformers.DPTImageProcessor(size={"height": 64, "width": 64})
        else:
            processor = transformers.DPTImageProcessor(
                size={"height": 140, "width": 140}, keep_aspect_ratio=True, ensure_multiple_of=14
            )
        if teach is not None:
            _teach(model, processor, *teach)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    if licence:
        (folder / "README.md").write_text(CARD.format(licence=licence))
    return folder


def _teach(model: Any, processor: Any, rgb_u8: np.ndarray, depth_z_m: np.ndarray) -> None:
    """Solve the last layer of a metric Depth Anything for one picture: random features, a sensible answer."""
    import torch

    pixels = processor(images=rgb_u8, return_tensors="pt")["pixel_values"]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("neck", "head.conv")) and name.endswith("weight") and parameter.ndim == 4:
                fan_in = parameter[0].numel()
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * (2.0 / fan_in) ** 0.5)
            if "position_embeddings" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        features = []
        hook = model.head.conv3.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0]))
        model(pixel_values=pixels)
        hook.remove()
        x = features[0][0].flatten(1).T.double()
        share = torch.nn.functional.interpolate(torch.tensor(depth_z_m)[None, None].float(), features[0].shape[-2:])
        share = (share[0, 0].flatten().double() / model.config.max_depth).clamp(1e-3, 0.999)
        x = torch.cat([x, torch.ones(len(x), 1)], 1)
        ridge = 1e-6 * x.square().mean() * len(x) * torch.eye(x.shape[1])
        solved = torch.linalg.solve(x.T @ x + ridge, x.T @ torch.logit(share))
        model.head.conv3.weight.copy_(solved[:-1].float().reshape(model.head.conv3.weight.shape))
        model.head.conv3.bias.copy_(solved[-1:].float())


def _depth_anything(kind: str, max_depth: int) -> Any:
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    backbone = Dinov2Config(
        image_size=140,
        patch_size=14,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=14,
        reassemble_hidden_size=32,
        neck_hidden_sizes=[32, 32, 32, 32],
        fusion_hidden_size=64,
        head_hidden_size=192,
        depth_estimation_type=kind,
        max_depth=max_depth,
    )
    model = DepthAnythingForDepthEstimation(config)
    # Keeps the last rectifier open, as training does.
    model.head.conv3.bias.data.fill_(0.5)
    return model


def _dpt() -> Any:
    from transformers import DPTConfig, DPTForDepthEstimation

    config = DPTConfig(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=64,
        patch_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=16,
        is_hybrid=False,
    )
    model = DPTForDepthEstimation(config)
    model.head.head[-2].bias.data.fill_(0.5)
    return model


def _zoedepth() -> Any:
    from transformers import BeitConfig, ZoeDepthConfig, ZoeDepthForDepthEstimation

    backbone = BeitConfig(
        image_size=64,
        patch_size=16,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=64,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
    )
    config = ZoeDepthConfig(
        backbone_config=backbone,
        backbone_hidden_size=32,
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=16,
        bottleneck_features=16,
        num_relative_features=8,
        bin_embedding_dim=16,
        num_attractors=[4, 4, 2, 1],
        patch_transformer_hidden_size=16,
        patch_transformer_intermediate_size=32,
        patch_transformer_num_attention_heads=2,
        bin_configurations=[{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu"}],
    )
    return ZoeDepthForDepthEstimation(config)


_MODELS = {
    "depth-anything-relative": lambda: _depth_anything("relative", 1),
    "depth-anything-metric": lambda: _depth_anything("metric", 20),
    "dpt": _dpt,
    "zoedepth": _zoedepth,
}
