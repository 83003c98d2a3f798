"""Newton's recorded step is the step that it was recorded from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lab_process import run_lab
from sample_worlds import simple_room
from task_worlds import write_world

WORKER = Path(__file__).with_name("replay_worker.py")


def test_played_back_steps_are_the_same(tmp_path):
    """Robots that drive about, touch things and are reset are where they would be without the recording."""
    world = write_world(tmp_path / "plain", simple_room())
    states = {}
    for how in ("eager", "replayed"):
        run_lab(WORKER, how, world, tmp_path / f"{how}.npz", cwd=tmp_path)
        with np.load(tmp_path / f"{how}.npz") as file:
            assert bool(file["recorded"]) == (how == "replayed"), "the two differ in what they test"
            states[how] = file["states"]
    assert np.abs(np.diff(states["eager"][..., :2], axis=0)).sum() > 0.5, "robots have driven"
    np.testing.assert_array_equal(states["replayed"], states["eager"])
