"""A painter of whole chunks without a model: what it paints depends on everything that it was told and has accepted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lyra.worldgen.core.config import WorldConfig
from lyra.worldgen.generation.painter import ChunkHint, Draft, FilmFormat, Shot


class ChunkPainterFake:
    """Its memory is a hash of the film so far; a draft is noise that follows from it and from the hint.

    Args:
        frames: of a chunk.
        keep_known: whether remembered pixels replace painted ones.
        lookback_chunks: 1 for a painter that knows the newest chunk alone, None for one that forgets nothing.
    """

    name = "chunk-fake"
    weights_licence = "none"

    def __init__(
        self,
        frames: int = 8,
        width_px: int = 64,
        height_px: int = 32,
        *,
        keep_known: bool = True,
        lookback_chunks: int | None = None,
    ) -> None:
        self.film = FilmFormat(
            frames=frames, width_px=width_px, height_px=height_px, retrieved_views=3, lookback_chunks=lookback_chunks
        )
        self.keep_known = keep_known
        self.info = {"frames": frames}
        self.hints: list[ChunkHint] = []
        self.begun: list[np.ndarray] = []
        self.redrafted = 0

    @classmethod
    def from_config(cls, config: WorldConfig) -> ChunkPainterFake:
        return cls(keep_known=config.lyra2.keep_known)

    def prepare(self, photo, geometry, *, seed, progress, ring=None):
        return None

    def begin(self, rgb: np.ndarray, camera: Any, T_world_cam: np.ndarray) -> str:
        self.begun.append(rgb)
        return _hash(b"", rgb)

    def draft(self, memory: str, shot: Shot, hint: ChunkHint, *, seed: int, step: Callable[[int, int], None]) -> Draft:
        self.hints.append(hint)
        step(1, 1)
        told = [hint.last_depth_z_m, *(view.rgb for view in hint.retrieved), np.array([seed])]
        kept = {"noise_seed": np.frombuffer(bytes.fromhex(_hash(memory.encode(), *told))[:8], np.uint8)}
        return self.redraft(memory, kept)

    def redraft(self, memory: str, kept: Mapping[str, np.ndarray]) -> Draft:
        self.redrafted += 1
        past = b"" if self.film.lookback_chunks else memory.encode()
        rng = np.random.default_rng([*kept["noise_seed"].tolist(), *past])
        shape = (self.film.frames, self.film.height_px, self.film.width_px, 3)
        frames = rng.uniform(-10, 265, shape).astype(np.float32)
        return Draft(frames=frames, kept=kept, after=_hash(past, frames), facts={})

    def accept(self, memory: str, shot: Shot, draft: Draft, frames: np.ndarray) -> str:
        return _hash(draft.after.encode(), frames, shot.Ts_world_cam)


def _hash(*parts: bytes | np.ndarray) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()
