"""Robots and sensors that differ: what was drawn is read back from the engine, and shows in what robots do and see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lab_process import run_lab
from lyra_tasks.isaac_sim.embedded_robot import wheel_damping
from lyra_tasks.robots.diff_drive import SIZES
from sample_worlds import simple_room
from task_worlds import write_world

WORKER = Path(__file__).resolve().parent / "randomised_worker.py"
SPEC = SIZES["medium"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> dict[str, np.ndarray]:
    """What happened to 32 robots under OvPhysX."""
    folder = tmp_path_factory.mktemp("randomised")
    world = write_world(folder / "plain", simple_room())
    run_lab(WORKER, "ovphysx", world, "on", folder / "on.npz", cwd=folder)
    with np.load(folder / "on.npz") as file:
        return dict(file)


def test_masses_and_gains_differ_within_their_ranges(run):
    """Factors of 0.8 to 1.25 and 0.7 to 1.3, spread over the range; the inertia goes with the mass."""
    mass = (run["mass_kg"] / SPEC.base_mass_kg).ravel()
    assert 0.8 - 1e-4 <= mass.min() < 0.9 and 1.15 < mass.max() <= 1.25 + 1e-4
    inertia = run["inertia"].reshape(len(mass), -1)[:, 0] / mass
    np.testing.assert_allclose(inertia, inertia[0], rtol=1e-3)
    gain = run["damping"] / wheel_damping(SPEC)
    assert 0.7 - 1e-4 <= gain.min() < 0.8 and 1.2 < gain.max() <= 1.3 + 1e-4


def test_lidars_are_faulty(run):
    """Rays are off by centimetres and some do not come back."""
    lost = (run["told"] == 1) & (run["lidar"] < 0.99)
    assert 0.01 < lost.mean() < 0.04
    kept = ~lost & (run["lidar"] < 0.95)
    off_m = np.abs(run["told"] - run["lidar"])[kept] * 6.0
    assert 0.01 < np.median(off_m) < 0.03


def test_robots_are_pushed_and_drive_off_differently(run):
    """Robots that are told to stand still are moved now and then; mass, gain and grip show in how far robots come."""
    assert (run["speed"].max(0) > 0.1).mean() > 0.8
    assert run["ahead_m"].std() > 0.003
