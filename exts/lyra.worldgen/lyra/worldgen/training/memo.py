"""What was computed of a film is kept: a small film comes round hundreds of times, and its geometry never changes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Value = TypeVar("Value")


class Memo:
    """Results by key, those that were not asked for the longest are let go.

    Args:
        max_bytes: what arrays and tensors in the results may take together.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self.held_bytes = max_bytes, 0
        self._held: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The result of `make` under a key; nobody may change it afterwards."""
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key][0]
        value = make()
        size = _bytes_of(value)
        if size <= self._max_bytes:
            self._held[key] = value, size
            self.held_bytes += size
            while self.held_bytes > self._max_bytes:
                _, (_, gone) = self._held.popitem(last=False)
                self.held_bytes -= gone
        return value


def _bytes_of(value: Any) -> int:
    """Bytes of arrays and tensors in a value, in its items and in its fields."""
    if isinstance(size := getattr(value, "nbytes", None), int):
        return size
    if isinstance(value, (tuple, list)):
        return sum(_bytes_of(x) for x in value)
    return sum(_bytes_of(x) for x in vars(value).values()) if hasattr(value, "__dict__") else 0
