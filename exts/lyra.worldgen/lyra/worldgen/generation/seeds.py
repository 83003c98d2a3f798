"""A seed of its own for each use of randomness."""

from __future__ import annotations

import numpy as np


def derived_seed(seed: int, *stream: int) -> int:
    """A seed that follows from another one and what it is for, so that adding one use never shifts another."""
    return int(np.random.SeedSequence([seed, *stream]).generate_state(1, np.uint32)[0])
