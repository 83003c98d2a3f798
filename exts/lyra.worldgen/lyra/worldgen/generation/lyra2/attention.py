"""Attention over all tokens of a chunk: no mask, so torch's fused kernels do it without holding the score matrix.

Masked or sparse patterns would pay for torch's flex attention; here every token sees every other, and the fused kernels
are the faster ones.
"""

from __future__ import annotations

import torch  # noqa: TID253 - tensors from end to end; the network imports it, nobody else
import torch.nn.functional as F  # noqa: TID253 - as above

from ...core.errors import ConfigError

KERNELS = ("auto", "flash", "cudnn", "efficient", "plain")
"""`auto` leaves the choice to torch, `plain` is the textbook formula, the others are kernels that only CUDA has."""


def check_kernel(kernel: str) -> str:
    """`kernel`; raises `ConfigError` for an unknown name."""
    if kernel not in KERNELS:
        raise ConfigError(f"attention kernel is '{kernel}'; expected one of: {', '.join(KERNELS)}")
    return kernel


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, kernel: str = "auto") -> torch.Tensor:
    """Scaled dot-product attention of heads.

    Args:
        q: [B, L, heads, d]. k, v: [B, M, heads, d].
        kernel: one of `KERNELS`; what only CUDA has is `auto` elsewhere.

    Returns:
        [B, L, heads, d].

    Raises:
        ConfigError: an unknown kernel.
        RuntimeError: torch's, when the chosen kernel cannot run these tensors.
    """
    if check_kernel(kernel) == "plain":
        return attend_plain(q, k, v)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if kernel == "auto" or q.device.type != "cuda":
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
    from torch.nn.attention import SDPBackend, sdpa_kernel

    chosen = {
        "flash": SDPBackend.FLASH_ATTENTION,
        "cudnn": SDPBackend.CUDNN_ATTENTION,
        "efficient": SDPBackend.EFFICIENT_ATTENTION,
    }[kernel]
    with sdpa_kernel(chosen):
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def attend_plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """What `attend` computes, by the formula and in float32; holds L * M scores of every head."""
    scores = torch.einsum("blhd,bmhd->bhlm", q.float(), k.float()) * q.shape[-1] ** -0.5
    return torch.einsum("bhlm,bmhd->blhd", scores.softmax(-1), v.float()).to(q.dtype)


def rotate_pairs(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn neighbouring channels (0, 1), (2, 3), ... of every head.

    Args:
        x: [B, L, heads, d], computed in float32 and returned in its own type.
        cos, sin: [L, d / 2] float32.
    """
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2).to(x.dtype)
