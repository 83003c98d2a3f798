"""How latents become tokens: the patches of a context layout, one segment after the other (our notes 3.2).

A base patch covers 2 x 2 latent pixels. A segment with kernel k joins k x k of them in space, and k latents in time as
well when it holds history; sizes that do not divide are filled up at the end by repeating the last value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...core.errors import InputError
from ...core.optional import require
from ..context_layout import ContextLayout

if TYPE_CHECKING:
    import torch

PATCH = 2
"""Side of a base patch [latent pixels]."""
MAP_CHANNELS = 256
"""Correspondence of one remembered view: folded x, y, slot and depth."""
SLICE_TOKENS = 8192
"""Tokens of one slice, where each is treated for itself: enough to keep a large device busy."""


@dataclass(frozen=True, kw_only=True)
class TokenGrid:
    """The tokens of one segment."""

    start: int
    stop: int
    """Positions `start` to before `stop` of the chunk."""
    kernel: tuple[int, int, int]
    """Base patches that one token joins, in time, rows and columns."""
    size: tuple[int, int, int]
    """Tokens in time, rows and columns."""
    retrieved: bool
    """Holds remembered views."""

    @property
    def tokens(self) -> int:
        t, rows, columns = self.size
        return t * rows * columns

    @property
    def patch(self) -> tuple[int, int, int]:
        """Latents, rows and columns of latent pixels that one token covers."""
        kt, ky, kx = self.kernel
        return kt, PATCH * ky, PATCH * kx


def kernel_of(kind: str, kernel: int) -> tuple[int, int, int]:
    """Base patches in time, rows and columns of a segment."""
    return (kernel if kind == "k" else 1), kernel, kernel


def token_grids(layout: ContextLayout, h: int, w: int) -> list[TokenGrid]:
    """The segments of the context in order, then the one to generate.

    Args:
        layout: what the context holds.
        h, w: size of a latent.

    Raises:
        InputError: `h` or `w` is odd.
    """
    if h % PATCH or w % PATCH or h < PATCH or w < PATCH:
        raise InputError(f"latents are {w}x{h}; expected even sizes, that is pictures of a multiple of 16 pixels")
    parts = [(s.count, kernel_of(s.kind, s.kernel), s.kind == "s") for s in layout.segments]
    grids, start = [], 0
    for count, kernel, retrieved in [*parts, (layout.new_latents, (1, 1, 1), False)]:
        whole = (count, h // PATCH, w // PATCH)
        t, rows, columns = (-(-n // k) for n, k in zip(whole, kernel, strict=True))
        size = (t, rows, columns)
        grids.append(TokenGrid(start=start, stop=start + count, kernel=kernel, size=size, retrieved=retrieved))
        start += count
    return grids


def token_count(layout: ContextLayout, h: int, w: int) -> int:
    """Tokens of one pass; raises `InputError` as `token_grids` does."""
    return sum(grid.tokens for grid in token_grids(layout, h, w))


def filled_up(x: torch.Tensor, multiples: tuple[int, int, int]) -> torch.Tensor:
    """[..., T, H, W] with each of the three sizes brought up to a multiple by repeating the last value."""
    for axis, multiple in zip((-3, -2, -1), multiples, strict=True):
        missing = -x.shape[axis] % multiple
        if missing:
            last = x.narrow(axis, x.shape[axis] - 1, 1)
            shape = list(last.shape)
            shape[axis] = missing
            x = require("torch", extra="gen").cat([x, last.expand(shape)], axis)
    return x


def fold(x: torch.Tensor, patch: tuple[int, int, int]) -> torch.Tensor:
    """[B, C, T, H, W] to [B, T / pt, H / ph, W / pw, C * pt * ph * pw], in the order (c, t, row, column).

    Sizes divide.
    """
    b, c, t, h, w = x.shape
    pt, ph, pw = patch
    x = x.reshape(b, c, t // pt, pt, h // ph, ph, w // pw, pw)
    return x.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(b, t // pt, h // ph, w // pw, c * pt * ph * pw)


def unfold(tokens: torch.Tensor, size: tuple[int, int, int], channels: int) -> torch.Tensor:
    """[B, L, 2 * 2 * C] in the order (row, column, c) to [B, C, T, H, W]: what the head writes, base patches only."""
    t, rows, columns = size
    x = tokens.reshape(-1, t, rows, columns, PATCH, PATCH, channels)
    return x.permute(0, 6, 1, 2, 4, 3, 5).reshape(-1, channels, t, PATCH * rows, PATCH * columns)


def averaged(x: torch.Tensor, kernel: tuple[int, int, int]) -> torch.Tensor:
    """[..., C, T, H, W] filled up and averaged over blocks."""
    if kernel == (1, 1, 1):
        return x
    # Averages of rotary angles depend on the order of the sum; this one equals the reference's bit for bit.
    return require("torch.nn.functional", extra="gen").avg_pool3d(filled_up(x, kernel), kernel)


def patch_tokens(x: torch.Tensor, grid: TokenGrid) -> torch.Tensor:
    """[B, C, T, h, w] of all positions to the flat patches [B, L, C * patch] of one segment."""
    patch = grid.patch
    return fold(filled_up(x[:, :, grid.start : grid.stop], patch), patch).flatten(1, 3)


def averaged_tokens(x: torch.Tensor, grid: TokenGrid) -> torch.Tensor:
    """[B, C, T, h, w] to [B, L, C * 4]: base patches, averaged over those that a token joins."""
    base = fold(x[:, :, grid.start : grid.stop], (1, PATCH, PATCH)).movedim(-1, 1)
    return averaged(base, grid.kernel).movedim(1, -1).flatten(1, 3)


def shrunk_tokens(x: torch.Tensor, grid: TokenGrid) -> torch.Tensor:
    """[B, C, T, h, w] to [B, L, C * 4]: latents averaged over the kernel, then cut into base patches."""
    patch = (1, PATCH, PATCH)
    return fold(filled_up(averaged(x[:, :, grid.start : grid.stop], grid.kernel), patch), patch).flatten(1, 3)
