"""Threads change nothing but the time."""

from __future__ import annotations

import threading

import pytest

from lyra.worldgen.core.machine import core_count, free_memory_bytes, map_threads


def test_core_count_is_positive():
    assert core_count() >= 1


def test_free_memory_is_plausible():
    """More than this process needs and less than any machine has, or unknown."""
    free = free_memory_bytes()
    assert free is None or 2**20 < free < 2**50


@pytest.mark.parametrize("threads", [None, 1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_results_come_in_order(threads, count):
    assert list(map_threads(lambda i: i * i, range(count), threads=threads)) == [i * i for i in range(count)]


def test_errors_come_out_and_stop_the_rest():
    called = []

    def fail(i: int) -> int:
        called.append(i)
        if i == 3:
            raise ValueError("three")
        return i

    with pytest.raises(ValueError, match="three"):
        list(map_threads(fail, range(1000), threads=2))
    assert len(called) < 20


def test_results_wait_to_be_taken():
    """A slow reader keeps the workers from running far ahead."""
    started = []
    lock = threading.Lock()

    def work(i: int) -> int:
        with lock:
            started.append(i)
        return i

    results = map_threads(work, range(100), threads=2)
    assert next(results) == 0
    assert len(started) <= 6
    assert list(results) == list(range(1, 100))
