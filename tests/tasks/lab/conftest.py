"""Tests that start Isaac Lab, in its own environment (`tools/test.sh` makes it); one simulation a process."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from lab_cases import BACKENDS
from lab_process import run_lab

HERE = Path(__file__).resolve().parent
WORKER = HERE / "drive_worker.py"


def pytest_collection_modifyitems(items) -> None:
    """Everything below this folder needs Isaac Lab."""
    missing = importlib.util.find_spec("isaaclab") is None
    for item in items:
        if HERE in Path(item.path).parents:
            item.add_marker(pytest.mark.lab)
            if missing:
                item.add_marker(pytest.mark.skip(reason="needs Isaac Lab: run tools/test.sh"))


@pytest.fixture(scope="session")
def worlds(tmp_path_factory) -> Path:
    """A manifest of eight worlds: a plain room of exact walls and seven furnished ones."""
    from sample_worlds import simple_room
    from task_worlds import SEEDS, write_known_worlds, write_world

    folder = tmp_path_factory.mktemp("lab_worlds")
    write_world(folder / "plain", simple_room())
    write_known_worlds(folder, SEEDS[:7])
    names = ["plain", *(f"world_{seed}" for seed in SEEDS[:7])]
    (folder / "worlds.json").write_text(json.dumps({"worlds": names}))
    return folder / "worlds.json"


@pytest.fixture(scope="session", params=BACKENDS)
def driven(request, worlds, tmp_path_factory) -> tuple[str, dict[str, np.ndarray]]:
    """Name of a physics engine and what `drive_worker.py` measured in it."""
    folder = tmp_path_factory.mktemp(request.param)
    run_lab(WORKER, request.param, worlds, "diff_drive", "medium", folder / "result.npz", cwd=folder)
    with np.load(folder / "result.npz") as data:
        return request.param, dict(data)
