"""What a pass of the network costs: parameters, products and memory, as formulas of its configuration.

A configuration is the network's own (`Lyra2Transformer3DModel.config` or any mapping with its keys). A product of
matrices [a, b] and [b, c] counts 2 a b c operations; norms, rotation, softmax and sines are left out, they are bound by
memory and not by arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..context_layout import ContextLayout
from .token_grid import MAP_CHANNELS, PATCH, SLICE_TOKENS, token_count, token_grids

RELEASED_TEXT_TOKENS = 512
RELEASED_IMAGE_TOKENS = 257


@dataclass(frozen=True, kw_only=True)
class PassCost:
    """Operations of one pass, and what of them is repeated in every layer."""

    embedding: int
    """Patches, text, image tokens and timestep."""
    layer_matrices: int
    """Of one layer: all products with its parameters."""
    layer_attention: int
    """Of one layer: scores and mixtures of self- and cross-attention."""
    head: int
    layers: int

    @property
    def layer(self) -> int:
        """Of one layer."""
        return self.layer_matrices + self.layer_attention

    @property
    def total(self) -> int:
        return self.embedding + self.layers * self.layer + self.head


@dataclass(frozen=True, kw_only=True)
class PassMemory:
    """Bytes that one pass without gradients holds at its worst moment, parameters apart."""

    inputs: int
    """Latents, condition and correspondence as they are given."""
    kept: int
    """Tokens, rays, correspondence and angles, from the first layer to the last."""
    layer_peak: int
    """What the worst moment of a layer adds."""

    @property
    def total(self) -> int:
        return self.inputs + self.kept + self.layer_peak


def layer_parameters(config: Mapping[str, Any]) -> int:
    """Parameters of one layer."""
    d, f = config["width"], config["ffn_width"]
    matrices = 10 * (d * d + d) + 2 * d * f + f + d
    norms = 6 * d + 5 * d + 2 * d  # modulation, norms of queries and keys, affine norm
    return matrices + norms + _ray_width(config) * d + config["squeeze_width"] * (_wave_width(config) + d)


def parameter_count(config: Mapping[str, Any]) -> int:
    """All parameters of the network."""
    d, text, image = config["width"], config["text_width"], config["image_width"]
    patch = _patch_width(config)
    joined = 1 + sum(_joined(config))
    embeddings = joined * patch * d + (len(_joined(config)) + 1) * d
    conditions = (text * d + d) + 2 * (d * d + d) + (config["time_width"] * d + d) + 6 * (d * d + d)
    projection = 2 * image + (image * image + image) + (image * d + d) + 2 * d
    out = config["latent_channels"] * PATCH**2
    return embeddings + conditions + projection + config["layers"] * layer_parameters(config) + 2 * d + out * d + out


def parameter_bytes(config: Mapping[str, Any], *, item_bytes: int = 2) -> int:
    """Bytes of the parameters as they are loaded: modulation, norms and the timestep's part are always float32."""
    d = config["width"]
    time = config["time_width"] * d + d + 7 * (d * d + d)
    wide = time + config["layers"] * 13 * d + 2 * d
    return item_bytes * (parameter_count(config) - wide) + 4 * wide


def new_parameter_count(config: Mapping[str, Any]) -> int:
    """Parameters that Wan 2.1 does not have: embeddings of the context, rays and correspondence."""
    d = config["width"]
    context = sum(_joined(config)) * _patch_width(config) * d + len(_joined(config)) * d
    per_layer = _ray_width(config) * d + config["squeeze_width"] * (_wave_width(config) + d)
    return context + config["layers"] * per_layer


