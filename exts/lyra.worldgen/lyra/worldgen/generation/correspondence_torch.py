"""`correspondence` on tensors of any device: the same maps, rays and folding, float32 throughout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.errors import InputError
from ..core.optional import require
from .correspondence import FOLD

if TYPE_CHECKING:
    import torch


def canonical_maps(slots: int, height_px: int, width_px: int, *, device: torch.device | str = "cpu") -> torch.Tensor:
    """[N, 3, H, W]; see `correspondence.canonical_maps`."""
    torch = require("torch", extra="gen")
    maps = torch.zeros((slots, 3, height_px, width_px), device=device)
    maps[:, 0] = torch.linspace(-1, 1, width_px, device=device)
    maps[:, 1] = torch.linspace(-1, 1, height_px, device=device)[:, None]
    if slots > 1:
        maps[:, 2] = torch.linspace(-1, 1, slots, device=device)[:, None, None]
    return maps


def fold_pixels(pixels: torch.Tensor) -> torch.Tensor:
    """[..., C, H, W] to [..., C * 64, H / 8, W / 8]; raises `InputError` where they do not divide."""
    h, w = pixels.shape[-2:]
    if h % FOLD or w % FOLD:
        raise InputError(f"pixels are {w}x{h}; expected multiples of {FOLD}")
    blocks = pixels.unflatten(-1, (-1, FOLD)).unflatten(-3, (-1, FOLD))  # [..., C, rows, 8, columns, 8]
    return blocks.movedim((-3, -1), (-4, -3)).flatten(-5, -3)


def ray_map(intrinsics: torch.Tensor, Ts_ref_cam: torch.Tensor, height_px: int, width_px: int) -> torch.Tensor:
    """[V, H, W, 6] of intrinsics [V, 4] and poses [V, 4, 4]; see `correspondence.ray_map`."""
    torch = require("torch", extra="gen")
    rows = torch.arange(height_px, device=intrinsics.device) + 0.5
    columns = torch.arange(width_px, device=intrinsics.device) + 0.5
    v, u = torch.meshgrid(rows, columns, indexing="ij")
    fx, fy, cx, cy = intrinsics.float().T[:, :, None, None]
    x, y = (u - cx) / fx, (v - cy) / fy
    direction = torch.nn.functional.normalize(torch.stack([x, y, torch.ones_like(x)], -1), dim=-1)
    direction = torch.einsum("vij,vhwj->vhwi", Ts_ref_cam[:, :3, :3].float(), direction)
    return torch.cat([Ts_ref_cam[:, None, None, :3, 3].float().expand_as(direction), direction], -1)


def ray_latents(rays: torch.Tensor) -> torch.Tensor:
    """[V, H, W, 6] to [384, V, H / 8, W / 8]."""
    return fold_pixels(rays.movedim(-1, 1)).movedim(0, 1)
