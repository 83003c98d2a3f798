"""Which poses a chunk looks from, before anything is painted: turns on the spot, walks along files and presets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..core.camera import PinholeCamera
from ..core.journey import Leg
from ..core.views import RgbdView
from .collision_guard import keep_clear
from .trajectory import FreeSpace
from .trajectory_files import CHUNK_FRAMES, caption_of_chunk

KEY_EVERY = 8
"""Every eighth frame of a walk is remembered, as upstream does; others only if they show something new."""


@dataclass(frozen=True, kw_only=True)
class ChunkPlan:
    """Poses that are painted together and can be undone together."""

    Ts_world_cam: np.ndarray
    """[T, 4, 4]."""
    cameras: tuple[PinholeCamera, ...]
    """[T]."""
    keys: np.ndarray
    """[T] bool: frames that are remembered in any case."""
    Ts_world_path: np.ndarray
    """[P, 4, 4] how a film gets there."""
    prompt: str = ""
    filmed: bool = False
    """Whether the frames follow one another like those of a film."""
    note: str = ""
    """What was done differently from what was asked."""


def looks(Ts_world_cam: np.ndarray, camera: PinholeCamera, Ts_world_path: np.ndarray, *, prompt: str = "") -> ChunkPlan:
    """A chunk of separate looks, all of them remembered."""
    count = len(Ts_world_cam)
    return ChunkPlan(
        Ts_world_cam=Ts_world_cam,
        cameras=(camera,) * count,
        keys=np.ones(count, bool),
        Ts_world_path=Ts_world_path,
        prompt=prompt,
    )


def walk_chunks(
    Ts_world_cam: np.ndarray,
    cameras: Sequence[PinholeCamera],
    *,
    space: FreeSpace,
    height_range_m: tuple[float, float],
    leg: Leg,
    frames_per_chunk: int = CHUNK_FRAMES,
    fill_last: bool = False,
) -> list[ChunkPlan]:
    """A walk cut into chunks; its first frame is where the walk begins and is not painted again.

    Args:
        Ts_world_cam: [N, 4, 4].
        cameras: [N].
        space: where a camera may be; poses elsewhere are held back (`keep_clear`).
        height_range_m: lowest and highest position of a camera.
        leg: prompt or captions.
        frames_per_chunk: the last chunk may have fewer.
        fill_last: repeat the last pose until the last chunk is full.
    """
    if fill_last and (missing := -(len(Ts_world_cam) - 1) % frames_per_chunk):
        Ts_world_cam = np.concatenate([Ts_world_cam, np.repeat(Ts_world_cam[-1:], missing, axis=0)])
        cameras = [*cameras, *[cameras[-1]] * missing]
    Ts, held_m = keep_clear(Ts_world_cam, space, height_range_m=height_range_m)
    chunks = []
    for index, begin in enumerate(range(1, len(Ts), frames_per_chunk)):
        frames = slice(begin, min(begin + frames_per_chunk, len(Ts)))
        number = np.arange(frames.start, frames.stop)
        keys = number % KEY_EVERY == 0
        keys[-1] = True
        held = float(held_m[frames].max())
        chunks.append(
            ChunkPlan(
                Ts_world_cam=Ts[frames],
                cameras=tuple(cameras[frames]),
                keys=keys,
                Ts_world_path=Ts[frames],
                prompt=caption_of_chunk(leg.captions, index, frames_per_chunk) if leg.captions else leg.prompt,
                filmed=True,
                note=f"held back up to {held:.2f} m, out of geometry" if held > 0.01 else "",
            )
        )
    return chunks


class Planner(Protocol):
    """Plans the chunks of a leg one after the other, each when all chunks before it are painted."""

    def plan(self, index: int) -> ChunkPlan | None:
        """The chunk of that number; None when the leg is over."""
        ...

    def frames_from(self, index: int) -> int:
        """About how many frames this chunk and those after it have, for progress bars."""
        ...

    def facts(self) -> Mapping[str, object]:
        """What the planner knows after a chunk was painted; JSON values for the manifest."""
        ...


@dataclass(frozen=True)
class Listed:
    """A planner of chunks that are known beforehand."""

    chunks: Sequence[ChunkPlan]

    def plan(self, index: int) -> ChunkPlan | None:
        return self.chunks[index] if index < len(self.chunks) else None

    def frames_from(self, index: int) -> int:
        return sum(len(chunk.Ts_world_cam) for chunk in self.chunks[index:])

    def facts(self) -> Mapping[str, object]:
        return {}


def worth_keeping(view: RgbdView) -> int:
    """Fewest newly painted pixels for which a frame between key frames is worth remembering."""
    return max(16, view.source.size // 20_000)


def plan_to_facts(plan: ChunkPlan) -> Mapping[str, object]:
    """What the manifest says of a chunk's plan."""
    facts: dict[str, object] = {"frames": len(plan.Ts_world_cam)}
    if plan.prompt:
        facts["prompt"] = plan.prompt
    if plan.note:
        facts["note"] = plan.note
    return facts
