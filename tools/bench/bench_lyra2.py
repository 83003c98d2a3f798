#!/usr/bin/env python3
"""One full-width layer of the Lyra 2.0 network, and as many layers as the device holds, against ceiling and formula.

    .venv/bin/python tools/bench/bench_lyra2.py [--device cuda] [--latent 60x104] [--repeats 5] [--seed 0]

Weights are random: time and memory do not depend on them. Everything is measured in one run on one device; `method` in
the result says how.

Without CUDA a narrow network and few tokens run in float32 on the processor: that shows that the figures can be made,
and the result says that those of a GPU are missing. One JSON object goes to stdout.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch  # noqa: TID253 - a tool, not a module of the package

from lyra.worldgen.core.machine import core_count
from lyra.worldgen.generation.lyra2 import cost
from lyra.worldgen.generation.lyra2.attention import KERNELS
from lyra.worldgen.generation.lyra2.rotary import rotary_angles
from lyra.worldgen.generation.lyra2.token_grid import token_count
from lyra.worldgen.generation.lyra2.transformer import Lyra2Transformer3DModel

CHUNKS = {"unipc_35_guided": (35, True), "distilled_4": (4, False)}
SMALL = {"width": 640, "heads": 5, "ffn_width": 1728, "layers": 2, "squeeze_width": 32}
"""The processor's network: heads of the released width, an eighth of its number."""
SMALL_LATENT = (12, 16)
FREE_SHARE = 0.92
"""Of the device's free memory that parameters and activations may fill by the formula."""
TERA = 1e12
METHOD = {
    "ceiling": "fastest product of large matrices in the type of the weights, square and of the layer's own sizes",
    "layer": "one layer's forward by each attention kernel, median of the repeats after a warm-up, the fastest counts; "
    "operations are 2 a b c for a product of matrices and 4 L M D for attention, the rest is left out; share is "
    "operations over time over ceiling",
    "stack": "a whole pass with the most layers whose parameters and activations fill at most 92 % of the free memory "
    "by the formula, and the peak that the allocator then counts",
    "chunk_s": "passes of the stack: steps, twice where guidance also asks the negative prompt; scaled by operations "
    "from the stack's layers to all",
}


class Device:
    """A device's clock and memory."""

    def __init__(self, name: str) -> None:
        self.torch = torch.device(name)
        self.cuda = self.torch.type == "cuda"
        self.dtype = torch.bfloat16 if self.cuda else torch.float32

    @property
    def item_bytes(self) -> int:
        return self.dtype.itemsize

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.torch)

    def seconds(self, call: Callable[[], Any], repeats: int) -> float:
        """Median of some calls after one that warms up."""
        call()
        times = []
        for _ in range(repeats):
            self.wait()
            start = time.perf_counter()
            call()
            self.wait()
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    def describe(self) -> dict[str, Any]:
        machine: dict[str, Any] = {"cores": core_count(), "platform": platform.platform(), "device": str(self.torch)}
        if self.cuda:
            properties = torch.cuda.get_device_properties(self.torch)
            machine |= {"name": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1)}
        return {**machine, "torch": torch.__version__, "threads": torch.get_num_threads()}

    def free_bytes(self) -> int | None:
        """What is free on the device; None on a processor, where the network is small."""
        return torch.cuda.mem_get_info(self.torch)[0] if self.cuda else None


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--latent", help="height x width of a latent; 60x104 on CUDA")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    device = Device(args.device)
    h, w = (int(n) for n in args.latent.split("x")) if args.latent else (60, 104) if device.cuda else SMALL_LATENT
    torch.manual_seed(args.seed)
    with torch.device("meta"):
        released = Lyra2Transformer3DModel()
    config = {**released.config, **({} if device.cuda else SMALL)}
    result: dict[str, Any] = {
        "machine": device.describe(),
        "seed": args.seed,
        "dtype": str(device.dtype),
        "latent": [h, w],
        "tokens": token_count(released.context, h, w),
        "network": {name: config[name] for name in (*SMALL, "layout")},
        "method": METHOD,
        "gpu_figures": "measured" if device.cuda else "missing: no CUDA device in this run",
    }
    if not device.cuda:
        print("no CUDA device: a small network on the processor; the figures of a GPU are missing", file=sys.stderr)
    with torch.inference_mode():
        result["ceiling"] = ceiling(device, config, args.repeats)
        result["layer"] = time_layer(device, config, h, w, args.repeats, result["ceiling"]["tflops"])
        result["stack"] = time_stack(device, config, h, w, args.repeats, result["layer"])
    seconds = chunk_seconds(result["stack"], config, h, w)
    result |= {"chunk_s": seconds} if device.cuda else {"chunk_s": None, "chunk_s_of_the_small_network": seconds}
    whole = cost.pass_cost(released.config, 60, 104)
    result["released_chunk_pflop_by_formula"] = {
        name: round(cost.chunk_operations(whole, steps, guided=guided) / TERA / 1000, 2)
        for name, (steps, guided) in CHUNKS.items()
    }
    print(json.dumps(result, indent=2))
    return 0


