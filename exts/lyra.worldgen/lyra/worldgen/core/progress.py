"""Progress and cancellation as one argument: a bar in the terminal, a widget in Kit, a list in tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING, Protocol, TypeVar

from .errors import Cancelled

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")


class Progress:
    """Reports nothing; subclass and override `update` to show something.

    Stages call `track` around their loops or `step` at milestones. Raise nothing from `update`; return False from
    `keep_going` to cancel at the next step.
    """

    wants_frames = False
    """Whether `frame` does anything, so that nobody makes pictures for nothing."""

    def frame(self, chunk: int, number: int, rgb_u8: np.ndarray) -> None:
        """Frame `number` of a chunk, [H, W, 3], has just been painted."""

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` steps of `stage` are finished."""

    def keep_going(self) -> bool:
        """False asks the work to stop at the next step."""
        return True

    def step(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Report a milestone; raises `Cancelled` when the user asked to stop."""
        if not self.keep_going():
            raise Cancelled(f"cancelled during {stage}")
        self.update(stage, done, total, note)

    def track(self, stage: str, items: Iterable[T], total: int | None = None) -> Iterator[T]:
        """Yield `items`, reporting after each one."""
        count = total if total is not None else len(items) if isinstance(items, Sized) else 0
        self.step(stage, 0, count)
        for i, item in enumerate(items):
            yield item
            self.step(stage, i + 1, max(count, i + 1))


class SupportsProgress(Protocol):
    """What a stage needs of a progress argument."""

    def step(self, stage: str, done: int, total: int, note: str = "") -> None: ...
    def track(self, stage: str, items: Iterable[T], total: int | None = None) -> Iterator[T]: ...


SILENT = Progress()
