"""What the released Lyra 2.0 takes: memory and time a chunk on some card, for every way of holding it.

Pure arithmetic on the formulas of `cost`; nothing here was measured. What is assumed beyond them stands below, one
number a name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..context_layout import RELEASED, ContextLayout
from .cost import chunk_operations, layer_parameters, parameter_count, pass_cost, pass_memory

GIB = 2**30
RELEASED_NETWORK: Mapping[str, Any] = {
    "layout": RELEASED, "width": 5120, "layers": 40, "heads": 40, "ffn_width": 13824, "text_width": 4096,
    "image_width": 1280, "time_width": 256, "latent_channels": 16, "mask_channels": 4, "ray_channels": 384,
    "squeeze_width": 256, "octaves": 2,
}  # fmt: skip
"""Configuration of the released network."""
TEXT_PARAMETERS = 5_680_910_336
"""Of the encoder of UMT5-XXL."""
IMAGE_PARAMETERS = 632_000_000
"""Of CLIP ViT-H/14's picture half."""
VAE_PARAMETERS = 126_892_531
"""Of the VAE of Wan 2.1."""
VAE_BASE, VAE_MULTIPLES, VAE_BLOCKS = 96, (1, 2, 4, 4), 2
VAE_ACTIVATIONS = 8
"""Feature maps of four full-size frames that one step of the VAE is assumed to hold at its worst."""
EFFICIENCY = 0.29
"""Share of a card's peak that sampling is assumed to reach: what upstream's nine minutes a chunk on an H100 come to."""
OVERHEAD_BYTES = GIB
"""Assumed for the CUDA context, kernels' workspace and what the allocator wastes."""
QUANTIZED_BYTES = {"8bit": 1.0, "4bit": 0.53}
"""Bytes a matrix entry: bitsandbytes keeps a scale for each row, or for each 64 entries (doubly quantised)."""
QUANTIZED_SLOWER = {"8bit": 1.5, "4bit": 1.2}
"""Assumed factors on the time: matrices are unpacked before they are multiplied."""
PINNED = 2
"""Layers that group offloading has on the card: one that computes, one that is fetched."""
DISTILLED_STEPS = 4


@dataclass(frozen=True, kw_only=True)
class Card:
    """A device."""

    name: str
    memory_bytes: int
    peak_flops: float
    """Dense bfloat16 with float32 sums [1/s], as the vendor states it."""
    pcie_bytes_per_s: float = 20e9
    """From main memory; about what PCIe 4 x16 gives."""


PEAKS = {
    "H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 6000 Ada": 364e12, "RTX 5090": 209e12,
    "RTX 4090": 165e12, "RTX 4080": 97e12, "RTX 3090": 71e12,
}  # fmt: skip
"""Peaks of cards by a part of the name that torch gives them."""
CARDS = (
    Card(name="80 GB (H100)", memory_bytes=80 * 10**9, peak_flops=989e12, pcie_bytes_per_s=40e9),
    Card(name="48 GB (L40S)", memory_bytes=48 * 10**9, peak_flops=362e12),
    Card(name="24 GB (RTX 4090)", memory_bytes=24 * 10**9, peak_flops=165e12),
    Card(name="16 GB (RTX 4080)", memory_bytes=16 * 10**9, peak_flops=97e12),
)


@dataclass(frozen=True, kw_only=True)
class Holding:
    """A way of holding the model, by the settings that choose it."""

    name: str
    offload: str
    """`models.offload`."""
    text_on_gpu: bool
    """`lyra2.text_device`."""
    quantize: str = "none"
    """`lyra2.quantize`."""


