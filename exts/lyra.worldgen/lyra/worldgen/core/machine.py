"""What this machine offers, and how to use all of it."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def core_count() -> int:
    """Processor cores that this process may use; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


def free_memory_bytes() -> int | None:
    """Main memory that a new process may use [bytes], control groups respected; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        return min(available, int(limit)) if limit.isdigit() else available
    except OSError:
        return available


def map_threads(function: Callable[[T], R], items: Iterable[T], *, threads: int | None = None) -> Iterator[R]:
    """Results of `function` in the order of `items`, computed in threads: for work that lets go of the interpreter.

    At most two results per thread wait to be taken, so a film's frames do not pile up in memory.

    Args:
        function: must not depend on the order of its calls.
        items: one call each.
        threads: every core when None; with 1 nothing runs beside the caller.
    """
    threads = core_count() if threads is None else threads
    if threads <= 1:
        yield from map(function, items)
        return
    waiting = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        running = deque(pool.submit(function, item) for item in itertools.islice(waiting, 2 * threads))
        try:
            while running:
                result = running.popleft().result()
                running.extend(pool.submit(function, item) for item in itertools.islice(waiting, 1))
                yield result
        finally:
            for job in running:
                job.cancel()
