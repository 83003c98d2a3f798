"""Everything the backbone is given for one chunk of new frames (our notes on Lyra 2.0, 2.5 to 2.8)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.arrays import expect_shape
from ..core.errors import InputError
from .context_layout import FRAMES_PER_LATENT, ContextLayout
from .correspondence import HOLE, canonical_maps, coordinate_latents, fold_pixels, ray_latents, ray_map, scale_depth
from .warp import forward_warp_many

Encode = Callable[[np.ndarray], np.ndarray]
"""[3, T, H, W] in -1..1 to latents [16, 1 + (T - 1) / 4, h, w], from scratch."""
Warp = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""One picture [C, H, W] with depth [H, W], w2c [4, 4] and K [3, 3] into cameras [T, 4, 4], [T, 3, 3] that share one
call: pictures [T, H, W, C] with holes -1, and depths [T, H, W] with holes 0."""
MASK_CHANNELS = 4
WARPED_TOGETHER = 16
"""Targets that share one call of the warp, as in the released configuration."""


@dataclass(frozen=True, kw_only=True)
class RetrievedView:
    """A remembered view that was picked for this chunk."""

    frame_id: int
    rgb: np.ndarray
    """[3, H, W] float32 in -1..1."""
    depth_z: np.ndarray
    """[H, W] float32."""
    w2c: np.ndarray
    """[4, 4]."""
    K_px: np.ndarray | None = None
    """[3, 3]; None where all cameras of the chunk share theirs."""


@dataclass(frozen=True, kw_only=True)
class ChunkCameras:
    """Where everything in a chunk was seen from, and is going to be."""

    last_w2c: np.ndarray
    """[4, 4] of the last history frame."""
    last_K: np.ndarray
    """[3, 3] of it."""
    new_w2c: np.ndarray
    """[new frames, 4, 4]."""
    new_K: np.ndarray
    """[new frames, 3, 3]."""
    Ts_last_cam: np.ndarray
    """[T, 4, 4] pose of every latent's camera relative to the last history camera."""
    intrinsics: np.ndarray
    """[T, 4] fx, fy, cx, cy of it."""


@dataclass(frozen=True, kw_only=True)
class ChunkInputs:
    """Inputs of one chunk; T is the layout's number of latents, h and w are an eighth of the picture."""

    latents: np.ndarray
    """[16, T, h, w] context, zeros where latents are to be generated."""
    cond: np.ndarray
    """[16 + 384, T, h, w]: context and warped last frame, then rays."""
    mask: np.ndarray
    """[4, T, h, w], ones."""
    buffer: np.ndarray
    """[256 * slots, T, h, w] correspondence maps."""
    buffer_valid: np.ndarray
    """[T] bool: positions whose correspondence means something."""
    warped_last: np.ndarray
    """[3, new frames, H, W]: the last history frame seen from the new cameras."""


@dataclass(frozen=True, kw_only=True)
class ChunkGeometry:
    """What of a chunk's inputs follows from cameras and depth alone."""

    rays: np.ndarray
    """[384, T, h, w]."""
    buffer: np.ndarray
    """[256 * slots, T, h, w]."""
    buffer_valid: np.ndarray
    """[T] bool."""


def chunk_geometry(
    layout: ContextLayout,
    views: Sequence[RetrievedView],
    cameras: ChunkCameras,
    hw: tuple[int, int],
    warp: Warp,
) -> ChunkGeometry:
    """Rays and correspondence of a chunk.

    Args:
        layout: what the context holds.
        views: see `distinct_views`. cameras: see `chunk_cameras`.
        hw: size of the frames.
        warp: how pictures are warped.
    """
    rays = ray_latents(ray_map(cameras.intrinsics, cameras.Ts_last_cam, *hw))
    buffer, valid = _buffer(layout, list(views), cameras, hw, warp)
    return ChunkGeometry(rays=rays, buffer=buffer, buffer_valid=valid)


