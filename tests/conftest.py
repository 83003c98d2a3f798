"""Set-up shared by every test: one thread per library, seeded randomness, hypothesis without a deadline."""

from __future__ import annotations

import os

# Before NumPy and torch read them: two test processes share two cores.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# Models come with the package or are made by the tests; a hub must never be asked.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gc
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "worldgen", deadline=None, derandomize=True, max_examples=40, suppress_health_check=[HealthCheck.too_slow]
)
# The inner loop, `tools/test.sh --fast`, asks for this one.
settings.register_profile("fast", settings.get_profile("worldgen"), max_examples=10)
settings.load_profile("worldgen")

REPOSITORY = Path(__file__).resolve().parent.parent
# Processes that tests start import this checkout, as the tests do (`pythonpath` of pytest), not another installed one.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(REPOSITORY / "exts" / "lyra.worldgen"), os.environ.get("PYTHONPATH")])
)


@pytest.fixture(autouse=True)
def _seeded_globals() -> None:
    """Global generators start equal in every test, whatever ran before; library code must not use them."""
    random.seed(0)
    np.random.seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(20260101)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def photos() -> Path:
    """Folder of the CC0 photos that travel with the tests."""
    return REPOSITORY / "tests" / "data" / "photos"


@pytest.fixture(scope="session")
def model_libraries() -> None:
    """Loads what foreign models run on, once, and keeps the collector from walking through it ever after."""
    for name in ("torch", "diffusers", "transformers"):
        pytest.importorskip(name)
    gc.collect()
    gc.freeze()


@pytest.fixture
def room():
    """The default analytic room."""
    from rooms import analytic_room

    return analytic_room()
