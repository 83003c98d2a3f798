"""A furnished room to make variants of, made once, and small ranges that move every axis."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

RANGES = {
    "light": {"dome": [0.5, 2.0], "lamp": [0.5, 2.0], "temperature_k": [3000, 9000], "sun": [0.5, 2.0]},
    "camera": {"exposure_ev": [-1.0, 1.0], "white_balance_k": [5000, 8000], "haze": [0.01, 0.05]},
    "surface": {
        "brightness": [0.7, 1.3],
        "tint": [0.05, 0.2],
        "roughness": [0.3, 0.8],
        "friction": [0.7, 1.3],
        "restitution": [0.01, 0.1],
    },
    "clutter": {"count": [2, 5], "width_m": [0.12, 0.3]},
    "layout": {"mirrored": 0.5},
    "splats": {"floaters": [5, 20]},
}


@pytest.fixture(scope="session")
def made_room(tmp_path_factory) -> Path:
    """`simple_room` as a finished, certified world; nobody may change it."""
    for package in ("pxr", "scipy", "trimesh", "numba"):
        pytest.importorskip(package)
    from sample_worlds import write_certified_room

    return write_certified_room(tmp_path_factory.mktemp("vary") / "room")


@pytest.fixture(scope="session")
def ranges():
    """Ranges of every axis."""
    from lyra.worldgen.vary.config import vary_config_from_dict

    return vary_config_from_dict(RANGES)


@pytest.fixture(scope="session")
def made_variants(made_room, ranges) -> Path:
    """Six variants beside the room, without certificates; nobody may change them."""
    from lyra.worldgen.vary import vary_world

    out = made_room.with_name("variants")
    vary_world(made_room, out, count=6, seed=1001, cfg=ranges, certify=False)
    return out


@pytest.fixture
def place(made_room, made_variants, tmp_path) -> Path:
    """A folder with `room` and `variants` that a test may change."""
    shutil.copytree(made_room, tmp_path / "room")
    shutil.copytree(made_variants, tmp_path / "variants")
    return tmp_path
