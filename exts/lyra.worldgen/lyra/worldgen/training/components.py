"""What a training run computes with: the networks of a folder of weights, or small ones that are made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError
from ..core.optional import require
from ..generation.chunk_inputs_torch import warp_on
from ..generation.schedules import training_times
from .clips import Clip
from .config import TrainingConfig
from .dataset import FilmFolder
from .memo import Memo
from .patch_vae import PatchVae, fit_patch_vae
from .step_inputs import Painter

if TYPE_CHECKING:
    import torch

VAE_NAME = "vae.safetensors"
NETWORK_NAME = "transformer"
VISION_TOKENS = (2, 3)
"""Rows and columns of the small image encoder."""
VISION_WIDTH = 48
TEXT_WIDTH = 8
MEMO_BYTES = 2 << 30
"""What may be kept of small films between the steps."""
FITTED_FILMS = 64
"""Films that the small autoencoder is fitted to at most."""


@dataclass(frozen=True, kw_only=True)
class Components:
    """A painter and the texts it is trained with."""

    painter: Painter
    text_of: Callable[[Clip, int, bool], torch.Tensor]
    """Film, frame and whether the text is dropped, to [1, L, width]."""


def small_components(
    config: TrainingConfig, films: FilmFolder, out: Path, *, start: Path | None = None, device: Any = "cpu"
) -> Components:
    """A network as the configuration describes it with random weights, and an autoencoder fitted to the films.

    The autoencoder lies in `out`; one that is there already is used again. Texts are not read: a network of this size
    has nothing to say about them.

    Args:
        config: sizes and seed of the network.
        films: what the autoencoder is fitted to.
        out: folder of the run.
        start: folder of a finished run whose network and autoencoder are taken instead.
        device: where they go.

    Raises:
        InputError: films or `start` cannot be read, or the folder not written to.
        ConfigError: the network's sizes do not fit one another.
    """
    torch = require("torch", extra="train")
    path = out / VAE_NAME
    if start is not None:
        vae = PatchVae.load(start / VAE_NAME)
        vae.save(path)
    elif path.exists():
        vae = PatchVae.load(path)
    else:
        picks = np.unique(np.linspace(0, len(films) - 1, FITTED_FILMS).astype(int))
        vae = fit_patch_vae([films.clip(int(i)).rgb_u8 for i in picks])
        vae.save(path)
    network = _random_network(config) if start is None else load_small_network(start)
    text = torch.zeros(1, 1, TEXT_WIDTH, device=device)
    painter = small_painter(network.to(device), vae.to(device), device=device)
    return Components(painter=painter, text_of=lambda clip, frame, dropped: text)


def load_small_network(run: Path) -> Any:
    """The network that a finished run left; raises `InputError` if there is none."""
    from ..generation.lyra2.transformer import Lyra2Transformer3DModel

    folder = run / NETWORK_NAME
    if not (folder / "config.json").is_file():
        raise InputError(f"the run has left no network; expected {NETWORK_NAME}/config.json in it: {run}")
    try:
        return Lyra2Transformer3DModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"the network cannot be read ({type(error).__name__}): {folder}") from error


def _random_network(config: TrainingConfig) -> Any:
    torch = require("torch", extra="train")
    from ..generation.lyra2.transformer import Lyra2Transformer3DModel

    sizes = config.network
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        network = Lyra2Transformer3DModel(
            layout=sizes.layout,
            width=sizes.width,
            layers=sizes.layers,
            heads=sizes.heads,
            ffn_width=sizes.ffn_width,
            text_width=TEXT_WIDTH,
            image_width=VISION_WIDTH,
            time_width=sizes.time_width,
            squeeze_width=sizes.squeeze_width,
        )
        network.initialise()
    return network


def small_painter(network: Any, vae: PatchVae, *, device: Any = "cpu") -> Painter:
    """A painter around a small network and autoencoder."""
    return Painter(
        network=network,
        vae=vae,
        layout=network.context,
        times=training_times(),
        # At 32 rows the depth of any slanted wall varies as much in a few pixels as an edge's does at 480.
        warp=warp_on(device, reliable_only=False),
        vision=lambda frame: pooled_vision(frame, device=device),
        device=device,
        memo=Memo(MEMO_BYTES),
    )


def folder_components(config: TrainingConfig, folder: Path, *, device: Any = "cpu") -> Components:
    """The network and encoders of a converted Lyra 2.0; texts are the embeddings that the films bring.

    The network's weights are float32, as the optimiser needs them; the frozen encoders are bfloat16 on a GPU.

    Raises:
        InputError: the folder is not whole, or a part does not load.
    """
    torch = require("torch", extra="train")
    from ..generation.lyra2.model_folder import NEGATIVE, Lyra2Folder

    opened = Lyra2Folder.open(folder, key="--weights", parts=("transformer", "vae", "image_encoder", NEGATIVE))
    frozen = torch.bfloat16 if str(device) != "cpu" else torch.float32
    vae, vision = opened.load_vae(frozen), opened.load_vision(frozen)
    vae.vae.to(device)
    vision.model.to(device)
    network = opened.load_transformer(torch.float32)
    if config.network.fresh:
        network.initialise(torch.Generator().manual_seed(config.seed))
    empty = opened.negative_prompt().float().to(device)

    def look(frame: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(frame, np.float32))[None].to(device)
        return vision.embed(pixels)

    painter = Painter(
        network=network.train(),
        vae=vae,
        layout=network.context,
        times=training_times(),
        warp=warp_on(device),
        vision=look,
        device=device,
    )
    return Components(
        painter=painter,
        text_of=lambda clip, frame, dropped: embedded_text(clip, frame, dropped, empty),
    )


def pooled_vision(frame: np.ndarray, *, device: Any = "cpu") -> torch.Tensor:
    """Image tokens [1, 6, 48] of a frame [3, H, W]: a picture of 8 x 12 means, in blocks of 4 x 4."""
    torch = require("torch", extra="train")
    rows, columns = VISION_TOKENS
    with torch.no_grad():
        pixels = torch.from_numpy(np.ascontiguousarray(frame, np.float32))[None].to(device)
        small = torch.nn.functional.adaptive_avg_pool2d(pixels, (4 * rows, 4 * columns))
        blocks = small.reshape(1, 3, rows, 4, columns, 4).permute(0, 2, 4, 1, 3, 5)
        return blocks.reshape(1, rows * columns, VISION_WIDTH)


def embedded_text(clip: Clip, frame: int, dropped: bool, empty: torch.Tensor) -> torch.Tensor:
    """The embedding [1, L, width] that a film brings for a frame, padded with zeros to the length of the empty text.

    Raises:
        InputError: the film has captions without embeddings, or of another width.
    """
    torch = require("torch", extra="train")
    caption = clip.caption_at(frame)
    if dropped or caption is None:
        return empty
    if caption.embedding is None:
        raise InputError(
            f"caption at frame {frame} of {clip.video_id} has no embedding; embed the texts of the data set"
        )
    length, width = empty.shape[1:]
    if caption.embedding.shape[1] != width or len(caption.embedding) > length:
        raise InputError(
            f"embedding of {clip.video_id} has shape {caption.embedding.shape}; expected at most {length} x {width}"
        )
    text = torch.zeros_like(empty)
    text[0, : len(caption.embedding)] = torch.from_numpy(caption.embedding).to(empty)
    return text