def ceiling(device: Device, config: dict[str, Any], repeats: int) -> dict[str, Any]:
    """Products of matrices [TFLOP/s]."""
    side = 8192 if device.cuda else 1024
    d, f = config["width"], config["ffn_width"]
    rates = {}
    for a, b, c in ((side, side, side), (side, d, d), (side, d, f), (side, f, d)):
        x = torch.randn(a, b, device=device.torch, dtype=device.dtype)
        y = torch.randn(b, c, device=device.torch, dtype=device.dtype)
        rates[f"{a}x{b}x{c}"] = 2 * a * b * c / device.seconds(lambda x=x, y=y: x @ y, 4 * repeats) / TERA
    return {"tflops": round(max(rates.values()), 3), "by_size": {name: round(r, 3) for name, r in rates.items()}}


def build(device: Device, config: dict[str, Any], layers: int) -> Lyra2Transformer3DModel:
    """A random network in the types that `from_pretrained` gives it."""
    options = {name: value for name, value in config.items() if not name.startswith("_")}
    before = torch.get_default_dtype()
    torch.set_default_dtype(device.dtype)
    try:
        with torch.device(device.torch):
            model = Lyra2Transformer3DModel(**{**options, "layers": layers})
    finally:
        torch.set_default_dtype(before)
    wide = set(Lyra2Transformer3DModel._keep_in_fp32_modules)
    for name, x in model.named_parameters():
        if wide & set(name.split(".")):
            x.data = x.data.float()
    return model.eval().requires_grad_(False)


def time_layer(
    device: Device, config: dict[str, Any], h: int, w: int, repeats: int, ceiling_tflops: float
) -> dict[str, Any]:
    """One layer by each kernel of attention; the fastest counts."""
    model = build(device, config, 1)
    tokens = token_count(model.context, h, w)
    make = {"device": device.torch, "dtype": device.dtype}
    angles = rotary_angles(model.context, h, w, head_width=model.head_width, device=device.torch)
    d = config["width"]
    inputs = (
        torch.randn(1, tokens, d, **make),
        torch.randn(1, 6, d, device=device.torch),
        torch.randn(1, tokens, 4 * config["ray_channels"], **make),
        torch.rand(1, tokens, 4 * model.map_channels, device=device.torch),
        torch.ones(1, tokens, 1, **make),
        angles.cos()[None],
        angles.sin()[None],
        torch.randn(1, cost.RELEASED_TEXT_TOKENS, d, **make),
        torch.randn(1, cost.RELEASED_IMAGE_TOKENS, d, **make),
    )
    times: dict[str, float | str] = {}
    # The textbook formula would hold every score of 38 246 x 38 246.
    for kernel in [k for k in KERNELS if k != "plain"] if device.cuda else ["auto", "plain"]:
        model.set_attention_kernel(kernel)
        try:
            times[kernel] = round(device.seconds(lambda: model.blocks[0](*inputs), repeats), 5)
        except RuntimeError as error:
            times[kernel] = f"does not run: {str(error).splitlines()[0][:120]}"
    kernel, seconds = min(((k, s) for k, s in times.items() if isinstance(s, float)), key=lambda pair: pair[1])
    one = cost.pass_cost(config, h, w)
    rate = one.layer / seconds / TERA
    return {
        "seconds_by_kernel": times,
        "kernel": kernel,
        "seconds": seconds,
        "tflop": round(one.layer / TERA, 4),
        "tflop_attention": round(one.layer_attention / TERA, 4),
        "tflops": round(rate, 3),
        "share_of_ceiling": round(rate / ceiling_tflops, 3),
    }


