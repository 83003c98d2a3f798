"""Names of the released weights and of the same weights in diffusers and transformers (our notes on Lyra 2.0, 3.9).

A part's names are spelt out from its shape as a list of `Name`s, so that both directions, and what is missing or too
much, are read off the same list. The backbone keeps the names of the release.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.errors import InputError

Shapes = Mapping[str, tuple[int, ...]]
"""Shape by key."""
_WRAPPERS = ("net.", "model.", "module.", "state_dict.")
_BOOKKEEPING = re.compile(r"accum_\w+|(?:.*\.)?_extra_state")
_VISION_IGNORED = re.compile(r"textual\..*|log_scale|visual\.head(?:\..*)?")


@dataclass(frozen=True, kw_only=True)
class Name:
    """One tensor of the release and what becomes of it."""

    release: str
    ours: tuple[str, ...]
    """Where it goes; several share its rows in equal parts, in this order."""
    leading: int = 0
    """Leading dimensions of length 1 that only the release has."""
    optional: bool = False
    """Nothing that we compute depends on it; where the release lacks it, it is as a fresh layer has it."""


def bare_key(key: str) -> str | None:
    """A key without what wrappers put in front of it; None for counters and other bookkeeping."""
    stripped = True
    while stripped:
        stripped = False
        for wrapper in _WRAPPERS:
            if key.startswith(wrapper):
                key, stripped = key[len(wrapper) :], True
    return None if _BOOKKEEPING.fullmatch(key) else key


def to_ours(names: Sequence[Name], release: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors of the release under our names; raises `InputError` that names a missing key."""
    ours: dict[str, Any] = {}
    for name in names:
        if name.release not in release:
            if name.optional:
                continue
            raise InputError(f"the weights lack '{name.release}'; expected every tensor of the part")
        ours.update(zip(name.ours, split(name, release[name.release]), strict=True))
    return ours