def pass_cost(
    config: Mapping[str, Any],
    h: int,
    w: int,
    *,
    text_tokens: int = RELEASED_TEXT_TOKENS,
    image_tokens: int = RELEASED_IMAGE_TOKENS,
) -> PassCost:
    """Operations of one pass over latents of h x w.

    Self-attention costs `4 L^2 D`, cross-attention `4 L (text + image) D`; the matrices of a layer `2 L` times their
    entries for each of L tokens (four of self-attention, two of cross-attention, two of the feed-forward part, those of
    rays and correspondence), and `2 (text + image) 2 D^2` for the keys and values of text and image.

    Raises:
        ConfigError: a malformed layout.
        InputError: `h` or `w` is odd.
    """
    layout = ContextLayout.parse(config["layout"])
    grids = token_grids(layout, h, w)
    tokens = sum(grid.tokens for grid in grids)
    d, f, around = config["width"], config["ffn_width"], text_tokens + image_tokens
    place = _ray_width(config) * d + config["squeeze_width"] * (_wave_width(config) + d)
    matrices = 2 * tokens * (6 * d * d + 2 * d * f + place) + 2 * around * 2 * d * d
    patch, joined = _patch_width(config), [*_joined(config), 1]
    patches = sum(2 * grid.tokens * n * patch * d for grid, n in zip(grids, joined, strict=True))
    image = config["image_width"]
    return PassCost(
        embedding=patches
        + 2 * text_tokens * d * (config["text_width"] + d)
        + 2 * image_tokens * image * (image + d)
        + 2 * d * (config["time_width"] + 7 * d),
        layer_matrices=matrices,
        layer_attention=4 * tokens * (tokens + around) * d,
        head=2 * grids[-1].tokens * d * config["latent_channels"] * PATCH**2,
        layers=config["layers"],
    )


def pass_memory(
    config: Mapping[str, Any], h: int, w: int, *, item_bytes: int = 2, input_bytes: int = 4, buffer_bytes: int = 4
) -> PassMemory:
    """Bytes of one pass without gradients over latents of h x w, attention by a fused kernel.

    Kept are the tokens, their rays, correspondence and float32 sines of angles. A layer is at its worst when queries,
    keys and values are joined from their slices, when attention writes its result beside them, or when the joined
    result stands beside the slices it is made of; to each comes what one slice needs in float32 and in waves.

    Args:
        config: of the network.
        h, w: size of a latent.
        item_bytes: of an activation, 2 for bfloat16.
        input_bytes: of latents and condition as given.
        buffer_bytes: of the correspondence as given; its tokens keep the type.

    Raises:
        ConfigError: a malformed layout.
        InputError: `h` or `w` is odd.
    """
    layout = ContextLayout.parse(config["layout"])
    tokens = token_count(layout, h, w)
    slice_tokens = min(tokens, SLICE_TOKENS)
    d, f = config["width"], config["ffn_width"]
    pixels = layout.total_latents * h * w
    channels = 2 * config["latent_channels"] + config["mask_channels"] + config["ray_channels"]
    inputs = pixels * (channels * input_bytes + _map_channels(config) * buffer_bytes)
    sequence = tokens * d * item_bytes
    maps = PATCH**2 * _map_channels(config)
    kept = (
        sequence
        + tokens * (_ray_width(config) * item_bytes + maps * buffer_bytes)
        + 2 * tokens * (d // config["heads"] // 2) * 4
    )
    # Waves beside an angle and its sine in float32; queries, keys and values beside a rotation's float32 halves.
    asking = slice_tokens * max(
        d * item_bytes + _wave_width(config) * item_bytes + 2 * maps * 4, 5 * d * item_bytes + 4 * d * 4
    )
    # Hidden values before and after their bend; norms and sums in float32.
    answering = slice_tokens * max(2 * f * item_bytes + 3 * d * item_bytes, 3 * d * item_bytes + 3 * d * 4)
    parts = 1 if tokens > SLICE_TOKENS else 0
    worst = max(3 * parts * sequence + asking, 4 * sequence, (1 + parts) * sequence + answering)
    return PassMemory(inputs=inputs, kept=kept, layer_peak=worst)


def chunk_operations(cost: PassCost, steps: int, *, guided: bool) -> int:
    """Operations of a chunk: a pass for every step, two where guidance also asks the negative prompt."""
    return cost.total * steps * (2 if guided else 1)


def _joined(config: Mapping[str, Any]) -> list[int]:
    """Base patches that a token joins, of every segment of the context."""
    segments = ContextLayout.parse(config["layout"]).segments
    return [s.kernel ** (3 if s.kind == "k" else 2) for s in segments]


def _patch_width(config: Mapping[str, Any]) -> int:
    return (2 * config["latent_channels"] + config["mask_channels"]) * PATCH**2


def _ray_width(config: Mapping[str, Any]) -> int:
    return config["ray_channels"] * PATCH**2


def _map_channels(config: Mapping[str, Any]) -> int:
    return MAP_CHANNELS * len(ContextLayout.parse(config["layout"]).spatial_positions)


def _wave_width(config: Mapping[str, Any]) -> int:
    return 2 * config["octaves"] * _map_channels(config) * PATCH**2
