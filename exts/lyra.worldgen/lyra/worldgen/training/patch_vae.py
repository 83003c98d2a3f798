"""A linear video autoencoder for experiments: the best 16 numbers for 4 frames x 8 x 8 pixels, fitted in a second.

Same face as `generation.lyra2.vae_stream.StreamingVae` (pieces with caches, 1 + 4 m frames, an eighth of the size). It
projects onto the principal components of the films it was fitted to: what was decoded is encoded to the same latents
again, so that whatever drifts over many chunks is the network's doing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.arrays import expect_shape
from ..core.errors import InputError
from ..core.files import write_bytes
from ..core.optional import require
from ..generation.context_layout import FRAMES_PER_LATENT
from ..generation.correspondence import FOLD

if TYPE_CHECKING:
    import torch

FORMAT = "lyra.worldgen patch autoencoder 1"
LATENT_CHANNELS = 16
BLOCK = 3 * FRAMES_PER_LATENT * FOLD * FOLD
"""Numbers that one latent cell stands for."""
MAX_BLOCKS = 200_000
"""Blocks that a fit looks at; more of them change nothing."""


class PatchVae:
    """Projection onto a few orthogonal patterns.

    Args:
        patterns: [16, 768] float32 orthonormal rows; numbers of a block in the order (channel, frame, row, column).
        mean: [768] float32 block that is taken off first.
        std: [16] float32 size of each latent.
    """

    def __init__(self, patterns: np.ndarray, mean: np.ndarray, std: np.ndarray) -> None:
        torch = require("torch", extra="train")
        expect_shape("patterns", patterns, (LATENT_CHANNELS, BLOCK))
        expect_shape("mean", mean, (BLOCK,))
        expect_shape("std", std, (LATENT_CHANNELS,))
        off = np.abs(patterns @ patterns.T - np.eye(LATENT_CHANNELS)).max()
        if not off < 1e-3 or not (std > 0).all():
            raise InputError(f"patterns are off orthonormal by {off:.1g}, or a latent has no size; fit them again")
        self.patterns, self.mean, self.std = (torch.from_numpy(x.astype(np.float32)) for x in (patterns, mean, std))

    @property
    def latent_channels(self) -> int:
        return LATENT_CHANNELS

    def encode(self, video: torch.Tensor, cache: int | None = None) -> tuple[torch.Tensor, int]:
        """Latents of the next frames, and the cache after them: how many latents have passed.

        Args:
            video: [B, 3, T, H, W] in -1..1; T is 1 + 4 m at the start of a clip and 4 m after that.
            cache: None at the start of a clip.

        Raises:
            InputError: T or the size does not fit.
        """
        torch = require("torch", extra="train")
        b, c, t, h, w = video.shape
        first = cache is None
        if c != 3 or h % FOLD or w % FOLD or t < 1 or (t - first) % FRAMES_PER_LATENT:
            raise InputError(f"video has shape {tuple(video.shape)}; expected (batch, 3, 1 + 4 m, 8 h, 8 w)")
        if first:  # the first frame has a latent of its own
            video = torch.cat([video[:, :, :1].expand(-1, -1, FRAMES_PER_LATENT - 1, -1, -1), video], 2)
        m, rows, columns = video.shape[2] // FRAMES_PER_LATENT, h // FOLD, w // FOLD
        blocks = video.reshape(b, 3, m, FRAMES_PER_LATENT, rows, FOLD, columns, FOLD)
        blocks = blocks.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(b, m, rows, columns, BLOCK)
        latents = (blocks - self.mean) @ self.patterns.T / self.std
        return latents.permute(0, 4, 1, 2, 3), (cache or 0) + m

    def decode(self, latents: torch.Tensor, cache: int | None = None) -> tuple[torch.Tensor, int]:
        """Frames [B, 3, T, 8 h, 8 w] of the next latents [B, 16, m, h, w], and the cache; values may leave -1..1."""
        b, _, m, rows, columns = latents.shape
        blocks = latents.permute(0, 2, 3, 4, 1) * self.std @ self.patterns + self.mean
        blocks = blocks.reshape(b, m, rows, columns, 3, FRAMES_PER_LATENT, FOLD, FOLD).permute(0, 4, 1, 5, 2, 6, 3, 7)
        video = blocks.reshape(b, 3, m * FRAMES_PER_LATENT, rows * FOLD, columns * FOLD)
        return (video if cache is not None else video[:, :, FRAMES_PER_LATENT - 1 :]), (cache or 0) + m

    def to(self, device: object) -> PatchVae:
        """Moves itself."""
        self.patterns, self.mean, self.std = (x.to(device) for x in (self.patterns, self.mean, self.std))
        return self

    def save(self, path: Path) -> None:
        """Write safetensors; raises `InputError` where that is impossible."""
        save = require("safetensors.torch", extra="train").save
        tensors = {name: getattr(self, name).cpu() for name in ("patterns", "mean", "std")}
        write_bytes(path, save(tensors, {"format": FORMAT}))

    @classmethod
    def load(cls, path: Path) -> PatchVae:
        """Read what `save` wrote; raises `InputError` if the file is missing or holds something else."""
        safetensors = require("safetensors", extra="train")
        try:
            with safetensors.safe_open(path, "np") as file:
                if (file.metadata() or {}).get("format") != FORMAT:
                    raise InputError(f"this is no autoencoder that train-painter fitted: {path}")
                return cls(*(file.get_tensor(name) for name in ("patterns", "mean", "std")))
        except (OSError, safetensors.SafetensorError) as error:
            raise InputError(f"cannot read the autoencoder ({type(error).__name__}): {path}") from error


def fit_patch_vae(films_u8: Sequence[np.ndarray]) -> PatchVae:
    """The autoencoder that loses least of some films [T, H, W, 3] with T >= 4; latents have variance 1 on average.

    Raises:
        InputError: there are fewer blocks than patterns.
    """
    blocks = []
    for film in films_u8:
        t, h, w, _ = film.shape
        m = t // FRAMES_PER_LATENT
        cut = film[: m * FRAMES_PER_LATENT, : h // FOLD * FOLD, : w // FOLD * FOLD]
        # A film begins with a latent of one frame four times.
        cut = np.concatenate([np.repeat(cut[:1], FRAMES_PER_LATENT, 0), cut]).astype(np.float32) / 127.5 - 1
        part = cut.reshape(m + 1, FRAMES_PER_LATENT, h // FOLD, FOLD, w // FOLD, FOLD, 3)
        blocks.append(part.transpose(0, 2, 4, 6, 1, 3, 5).reshape(-1, BLOCK))
    data = np.concatenate([np.zeros((0, BLOCK), np.float32), *blocks])
    if len(data) < 2 * LATENT_CHANNELS:
        raise InputError(f"the films hold {len(data)} blocks of 4 x 8 x 8; expected at least {2 * LATENT_CHANNELS}")
    data = data[:: -(-len(data) // MAX_BLOCKS)]
    mean = data.mean(0, dtype=np.float64)
    centred = data - mean.astype(np.float32)
    spread, patterns = np.linalg.eigh(centred.T @ centred / len(data))
    order = np.argsort(spread)[::-1][:LATENT_CHANNELS]
    # One size for all keeps distances: an error of latents is as large as the error of the pixels.
    size = np.full(LATENT_CHANNELS, np.sqrt(max(float(spread[order].mean()), 1e-6)), np.float32)
    return PatchVae(patterns[:, order].T.astype(np.float32), mean.astype(np.float32), size)
