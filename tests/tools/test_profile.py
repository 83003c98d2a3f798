"""The profile of a generation: what counts to which function, and the sampler inside of a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

BUSY = """
import time
def busy():
    end = time.process_time() + 0.4
    while time.process_time() < end:
        sum(range(2000))
busy()
"""


@pytest.fixture()
def profile(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "tools" / "bench"))
    import profile_generate

    return profile_generate


@pytest.mark.parametrize(
    ("entries", "stack"),
    [
        (["/lib/runpy.py:run", "/x/lyra/worldgen/cli/main.py:main"], ("start and end",)),
        (
            ["/x/lyra/worldgen/cli/main.py:main", "/x/lyra/worldgen/build/stages.py:_explore", "/lib/numpy/a.py:dot"],
            ("explore",),
        ),
        (
            [
                "/x/lyra/worldgen/build/stages.py:_certify",
                "/x/lyra/worldgen/certify/run.py:certify",
                "/x/lyra/worldgen/certify/run.py:<listcomp>",
                "<frozen importlib._bootstrap>:_load",
                "/x/lyra/worldgen/sim/a.py:<module>",
            ],
            ("certify", "certify.run.certify", "imports"),
        ),
    ],
)
def test_time_of_libraries_counts_to_the_package(profile, entries, stack):
    """From the stage on, by functions of this package, imports apart."""
    assert profile.stack_of("|".join(entries)) == stack


def test_small_stacks_are_added_to_their_callers(profile):
    """No time is lost."""
    stacks = Counter({("explore", "a", "b"): 90.0, ("explore", "a", "c"): 0.1, ("explore", *"abcdefgh"): 9.0})
    small = profile.pruned(stacks)
    assert small == {("explore", "a", "b"): 90.0, ("explore", "a"): 0.1, ("explore", *"abcde"): 9.0}
    assert sum(small.values()) == pytest.approx(sum(stacks.values()))


def test_a_process_is_sampled(repository, tmp_path):
    """Its processor time, all of it, most of it where it was busy."""
    environment = {"PYTHONPATH": str(repository / "tools" / "bench" / "sampler"), "LYRA_PROFILE": str(tmp_path)}
    subprocess.run([sys.executable, "-c", BUSY], check=True, env=os.environ | environment)
    (file,) = tmp_path.glob("*.json")
    said = json.loads(file.read_text())
    busy = sum(seconds for stack, seconds in said["stacks"].items() if ":busy" in stack)
    assert busy > 0.8 * 0.4
    assert sum(said["stacks"].values()) <= said["cpu_s"] * 1.01
    assert said["peak_mib"] > 1
