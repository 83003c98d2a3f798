"""Random numbers that depend on what they are drawn for and on nothing else: not on order, company or device."""

from __future__ import annotations

import torch  # noqa: TID253 this module is about tensors


def hashed_uniform(seed: int, env: torch.Tensor, drive: torch.Tensor, salt: int) -> torch.Tensor:
    """[n] float32 in [0, 1) that look random and depend on the arguments only, on every device."""
    x = _mixed(torch.full_like(env, seed, dtype=torch.long) + salt * 0x9E3779B9)
    x = _mixed(x + env.long() * 0x2545F491)
    x = _mixed(x + drive.long() * 0x5851F42D)
    return ((x >> 40) & 0xFFFFFF).to(torch.float32) / float(1 << 24)


def _mixed(x: torch.Tensor) -> torch.Tensor:
    """Finaliser of SplitMix64 in wrapping 64-bit integers: Steele et al., "Fast splittable pseudorandom number
    generators", 2014."""
    x = x + -7046029254386353131
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * -4658895280553007687
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    return x ^ ((x >> 31) & 0x1FFFFFFFF)
