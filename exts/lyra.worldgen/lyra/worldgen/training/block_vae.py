"""A small video autoencoder for experiments: each latent stands for its own frames alone.

Same face as `generation.lyra2.vae_stream.StreamingVae` (pieces with caches, 1 + 4 m frames, eighth size), but no
memory between latents, so that a film is one batch and training takes minutes on a processor.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError
from ..core.files import write_bytes
from ..core.optional import require
from ..generation.context_layout import FRAMES_PER_LATENT

if TYPE_CHECKING:
    import torch

FORMAT = "lyra.worldgen block autoencoder 1"
LATENT_CHANNELS = 16
MAX_WIDTH = 512


class BlockVae:
    """Encoder and decoder over 4 frames x 8 x 8 pixels with some surroundings.

    Args:
        width: channels of the inner layers.
        seed: of the initial weights.
    """

    def __init__(self, *, width: int = 48, seed: int = 0) -> None:
        torch = require("torch", extra="train")
        nn = torch.nn
        if not 4 <= width <= MAX_WIDTH:
            raise InputError(f"width is {width}; expected 4 to {MAX_WIDTH}")
        self.width = width
        frames = 3 * FRAMES_PER_LATENT
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            # Pixels are folded at once: at full resolution a processor would spend all its time.
            self.encoder = nn.Sequential(
                nn.Conv2d(frames, width, 6, stride=4, padding=1),
                nn.SiLU(),
                nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
                nn.SiLU(),
                nn.Conv2d(2 * width, 2 * width, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(2 * width, LATENT_CHANNELS, 1),
            )
            self.decoder = nn.Sequential(
                nn.Conv2d(LATENT_CHANNELS, 2 * width, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(2 * width, 2 * width, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(2 * width, 4 * width, 1),
                nn.PixelShuffle(2),
                nn.SiLU(),
                nn.Conv2d(width, 2 * width, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(2 * width, 16 * frames, 1),
                nn.PixelShuffle(4),
            )
        self.mean = torch.zeros(LATENT_CHANNELS)
        self.std = torch.ones(LATENT_CHANNELS)

    @property
    def latent_channels(self) -> int:
        return LATENT_CHANNELS

    def encode(self, video: torch.Tensor, cache: int | None = None) -> tuple[torch.Tensor, int]:
        """Latents [B, 16, m (+ 1 at the start), H / 8, W / 8] of the next frames [B, 3, T, H, W] in -1..1, and the cache.

        Raises:
            InputError: T is not 1 + 4 m at the start of a film and 4 m after that, or the size is no multiple of 8.
        """
        torch = require("torch", extra="train")
        b, c, t, h, w = video.shape
        first = cache is None
        if c != 3 or h % 8 or w % 8 or t < 1 or (t - first) % FRAMES_PER_LATENT:
            raise InputError(f"video has shape {tuple(video.shape)}; expected (batch, 3, 1 + 4 m, 8 h, 8 w)")
        if first:  # the first frame has a latent of its own
            video = torch.cat([video[:, :, :1].expand(-1, -1, FRAMES_PER_LATENT - 1, -1, -1), video], 2)
        m = video.shape[2] // FRAMES_PER_LATENT
        blocks = video.reshape(b, 3, m, FRAMES_PER_LATENT, h, w).permute(0, 2, 1, 3, 4, 5).reshape(b * m, -1, h, w)
        raw = self.encoder(blocks)
        latents = (raw - self.mean[:, None, None]) / self.std[:, None, None]
        return latents.reshape(b, m, -1, h // 8, w // 8).transpose(1, 2), (cache or 0) + m

    def decode(self, latents: torch.Tensor, cache: int | None = None) -> tuple[torch.Tensor, int]:
        """Frames [B, 3, T, 8 h, 8 w] of the next latents [B, 16, m, h, w], and the cache; values may leave -1..1."""
        b, c, m, h, w = latents.shape
        raw = latents.transpose(1, 2).reshape(b * m, c, h, w) * self.std[:, None, None] + self.mean[:, None, None]
        blocks = self.decoder(raw).reshape(b, m, 3, FRAMES_PER_LATENT, 8 * h, 8 * w)
        video = blocks.transpose(1, 2).reshape(b, 3, -1, 8 * h, 8 * w)
        return (video if cache is not None else video[:, :, FRAMES_PER_LATENT - 1 :]), (cache or 0) + m

    def parameters(self) -> list[Any]:
        return [*self.encoder.parameters(), *self.decoder.parameters()]

    def to(self, device: Any) -> BlockVae:
        """Moves itself."""
        self.encoder.to(device)
        self.decoder.to(device)
        self.mean, self.std = self.mean.to(device), self.std.to(device)
        return self

    def frozen(self) -> BlockVae:
        """Itself, without gradients from now on."""
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        return self

    def save(self, path: Path) -> None:
        """Write safetensors; raises `InputError` where that is impossible."""
        save = require("safetensors.torch", extra="train").save
        tensors = {f"encoder.{k}": v for k, v in self.encoder.state_dict().items()}
        tensors |= {f"decoder.{k}": v for k, v in self.decoder.state_dict().items()}
        tensors |= {"mean": self.mean, "std": self.std}
        write_bytes(path, save(tensors, {"format": FORMAT, "width": str(self.width)}))

    @classmethod
    def load(cls, path: Path) -> BlockVae:
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing or holds something else.
        """
        safetensors = require("safetensors", extra="train")
        try:
            with safetensors.safe_open(path, "pt") as file:
                meta = file.metadata() or {}
                if meta.get("format") != FORMAT or not meta.get("width", "").isdigit():
                    raise InputError(f"this is no autoencoder that train-painter made: {path}")
                vae = cls(width=int(meta["width"]))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            for part in ("encoder", "decoder"):
                own = {k.removeprefix(f"{part}."): v for k, v in tensors.items() if k.startswith(f"{part}.")}
                getattr(vae, part).load_state_dict(own)
            vae.mean, vae.std = tensors["mean"], tensors["std"]
        except (OSError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
            raise InputError(f"cannot read the autoencoder ({type(error).__name__}): {path}") from error
        return vae


def train_block_vae(
    films_u8: list[np.ndarray],
    *,
    steps: int,
    width: int = 48,
    seed: int = 0,
    batch: int = 32,
    lr: float = 2e-3,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> BlockVae:
    """Fit an autoencoder to films [T, H, W, 3]; afterwards latents of these films have mean 0 and deviation 1.

    Args:
        films_u8: all of one size.
        steps: of the optimiser.
        width, seed: see `BlockVae`; the seed decides the batches, too.
        batch: blocks of 4 frames per step.
        lr: at the start; it falls to zero along a cosine.
        on_step: told the step and its loss.
    """
    torch = require("torch", extra="train")
    vae = BlockVae(width=width, seed=seed)
    rng = np.random.default_rng([seed, 0x0AE])
    optimiser = torch.optim.AdamW(vae.parameters(), lr=lr, weight_decay=1e-4)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = lr * 0.5 * (1 + np.cos(np.pi * step / steps))
        pixels = torch.from_numpy(np.stack([_block(rng, films_u8) for _ in range(batch)]))
        latents, _ = vae.encode(pixels, 0)
        decoded, _ = vae.decode(latents, 0)
        # A little weight keeps latents from growing without need.
        loss = (decoded - pixels).square().mean() + 1e-4 * latents.square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        on_step(step, float(loss.detach()))
    with torch.no_grad():
        some = torch.from_numpy(np.stack([_block(rng, films_u8) for _ in range(512)]))
        raw, _ = vae.encode(some, 0)
        vae.mean, vae.std = raw.mean((0, 2, 3, 4)), raw.std((0, 2, 3, 4))
    return vae.frozen()


def _block(rng: np.random.Generator, films_u8: list[np.ndarray]) -> np.ndarray:
    """[3, 4, H, W] in -1..1: four neighbouring frames, sometimes one frame four times as at a film's start."""
    film = films_u8[int(rng.integers(len(films_u8)))]
    at = int(rng.integers(len(film) - FRAMES_PER_LATENT + 1))
    frames = film[at : at + FRAMES_PER_LATENT] if rng.random() > 0.15 else film[[at] * FRAMES_PER_LATENT]
    return np.moveaxis(frames, -1, 0).astype(np.float32) / 127.5 - 1