def assemble_chunk(
    layout: ContextLayout,
    *,
    first_frame: np.ndarray,
    last_frame: np.ndarray,
    last_depth_z: np.ndarray,
    history_latents: np.ndarray,
    window_w2c: np.ndarray,
    K_px: np.ndarray,
    retrieved: Sequence[RetrievedView],
    encode: Encode,
    warp: Warp | None = None,
    geometry: ChunkGeometry | None = None,
) -> ChunkInputs:
    """Put the context of one chunk together.

    Args:
        layout: what the context holds and how many latents are new.
        first_frame, last_frame: [3, H, W] float32 in -1..1, of the window and of its history.
        last_depth_z: [H, W] depth of the last history frame.
        history_latents: [16, L, h, w].
        window_w2c: [1 + 4 (L - 1) + new frames, 4, 4] cameras of the window, repeated first frames included.
        K_px: [3, 3] shared by all, or [as many as window_w2c, 3, 3].
        retrieved: picks, best last; the same frame counts once, and only as many as the layout has room for.
        encode: the video encoder.
        warp: how pictures are warped; by the reference when None, which is slow.
        geometry: of the same cameras, depths and picks, where it is known from before.

    Raises:
        InputError: shapes disagree.
        ConfigError: there is less history than the layout needs.
    """
    c, frames_h, frames_w = first_frame.shape
    expect_shape("last_frame", last_frame, (c, frames_h, frames_w))
    expect_shape("last_depth_z", last_depth_z, (frames_h, frames_w))
    views = distinct_views(layout, retrieved)
    cameras = chunk_cameras(layout, views, window_w2c, K_px, history_latents=history_latents.shape[1])

    pictures = [first_frame] * (len(layout.spatial_positions) - len(views)) + [view.rgb for view in views]
    spatial = [encode(picture[:, None]) for picture in pictures]
    context = np.zeros((len(history_latents), layout.total_latents, *history_latents.shape[2:]), np.float32)
    context[:, layout.temporal_positions] = history_latents[:, layout.history_for(history_latents.shape[1])]
    for position, latent in zip(layout.spatial_positions, spatial, strict=True):
        context[:, position] = latent[:, 0]

    warp = reference_warp if warp is None else warp
    warped, _ = _warped(
        warp, last_frame, last_depth_z, cameras.last_w2c, cameras.last_K, cameras.new_w2c, cameras.new_K
    )
    tail = encode(np.concatenate([warped[:, :1], warped], 1))[:, 1:]
    if tail.shape[1] != layout.new_latents:
        raise InputError(f"encode gave {tail.shape[1] + 1} latents for {warped.shape[1] + 1} frames")
    cond = context.copy()
    cond[:, layout.context_latents :] = tail

    known = chunk_geometry(layout, views, cameras, (frames_h, frames_w), warp) if geometry is None else geometry
    return ChunkInputs(
        latents=context,
        cond=np.concatenate([cond, known.rays]).astype(np.float32, copy=False),
        mask=np.ones((MASK_CHANNELS, *context.shape[1:]), np.float32),
        buffer=known.buffer,
        buffer_valid=known.buffer_valid,
        warped_last=warped,
    )


def distinct_views(layout: ContextLayout, retrieved: Sequence[RetrievedView]) -> list[RetrievedView]:
    """The picks that get a slot, best last: each frame once, and the best of them where there are too many."""
    slots = len(layout.spatial_positions)
    return list({view.frame_id: view for view in retrieved}.values())[-slots:] if slots else []


def chunk_cameras(
    layout: ContextLayout,
    views: Sequence[RetrievedView],
    window_w2c: np.ndarray,
    K_px: np.ndarray,
    *,
    history_latents: int,
) -> ChunkCameras:
    """The cameras behind every latent of a chunk; arguments as for `assemble_chunk`.

    Raises:
        InputError: shapes disagree.
        ConfigError: there is less history than the layout needs.
    """
    history_frames = 1 + FRAMES_PER_LATENT * (history_latents - 1)
    expect_shape("window_w2c", window_w2c, (history_frames + layout.new_frames, 4, 4))
    Ks = np.tile(K_px, (len(window_w2c), 1, 1)) if K_px.ndim == 2 else K_px
    expect_shape("K_px", Ks, (len(window_w2c), 3, 3))
    temporal = layout.history_for(history_latents)
    last_w2c, last_K = window_w2c[history_frames - 1], Ks[history_frames - 1]
    empty = len(layout.spatial_positions) - len(views)
    seen_from = [(window_w2c[0], Ks[0])] * empty + [(view.w2c, _K_of(view, last_K)) for view in views]
    position_w2c, position_K = np.zeros((layout.total_latents, 4, 4)), np.zeros((layout.total_latents, 3, 3))
    for of_position, of_frame, of_view in (
        (position_w2c, window_w2c, [w2c for w2c, _ in seen_from]),
        (position_K, Ks, [K for _, K in seen_from]),
    ):
        last_of_latent = of_frame[::FRAMES_PER_LATENT]
        of_position[layout.temporal_positions] = last_of_latent[temporal]
        of_position[layout.context_latents :] = last_of_latent[history_latents:]
        for position, value in zip(layout.spatial_positions, of_view, strict=True):
            of_position[position] = value
    return ChunkCameras(
        last_w2c=last_w2c,
        last_K=last_K,
        new_w2c=window_w2c[history_frames:],
        new_K=Ks[history_frames:],
        Ts_last_cam=last_w2c.astype(np.float64) @ np.linalg.inv(position_w2c),
        intrinsics=position_K[:, [0, 1, 0, 1], [0, 1, 2, 2]],
    )


