"""Robots and sensors that differ, on every engine: what was drawn shows in what robots do and see, item by item.
Without it all robots do the same.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lab_cases import BACKENDS
from lab_process import run_lab
from lyra_tasks.isaac_sim.embedded_robot import wheel_damping
from lyra_tasks.robots.diff_drive import SIZES
from sample_worlds import simple_room
from task_worlds import write_world

WORKER = Path(__file__).resolve().parent / "randomised_worker.py"
SPEC = SIZES["medium"]
WHEELS_KG = 2 * SPEC.wheel_mass_kg
Run = dict[str, np.ndarray]


@pytest.fixture(scope="module", params=BACKENDS)
def runs(request, tmp_path_factory) -> tuple[Run, Run]:
    """What happened to 32 robots in one place that differ, and to 32 that do not."""
    folder = tmp_path_factory.mktemp(f"randomised_{request.param}")
    world = write_world(folder / "plain", simple_room())
    found = []
    for enabled in ("on", "off"):
        run_lab(WORKER, request.param, world, enabled, folder / f"{enabled}.npz", cwd=folder)
        with np.load(folder / f"{enabled}.npz") as file:
            found.append(dict(file))
    return found[0], found[1]


def test_without_it_all_robots_are_one(runs):
    """Every position, rotation and velocity of every step is that of the first robot, to single precision."""
    states = runs[1]["states"]
    assert np.ptp(states[:, 0, :2], axis=0).min() > 0.03, "they have driven and slid"
    np.testing.assert_allclose(states, np.broadcast_to(states[:, :1], states.shape), atol=2e-5)
    assert (runs[1]["speed"] < 0.12).all(), "nobody is pushed"
    assert np.array_equal(runs[1]["told"], runs[1]["lidar"]), "nobody's lidar is faulty"


def test_masses_differ_and_show_in_how_robots_drive_off(runs):
    """Factors of 0.8 to 1.25, spread over the range; inertia goes with it; the way of the first 0.16 s at full torque
    falls with the mass."""
    run, plain = runs
    mass = run["mass_kg"].ravel() / SPEC.base_mass_kg
    assert 0.8 - 1e-4 <= mass.min() < 0.9 and 1.15 < mass.max() <= 1.25 + 1e-4
    inertia = run["inertia"].reshape(len(mass), -1)[:, 0] / mass
    np.testing.assert_allclose(inertia, inertia[0], rtol=1e-3)
    assert np.corrcoef(mass, run["ahead_m"])[0, 1] < -0.8
    assert run["ahead_m"].min() < plain["ahead_m"][0] < run["ahead_m"].max()


def test_friction_shows_in_how_far_robots_slide(runs):
    """Sideways at 1 m/s, tyres alone stop them: ways differ by two fifths and more, and whoever has less grip than the
    plain robots slides farther. PhysX slides by the smaller of two draws a tyre, so that few have more."""
    run, plain = runs
    assert run["slid_m"].max() > 1.4 * run["slid_m"].min()
    assert run["slid_m"].max() > 1.2 * plain["slid_m"][0]


def test_gains_differ_and_show_in_how_robots_follow(runs):
    """Factors of 0.7 to 1.3; where no motor is at its limit, a robot follows as fast as gain over mass says."""
    run, plain = runs
    gain = run["damping"] / wheel_damping(SPEC)
    assert 0.7 - 1e-4 <= gain.min() < 0.8 and 1.2 < gain.max() <= 1.3 + 1e-4
    rate = gain.mean(1) / (run["mass_kg"].ravel() + WHEELS_KG)
    assert np.corrcoef(rate, run["crept_m"])[0, 1] > 0.8
    assert run["crept_m"].min() < plain["crept_m"][0] < run["crept_m"].max()


def test_robots_are_pushed(runs):
    """Robots that are told to stand still are moved now and then."""
    assert (np.diff(runs[0]["speed"], axis=0).max(0) > 0.1).mean() > 0.7


def test_lidars_are_faulty(runs):
    """Rays are off by centimetres and some do not come back."""
    run = runs[0]
    lost = (run["told"] == 1) & (run["lidar"] < 0.99)
    assert 0.01 < lost.mean() < 0.04
    kept = ~lost & (run["lidar"] < 0.95)
    off_m = np.abs(run["told"] - run["lidar"])[kept] * 6.0
    assert 0.01 < np.median(off_m) < 0.03
