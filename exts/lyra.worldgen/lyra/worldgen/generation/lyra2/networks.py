"""The networks of a converted Lyra 2.0 in memory: placed as planned, asked for one chunk at a time.

Prompts and pictures are read by networks of their own, which need not be where the video network is. The one for text
is by far the larger; it is loaded for a prompt that was not read yet and let go of again.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...core.config import Lyra2Config, ModelsConfig
from ...core.errors import ConfigError
from ...core.optional import require
from ...core.progress import Progress
from ..chunk_inputs import ChunkInputs
from ..context_layout import ContextLayout
from ..residency import BYTES_PER_NUMBER, MachineMemory, ResidencyPlan, plan_residency
from ..weights import quiet_libraries
from ..weights_files import WeightsSize
from .chunk_loop import ChunkLoop
from .cost import pass_memory
from .memory_plan import PINNED, QUANTIZED_BYTES, vae_caches
from .model_folder import Lyra2Folder
from .sampling import chunk_noise, conditioned, sample_distilled, sample_unipc, seeded_draws

log = logging.getLogger(__name__)

DISTILLED = "dmd_distillation"
"""Adapter without which the distilled sampler makes no sense."""
REMEDY = "set models.offload=layers or lyra2.quantize=4bit, or paint smaller frames (lyra2.width_px, lyra2.height_px)"


def chosen_adapters(config: Lyra2Config) -> list[tuple[str, float]]:
    """Adapters by name and factor, the sampler's own included."""
    chosen = config.lora_weights()
    if config.sampler == "distilled":
        chosen.setdefault(DISTILLED, 1.0)
    return list(chosen.items())


def plan_networks(
    folder: Lyra2Folder, models: ModelsConfig, lyra2: Lyra2Config, machine: MachineMemory
) -> tuple[ResidencyPlan, str]:
    """How the video network and its VAE are held, and whether text and pictures are read on the GPU too.

    Returns:
        the plan, and the device of text and pictures.

    Raises:
        ConfigError: the configuration asks for what this machine cannot do.
        BackendError: the weights do not fit, or their files are damaged.
    """
    network, vae = folder.size("transformer").parameters, folder.size("vae").parameters
    share = QUANTIZED_BYTES.get(lyra2.quantize, 2.0) / 2.0
    size = WeightsSize(parameters=int(network * share) + vae, largest_part=int(network * share))
    working = working_bytes(folder, lyra2, item_bytes=2 if machine.gpu_bytes and models.device != "cpu" else 4)
    plan = plan_residency(size, machine, models, working_bytes=working)
    if lyra2.quantize != "none" and (plan.device != "cuda" or plan.offload != "none"):
        raise ConfigError(
            f"lyra2.quantize is '{lyra2.quantize}' but the network would be on {plan.device} with "
            f"models.offload={plan.offload} ({plan.why}); quantised matrices stay on a CUDA device"
        )
    if lyra2.text_device == "cuda" and not machine.gpu_bytes:
        raise ConfigError("lyra2.text_device is 'cuda' but torch sees no CUDA device; choose auto or cpu")
    readers = folder.size("text_encoder").parameters + folder.size("image_encoder").parameters
    total = (size.parameters + readers) * BYTES_PER_NUMBER[plan.dtype] + working
    fits = plan.device == "cuda" and plan.offload == "none" and total <= machine.gpu_bytes
    chosen = ("cuda" if fits else "cpu") if lyra2.text_device == "auto" else lyra2.text_device
    return plan, chosen