def _K_of(view: RetrievedView, shared: np.ndarray) -> np.ndarray:
    return shared if view.K_px is None else view.K_px


def reference_warp(
    image: np.ndarray,
    depth_z: np.ndarray,
    w2c: np.ndarray,
    K_px: np.ndarray,
    targets_w2c: np.ndarray,
    targets_K: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """`Warp` by `warp.forward_warp_many`."""
    view = (np.moveaxis(image, 0, -1)[None], depth_z[None], w2c[None], K_px[None])
    pictures, _, depths = forward_warp_many(*view, targets_w2c, targets_K)
    return pictures, depths


def _warped(
    warp: Warp,
    image: np.ndarray,
    depth_z: np.ndarray,
    w2c: np.ndarray,
    K_px: np.ndarray,
    targets_w2c: np.ndarray,
    targets_K: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """One picture [C, H, W] into some cameras: pictures [C, T, H, W] in -1..1 (holes -1) and depths [T, H, W]."""
    images, depths = [], []
    for first in range(0, len(targets_w2c), WARPED_TOGETHER):
        together = slice(first, first + WARPED_TOGETHER)
        picture, depth = warp(image, depth_z, w2c, K_px, targets_w2c[together], targets_K[together])
        images.append(np.clip(picture, -1, 1))
        depths.append(depth)
    return np.moveaxis(np.concatenate(images), -1, 0).astype(np.float32), np.concatenate(depths).astype(np.float32)


def _buffer(
    layout: ContextLayout,
    views: list[RetrievedView],
    cameras: ChunkCameras,
    hw: tuple[int, int],
    warp: Warp,
) -> tuple[np.ndarray, np.ndarray]:
    slots = len(layout.spatial_positions)
    maps = canonical_maps(slots, *hw)
    channels = fold_pixels(np.zeros((4, *hw))).shape[0]
    small = tuple(n // 8 for n in hw)
    buffer = np.zeros((channels * slots, layout.total_latents, *small), np.float32)
    valid = np.zeros(layout.total_latents, bool)
    for slot, position in enumerate(layout.spatial_positions):
        for k in range(slots):
            depth = np.full((1, *hw), -1.0 if k == 0 else 1.0, np.float32)
            buffer[k * channels : (k + 1) * channels, position] = fold_pixels(np.concatenate([maps[slot], depth]))
        valid[position] = True
    new = slice(layout.context_latents, None)
    valid[new] = slots > 0
    warped = []
    # Best first: the last view sits in the last slot.
    for slot, view in zip(range(slots - 1, -1, -1), reversed(views), strict=False):
        K = _K_of(view, cameras.last_K)
        warped.append(_warped(warp, maps[slot], view.depth_z, view.w2c, K, cameras.new_w2c, cameras.new_K))
    depths = scale_depth(np.stack([depth for _, depth in warped])) if warped else np.zeros(0)
    for k in range(slots):
        if k < len(warped):
            coordinates = np.concatenate([warped[k][0], depths[k][None]])
        else:
            coordinates = np.broadcast_to(np.array(HOLE, np.float32)[:, None, None, None], (4, layout.new_frames, *hw))
        buffer[k * channels : (k + 1) * channels, new] = coordinate_latents(coordinates)
    return buffer, valid
