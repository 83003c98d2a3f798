"""Robots in copies of a world drive and see as in the world itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lab_process import run_lab
from sample_worlds import simple_room
from task_worlds import write_world

WORKER = Path(__file__).with_name("copies_worker.py")


def test_a_copy_is_the_world(tmp_path):
    """Six robots in one room, then in three copies of it: the same drives, the same observations."""
    world = write_world(tmp_path / "plain", simple_room())
    found = {}
    for name, floor_m2 in (("one", 0.0), ("three", 30.0)):
        run_lab(WORKER, floor_m2, world, tmp_path / f"{name}.npz", cwd=tmp_path)
        with np.load(tmp_path / f"{name}.npz") as data:
            found[name] = dict(data)
    one, three = found["one"], found["three"]
    assert len(np.unique(one["offsets"], axis=0)) == 1 and len(np.unique(three["offsets"], axis=0)) == 3
    going = ~one["ended"]
    assert going.sum() >= 4 and np.array_equal(one["ended"], three["ended"])
    drives = one["places"][:, going]
    assert np.linalg.norm(np.diff(drives, axis=0), axis=-1).sum() > 0.5, "robots have driven"
    # Single precision far from the origin lets places drift by a millimetre, which decides what rays meet at edges.
    np.testing.assert_allclose(three["places"][:, going], drives, atol=2e-3)
    assert (np.abs(three["seen"] - one["seen"])[:, going] < 0.01).mean() > 0.98