def working_bytes(folder: Lyra2Folder, lyra2: Lyra2Config, *, item_bytes: int) -> int:
    """What painting needs beside the weights: a pass of the network, and the memory of the VAE."""
    size_hw = lyra2.height_px, lyra2.width_px
    network, vae = folder.config("transformer"), folder.config("vae")
    h, w = (side // 8 for side in size_hw)
    caches = vae_caches(
        size_hw,
        item_bytes=item_bytes,
        base=int(vae.get("base_dim", 96)),
        multiples=vae.get("dim_mult", (1, 2, 4, 4)),
        blocks=int(vae.get("num_res_blocks", 2)),
        latent_channels=int(vae.get("z_dim", 16)),
    )
    return pass_memory(network, h, w, item_bytes=item_bytes).total + caches


class Lyra2Networks:
    """Loaded networks; `Residency` places them.

    Args:
        folder: the converted model.
        config: how it is asked.
        dtype: torch number type.
        plan: how network and VAE are going to be held.
        text_device: where text and pictures are read.

    Raises:
        InputError: parts do not fit one another, or an adapter is unknown.
        BackendError: files are damaged.
    """

    def __init__(
        self, folder: Lyra2Folder, config: Lyra2Config, dtype: Any, *, plan: ResidencyPlan, text_device: str
    ) -> None:
        self._folder, self._config, self._dtype = folder, config, dtype
        self._torch = require("torch", extra="models")
        self._text_device = text_device
        self._texts: dict[str, Any] = {}
        self._device = self._torch.device("cpu")
        self._moves = False
        # Small things first: whatever is wrong with them shows before minutes of loading.
        self._negative = folder.negative_prompt()
        adapters = folder.adapters(chosen_adapters(config))
        self._vision = folder.load_vision(dtype)
        self._vision.model.to(text_device)
        self.vae = folder.load_vae(dtype)
        # What stays on the GPU as it is goes there tensor by tensor and never takes main memory as a whole.
        straight = plan.device == "cuda" and plan.offload == "none" and config.quantize == "none"
        place = (lambda name, tensor: tensor.to("cuda")) if straight else None
        self._network = folder.load_transformer(dtype, adapters=adapters, place=place)
        self.layout: ContextLayout = self._network.context
        self.loop = ChunkLoop(self.layout, self.vae)

    def to(self, device: str) -> None:
        """Keep network and VAE on a device."""
        self._device = self._torch.device(device)
        if self._config.quantize != "none":
            quantize(self._network, self._config.quantize, self._dtype)
        self._network.to(self._device)
        self.vae.vae.to(self._device)

    def enable_model_cpu_offload(self, *, device: str) -> None:
        """Bring network and VAE to a device only while they work."""
        self._device, self._moves = self._torch.device(device), True
        self.loop.caches_rest_on_cpu = True

    def enable_sequential_cpu_offload(self, *, device: str) -> None:
        """Bring the network's layers to a device one after the other, and the VAE while it works."""
        self._device = self._torch.device(device)
        offload_layers(self._network, self._device)
        self._moves = self.loop.caches_rest_on_cpu = True

    def read(self, prompt: str) -> Any:
        """Embedding of a prompt [1, 512, width]."""
        if prompt not in self._texts:
            with quiet_libraries():
                encoder = self._folder.load_text(self._dtype)
                encoder.model.to(self._text_device)
                self._texts[prompt] = encoder.embed([prompt]).cpu()
            del encoder
            gc.collect()
            if self._text_device == "cuda":
                self._torch.cuda.empty_cache()
        return self._texts[prompt]

    @contextmanager
    def coding(self) -> Iterator[ChunkLoop]:
        """The loop with its VAE in place."""
        with self._in_place(self.vae.vae):
            yield self.loop

    def sample(
        self,
        inputs: ChunkInputs,
        *,
        prompt: str,
        last_frame: np.ndarray,
        seed: int,
        step: Callable[[int, int], None],
    ) -> np.ndarray:
        """New latents [16, new, h, w] float32 of a chunk.

        Args:
            inputs: of the chunk.
            prompt: text.
            last_frame: [3, H, W] in -1..1 before the chunk.
            seed: of the noise, which is the same on every device.
            step: told about every denoising step.

        Raises:
            BackendError: a network returned NaN or infinity.
        """
        torch, config = self._torch, self._config
        text = self.read(prompt)
        image = self._vision.embed(torch.from_numpy(np.ascontiguousarray(last_frame))[None])
        progress = _Steps(step)
        with self._in_place(self._network):
            there = self._on_device(inputs)
            history = there.pop("history")

            def asked(words: Any) -> Any:
                told = {"text": words.to(self._device, self._dtype), "image": image.to(self._device, self._dtype)}
                return conditioned(self._network, **there, **told)

            noise = chunk_noise(seed, history, self.layout.new_latents)
            if config.sampler == "distilled":
                draws = seeded_draws(seed, noise)
                latents = sample_distilled(asked(text), noise, history=history, draws=draws, progress=progress)
            else:
                latents = sample_unipc(
                    asked(text),
                    noise,
                    history=history,
                    negative=None if config.guidance == 1 else asked(self._negative),
                    steps=config.steps,
                    shift=config.shift,
                    guidance=config.guidance,
                    progress=progress,
                )
        return latents[0].float().cpu().numpy()

    def _on_device(self, inputs: ChunkInputs) -> dict[str, Any]:
        """What every pass is given, and the history before the new latents."""
        torch = self._torch

        def brought(array: np.ndarray) -> Any:
            return torch.from_numpy(np.ascontiguousarray(array))[None].to(self._device)

        return {
            "cond": brought(np.concatenate([inputs.mask, inputs.cond])),
            "buffer": brought(inputs.buffer),
            "buffer_valid": torch.from_numpy(inputs.buffer_valid).to(self._device),
            "history": brought(inputs.latents[:, : self.layout.context_latents]),
        }

    @contextmanager
    def _in_place(self, network: Any) -> Iterator[None]:
        """A network on the device while it works; one whose layers come by themselves is left alone."""
        by_itself = network is self._network and hasattr(network, "_diffusers_hook_layers")
        if not self._moves or by_itself:
            yield
            return
        network.to(self._device)
        try:
            yield
        finally:
            network.to("cpu")
            if self._device.type == "cuda":
                self._torch.cuda.empty_cache()


class _Steps(Progress):
    """Progress of one sampling as calls of `step(done, total)`."""

    def __init__(self, step: Callable[[int, int], None]) -> None:
        self._step = step

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        self._step(done, total)


def offload_layers(network: Any, device: Any) -> None:
    """Let the layers of a network come to a device one after the other, the next one while one computes.

    Raises:
        DependencyError: diffusers is missing.
    """
    hooks = require("diffusers.hooks", extra="models", package="diffusers")
    streams = device.type == "cuda"
    hooks.apply_group_offloading(
        network,
        onload_device=device,
        offload_type="block_level",
        num_blocks_per_group=PINNED - 1,
        use_stream=streams,
        non_blocking=streams,
    )
    network._diffusers_hook_layers = True


def quantize(network: Any, kind: str, dtype: Any) -> None:
    """Replace the matrices of all layers by quantised ones, which pack themselves when they are brought to a GPU.

    Args:
        network: with its adapters folded in.
        kind: 8bit or 4bit.
        dtype: torch number type to compute in.

    Raises:
        DependencyError: bitsandbytes is missing.
    """
    torch = require("torch", extra="models")
    bnb = require("bitsandbytes", extra="quantize")
    makers: Mapping[str, Callable[..., Any]] = {
        "8bit": lambda i, o, bias: bnb.nn.Linear8bitLt(i, o, bias=bias, has_fp16_weights=False),
        "4bit": lambda i, o, bias: bnb.nn.Linear4bit(
            i, o, bias=bias, compute_dtype=dtype, quant_type="nf4", compress_statistics=True
        ),
    }
    for block in network.blocks:
        for name, layer in list(block.named_modules()):
            if isinstance(layer, torch.nn.Linear):
                packed = makers[kind](layer.in_features, layer.out_features, layer.bias is not None)
                packed.load_state_dict(layer.state_dict())
                owner, _, leaf = name.rpartition(".")
                setattr(block.get_submodule(owner), leaf, packed.requires_grad_(False))


def plan_line(plan: ResidencyPlan, text_device: str) -> str:
    """One line for the log."""
    return f"{plan.why}; text and pictures are read on the {'GPU' if text_device == 'cuda' else 'CPU'}"
