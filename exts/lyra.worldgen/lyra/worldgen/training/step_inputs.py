"""What the network is given in a training step: latents of the history, conditions, correspondence, text, picture."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.optional import require
from ..generation.chunk_inputs import (
    MASK_CHANNELS,
    ChunkGeometry,
    RetrievedView,
    Warp,
    assemble_chunk,
    chunk_cameras,
    chunk_geometry,
    distinct_views,
)
from ..generation.context_layout import FRAMES_PER_LATENT, ContextLayout
from ..generation.schedules import TrainingTimes
from .clips import Clip
from .footage import Footage
from .memo import Memo
from .plan import StageDraws
from .segments import Segment

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Painter:
    """Everything that takes part in a step."""

    network: Any
    """`Lyra2Transformer3DModel` or what is called like it."""
    vae: Any
    """`StreamingVae` or `BlockVae`, frozen."""
    layout: ContextLayout
    times: TrainingTimes
    warp: Warp
    vision: Callable[[np.ndarray], torch.Tensor]
    """A frame [3, H, W] in -1..1 to image tokens [1, P, width]."""
    device: Any = "cpu"
    memo: Memo | None = None
    """Keeps what is computed of films; None: everything is computed each time."""

    def kept(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The result of `make`, or what it was when it was asked for under this key before."""
        return make() if self.memo is None else self.memo.get(key, make)


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Latents of a window, and what the encoder remembers."""

    history: torch.Tensor
    """[16, L, h, w]."""
    new: torch.Tensor
    """[16, new, h, w]."""
    cache_before: Any
    """After the history."""
    cache_after: Any
    """After the new frames."""


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """What of a chunk's inputs shows colours, before anything is corrupted."""

    latents: np.ndarray
    """[16, T, h, w]: context, zeros where latents are to be generated."""
    cond: np.ndarray
    """[16, T, h, w]: context and warped last frame."""
    image: torch.Tensor
    """[1, P, width] of the last frame."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the network is given besides noisy latents, on its device, each with a leading 1."""

    context: torch.Tensor
    """[1, 16, context, h, w]."""
    cond: torch.Tensor
    """[1, 4 + 16 + 384, T, h, w]."""
    buffer: torch.Tensor
    buffer_valid: torch.Tensor
    text: torch.Tensor
    image: torch.Tensor


def encode_segment(painter: Painter, footage: Footage, segment: Segment) -> Encoded:
    """Latents of a window from its start."""
    if not footage.untouched:
        return _encode_segment(painter, footage, segment)
    place = ("latents", footage.clip.token, segment.number)
    return painter.kept(place, lambda: _encode_segment(painter, footage, segment))


def _encode_segment(painter: Painter, footage: Footage, segment: Segment) -> Encoded:
    torch = require("torch", extra="train")
    indices, at, cache, latents = segment.window[: segment.history_frames], 0, None, []
    with torch.no_grad():
        while at < len(indices):
            # Pieces, so that a long film never lies in memory as a whole.
            end = at + segment.new_frames + (1 if at == 0 else 0)
            piece, cache = painter.vae.encode(_video(painter, footage, indices[at:end]), cache)
            latents.append(piece[0])
            at = end
        new, after = painter.vae.encode(_video(painter, footage, segment.window[segment.history_frames :]), cache)
    return Encoded(history=torch.cat(latents, 1).float(), new=new[0].float(), cache_before=cache, cache_after=after)


def encode_new(painter: Painter, footage: Footage, segment: Segment, cache: Any) -> torch.Tensor:
    """Latents [16, new, h, w] of a segment's new frames after what the cache remembers."""
    torch = require("torch", extra="train")
    with torch.no_grad():
        video = _video(painter, footage, segment.window[segment.history_frames :])
        return painter.vae.encode(video, cache)[0][0].float()


