"""Compilation of inner loops with numba: one way for every back-end file that has some."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .optional import require


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator that compiles on first use, without the GIL; the code is kept on disk where that can be written.

    Args:
        options: of `numba.njit`, for example `fastmath`; by default sums keep their order and nothing is fused.

    Raises:
        DependencyError: numba is not installed.
    """
    numba = require("numba", extra="gen")

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # no folder for the cache can be written
            return numba.njit(nogil=True, **options)(function)

    return decorate
