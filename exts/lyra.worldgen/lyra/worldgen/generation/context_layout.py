"""What a chunk's context is made of: the layout string of Lyra 2.0 (our notes 3.2 and 2.8).

`f1k1f4s2f1s1f16k4f2k2f1k1_g20` reads: one latent at full resolution, four retrieved ones packed 2 x 2 in space, one
retrieved one at full resolution, sixteen packed 4 x 4 x 4, two packed 2 x 2 x 2, one more at full resolution, and 20
latents to generate. `k` packs time and space, `s` space only and holds retrieved views.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from ..core.errors import ConfigError

RELEASED = "f1k1f4s2f1s1f16k4f2k2f1k1_g20"
FRAMES_PER_LATENT = 4
_LONGEST = 400


@dataclass(frozen=True, kw_only=True)
class ContextSegment:
    """Neighbouring latents that share one patch size."""

    count: int
    kind: str
    """"k" packs time and space, "s" space only."""
    kernel: int


@dataclass(frozen=True, kw_only=True)
class ContextLayout:
    """A parsed layout string."""

    segments: tuple[ContextSegment, ...]
    new_latents: int

    @classmethod
    def parse(cls, text: str) -> ContextLayout:
        """Raises `ConfigError` that shows the grammar for anything else."""
        match = re.fullmatch(r"((?:f[1-9]\d*[ks][1-9]\d*)+)_g([1-9]\d*)", text) if len(text) <= _LONGEST else None
        if match is None:
            raise ConfigError(
                f"context layout '{text[:60]}'; expected f<count><k or s><kernel> ..., then _g<new>: {RELEASED}"
            )
        segments = tuple(
            ContextSegment(count=int(count), kind=kind, kernel=int(kernel))
            for count, kind, kernel in re.findall(r"f(\d+)([ks])(\d+)", match[1])
        )
        return cls(segments=segments, new_latents=int(match[2]))

    @cached_property
    def spatial_positions(self) -> list[int]:
        """Positions that hold retrieved views, the most packed first as written."""
        return [p for p, kind in enumerate(self._kinds) if kind == "s"]

    @cached_property
    def temporal_positions(self) -> list[int]:
        """Positions that hold history."""
        return [p for p, kind in enumerate(self._kinds) if kind == "k"]

    @property
    def context_latents(self) -> int:
        return sum(s.count for s in self.segments)

    @property
    def total_latents(self) -> int:
        return self.context_latents + self.new_latents

    @property
    def new_frames(self) -> int:
        """Video frames that one chunk adds."""
        return FRAMES_PER_LATENT * self.new_latents

    def history_for(self, history_latents: int) -> list[int]:
        """Which of the history's latents fill the temporal positions, in order: the first and the newest.

        Raises:
            ConfigError: there are fewer than the layout needs.
        """
        need = len(self.temporal_positions)
        if history_latents < need:
            raise ConfigError(f"{history_latents} history latents; the layout needs {need}")
        if need == 0:
            return []
        return [0, *range(history_latents - need + 1, history_latents)]

    @cached_property
    def _kinds(self) -> list[str]:
        return [s.kind for s in self.segments for _ in range(s.count)]