HOLDINGS = (
    Holding(name="all on the GPU", offload="none", text_on_gpu=True),
    Holding(name="text and pictures read on the CPU", offload="none", text_on_gpu=False),
    Holding(name="one network at a time on the GPU", offload="model", text_on_gpu=False),
    Holding(name="8-bit matrices", offload="none", text_on_gpu=False, quantize="8bit"),
    Holding(name="4-bit matrices", offload="none", text_on_gpu=False, quantize="4bit"),
    Holding(name="layer by layer", offload="layers", text_on_gpu=False),
)
"""In the order in which they are preferred where they are equally fast."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What one way of holding takes on one card."""

    holding: Holding
    peak_bytes: int
    """On the card, at the worst moment."""
    ram_bytes: int
    """Of main memory, for what is not on the card."""
    seconds: Mapping[str, float]
    """Of a chunk by sampler: `unipc` and `distilled`."""
    fits: bool


def card_of(name: str, memory_bytes: int) -> Card:
    """A card by the name that torch gives it; its peak is 0 where it is not known, and then no time is estimated."""
    peak = next((flops for part, flops in PEAKS.items() if part in name), 0.0)
    return Card(name=name, memory_bytes=memory_bytes, peak_flops=peak)


def estimates(
    card: Card,
    *,
    network: Mapping[str, Any] = RELEASED_NETWORK,
    size_hw: tuple[int, int] = (480, 832),
    steps: int = 35,
    ram_bytes: int | None = None,
) -> list[Estimate]:
    """All ways of holding the model on a card.

    Args:
        card: the device.
        network: configuration of the network.
        size_hw: of the frames.
        steps: of unipc, which asks the network twice a step.
        ram_bytes: free main memory; taken as enough when None.

    Raises:
        ConfigError: a malformed layout.
        InputError: a size that is no multiple of 16.
    """
    return [_estimate(card, holding, network, size_hw, steps, ram_bytes) for holding in HOLDINGS]


def best(found: Sequence[Estimate]) -> Estimate | None:
    """The first that fits and is at most a tenth slower than any other that does; None when nothing fits."""
    fitting = [estimate for estimate in found if estimate.fits]
    least = min((estimate.seconds["unipc"] for estimate in fitting), default=0.0)
    return next((estimate for estimate in fitting if estimate.seconds["unipc"] <= 1.1 * least), None)


