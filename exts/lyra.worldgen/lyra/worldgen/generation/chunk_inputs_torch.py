"""`chunk_inputs.assemble_chunk` on tensors: warps, rays and folding happen where the network and its encoder are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError
from ..core.optional import require
from .chunk_inputs import (
    WARPED_TOGETHER,
    ChunkCameras,
    RetrievedView,
    Warp,
    chunk_cameras,
    distinct_views,
)
from .context_layout import FRAMES_PER_LATENT, ContextLayout
from .correspondence import HOLE
from .correspondence_torch import canonical_maps, fold_pixels, ray_latents, ray_map
from .warp_torch import warp_views

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class ChunkTensors:
    """Fields and shapes of `ChunkInputs`, all on one device; the warped last frame is not kept."""

    latents: torch.Tensor
    cond: torch.Tensor
    mask: torch.Tensor
    buffer: torch.Tensor
    buffer_valid: torch.Tensor


def assemble_chunk(
    layout: ContextLayout,
    *,
    first_frame: torch.Tensor,
    last_frame: torch.Tensor,
    last_depth_z: torch.Tensor,
    history_latents: torch.Tensor,
    window_w2c: np.ndarray,
    K_px: np.ndarray,
    retrieved: Sequence[RetrievedView],
    encode: Callable[[torch.Tensor], torch.Tensor],
) -> ChunkTensors:
    """Put the context of one chunk together on the device of `last_frame`; arguments as for the NumPy version.

    Everything of the size of frames is worked on in groups of 16 of them, so that five views of a released chunk need
    less than a gigabyte beside the result.

    Raises:
        InputError: shapes disagree.
        ConfigError: there is less history than the layout needs.
        DependencyError: torch or numba is missing.
    """
    torch = require("torch", extra="gen")
    device = last_frame.device
    _, h, w = first_frame.shape
    views = distinct_views(layout, retrieved)
    cameras = chunk_cameras(layout, views, window_w2c, K_px, history_latents=history_latents.shape[1])
    warp = _Warp(cameras, device)

    pictures = [first_frame] * (len(layout.spatial_positions) - len(views))
    pictures += [torch.from_numpy(np.ascontiguousarray(view.rgb)).to(device) for view in views]
    context = history_latents.new_zeros((len(history_latents), layout.total_latents, *history_latents.shape[2:]))
    context[:, layout.temporal_positions] = history_latents[:, layout.history_for(history_latents.shape[1])]
    for position, picture in zip(layout.spatial_positions, pictures, strict=True):
        context[:, position] = encode(picture[:, None])[:, 0]

    shown = [
        picture.movedim(0, 1).clamp(-1, 1)
        for picture, _ in warp(last_frame, last_depth_z, cameras.last_w2c, cameras.last_K)
    ]
    warped = torch.cat([shown[0][:, :1], *shown], 1)
    tail = encode(warped)[:, 1:]
    if tail.shape[1] != layout.new_latents:
        raise InputError(f"encode gave {tail.shape[1] + 1} latents for {warped.shape[1]} frames")
    cond = torch.cat([context[:, : layout.context_latents], tail], 1)
    rays = torch.cat(
        [
            ray_latents(ray_map(_on(device, K[None]), _on(device, T[None]), h, w))
            for K, T in zip(cameras.intrinsics, cameras.Ts_last_cam, strict=True)
        ],
        1,
    )
    buffer, valid = _buffer(layout, views, cameras, warp, (h, w), device)
    return ChunkTensors(
        latents=context,
        cond=torch.cat([cond.float(), rays]),
        mask=context.new_ones((4, *context.shape[1:])),
        buffer=buffer,
        buffer_valid=valid,
    )


def warp_on(device: Any, *, reliable_only: bool = True) -> Warp:
    """`Warp` by `warp_torch.warp_views` on a torch device.

    Args:
        device: where it is computed.
        reliable_only: leave out pixels on depth edges, as the reference does; in very small pictures every slanted
            surface looks like an edge.

    Raises:
        DependencyError: torch is missing, or numba for the processor.
    """
    torch = require("torch", extra="gen")

    def warp(
        image: np.ndarray,
        depth_z: np.ndarray,
        w2c: np.ndarray,
        K_px: np.ndarray,
        targets_w2c: np.ndarray,
        targets_K: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        arrays = (image[None], depth_z[None], w2c[None], K_px[None], targets_w2c, targets_K)
        pictures, _, depths = warp_views(
            *(torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device) for array in arrays),
            reliable_only=reliable_only,
        )
        return pictures.permute(0, 2, 3, 1).cpu().numpy(), depths.cpu().numpy()

    return warp


class _Warp:
    """Warps single pictures into all new cameras of a chunk, group by group."""

    def __init__(self, cameras: ChunkCameras, device: torch.device) -> None:
        self._targets = (_on(device, cameras.new_w2c), _on(device, cameras.new_K))
        self._device = device

    def __call__(
        self, image: torch.Tensor, depth_z: torch.Tensor, w2c: np.ndarray, K: np.ndarray
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Pictures [16, C, H, W] (holes -1) and depths [16, H, W] (holes 0) of one group after the other."""
        source = (image[None], depth_z[None], _on(self._device, w2c[None]), _on(self._device, K[None]))
        for w2cs, Ks in zip(*(target.split(WARPED_TOGETHER) for target in self._targets), strict=True):
            pictures, _, depths = warp_views(*source, w2cs, Ks)
            yield pictures, depths


