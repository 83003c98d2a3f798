"""What the backbone is told about geometry: correspondence maps and rays (our notes on Lyra 2.0, 2.6, 2.7 and 3.4).

A retrieved view is not shown to the generator as colour but as *where each of its pixels lands*: its canonical map
(x, y and the number of its slot) is warped to the new cameras and folded to the resolution of the latents.
"""

from __future__ import annotations

import numpy as np

from ..core.arrays import expect_shape
from ..core.errors import InputError

FOLD = 8
"""Pixels per latent pixel, in both directions."""
HOLE = (-1.0, -1.0, -1.0, 1.0)
"""x, y, slot and depth where a slot holds no view."""


def canonical_maps(slots: int, height_px: int, width_px: int) -> np.ndarray:
    """[N, 3, H, W] float32: x and y from corner to corner and the slot's own number, all in -1..1 (one slot: 0)."""
    x = np.linspace(-1, 1, width_px, dtype=np.float32)
    y = np.linspace(-1, 1, height_px, dtype=np.float32)
    z = np.linspace(-1, 1, slots, dtype=np.float32) if slots > 1 else np.zeros(slots, np.float32)
    maps = np.empty((slots, 3, height_px, width_px), np.float32)
    maps[:, 0], maps[:, 1], maps[:, 2] = x, y[:, None], z[:, None, None]
    return maps


def fold_pixels(pixels: np.ndarray) -> np.ndarray:
    """[..., C, H, W] to [..., C * 64, H / 8, W / 8], channels in the order (c, row in the block, column in the block).

    Raises:
        InputError: height or width is no multiple of 8.
    """
    *lead, c, h, w = pixels.shape
    if h % FOLD or w % FOLD:
        raise InputError(f"pixels are {w}x{h}; expected multiples of {FOLD}")
    blocks = pixels.reshape(*lead, c, h // FOLD, FOLD, w // FOLD, FOLD)
    n = len(lead)
    order = [*range(n), n, n + 2, n + 4, n + 1, n + 3]
    return blocks.transpose(order).reshape(*lead, c * FOLD * FOLD, h // FOLD, w // FOLD)


def coordinate_latents(coordinates: np.ndarray) -> np.ndarray:
    """[4, F, H, W] to [256, F / 4, H / 8, W / 8]: the last frame of every latent, folded."""
    expect_shape("coordinates", coordinates, (4, None, None, None))
    return np.moveaxis(fold_pixels(np.moveaxis(coordinates[:, 3::4], 0, 1)), 0, 1)


def scale_depth(depths_z: np.ndarray) -> np.ndarray:
    """Warped depths of all slots, frames and pixels of a sample (holes 0), scaled together to -1..1."""
    low, high = float(depths_z.min()), float(depths_z.max())
    return ((depths_z - low) / max(high - low, 1e-6) * 2 - 1).astype(np.float32)


def sincos(values: np.ndarray, *, octaves: int = 2) -> np.ndarray:
    """[..., C] to [..., 2 * octaves * C]: sin(pi x), cos(pi x), sin(2 pi x), cos(2 pi x), each a whole group."""
    parts = []
    for k in range(octaves):
        angle = values * np.float32(np.pi * 2**k)
        parts += [np.sin(angle), np.cos(angle)]
    return np.concatenate(parts, -1)


def ray_map(K_px: np.ndarray, T_ref_cam: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """[V, H, W, 6] float32: camera centre and unit direction of every pixel, in the reference camera's frame.

    Args:
        K_px: [V, 4] fx, fy, cx, cy with pixel centres at +0.5.
        T_ref_cam: [V, 4, 4] pose of each camera relative to the last history camera.
        height_px, width_px: size of the picture.
    """
    expect_shape("T_ref_cam", T_ref_cam, (len(K_px), 4, 4))
    u, v = np.meshgrid(np.arange(width_px) + 0.5, np.arange(height_px) + 0.5)
    fx, fy, cx, cy = (K_px[:, i, None, None] for i in range(4))
    direction = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones((len(K_px), height_px, width_px))], -1)
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    direction = direction @ T_ref_cam[:, None, :3, :3].transpose(0, 1, 3, 2)
    origin = np.broadcast_to(T_ref_cam[:, None, None, :3, 3], direction.shape)
    return np.concatenate([origin, direction], -1).astype(np.float32)


def ray_latents(rays: np.ndarray) -> np.ndarray:
    """[V, H, W, 6] to [384, V, H / 8, W / 8]."""
    expect_shape("rays", rays, (None, None, None, 6))
    return np.moveaxis(fold_pixels(np.moveaxis(rays, -1, 1)), 0, 1)


def ray_tokens(latents: np.ndarray) -> np.ndarray:
    """[384, V, h, w] to [tokens, 1536]: blocks of 2 x 2, channels (c, row, column); zeros fill odd edges."""
    c, v, h, w = latents.shape
    padded = np.pad(latents, [(0, 0), (0, 0), (0, h % 2), (0, w % 2)])
    blocks = padded.reshape(c, v, (h + 1) // 2, 2, (w + 1) // 2, 2)
    return blocks.transpose(1, 2, 4, 0, 3, 5).reshape(-1, 4 * c)