def _estimate(
    card: Card,
    holding: Holding,
    network: Mapping[str, Any],
    size_hw: tuple[int, int],
    steps: int,
    ram_bytes: int | None,
) -> Estimate:
    h, w = (side // 8 for side in size_hw)
    item = 2  # bfloat16
    activations = pass_memory(network, h, w, item_bytes=item).total
    bytes_each = QUANTIZED_BYTES.get(holding.quantize, item)
    matrices = network["layers"] * layer_parameters(network)
    rest = parameter_count(network) - matrices
    weights = int(matrices * bytes_each + rest * item)
    readers = (TEXT_PARAMETERS + IMAGE_PARAMETERS) * item
    vae = VAE_PARAMETERS * item
    coding = vae_caches(size_hw, item_bytes=item) + _vae_working(size_hw, item)
    if holding.offload == "none":
        peak = weights + vae + vae_caches(size_hw, item_bytes=item) + max(activations, _vae_working(size_hw, item))
        # They are read before anything is sampled.
        peak += readers if holding.text_on_gpu else 0
        moved = 0.0
    elif holding.offload == "model":
        peak = max(weights + activations, vae + coding)
        moved = 2.0 * (weights + vae)  # to the card and back, each chunk
    else:
        on_card = int(PINNED * layer_parameters(network) * item + rest * item)
        peak = max(on_card + activations, vae + coding)
        moved = float(weights)
    samplers = {"unipc": (steps, True), "distilled": (DISTILLED_STEPS, False)}
    cost = pass_cost(network, h, w)
    seconds = {}
    for name, (count, guided) in samplers.items():
        speed = card.peak_flops * EFFICIENCY
        compute = chunk_operations(cost, count, guided=guided) / speed if speed else math.inf
        compute *= QUANTIZED_SLOWER.get(holding.quantize, 1.0)
        passes = count * (2 if guided else 1)
        seconds[name] = compute + moved * (passes if holding.offload == "layers" else 1) / card.pcie_bytes_per_s
    # What is offloaded stays in main memory; what is quantised passes through it whole.
    passing = parameter_count(network) * item if holding.offload != "none" or holding.quantize != "none" else 0
    ram = 0 if holding.text_on_gpu else readers + passing
    peak += OVERHEAD_BYTES
    return Estimate(
        holding=holding,
        peak_bytes=peak,
        ram_bytes=ram,
        seconds=seconds,
        fits=peak <= card.memory_bytes and (ram_bytes is None or ram <= ram_bytes),
    )


def vae_caches(
    size_hw: tuple[int, int],
    *,
    item_bytes: int = 2,
    base: int = VAE_BASE,
    multiples: Sequence[int] = VAE_MULTIPLES,
    blocks: int = VAE_BLOCKS,
    latent_channels: int = 16,
) -> int:
    """Bytes that encoder and decoder of a film remember between chunks.

    Every causal convolution keeps the last two of its inputs, those that halve the frame rate the last one.
    """
    area = size_hw[0] * size_hw[1]
    down = [base, *(base * m for m in multiples)]
    up = [base * multiples[-1], *(base * m for m in reversed(multiples))]
    levels = len(multiples)
    numbers = 2 * 3 * area
    for level in range(levels):
        pixels = area // 4**level
        numbers += 2 * pixels * (down[level] + down[level + 1] * (2 * blocks - 1))
        if 0 < level < levels - 1:
            numbers += pixels // 4 * down[level + 1]  # the convolution over time comes after the halving
    smallest = area // 4 ** (levels - 1)
    numbers += 2 * smallest * down[-1] * (4 + 1)
    numbers += 2 * smallest * (latent_channels + 4 * up[0])
    for level in range(levels):
        pixels = smallest * 4**level
        # Upsampling halves the channels, so all but the first level begin with half of what the level before had.
        begin = up[level] // 2 if level else up[level]
        numbers += 2 * pixels * (begin + up[level + 1] * (2 * (blocks + 1) - 1))
        if level < levels - 2:
            numbers += 2 * pixels * up[level + 1]
    numbers += 2 * area * up[-1]
    return numbers * item_bytes


def _vae_working(size_hw: tuple[int, int], item_bytes: int) -> int:
    return VAE_ACTIVATIONS * 4 * VAE_BASE * size_hw[0] * size_hw[1] * item_bytes


def table_rows(cards: Sequence[Card] = CARDS, **options: Any) -> list[tuple[str, str, str, str, str]]:
    """Heading and one row a card: the best way to hold it, the memory that takes, and the time a chunk takes."""
    frames = ContextLayout.parse(RELEASED).new_frames
    rows = [("card", "how", "on the card", "main memory", f"{frames} frames: unipc, distilled")]
    for card in cards:
        found = best(estimates(card, **options))
        if found is None:
            rows.append((card.name, "does not fit", "-", "-", "-"))
            continue
        rows.append(
            (
                card.name,
                found.holding.name,
                f"{found.peak_bytes / 1e9:.0f} GB",
                f"{found.ram_bytes / 1e9:.0f} GB",
                f"{found.seconds['unipc'] / 60:.0f} min, {found.seconds['distilled']:.0f} s"
                if math.isfinite(found.seconds["unipc"])
                else "unknown",
            )
        )
    return rows


def estimates_to_json(cards: Sequence[Card] = CARDS, **options: Any) -> list[dict[str, Any]]:
    """Everything that `table_rows` chooses from."""
    return [
        {
            "card": card.name,
            "how": e.holding.name,
            "settings": {
                "models.offload": e.holding.offload,
                "lyra2.text_device": "cuda" if e.holding.text_on_gpu else "cpu",
                "lyra2.quantize": e.holding.quantize,
            },
            "peak_bytes": e.peak_bytes,
            "ram_bytes": e.ram_bytes,
            "seconds": {n: round(s, 1) if math.isfinite(s) else None for n, s in e.seconds.items()},
            "fits": e.fits,
        }
        for card in cards
        for e in estimates(card, **options)
    ]