def to_release(names: Sequence[Name], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Our tensors under the names and in the shapes of the release; raises `InputError` that names a missing key."""
    import torch

    release: dict[str, Any] = {}
    for name in names:
        missing = [key for key in name.ours if key not in ours]
        if missing and name.optional:
            continue
        if missing:
            raise InputError(f"the weights lack '{missing[0]}'; expected every tensor of the part")
        tensors = [ours[key] for key in name.ours]
        tensor = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
        release[name.release] = tensor.reshape((1,) * name.leading + tuple(tensor.shape))
    return release


def split(name: Name, tensor: Any) -> list[Any]:
    """One tensor of the release as the tensors that it becomes; raises `InputError` where its shape forbids that."""
    shape = tuple(tensor.shape)
    if shape[: name.leading] != (1,) * name.leading:
        raise InputError(f"'{name.release}' has shape {shape}; expected {name.leading} leading dimensions of length 1")
    tensor = tensor.reshape(shape[name.leading :])
    parts = len(name.ours)
    if parts == 1:
        return [tensor]
    if not tensor.ndim or tensor.shape[0] % parts:
        raise InputError(f"'{name.release}' has shape {shape}; expected rows that divide into {parts} parts")
    return list(tensor.chunk(parts))


def release_shape(name: Name, ours: Shapes) -> tuple[int, ...]:
    """Shape that a tensor of the release must have to fill our tensors."""
    first = ours[name.ours[0]]
    if len(name.ours) > 1:
        first = (first[0] * len(name.ours), *first[1:])
    return (1,) * name.leading + first


# --- Video VAE -----------------------------------------------------------------------------------------------------


def vae_config(shapes: Shapes) -> dict[str, Any]:
    """Arguments of `AutoencoderKLWan` for a released VAE; raises `InputError` where its shapes make none."""
    base = _size(shapes, "encoder.conv1.weight", 0)
    resampled = _numbers(r"encoder\.downsamples\.(\d+)\.resample\.1\.weight", shapes)
    if not resampled:
        raise InputError("the VAE lacks 'encoder.downsamples.*.resample.1.weight'; expected the VAE of Wan 2.1")
    blocks = resampled[0]
    period = blocks + 1
    levels = len(resampled) + 1
    if blocks < 1 or resampled != [period * (i + 1) - 1 for i in range(levels - 1)]:
        raise InputError(f"the VAE resamples at layers {resampled}; expected the same number of blocks between them")
    widths = [_size(shapes, f"encoder.downsamples.{period * i}.residual.2.weight", 0) for i in range(levels)]
    uneven = [width for width in widths if not base or width % base]
    if uneven:
        raise InputError(f"the VAE is {uneven[0]} wide at some level; expected multiples of {base}")
    return {
        "base_dim": base,
        "z_dim": _size(shapes, "conv2.weight", 0),
        "dim_mult": [width // base for width in widths],
        "num_res_blocks": blocks,
        "temperal_downsample": [f"encoder.downsamples.{i}.time_conv.weight" in shapes for i in resampled],
    }


def vae_names(config: Mapping[str, Any]) -> list[Name]:
    """Every tensor of a VAE with that configuration."""
    base, multipliers = config["base_dim"], list(config["dim_mult"])
    blocks, in_time = config["num_res_blocks"], list(config["temperal_downsample"])
    levels = len(multipliers)
    pairs = [("conv1", "quant_conv"), ("conv2", "post_quant_conv")]
    for side in ("encoder", "decoder"):
        pairs += [(f"{side}.conv1", f"{side}.conv_in"), (f"{side}.head.2", f"{side}.conv_out")]
        pairs += [(f"{side}.head.0", f"{side}.norm_out")]
        pairs += _residual(f"{side}.middle.0", f"{side}.mid_block.resnets.0", False)
        attention = (f"{side}.middle.1", f"{side}.mid_block.attentions.0")
        pairs += [(f"{attention[0]}.{layer}", f"{attention[1]}.{layer}") for layer in ("norm", "to_qkv", "proj")]
        pairs += _residual(f"{side}.middle.2", f"{side}.mid_block.resnets.1", False)
    widths = [base * m for m in (1, *multipliers)]
    at = 0
    for level in range(levels):
        for block in range(blocks):
            theirs, ours = f"encoder.downsamples.{at}", f"encoder.down_blocks.{at}"
            pairs += _residual(theirs, ours, block == 0 and widths[level] != widths[level + 1])
            at += 1
        if level < levels - 1:
            pairs += _resample(f"encoder.downsamples.{at}", f"encoder.down_blocks.{at}", in_time[level])
            at += 1
    widths = [base * m for m in (multipliers[-1], *multipliers[::-1])]
    for level in range(levels):
        incoming = widths[level] // 2 if level else widths[level]
        for block in range(blocks + 1):
            theirs = f"decoder.upsamples.{level * (blocks + 2) + block}"
            ours = f"decoder.up_blocks.{level}.resnets.{block}"
            pairs += _residual(theirs, ours, block == 0 and incoming != widths[level + 1])
        if level < levels - 1:
            theirs = f"decoder.upsamples.{level * (blocks + 2) + blocks + 1}"
            pairs += _resample(theirs, f"decoder.up_blocks.{level}.upsamplers.0", in_time[::-1][level])
    names = []
    for theirs, ours in pairs:
        norm = theirs.endswith((".norm", ".head.0", ".residual.0", ".residual.3"))
        for leaf in ("gamma",) if norm else ("weight", "bias"):
            names.append(Name(release=f"{theirs}.{leaf}", ours=(f"{ours}.{leaf}",)))
    return names


def _residual(theirs: str, ours: str, shortcut: bool) -> list[tuple[str, str]]:
    layers = {"residual.0": "norm1", "residual.2": "conv1", "residual.3": "norm2", "residual.6": "conv2"}
    if shortcut:
        layers["shortcut"] = "conv_shortcut"
    return [(f"{theirs}.{a}", f"{ours}.{b}") for a, b in layers.items()]


def _resample(theirs: str, ours: str, in_time: bool) -> list[tuple[str, str]]:
    layers = ("resample.1", "time_conv") if in_time else ("resample.1",)
    return [(f"{theirs}.{layer}", f"{ours}.{layer}") for layer in layers]


# --- Image encoder -------------------------------------------------------------------------------------------------


def vision_config(shapes: Shapes) -> dict[str, Any]:
    """Arguments of `CLIPVisionConfig` for a released image encoder; raises `InputError` where its shapes make none.

    The number of heads is in no shape: the release has heads of 80 numbers; a smaller model gets two.
    """
    width = _size(shapes, "visual.patch_embedding.weight", 0)
    patch = _size(shapes, "visual.patch_embedding.weight", 2)
    cells = _size(shapes, "visual.pos_embedding", 1) - 1
    side = round(max(cells, 0) ** 0.5)
    if side < 1 or side * side != cells:
        raise InputError(f"'visual.pos_embedding' is for {cells} patches; expected a square number")
    return {
        "hidden_size": width,
        "intermediate_size": _size(shapes, "visual.transformer.0.mlp.0.weight", 0),
        "num_hidden_layers": _count(r"visual\.transformer\.(\d+)\.norm1\.weight", shapes),
        "num_attention_heads": width // 80 if width % 80 == 0 else 2,
        "image_size": side * patch,
        "patch_size": patch,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
    }


def vision_ignored(key: str) -> bool:
    """Whether a tensor of the release belongs to the halves of CLIP that nobody asks: text and the last projection."""
    return _VISION_IGNORED.fullmatch(key) is not None


def vision_names(layers: int) -> list[Name]:
    """Every tensor of a `CLIPVisionModel` with that many layers."""
    names = [
        Name(release="visual.cls_embedding", ours=("embeddings.class_embedding",), leading=2),
        Name(release="visual.pos_embedding", ours=("embeddings.position_embedding.weight",), leading=1),
        Name(release="visual.patch_embedding.weight", ours=("embeddings.patch_embedding.weight",)),
    ]
    for leaf in ("weight", "bias"):
        names.append(Name(release=f"visual.pre_norm.{leaf}", ours=(f"pre_layrnorm.{leaf}",)))
        for i in range(layers):
            theirs, ours = f"visual.transformer.{i}", f"encoder.layers.{i}"
            attention = tuple(f"{ours}.self_attn.{part}_proj.{leaf}" for part in "qkv")
            names.append(Name(release=f"{theirs}.attn.to_qkv.{leaf}", ours=attention))
            for a, b in {
                "norm1": "layer_norm1",
                "attn.proj": "self_attn.out_proj",
                "norm2": "layer_norm2",
                "mlp.0": "mlp.fc1",
                "mlp.2": "mlp.fc2",
            }.items():
                names.append(Name(release=f"{theirs}.{a}.{leaf}", ours=(f"{ours}.{b}.{leaf}",)))
        # Behind the layer whose output is used.
        names.append(Name(release=f"visual.post_norm.{leaf}", ours=(f"post_layernorm.{leaf}",), optional=True))
    return names


# --- Text encoder --------------------------------------------------------------------------------------------------


def text_config(shapes: Shapes) -> dict[str, Any]:
    """Arguments of `UMT5Config` for a released text encoder; raises `InputError` where its shapes make none."""
    heads = _size(shapes, "blocks.0.pos_embedding.embedding.weight", 1)
    return {
        "vocab_size": _size(shapes, "token_embedding.weight", 0),
        "d_model": _size(shapes, "token_embedding.weight", 1),
        "d_kv": _size(shapes, "blocks.0.attn.q.weight", 0) // max(heads, 1),
        "d_ff": _size(shapes, "blocks.0.ffn.fc1.weight", 0),
        "num_layers": _count(r"blocks\.(\d+)\.norm1\.weight", shapes),
        "num_heads": heads,
        "relative_attention_num_buckets": _size(shapes, "blocks.0.pos_embedding.embedding.weight", 0),
        "feed_forward_proj": "gated-gelu",
    }


def text_names(layers: int) -> list[Name]:
    """Every tensor of a `UMT5EncoderModel` with that many layers."""
    pairs = [("token_embedding", "shared"), ("norm", "encoder.final_layer_norm")]
    for i in range(layers):
        theirs, ours = f"blocks.{i}", f"encoder.block.{i}.layer"
        pairs += [(f"{theirs}.norm1", f"{ours}.0.layer_norm"), (f"{theirs}.norm2", f"{ours}.1.layer_norm")]
        pairs += [(f"{theirs}.attn.{part}", f"{ours}.0.SelfAttention.{part}") for part in "qkvo"]
        pairs += [(f"{theirs}.pos_embedding.embedding", f"{ours}.0.SelfAttention.relative_attention_bias")]
        feed = {"ffn.gate.0": "wi_0", "ffn.fc1": "wi_1", "ffn.fc2": "wo"}
        pairs += [(f"{theirs}.{a}", f"{ours}.1.DenseReluDense.{b}") for a, b in feed.items()]
    return [Name(release=f"{theirs}.weight", ours=(f"{ours}.weight",)) for theirs, ours in pairs]


# --- Backbone ------------------------------------------------------------------------------------------------------


def backbone_config(shapes: Shapes) -> dict[str, Any]:
    """Arguments of `Lyra2Transformer3DModel` that shapes tell; layout and number of heads are in none of them.

    Raises:
        InputError: the shapes are those of another network.
    """
    width = _size(shapes, "patch_embedding.weight", 0)
    return {
        "width": width,
        "layers": _count(r"blocks\.(\d+)\.modulation", shapes),
        "ffn_width": _size(shapes, "blocks.0.ffn.0.weight", 0),
        "text_width": _size(shapes, "text_embedding.0.weight", 1),
        "image_width": _size(shapes, "img_emb.proj.1.weight", 1),
        "time_width": _size(shapes, "time_embedding.0.weight", 1),
        "squeeze_width": _size(shapes, "blocks.0.buffer_encoder.0.weight", 0),
    }


def same_names(keys: Iterable[str]) -> list[Name]:
    """Names that are the same on both sides."""
    return [Name(release=key, ours=(key,)) for key in keys]


def _size(shapes: Shapes, key: str, axis: int) -> int:
    if key not in shapes:
        raise InputError(f"the weights lack '{key}'; expected another part, or the whole of it")
    if len(shapes[key]) <= axis:
        raise InputError(f"'{key}' has shape {shapes[key]}; expected at least {axis + 1} dimensions")
    return shapes[key][axis]


def _numbers(pattern: str, shapes: Shapes) -> list[int]:
    return sorted(int(match[1]) for match in map(re.compile(pattern).fullmatch, shapes) if match)


def _count(pattern: str, shapes: Shapes) -> int:
    """How many there are, by the highest number: one that is left out in the middle is then missed by name."""
    return max(_numbers(pattern, shapes), default=-1) + 1
