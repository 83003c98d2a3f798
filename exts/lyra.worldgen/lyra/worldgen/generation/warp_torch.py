"""Fast forward warp of remembered views into many cameras: `warp.forward_warp` on tensors.

On CUDA the splats are scattered with `index_add_`; on a processor a compiled loop does it, one target per thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import InputError
from ..core.machine import map_threads
from ..core.optional import require
from .warp import FAR_DEPTH, RELIABLE_RANGE

if TYPE_CHECKING:
    import torch


def warp_views(
    images: torch.Tensor,
    depths_z: torch.Tensor,
    ws2c: torch.Tensor,
    Ks: torch.Tensor,
    targets_w2c: torch.Tensor,
    targets_K: torch.Tensor,
    *,
    reliable_only: bool = True,
    hole_value: float = -1.0,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Warp V source views into each of T target cameras; the sources of one target are accumulated.

    The sharpness of the soft z-buffer depends on the largest depth of the whole call, as in the reference: targets that
    must agree with it bit for bit are to be given in its groups of 16.

    Args:
        images: [V, C, H, W] float32 on any device; everything else on the same.
        depths_z: [V, H, W]; values <= 0 mark missing pixels; NaN counts as far, as in the reference.
        ws2c: [V, 4, 4]. Ks: [V, 3, 3], pixel centres at integers.
        targets_w2c: [T, 4, 4]. targets_K: [T, 3, 3].
        reliable_only: leave out source pixels on depth edges.
        hole_value: what unseen pixels hold.

    Returns:
        images [T, C, H, W] float32, seen [T, H, W] bool, depth_z [T, H, W] float32 (0 where unseen).

    Raises:
        InputError: shapes disagree.
        DependencyError: numba is not installed (processor only).
    """
    torch = require("torch", extra="gen")
    v, c, h, w = images.shape
    t = len(targets_w2c)
    for name, given, shape in (
        ("depths_z", depths_z, (v, h, w)),
        ("ws2c", ws2c, (v, 4, 4)),
        ("Ks", Ks, (v, 3, 3)),
        ("targets_w2c", targets_w2c, (t, 4, 4)),
        ("targets_K", targets_K, (t, 3, 3)),
    ):
        if tuple(given.shape) != shape:
            raise InputError(f"{name} has shape {tuple(given.shape)}; expected {shape}")
    depths = torch.nan_to_num(depths_z.float(), nan=FAR_DEPTH, posinf=FAR_DEPTH, neginf=0.0).clamp(0.0, FAR_DEPTH)
    mask = depths > 0
    if reliable_only:
        mask &= reliable_mask(depths)
    points = torch.where(mask[..., None], unproject(depths, ws2c.float(), Ks.float()), 0.0)
    scatter = _on_processor if images.device.type == "cpu" else _on_device
    total = scatter(
        points.reshape(-1, 3),
        images.float().permute(0, 2, 3, 1).reshape(-1, c),
        mask.reshape(-1),
        targets_w2c.float(),
        targets_K.float(),
        (h, w),
    ).reshape(t, h + 2, w + 2, c + 2)[:, 1:-1, 1:-1]
    weight = total[..., -1]
    seen = weight > 0
    mean = total[..., :-1] / torch.where(seen, weight, 1.0)[..., None]
    image = torch.where(seen[..., None], mean[..., :c], hole_value).permute(0, 3, 1, 2)
    return image.contiguous(), seen, torch.where(seen, mean[..., c], 0.0)


def reliable_mask(depths_z: torch.Tensor, *, threshold: float = RELIABLE_RANGE, window: int = 5) -> torch.Tensor:
    """[V, H, W] bool; see `warp.reliable_mask`."""
    torch = require("torch", extra="gen")
    pool, pad = torch.nn.functional, window // 2
    x = depths_z[:, None]
    high = pool.max_pool2d(x, window, stride=1, padding=pad)
    low = -pool.max_pool2d(-x, window, stride=1, padding=pad)
    mean = pool.avg_pool2d(x, window, stride=1, padding=pad)
    return ((high - low) / (mean + 1e-6) < threshold)[:, 0]


def unproject(depths_z: torch.Tensor, ws2c: torch.Tensor, Ks: torch.Tensor) -> torch.Tensor:
    """World points [V, H, W, 3] of depths [V, H, W] at integer pixel centres."""
    torch = require("torch", extra="gen")
    _, h, w = depths_z.shape
    rows, columns = (torch.arange(n, device=depths_z.device) for n in (h, w))
    v, u = torch.meshgrid(rows, columns, indexing="ij")
    rays = torch.stack([u, v, torch.ones_like(u)], -1).float() @ torch.linalg.inv(Ks)[:, None].mT
    Ts = torch.linalg.inv(ws2c)
    return (rays * depths_z[..., None]) @ Ts[:, None, :3, :3].mT + Ts[:, None, None, :3, 3]


def _on_processor(
    points: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor,
    targets_w2c: torch.Tensor,
    targets_K: torch.Tensor,
    hw: tuple[int, int],
) -> torch.Tensor:
    torch = require("torch", extra="gen")
    require("numba", extra="gen")
    from . import warp_numba

    every, kept = points.numpy(), points[mask].numpy()
    colours = values[mask].numpy()
    cameras = list(zip(targets_w2c.numpy(), targets_K.numpy(), strict=True))
    h, w = hw
    log_max = np.log1p(max((float(warp_numba.largest_depth(every, *camera)) for camera in cameras), default=0.0))
    total = torch.zeros((len(cameras), (h + 2) * (w + 2), colours.shape[1] + 2))
    sums = total.numpy()

    def draw(k: int) -> None:
        warp_numba.splat(kept, colours, *cameras[k], log_max, h, w, sums[k])

    for _ in map_threads(draw, range(len(cameras))):
        pass
    return total


def _on_device(
    points: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor,
    targets_w2c: torch.Tensor,
    targets_K: torch.Tensor,
    hw: tuple[int, int],
) -> torch.Tensor:
    torch = require("torch", extra="gen")
    h, w = hw
    largest = torch.zeros((), device=points.device)
    for w2c, K in zip(targets_w2c, targets_K, strict=True):
        M = K @ w2c[:3]
        largest = torch.maximum(largest, (points @ M[2, :3] + M[2, 3]).max())
    log_max = torch.log1p(largest)
    points, values = points[mask], values[mask]
    total = torch.zeros((len(targets_w2c), (h + 2) * (w + 2), values.shape[1] + 2), device=points.device)
    for w2c, K, sums in zip(targets_w2c, targets_K, total, strict=True):
        pix = (points @ w2c[:3, :3].T + w2c[:3, 3]) @ K.T
        z = pix[:, 2]
        front = z > 0
        pix, z, colour = pix[front], z[front], values[front]
        u = (pix[:, 0] / (z + 1e-7) + 1).clamp(0, w + 1)
        v = (pix[:, 1] / (z + 1e-7) + 1).clamp(0, h + 1)
        near = 1 / (torch.exp((50 * torch.log1p(z) / (log_max + 1e-7)).clamp(max=80)) + 1e-7)
        row = torch.cat([colour, z[:, None], torch.ones_like(z)[:, None]], 1)
        for x in (u.floor(), u.ceil()):
            for y in (v.floor(), v.ceil()):
                weight = (1 - (u - x).abs()) * (1 - (v - y).abs()) * near
                sums.index_add_(0, (y * (w + 2) + x).long(), row * weight[:, None])
    return total
