"""How a world was explored: legs one after another, each of whose chunks can be undone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .errors import InputError
from .schema import MAX_SEED

MAX_LEGS = 10_000
POSE_SCALE = 1.1
"""What Lyra 2.0 multiplies a trajectory file's translations with when nobody says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One exploration that was asked for."""

    path: str
    """Preset with its options, or `NAME.npz#HASH` of a trajectory file that the world keeps."""
    prompt: str = ""
    captions: Mapping[int, str] = field(default_factory=dict)
    """Texts by the frame from which they hold, in place of the prompt."""
    pose_scale: float = POSE_SCALE
    """Factor on the translations of a trajectory file."""
    first: int = 0
    """This leg goes on with the path of the leg before it, from this chunk of the path on; 0 begins a path."""
    chunks: int | None = None
    """Only so many chunks of the leg belong to the world; all when None."""
    seed: int | None = None
    """In place of the world's own seed."""

    @property
    def end(self) -> int | None:
        """Number of the path's chunk at which the leg stops."""
        return None if self.chunks is None else self.first + self.chunks


def leg_to_json(leg: Leg) -> dict[str, Any]:
    """JSON value of a leg."""
    return {
        "path": leg.path,
        "prompt": leg.prompt,
        "captions": {str(frame): text for frame, text in sorted(leg.captions.items())},
        "pose_scale": leg.pose_scale,
        "first": leg.first,
        "chunks": leg.chunks,
        "seed": leg.seed,
    }


def journey_from_json(data: Any) -> tuple[Leg, ...]:
    """Check and read a list of legs; raises `InputError` that names the key."""
    if not isinstance(data, list) or len(data) > MAX_LEGS:
        raise InputError(f"journey is no list of at most {MAX_LEGS} legs")
    return tuple(_leg(item, f"journey[{i}]") for i, item in enumerate(data))


def _leg(data: Any, where: str) -> Leg:
    if not isinstance(data, dict):
        raise InputError(f"{where} is a {type(data).__name__}; expected a mapping")
    path, prompt, captions = data.get("path"), data.get("prompt", ""), data.get("captions", {})
    scale, chunks = data.get("pose_scale", POSE_SCALE), data.get("chunks")
    first, seed = data.get("first", 0), data.get("seed")
    good = (
        isinstance(path, str)
        and isinstance(prompt, str)
        and isinstance(captions, dict)
        and all(k.isascii() and k.isdecimal() and len(k) < 10 and isinstance(v, str) for k, v in captions.items())
        and isinstance(scale, (int, float))
        and not isinstance(scale, bool)
        and 0 < scale < 1e3
        and (chunks is None or (type(chunks) is int and chunks > 0))
        and type(first) is int
        and first >= 0
        and (seed is None or (type(seed) is int and 0 <= seed <= MAX_SEED))
    )
    if not good:
        raise InputError(f"{where} makes no sense; expected path, prompt, captions, pose_scale, first, chunks, seed")
    return Leg(
        path=str(path),
        prompt=prompt,
        captions={int(frame): text for frame, text in captions.items()},
        pose_scale=float(scale),
        first=first,
        chunks=chunks,
        seed=seed,
    )


def shortened(legs: Sequence[Leg], counts: Sequence[int], keep: int) -> tuple[Leg, ...]:
    """The journey of which only the first `keep` chunks are left.

    Args:
        legs: the whole journey.
        counts: how many chunks each leg has.
        keep: at least 1.
    """
    left: list[Leg] = []
    for leg, count in zip(legs, counts, strict=True):
        if keep <= 0:
            break
        left.append(leg if keep >= count else replace(leg, chunks=keep))
        keep -= count
    return tuple(left)