def network_inputs(
    painter: Painter,
    footage: Footage,
    segment: Segment,
    history: torch.Tensor,
    draws: StageDraws,
    *,
    text: torch.Tensor,
) -> Inputs:
    """Context, conditions and correspondence of a segment; retrieved views are corrupted as drawn."""
    torch = require("torch", extra="train")
    place = (footage.clip.token, segment.number, draws.picks)
    geometry = painter.kept(("geometry", *place), lambda: _geometry(painter, footage.clip, segment, draws.picks))

    def look() -> Appearance:
        return _appearance(painter, footage, segment, history, draws.picks, geometry)

    seen = painter.kept(("appearance", *place), look) if footage.untouched else look()
    latents, cond = corrupted(seen, painter.layout, draws)

    def there(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array)[None].to(painter.device)

    mask = np.ones((MASK_CHANNELS, *cond.shape[1:]), np.float32)
    return Inputs(
        context=there(latents[:, : painter.layout.context_latents]),
        cond=torch.cat([there(mask), there(cond), there(geometry.rays)], 1),
        buffer=there(geometry.buffer),
        buffer_valid=there(geometry.buffer_valid)[0],
        text=text,
        image=seen.image,
    )


def _views(footage: Footage, picks: Sequence[int]) -> list[RetrievedView]:
    clip = footage.clip
    return [RetrievedView(frame_id=i, rgb=footage.frame(i), depth_z=clip.depth_z[i], w2c=clip.w2c[i]) for i in picks]


def _geometry(painter: Painter, clip: Clip, segment: Segment, picks: Sequence[int]) -> ChunkGeometry:
    views = distinct_views(painter.layout, _views(Footage(clip), picks))
    latents = 1 + (segment.history_frames - 1) // FRAMES_PER_LATENT
    cameras = chunk_cameras(painter.layout, views, clip.w2c[segment.window], clip.K_px, history_latents=latents)
    hw = (clip.rgb_u8.shape[1], clip.rgb_u8.shape[2])
    return chunk_geometry(painter.layout, views, cameras, hw, painter.warp)


def _appearance(
    painter: Painter,
    footage: Footage,
    segment: Segment,
    history: torch.Tensor,
    picks: Sequence[int],
    geometry: ChunkGeometry,
) -> Appearance:
    torch = require("torch", extra="train")
    clip = footage.clip

    def encode(video: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            pixels = torch.from_numpy(np.ascontiguousarray(video, np.float32))[None].to(painter.device)
            return painter.vae.encode(pixels, None)[0][0].float().cpu().numpy()

    last = segment.last_history
    last_frame = footage.frame(last)
    chunk = assemble_chunk(
        painter.layout,
        first_frame=footage.frame(int(segment.window[0])),
        last_frame=last_frame,
        last_depth_z=clip.depth_z[last],
        history_latents=history.cpu().numpy(),
        window_w2c=clip.w2c[segment.window],
        K_px=clip.K_px,
        retrieved=_views(footage, picks),
        encode=encode,
        warp=painter.warp,
        geometry=geometry,
    )
    # A copy, so that rays are not held once more.
    cond = chunk.cond[: len(chunk.latents)].copy()
    return Appearance(latents=chunk.latents, cond=cond, image=painter.vision(last_frame))


def corrupted(seen: Appearance, layout: ContextLayout, draws: StageDraws) -> tuple[np.ndarray, np.ndarray]:
    """Latents and condition with noise on those of retrieved views, the same in both."""
    noise = draws.corruption_sigma[None, :, None, None] * draws.corruption_noise
    latents, cond = seen.latents.copy(), seen.cond.copy()
    for slot, position in enumerate(layout.spatial_positions):
        latents[:, position] += noise[:, slot]
        cond[:, position] += noise[:, slot]
    return latents, cond


def _video(painter: Painter, footage: Footage, indices: np.ndarray) -> torch.Tensor:
    torch = require("torch", extra="train")
    return torch.from_numpy(footage.frames(indices))[None].to(painter.device)