def time_stack(
    device: Device, config: dict[str, Any], h: int, w: int, repeats: int, layer: dict[str, Any]
) -> dict[str, Any]:
    """A pass of the most layers that fit: time, and peak memory against the formula."""
    if device.cuda:
        torch.cuda.empty_cache()
    free, layers = device.free_bytes(), config["layers"]
    memory = cost.pass_memory(config, h, w, item_bytes=device.item_bytes)

    def planned(count: int) -> int:
        return cost.parameter_bytes({**config, "layers": count}, item_bytes=device.item_bytes) + memory.total

    while free is not None and layers > 1 and planned(layers) > FREE_SHARE * free:
        layers -= 1
    model = build(device, config, layers)
    model.set_attention_kernel(layer["kernel"])
    if device.cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device.torch)
    size = (model.context.total_latents, h, w)
    channels = config["mask_channels"] + config["latent_channels"] + config["ray_channels"]

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(shape, device=device.torch)

    inputs = {
        "cond": draw(1, channels, *size),
        "buffer": draw(1, model.map_channels, *size),
        "buffer_valid": torch.ones(size[0], dtype=torch.bool, device=device.torch),
        "timestep": torch.tensor([500], device=device.torch),
        "text": draw(1, cost.RELEASED_TEXT_TOKENS, config["text_width"]),
        "image": draw(1, cost.RELEASED_IMAGE_TOKENS, config["image_width"]),
    }
    latents = draw(1, config["latent_channels"], *size)
    seconds = device.seconds(lambda: model(latents, **inputs), max(1, repeats // 2))
    one = cost.pass_cost({**config, "layers": layers}, h, w)
    found: dict[str, Any] = {
        "layers": layers,
        "seconds": round(seconds, 4),
        "tflop": round(one.total / TERA, 3),
        "tflops": round(one.total / seconds / TERA, 3),
        "seconds_beside_layers": round(seconds - layers * layer["seconds"], 4),
        "planned_gib": round(planned(layers) / 2**30, 3),
        "planned_activations_gib": round(memory.total / 2**30, 3),
    }
    if device.cuda:
        peak = torch.cuda.max_memory_allocated(device.torch)
        found |= {"peak_gib": round(peak / 2**30, 3), "peak_over_planned": round(peak / planned(layers), 3)}
    return found


def chunk_seconds(stack: dict[str, Any], config: dict[str, Any], h: int, w: int) -> dict[str, Any]:
    """Seconds of one chunk, from the pass that was timed; layers that did not fit are added at its mean per layer."""
    operations = [cost.pass_cost({**config, "layers": n}, h, w).total for n in (config["layers"], stack["layers"])]
    a_pass = stack["seconds"] * operations[0] / operations[1]
    return {
        "all_layers_timed": stack["layers"] == config["layers"],
        "pass_s": round(a_pass, 4),
        **{name: round(a_pass * steps * (2 if guided else 1), 2) for name, (steps, guided) in CHUNKS.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