def _buffer(
    layout: ContextLayout,
    views: list[RetrievedView],
    cameras: ChunkCameras,
    warp: _Warp,
    hw: tuple[int, int],
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    torch = require("torch", extra="gen")
    slots, h, w = len(layout.spatial_positions), *hw
    maps = canonical_maps(slots, h, w, device=device)
    channels = fold_pixels(maps.new_zeros((4, h, w))).shape[0]
    buffer = maps.new_zeros((slots, channels, layout.total_latents, h // 8, w // 8))
    valid = torch.zeros(layout.total_latents, dtype=torch.bool, device=device)
    for slot, position in enumerate(layout.spatial_positions):
        for k in range(slots):
            depth = maps.new_full((1, h, w), -1.0 if k == 0 else 1.0)
            buffer[k, :, position] = fold_pixels(torch.cat([maps[slot], depth]))
        valid[position] = True
    new = slice(layout.context_latents, None)
    valid[new] = slots > 0
    low, high = maps.new_full((), torch.inf), maps.new_full((), -torch.inf)
    kept = []
    # Best first: the last view sits in the last slot.
    for slot, view in zip(range(slots - 1, -1, -1), reversed(views), strict=False):
        K = cameras.last_K if view.K_px is None else view.K_px
        depth_z = torch.from_numpy(np.ascontiguousarray(view.depth_z)).to(device)
        parts = []
        for picture, depth in warp(maps[slot], depth_z, view.w2c, K):
            low, high = torch.minimum(low, depth.min()), torch.maximum(high, depth.max())
            last = slice(FRAMES_PER_LATENT - 1, None, FRAMES_PER_LATENT)
            parts.append(torch.cat([picture[last].clamp(-1, 1), depth[last, None]], 1))
        kept.append(torch.cat(parts))
    for k in range(slots):
        if k < len(kept):
            coordinates = kept[k]
            coordinates[:, 3] = (coordinates[:, 3] - low) / (high - low).clamp(min=1e-6) * 2 - 1
        else:
            coordinates = maps.new_tensor(HOLE)[:, None, None].expand(layout.new_latents, 4, h, w)
        buffer[k, :, new] = fold_pixels(coordinates).movedim(0, 1)
    return buffer.flatten(0, 1), valid


def _on(device: torch.device, array: np.ndarray) -> torch.Tensor:
    torch = require("torch", extra="gen")
    return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)
