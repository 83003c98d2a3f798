"""How far a painter drifts: a film continued chunk by chunk from its first frame, and held against the truth.

History is what the painter made, decoded and encoded again, as in a walk. Depth of its frames is the film's own, so
that nothing but the painter is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..core.optional import require
from ..generation.retrieval import retrieve
from ..generation.schedules import initial_noise, released_levels, unipc_scheduler
from .clips import Clip
from .footage import Footage
from .plan import StageDraws
from .segments import MEMORY_STRIDE, Segment
from .step_inputs import Painter, network_inputs


@dataclass(frozen=True, kw_only=True)
class Drift:
    """One chunk of a continued film against the truth."""

    chunk: int
    """From 1."""
    absolute_levels: float
    """Mean absolute difference of colour in grey levels of 255."""
    signed_levels: tuple[float, float, float]
    """Mean difference by channel."""
    shift_levels: float
    """Size of the mean difference of each frame, over frames and channels: how far its colour as a whole is off."""
    psnr_db: float


def continue_film(
    painter: Painter,
    clip: Clip,
    *,
    chunks: int,
    steps: int,
    seed: int,
    text: object,
    shown: int = 0,
    on_chunk: Callable[[int], None] = lambda chunk: None,
) -> np.ndarray:
    """[1 + (shown + chunks) * new, H, W, 3] uint8: the beginning of the film and what the painter makes of its cameras.

    Args:
        painter: its network decides everything.
        clip: cameras and depth; only its beginning is shown.
        chunks: how many.
        steps: of the solver for each.
        seed: of the noise; chunk k uses `seed + k`.
        text: [1, L, width].
        shown: chunks of the film that the painter sees as they are, besides its first frame.
        on_chunk: told the number of each finished chunk.
    """
    torch = require("torch", extra="train")
    layout = painter.layout
    footage = Footage(clip)
    first = Segment.of(shown, layout)
    hw = (clip.rgb_u8.shape[1], clip.rgb_u8.shape[2])
    with torch.no_grad():
        pixels = torch.from_numpy(footage.frames(first.window[: first.history_frames]))[None].to(painter.device)
        history, encoder = painter.vae.encode(pixels, None)
        _, decoder = painter.vae.decode(history, None)
        history = history[0].float()
        memory = [clip.points(i) for i in range(0, 1 + shown * layout.new_frames, MEMORY_STRIDE)]
        for chunk in range(shown, shown + chunks):
            segment = Segment.of(chunk, layout)
            picks = retrieve(
                memory, clip.w2c[segment.last_new][None], clip.K_px, hw, count=len(layout.spatial_positions)
            )
            shape = (history.shape[0], layout.new_latents, *history.shape[2:])
            nothing = np.zeros((history.shape[0], len(layout.spatial_positions), *history.shape[2:]), np.float32)
            draws = StageDraws(
                picks=tuple(picks),
                corruption_sigma=np.zeros(nothing.shape[1], np.float32),
                corruption_noise=nothing,
                time_u=0.0,
                noise=initial_noise(seed + chunk, (1, *shape))[0],
            )
            inputs = network_inputs(painter, footage, segment, history, draws, text=text)  # pyright: ignore
            x = torch.from_numpy(draws.noise)[None].to(painter.device)
            scheduler = unipc_scheduler(released_levels(steps), device=painter.device)
            for t in scheduler.timesteps:
                velocity = painter.network(
                    torch.cat([inputs.context, x], 2),
                    cond=inputs.cond,
                    buffer=inputs.buffer,
                    buffer_valid=inputs.buffer_valid,
                    timestep=t.reshape(1).float(),
                    text=inputs.text,
                    image=inputs.image,
                )
                x = scheduler.step(velocity.float(), t, x).prev_sample
            frames, decoder = painter.vae.decode(x, decoder)
            new = segment.window[segment.history_frames :]
            # Values beyond -1..1 go on as they are, as in a walk.
            footage = footage.painted_over(new, frames[0].float().cpu().numpy())
            again, encoder = painter.vae.encode(frames, encoder)
            history = torch.cat([history, again[0].float()], 1)
            remembered = [int(i) for i in new if i % MEMORY_STRIDE == 0]
            memory += [clip.points(i) for i in remembered]
            on_chunk(chunk)
    made = footage.frames(np.arange(1 + (shown + chunks) * layout.new_frames))
    return np.clip((np.moveaxis(made, 0, -1) + 1) * 127.5 + 0.5, 0, 255).astype(np.uint8)


def drift_of(made_u8: np.ndarray, truth_u8: np.ndarray, *, chunk_frames: int) -> list[Drift]:
    """Figures of every chunk of a continued film [1 + N * chunk_frames, H, W, 3] against the film itself."""
    result = []
    for k in range((len(made_u8) - 1) // chunk_frames):
        part = slice(1 + k * chunk_frames, 1 + (k + 1) * chunk_frames)
        change = made_u8[part].astype(np.float64) - truth_u8[part]
        each = change.mean((1, 2))
        red, green, blue = change.mean((0, 1, 2)).tolist()
        error = float((change**2).mean())
        result.append(
            Drift(
                chunk=k + 1,
                absolute_levels=float(np.abs(change).mean()),
                signed_levels=(red, green, blue),
                shift_levels=float(np.abs(each).mean()),
                psnr_db=float(10 * np.log10(255.0**2 / max(error, 1e-6))),
            )
        )
    return result
