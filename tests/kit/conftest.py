"""A world that can be put on a stage, made once."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def room_world(tmp_path_factory) -> Path:
    """A small room with mesh, splats, colliders, a map and episodes; without a photo."""
    for package in ("pxr", "scipy", "trimesh", "numba"):
        pytest.importorskip(package)
    from sample_worlds import room_with_alcove, write_certified_room

    return write_certified_room(tmp_path_factory.mktemp("kit") / "alcove", room_with_alcove(), episode_count=24)
